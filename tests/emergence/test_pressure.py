"""/proc/pressure says how long tasks really waited: it is no figure of its own."""

import pytest

from kernelsim.procfs.capture import capture
from kernelsim.procfs.system import render_pressure
from kernelsim.sched.psi import PSI_IO_FULL, PSI_IO_SOME, PSI_MEM_FULL, PSI_MEM_SOME
from tests.small_machine import run, small_machine

pytestmark = pytest.mark.mission("R10")
MACHINE = {"memory": "16M", "swap": "64M"}


def totals(machine):
    """Return the times stalled so far, by PSI_*."""
    psi, now_ns = machine.kernel.psi, machine.engine.now_ns
    return [psi.read(state, now_ns).total_ns for state in range(6)]


def test_pressure_on_memory_is_what_the_only_process_waited():
    """One process that swaps: it stalls while it reclaims, and while it reads back what it used.

    Nobody else runs beside it, so "some" and "full" differ only by what kswapd stalls beside it.
    """

    async def main(machine):
        hog = await machine.spawn("hog")
        area = await hog.mmap("24M")
        await hog.touch(area, write=True, passes=3)
        return totals(machine), hog.stats, machine.engine.now_ns

    ran = run(small_machine(**MACHINE), main)
    spent, stats, now_ns = ran.result
    assert stats.io_ns > now_ns // 2
    assert spent[PSI_IO_SOME] >= 0.9 * stats.io_ns
    assert spent[PSI_IO_FULL] <= spent[PSI_IO_SOME] <= now_ns
    assert 0 < stats.reclaim_ns <= spent[PSI_MEM_SOME] <= now_ns
    assert 0 < spent[PSI_MEM_FULL] <= spent[PSI_MEM_SOME]


def test_a_machine_with_memory_to_spare_has_no_pressure():
    """Faults that find free pages stall nobody."""

    async def main(machine):
        hog = await machine.spawn("hog")
        area = await hog.mmap("4M")
        await hog.touch(area, write=True)
        return totals(machine), render_pressure(capture(machine.kernel).pressure["memory"])

    spent, text = run(small_machine(**MACHINE), main).result
    assert spent == [0] * 6
    assert text == (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )


def test_a_neighbour_that_works_keeps_full_below_some():
    """Beside a process that computes on the same CPU, stalls are "some" but seldom "full"."""

    async def hog(process):
        area = await process.mmap("24M")
        await process.touch(area, write=True, passes=2)

    async def main(machine):
        busy = await machine.spawn("busy", cpu=0)
        small = await busy.mmap("1M")
        await busy.touch(small, write=True)
        hogging = await machine.spawn("hog", hog, cpu=0)
        while hogging.exit_status is None:
            await busy.touch(small, passes=50)
        return totals(machine)

    spent = run(small_machine(**MACHINE), main).result
    assert spent[PSI_MEM_SOME] > 0
    assert spent[PSI_MEM_FULL] < 0.5 * spent[PSI_MEM_SOME]
