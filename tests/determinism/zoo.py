"""A program that runs many systems of actors and prints a digest of each one's log.

    python zoo.py NR_SEEDS [--hypothesis]

Needs trio, attrs and kernelsim on the path. Odd seeds permute simultaneous events. The log is
digested as JSON text; if msgspec is there, the bytes of the real events.jsonl are digested too.
"""

import hashlib
import importlib
import json
import sys
import tempfile
from pathlib import Path

from kernelsim.errors import SimulationError
from kernelsim.sim.actor import DEFERRED, Actor, At
from kernelsim.sim.engine import Engine

try:
    from kernelsim.report.log import RunLog
except ImportError:  # msgspec is compiled for another Python
    RunLog = None

ACTORS = 12
STEPS = 25


class Digest:
    """A sink that digests the lines it would write."""

    def __init__(self):
        self.hash = hashlib.sha256()

    def wants(self, actor, event):
        """Take all."""
        return True

    def emit(self, t_ns, actor, event, fields):
        """Digest one."""
        self.hash.update(json.dumps([t_ns, actor, event, fields]).encode() + b"\n")

    def flush(self):
        """Do nothing."""


class Shop(Actor):
    """Answers at once, later, after the next order, or with an error."""

    def __init__(self, name):
        super().__init__(name)
        self.kept = []

    def receive(self, message):
        """Serve one order."""
        self.log("order", message=message)
        choice = self.engine.rng("shop").below(4)
        if choice == 0:
            return At(self.engine.now_ns + self.engine.rng("shop").between(0, 3), message)
        if choice == 1 and message != "told":
            self.kept.append(self.defer())
            if len(self.kept) > 1:
                self.kept.pop(0).send("late")
            return DEFERRED
        if choice == 2 and message != "told":
            raise LookupError(object())
        return message


class Customer(Actor):
    """Does random things."""

    def __init__(self, name, world):
        super().__init__(name)
        self.world = world
        self.shop = world["shops"][len(name) % len(world["shops"])]

    async def run(self):
        """Act, in small times, so that much happens at once."""
        engine, world = self.engine, self.world
        rng = engine.rng("customers")
        actions = [self.order, self.lock, self.pass_on, self.serve, self.nap]
        for step in range(STEPS):
            with engine.move_on_after(rng.between(1, 12)) as scope:
                await rng.choice(actions)(rng)
            self.log("step", step=step, late=scope.cancelled_caught)
            if rng.chance(1, 80):
                raise ValueError(self)
            if rng.chance(1, 60):
                rng.choice(world["customers"]).kill()

    async def order(self, rng):
        """Tell or ask a shop."""
        shop = rng.choice(self.world["shops"])
        if rng.chance(1, 3):
            shop.tell("told")
            return
        try:
            self.log("answer", answer=await shop.ask(f"asked {rng.below(100)}"))
        except LookupError as error:
            self.log("refused", error=type(error).__name__)

    async def lock(self, rng):
        """Hold a lock."""
        async with self.world["lock"].held() as spun_ns:
            self.log("spun", ns=spun_ns)
            await self.engine.sleep(rng.below(3))

    async def pass_on(self, rng):
        """Send or receive."""
        if rng.chance(1, 2):
            await self.world["send"].send(self.name)
        else:
            self.log("got", value=await self.world["receive"].receive())

    async def serve(self, rng):
        """Queue at the device, or sleep until woken."""
        if rng.chance(1, 2):
            await self.world["device"].serve(rng.below(4))
        elif not self.world["queue"].wake():
            await self.world["queue"].wait()

    async def nap(self, rng):
        """Sleep."""
        await self.engine.sleep(rng.below(6))


async def main(engine):
    """Open the shops, let the customers in, wait for their end."""
    world = {
        "shops": [engine.spawn(Shop(f"shop{n}")) for n in range(3)],
        "lock": engine.spinlock("lock"),
        "device": engine.server("device"),
        "queue": engine.wait_queue("queue"),
        "customers": [],
    }
    world["send"], world["receive"] = engine.channel(2, latency_ns=1)
    for number in range(ACTORS):
        ref = engine.spawn(Customer(f"c{number}", world), may_crash=True)
        world["customers"].append(ref)
    for ref in world["customers"]:
        await ref.join()


def run(seed, sink):
    """Run one system; return its engine."""
    engine = Engine(seed=seed, schedule_seed=seed if seed % 2 else None, until_ns=5000)
    engine.sink = sink if callable(getattr(sink, "emit", None)) else sink(engine)
    try:
        engine.run(main)
    except SimulationError as error:
        engine.log("main", "report", text=str(error))
    return engine


def written(seed, path):
    """Run one system with the real log; return the file's bytes."""
    logs = []

    def sink(engine):
        logs.append(RunLog(path))
        return logs[0]

    run(seed, sink)
    logs[0].close()
    return path.read_bytes()


def digests(nr_seeds):
    """Print a line a seed: the digest of the events, and of the file where it can be written."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(nr_seeds):
            sink = Digest()
            engine = run(seed, sink)
            line = [sink.hash.hexdigest(), engine.ended.state, engine.now_ns, engine.clock.number]
            if RunLog is not None:
                data = written(seed, Path(folder) / "events.jsonl")
                line.append(hashlib.sha256(data).hexdigest())
            print(*line)


if __name__ == "__main__":
    if "--hypothesis" in sys.argv:
        importlib.import_module("hypothesis")
    digests(int(sys.argv[1]))
