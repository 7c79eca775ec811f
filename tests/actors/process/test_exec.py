"""Tests of processes whose image cannot be loaded or started: the commit limit is used up."""

import pytest

from kernelsim.actors.core.signal import SIGSEGV
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.trace.ks import ks_process_exit
from tests.small_machine import PAGE, free_pages, run, small_machine

STRICT = {"vm.overcommit_memory": 2}  # mm/util.c: nothing beyond the commit limit


async def use_up_the_limit(machine):
    """Map what may be mapped; each process may have a little more than one that has much."""
    while True:
        hog = await machine.spawn("hog")
        for size in ("1M", PAGE):
            try:
                while True:
                    await hog.mmap(size)
            except SyscallError:
                continue
            except ProcessEndedError:
                return hog


async def can_map(process):
    """Map a page; return whether it was given."""
    try:
        await process.mmap(PAGE)
    except SyscallError:
        return False
    return True


def exits(done, name):
    """Return the statuses with which processes of a name have ended, one for each time."""
    events = done.log.named(ks_process_exit.event)
    return [event.fields["exit_code"] for event in events if event.fields["comm"] == name]


def test_a_process_whose_image_does_not_fit_is_killed():
    """As by exec: SIGSEGV, once, its memory is given back, and the run goes on."""

    async def main(machine):
        last = await use_up_the_limit(machine)
        before = free_pages(machine) + int(machine.mem.pcp_count.sum())
        stillborn = await machine.spawn("stillborn", lambda process: process.mmap("1M"))
        assert (last.exit_status, stillborn.exit_status) == (-SIGSEGV, -SIGSEGV)
        assert await stillborn.wait() == -SIGSEGV
        with pytest.raises(ProcessEndedError, match="was killed by SIGSEGV"):
            await stillborn.start_image()
        assert free_pages(machine) + int(machine.mem.pcp_count.sum()) == before
        await machine.sleep("1s")
        return machine.now_ns

    done = run(small_machine(sysctl=STRICT), main)
    assert done.result > 10**9
    assert exits(done, "stillborn") == [-SIGSEGV]
    assert [-SIGSEGV] == exits(done, "hog")


def test_a_program_that_gets_no_heap_ends_once():
    """It touches what it was not given; what comes after that in its start does not happen."""

    async def main(machine):
        late = await machine.spawn("late")
        await use_up_the_limit(machine)
        while await can_map(late):  # what the last one gave back
            pass
        with pytest.raises(ProcessEndedError):
            await late.start_image()
        assert await late.wait() == -SIGSEGV
        assert late.stats.rss_pages == 0
        return late.stats.pgfault

    done = run(small_machine(sysctl=STRICT), main)
    assert done.result < 20  # its stack and data; neither fork's faults nor the file's
    assert exits(done, "late") == [-SIGSEGV]


def test_addresses_come_from_the_seed():
    """The same seed gives the same addresses, another seed others; mode 0 those of every run."""

    async def main(machine):
        process = await machine.spawn("p")
        await process.start_image()
        area = await process.mmap("1M")
        mm = process._process.mm
        return area.address, mm.start_stack, mm.start_brk

    found = {
        (seed, mode): run(
            small_machine(sysctl={"kernel.randomize_va_space": mode}), main, seed=seed
        ).result
        for seed in (1, 2)
        for mode in (0, 1, 2)
    }
    again = run(small_machine(), main, seed=1).result
    assert again == found[1, 2]
    assert all(a != b for a, b in zip(found[1, 2], found[2, 2], strict=True))
    assert found[1, 0] == found[2, 0]
    assert found[1, 1][2] == found[1, 0][2]
    assert found[1, 1][:2] == found[1, 2][:2]
