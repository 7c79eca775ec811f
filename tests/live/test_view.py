"""What is seen of a machine at one moment is what its /proc says, and who waits for what."""

from itertools import pairwise

import pytest

from kernelsim.live.view import View, take_view
from kernelsim.mm.core.vmstat import PGFAULT
from kernelsim.procfs.meminfo import render_meminfo
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.units import NS_PER_MS
from kernelsim.workload.api import Workload
from tests.live.scripted import hog

pytestmark = [pytest.mark.mission("B6")]

EVERY_NS, EVERY_EVENTS = 10 * NS_PER_MS, 250


class Viewer:
    """Takes a view again and again."""

    def __init__(self, kernel) -> None:
        self.kernel = kernel
        self.views: list[View] = []

    def due(self) -> tuple[int, int]:
        """Return the next ten milliseconds, or the next 250 events."""
        clock = self.kernel.engine.clock
        return clock.now_ns + EVERY_NS, clock.number + EVERY_EVENTS

    def look(self) -> None:
        """Take a view."""
        self.views.append(take_view(self.kernel))

    see_end = look

    def stop(self) -> None:
        """Nothing is shown."""


@pytest.fixture(scope="module")
def viewer() -> Viewer:
    """A whole run of `hog`, looked at."""
    viewers: list[Viewer] = []

    def comes(kernel):
        viewers.append(Viewer(kernel))
        return viewers[0]

    options = RunOptions(machine="tiny-64m", progress=False)
    run_machine(Workload(hog, "machine"), options, name="hog.py", onlooker=comes)
    return viewers[0]


def test_views_are_of_their_moment_and_stay(viewer):
    """The first is of the machine at its boot, the last of its end; faults grow in between."""
    times = [view.t_ns for view in viewer.views]
    assert times == sorted(times)
    assert 0 == times[0]
    assert all(now - was <= EVERY_NS for was, now in pairwise(times))
    faults = [view.machine.vm_events["pgfault"] for view in viewer.views]
    assert faults == sorted(faults)
    assert 0 == faults[0] < faults[-1] == int(viewer.kernel.mem.vm_event[PGFAULT])
    assert render_meminfo(viewer.views[0].machine) != render_meminfo(viewer.views[-1].machine)


def test_processes_do_what_their_state_says(viewer):
    """R of /proc runs, asks or is runnable; one with a CPU waits for no more than a node."""
    letters = {
        "running": "R",
        "asking": "R",
        "runnable": "R",
        "blocked": "D",
        "sleeping": "S",
        "zombie": "Z",
        "reclaiming": "RD",
    }
    seen: set[str] = set()
    for view in viewer.views:
        for task in view.tasks:
            seen.add(task.doing)
            assert task.process.state in letters[task.doing]
            assert task.waits_for or task.doing not in {"asking", "blocked"}
            assert not task.waits_for or task.doing not in {"running", "zombie"}
    assert {"running", "runnable", "reclaiming", "blocked"} <= seen


def test_kswapd_is_seen_awake_and_asleep(viewer):
    """What it waits for is told while it is awake only."""
    kswapds = [view.kswapds[0] for view in viewer.views]
    assert {"awake", "asleep"} == {kswapd.doing for kswapd in kswapds}
    assert any(kswapd.waits_for for kswapd in kswapds)
    assert all(kswapd.doing == "awake" for kswapd in kswapds if kswapd.waits_for)


def test_waits_only_grow(viewer):
    """Of a process and of a lock; together those of reclaim are not 0 in the end."""
    for pid in (100, 101):
        waits = [
            (task.lock_ns, task.reclaim_ns, task.io_ns)
            for view in viewer.views
            for task in view.tasks
            if task.process.pid == pid
        ]
        for column in zip(*waits, strict=True):
            assert list(column) == sorted(column)
    assert any(task.reclaim_ns for view in viewer.views for task in view.tasks)
    longest = [lock.wait_ns for lock in viewer.views[-1].locks]
    assert longest == sorted(longest, reverse=True)
