"""Somebody who watches a run and presses keys as a test says, and a run to watch.

Interface: `Person` for a `Watch`'s keys, canvas and wall clock; `watched_run`.
"""

from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

from rich.text import Text

from kernelsim.actors.core.kernel import Kernel
from kernelsim.live.pace import Pace
from kernelsim.live.watch import Watch
from kernelsim.report.machine_run import RunOutcome, run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.units import NS_PER_S
from kernelsim.workload.api import Workload
from tests.small_machine import OpenMachine

SIZE = (80, 24)


class Person:
    """A person with a terminal; real time passes only while a key is waited for."""

    size = SIZE

    def __init__(self) -> None:
        self.kernel: Kernel | None = None
        self.keys: Iterator[str] = iter(())
        self.wall_ns = 0
        self.pictures: list[Text] = []

    @property
    def now_ns(self) -> int:
        """The virtual time."""
        return self.kernel.engine.now_ns

    def read(self, wait_s: float) -> list[str]:
        """Let time pass, then press what comes next; "" is no key."""
        assert wait_s < inf
        self.wall_ns += int(wait_s * NS_PER_S)
        key = next(self.keys, "")
        return [key] if key else []

    def show(self, text: Text) -> None:
        """Keep the picture."""
        self.pictures.append(text)

    @property
    def lines(self) -> list[str]:
        """The last picture."""
        return self.pictures[-1].plain.split("\n")


async def hog(machine: OpenMachine) -> None:
    """Two processes want more memory than there is."""
    first = await machine.spawn("first")
    second = await machine.spawn("second", touch_a_lot)
    area = await first.mmap("44M")
    await first.touch(area, write=True)
    await machine.sleep("10ms")
    await second.wait()


async def touch_a_lot(process) -> None:
    """Touch memory, twice."""
    area = await process.mmap("12M")
    await process.touch(area, write=True, passes=2)


def watched_run(
    keys: Callable[[Person], Iterator[str]], pace: Pace, *, out: Path | None = None
) -> tuple[Person, Watch, RunOutcome]:
    """Run `hog` with somebody watching."""
    person, watches = Person(), []
    person.keys = keys(person)

    def comes(kernel: Kernel) -> Watch:
        person.kernel = kernel
        watches.append(
            Watch(
                kernel,
                keys=person,
                canvas=person,
                pace=pace,
                title="hog on tiny-64m",
                wall_ns=lambda: person.wall_ns,
            )
        )
        return watches[0]

    options = RunOptions(machine="tiny-64m", progress=False, out=out)
    outcome = run_machine(Workload(hog, "machine"), options, name="hog.py", onlooker=comes)
    return person, watches[0], outcome
