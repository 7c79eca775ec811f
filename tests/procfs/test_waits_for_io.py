"""Tests of what a run under memory pressure says of waits: switches, iowait, flags of reclaim."""

import pytest

from kernelsim.config.machine_file import load_machine
from kernelsim.procfs.capture import capture
from kernelsim.procfs.process import render_status
from kernelsim.procfs.system import render_stat
from kernelsim.report.sinks import event_text
from tests.memory_sink import MemorySink
from tests.small_machine import OpenMachine


@pytest.fixture(scope="module")
def pressed():
    """A machine at the end of a run that reads from swap, and what it logged."""
    log, taken = MemorySink(), []
    machine = OpenMachine(load_machine("tiny-64m"), sink=log)

    async def main(machine):
        hog = await machine.spawn("hog")
        area = await hog.mmap("70M")
        await hog.touch(area, write=True, passes=2)
        taken.append(capture(machine.kernel))

    machine.run(main)
    return taken[0], log


def test_each_wait_for_the_disk_is_a_voluntary_switch(pressed):
    """Of the process in status; ctxt has the CPU's, with those to and from the idle task."""
    snapshot, log = pressed
    (hog,) = snapshot.processes
    reads = [event for event in log.named("ks_fault") if event.fields["io_ns"]]
    assert len(reads) > 100
    assert hog.voluntary_switches >= len(reads)
    assert f"voluntary_ctxt_switches:\t{hog.voluntary_switches}\n" in render_status(hog)
    assert f"ctxt {snapshot.context_switches}" in render_stat(snapshot).splitlines()
    assert snapshot.context_switches >= 2 * hog.voluntary_switches


def test_idle_time_beside_a_read_is_iowait(pressed):
    """The parts of a CPU's time add up, and waiting for the disk is most of a run that swaps."""
    snapshot, log = pressed
    waited_ns = sum(event.fields["io_ns"] for event in log.named("ks_fault"))
    now_ns = snapshot.uptime_ns
    for cpu in snapshot.cpus:
        assert cpu.user_ns + cpu.system_ns + cpu.iowait_ns + cpu.idle_ns == now_ns
        assert min(cpu.user_ns, cpu.system_ns, cpu.iowait_ns, cpu.idle_ns) >= 0
    iowait_ns = sum(cpu.iowait_ns for cpu in snapshot.cpus)
    assert 0.5 * waited_ns < iowait_ns <= sum(cpu.iowait_ns + cpu.idle_ns for cpu in snapshot.cpus)
    assert snapshot.idle_ns == sum(cpu.idle_ns for cpu in snapshot.cpus)


def test_reclaim_says_by_name_what_it_works_on(pressed):
    """Anonymous memory, written without waiting; lists and requests by Linux's names."""
    _, log = pressed
    lines = {
        name: event_text(0, "x", name, log.named(name)[0].fields)
        for name in ("mm_vmscan_lru_shrink_inactive", "mm_vmscan_lru_isolate")
    }
    shrunk, isolated = lines.values()
    assert shrunk.endswith(" reclaim_flags=RECLAIM_WB_ANON|RECLAIM_WB_ASYNC")
    assert isolated.endswith((" lru=inactive_anon", " lru=active_anon"))
