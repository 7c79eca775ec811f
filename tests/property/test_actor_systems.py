"""Random systems of actors, run by the engine and by a naive model of the same rules.

Both must log the same events at the same times, end the same way and blame the same lock holders,
in line and not, for any schedule seed.
"""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.errors import DeadlockError
from kernelsim.sim.actor import DEFERRED, Actor, At
from kernelsim.sim.engine import Engine
from tests.property.actor_model import ERRORS, SERVERS, UNTIL_NS, Model
from tests.property.wait_model import CAPACITY

pytestmark = [pytest.mark.mission("B3")]

NR_PROCESSES = 4


def programs():
    """Draw the programs of all processes."""
    ns = st.integers(0, 5)
    two = st.integers(0, 1)
    server = st.sampled_from(SERVERS)
    simple = st.one_of(
        st.tuples(st.just("sleep"), ns),
        st.tuples(st.sampled_from(["ask", "ask", "tell", "stop"]), server),
        st.tuples(st.sampled_from(["lock", "serve"]), two, ns),
        st.tuples(st.sampled_from(["send", "send", "receive", "close", "wait", "wake"]), two),
        st.tuples(st.sampled_from(["kill", "join"]), st.integers(0, NR_PROCESSES - 1)),
        st.tuples(st.just("crash"), st.just(0)),
    )
    within = st.tuples(st.just("within"), ns, st.lists(simple, max_size=4))
    program = st.lists(st.one_of(simple, simple, simple, within), max_size=8)
    return st.lists(program, min_size=NR_PROCESSES, max_size=NR_PROCESSES)


class Server(Actor):
    """Serves as its name says."""

    def __init__(self, name, world):
        super().__init__(name)
        self.world = world
        self.kept = []

    def receive(self, message):
        """Answer at once, later, never, with an error, or after the next message."""
        self.log("served", message=message)
        if self.name == "late":
            return At(self.engine.now_ns + 3, message)
        if self.name == "grumpy":
            raise ValueError(message)
        if self.name == "putoff":
            return self.put_off(message)
        if self.name == "relay" and not self.world["echo"].has_ended:
            self.world["echo"].tell(f"{message} relayed")
        return message

    def put_off(self, message):
        """Answer an ask when the next one comes."""
        if message.startswith("tell"):
            return None
        self.kept.append(self.defer())
        if len(self.kept) > 1:
            self.kept.pop(0).send(message, self.engine.now_ns + 1)
        return DEFERRED


class SlowServer(Server):
    """Serves one after another, each for a while."""

    async def receive(self, message):
        """Wait, then answer."""
        self.log("served", message=message)
        await self.engine.sleep(2)
        return message


class Process(Actor):
    """Runs a program."""

    def __init__(self, number, program, world):
        super().__init__(f"p{number}")
        self.program = program
        self.world = world

    async def run(self):
        """Run the program."""
        await self.run_all(self.program)

    async def run_all(self, program):
        """Run operations and log what each gave."""
        for operation in program:
            try:
                result = await self.run_one(*operation)
            except ERRORS as error:
                result = type(error).__name__
            self.log(operation[0], result=result)

    async def run_one(self, kind, what, ns=0):
        """Run one operation."""
        world, engine = self.world, self.engine
        match kind:
            case "sleep":
                await engine.sleep(what)
            case "ask":
                return await world[what].ask(f"ask {self.name}")
            case "tell":
                world[what].tell(f"tell {self.name}")
            case "stop":
                world[what].stop()
            case "lock":
                async with world["lock", what].held() as spun_ns:
                    await engine.sleep(ns)
                return spun_ns
            case "serve":
                return await world["server", what].serve(ns)
            case "send":
                await world["send", what].send(self.name)
            case "receive":
                return await world["receive", what].receive()
            case "close":
                await world["send", what].aclose()
            case "wait":
                await world["queue", what].wait()
            case "wake":
                return world["queue", what].wake()
            case "kill":
                world[f"p{what}"].kill()
            case "join":
                await world[f"p{what}"].join()
            case "crash":
                raise ZeroDivisionError
            case "within":
                with engine.move_on_after(what) as scope:
                    await self.run_all(ns)
                return scope.cancelled_caught
        return None


class Log:
    """A sink that stops listening when the run is over."""

    def __init__(self):
        self.events = []
        self.engine = None

    def wants(self, actor, event):
        """Keep everything."""
        return True

    def emit(self, t_ns, actor, event, fields):
        """Keep an event."""
        if self.engine.ended is None:
            self.events.append((t_ns, actor, event, *fields.values()))

    def flush(self):
        """Do nothing."""


def run_engine(drawn, schedule_seed, *, inline):
    """Run the programs on the engine; return log, end, time and blame."""
    log = Log()
    engine = Engine(schedule_seed=schedule_seed, until_ns=UNTIL_NS, sink=log, inline=inline)
    log.engine = engine

    async def main(engine):
        world = {}
        for which in range(2):
            world["lock", which] = engine.spinlock(f"lock{which}")
            world["server", which] = engine.server(f"server{which}")
            world["queue", which] = engine.wait_queue(f"queue{which}")
            ends = engine.channel(CAPACITY, latency_ns=which * 2)
            world["send", which], world["receive", which] = ends
        for name in SERVERS:
            actor = (SlowServer if name == "slow" else Server)(name, world)
            world[name] = engine.spawn(actor, may_crash=True)
        refs = [Process(n, program, world) for n, program in enumerate(drawn)]
        for process in refs:
            world[process.name] = engine.spawn(process, may_crash=True)
        for process in refs:
            await process.ref.join()

    with contextlib.suppress(DeadlockError):
        engine.run(main)
    blame = {name: dict(account.by_pair) for name, account in engine.accounts.items()}
    for account in engine.accounts.values():
        assert sum(account.by_pair.values()) == account.wait_ns
    events = [event for event in log.events if event[2] != "ks_deadlock"]
    return events, engine.ended.state, engine.ended.now_ns, blame


@given(drawn=programs(), schedule_seed=st.none() | st.integers(0, 1 << 32))
@settings(max_examples=100)
def test_engine_does_what_the_model_does(drawn, schedule_seed):
    """Log, end and blame are those of the model, in line and not, in every legal order."""
    expected = Model(drawn, schedule_seed).run()
    assert expected == run_engine(drawn, schedule_seed, inline=True)
    assert expected == run_engine(drawn, schedule_seed, inline=False)
