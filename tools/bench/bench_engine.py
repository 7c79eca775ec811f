"""How fast the engine is, beside its peers in the same process.

Rounds of all contenders take turns and the median of each counts, so that a busy machine slows all
alike. Rates are operations a second; targets are ratios to a peer, since seconds differ between
machines.

Interface: `run(scale, rounds)` gives rows; `soak(nr_events)` shows that memory stays flat.
"""

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine
from kernelsim.units import MIB, PAGE_SIZE
from tools.bench import peers
from tools.bench.peers import heap_peer, simpy_peer, trio_peer

TASKS: Final = 10  # that sleep, or want the lock, at the same time
ASK_TARGETS: Final[dict[str, float]] = {"trio memory channels": 1, "SimPy Stores": 1 / 1.5}
MANY: Final = 10_000  # actors
MANY_SECONDS_MAX: Final = 3
SOAK_SAMPLES: Final = 5
SOAK_GROWTH_MAX_MIB: Final = 4  # what the allocator may wobble

Round = Callable[[int], None]  # runs so many operations


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        name: Of the operation.
        unit: "/s", "s", "ms" or "MiB".
        ours: Our figure.
        peers: Figures of the peers by name.
        target: What it should be; empty if there is none.
        is_met: Whether it is; None without a target.
        missed: The peers whose targets are missed.
    """

    name: str
    unit: str
    ours: float
    peers: dict[str, float]
    target: str = ""
    is_met: bool | None = None
    missed: tuple[str, ...] = ()


@attrs.frozen
class Contest:
    """An operation, who does it, and which ratio to which peer is the target.

    Attributes:
        name: Of the operation.
        contenders: What runs operations, and how many a round, by name; ours is "ours".
        targets: Least rate of ours by peer, in that peer's rate.
    """

    name: str
    contenders: dict[str, tuple[Round, int]]
    targets: dict[str, float] = attrs.field(factory=dict)


class Echo(Actor):
    """Answers at once."""

    def receive(self, message: int) -> int:
        """Add one."""
        return message + 1


class Worker(Actor):
    """Runs an async function."""

    def __init__(self, name: str, body: Callable[[], Any]) -> None:
        super().__init__(name)
        self.body = body

    async def run(self) -> None:
        """Run it."""
        await self.body()


def run(scale: float = 1.0, rounds: int = 5) -> list[Row]:
    """Measure everything.

    Args:
        scale: Share of the operations to run; 1.0 takes about a minute.
        rounds: The median of so many counts.
    """
    rows = [measure(contest, rounds) for contest in contests(scale)]
    return [*rows, measure_many(rounds, max(100, int(MANY * min(scale, 1))))]


def contests(scale: float) -> list[Contest]:
    """List what is measured; slow peers run fewer operations."""
    nr = max(1000, int(50_000 * scale)) // TASKS * TASKS
    few = nr // 5 // TASKS * TASKS
    return [
        Contest(
            "sleep, each a switch",
            {
                "ours": (partial(sleeps, nr_tasks=TASKS, inline=False), nr),
                "trio MockClock": (partial(trio_peer.sleeps, nr_tasks=TASKS), few),
                "SimPy timeout": (partial(simpy_peer.sleeps, nr_tasks=TASKS), nr),
                "bare heap": (partial(heap_peer.sleeps, nr_tasks=TASKS), nr),
            },
            {"trio MockClock": 3},
        ),
        Contest(
            "sleep, in line",
            {
                "ours": (partial(sleeps, nr_tasks=1, inline=True), 10 * nr),
                "trio MockClock": (partial(trio_peer.sleeps, nr_tasks=1), few),
                "SimPy timeout": (partial(simpy_peer.sleeps, nr_tasks=1), nr),
                "bare heap": (partial(heap_peer.sleeps, nr_tasks=1), nr),
            },
            {"SimPy timeout": 2},
        ),
        ask_contest(
            "ask and answer, in line",
            partial(asks, inline=True),
            5 * nr,
            ASK_TARGETS,
        ),
        ask_contest(
            "ask and answer, two switches",
            partial(asks, inline=False),
            nr // 2,
            ASK_TARGETS,
        ),
        Contest(
            "contended lock hand-over",
            {
                "ours": (partial(hand_overs, nr_tasks=TASKS), nr // 2),
                "trio MockClock": (partial(trio_peer.hand_overs, nr_tasks=TASKS), few),
                "SimPy Resource": (partial(simpy_peer.hand_overs, nr_tasks=TASKS), nr // 2),
            },
        ),
    ]


def ask_contest(name: str, ours: Round, nr_ours: int, targets: dict[str, float]) -> Contest:
    """Describe a contest of asking and answering."""
    nr_theirs = min(nr_ours, nr_ours // 5 * 2)
    return Contest(
        name,
        {
            "ours": (ours, nr_ours),
            "trio memory channels": (trio_peer.asks, nr_theirs),
            "SimPy Stores": (simpy_peer.asks, nr_theirs),
            "bare heap": (heap_peer.asks, nr_theirs),
        },
        targets,
    )


def measure(contest: Contest, rounds: int) -> Row:
    """Run the rounds of a contest, all contenders in turn."""
    rates: dict[str, list[float]] = {name: [] for name in contest.contenders}
    for _ in range(rounds):
        for name, (run_round, nr_operations) in contest.contenders.items():
            rates[name].append(nr_operations / seconds_of(run_round, nr_operations))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours = medians.pop("ours")
    wanted = [f"≥ {ratio:.2g} × {peer}" for peer, ratio in contest.targets.items()]
    missed = [peer for peer, ratio in contest.targets.items() if ours < ratio * medians[peer]]
    is_met = not missed if wanted else None
    return Row(contest.name, "/s", ours, medians, ", ".join(wanted), is_met, tuple(missed))


def measure_many(rounds: int, nr_actors: int) -> Row:
    """Start actors, ask each once, stop them all: seconds."""
    contenders: dict[str, Round] = {
        "ours": many,
        "trio memory channels": trio_peer.many,
        "SimPy Stores": simpy_peer.many,
        "bare heap": heap_peer.many,
    }
    seconds = {
        name: statistics.median(seconds_of(run_round, nr_actors) for _ in range(rounds))
        for name, run_round in contenders.items()
    }
    ours = seconds.pop("ours")
    name = f"{nr_actors} actors start, answer, stop"
    return Row(name, "s", ours, seconds, f"< {MANY_SECONDS_MAX} s", ours < MANY_SECONDS_MAX)


def soak(nr_events: int) -> Row:
    """Run so many events in line and see whether memory grows after the first fifth."""
    samples_mib: list[float] = []

    async def main(engine: Engine) -> None:
        ref = engine.spawn(Echo("echo"))
        for _ in range(SOAK_SAMPLES):
            for number in range(nr_events // SOAK_SAMPLES // 3):
                await engine.sleep(5)
                await ref.ask(number)
            samples_mib.append(resident_mib())

    engine = Engine()
    engine.run(main)
    growth_mib = max(samples_mib) - samples_mib[0]
    name = f"memory growth over {engine.clock.number} events"
    target = f"< {SOAK_GROWTH_MAX_MIB} MiB"
    return Row(name, "MiB", growth_mib, {}, target, growth_mib < SOAK_GROWTH_MAX_MIB)


def resident_mib() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * PAGE_SIZE / MIB


def seconds_of(run_round: Round, nr_operations: int) -> float:
    """Time one round, without the garbage of the last one."""
    gc.collect()
    began = time.perf_counter()
    run_round(nr_operations)
    return time.perf_counter() - began


def sleeps(nr_operations: int, nr_tasks: int, *, inline: bool) -> None:
    """Let actors sleep."""

    async def main(engine: Engine) -> None:
        async def sleeper(ns: int) -> None:
            for _ in range(nr_operations // nr_tasks):
                await engine.sleep(ns)

        bodies = [partial(sleeper, peers.SLEEP + number) for number in range(nr_tasks)]
        refs = [engine.spawn(Worker(f"a{number}", body)) for number, body in enumerate(bodies)]
        for ref in refs:
            await ref.join()

    engine = Engine(inline=inline)
    engine.run(main)
    assert engine.now_ns == (peers.SLEEP + nr_tasks - 1) * (nr_operations // nr_tasks)


def asks(nr_operations: int, *, inline: bool) -> None:
    """Ask an actor again and again."""

    async def main(engine: Engine) -> int:
        ref = engine.spawn(Echo("echo"))
        await engine.sleep(1)
        got = 0
        for number in range(nr_operations):
            got = await ref.ask(number)
        return got

    assert (
        Engine(inline=inline, max_events_per_instant=10 * nr_operations).run(main) == nr_operations
    )


def hand_overs(nr_operations: int, nr_tasks: int) -> None:
    """Let actors hold one lock in turn."""

    async def main(engine: Engine) -> None:
        lock = engine.spinlock("lock")

        async def taker() -> None:
            for _ in range(nr_operations // nr_tasks):
                async with lock.held():
                    await engine.sleep(3)

        refs = [engine.spawn(Worker(f"a{number}", taker)) for number in range(nr_tasks)]
        for ref in refs:
            await ref.join()
        assert lock.account.nr_holds == nr_operations // nr_tasks * nr_tasks

    Engine().run(main)


def many(nr_tasks: int) -> None:
    """Start actors, ask each once, stop them all."""

    async def main(engine: Engine) -> int:
        refs = [engine.spawn(Echo(f"a{number}")) for number in range(nr_tasks)]
        total = 0
        for number, ref in enumerate(refs):
            total += await ref.ask(number)
        for ref in refs:
            ref.stop()
        for ref in refs:
            await ref.join()
        return total

    assert Engine().run(main) == sum(range(1, nr_tasks + 1))
