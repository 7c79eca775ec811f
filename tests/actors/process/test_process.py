"""Tests of the process: its operations, its signals, its end, and the time it uses."""

import errno
from itertools import pairwise

import numpy as np
import pytest

from kernelsim.actors.core.signal import SIGKILL, SIGSEGV
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.thread_stack import VMAP_STACK_PAGES
from kernelsim.mm.space.vm_flags import PROT_READ
from kernelsim.units import MIB
from kernelsim.workload.syscall import MappedRange
from tests.small_machine import PAGE, free_pages, run, small_machine

pytestmark = [pytest.mark.mission("A7")]


def with_process(scenario, **options):
    """Run `scenario(machine, process)`."""

    async def main(machine):
        return await scenario(machine, await machine.spawn("p", cpu=0))

    return run(small_machine(**options), main)


def test_mapping_makes_nothing_resident():
    """Address space is free, and does not overlap."""

    async def scenario(machine, process):
        before = free_pages(machine)
        regions = [await process.mmap("1M") for _ in range(3)]
        spans = sorted((region.address, region.address + region.length) for region in regions)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert (process.stats.rss_pages, free_pages(machine)) == (0, before)

    with_process(scenario)


@pytest.mark.parametrize(("length", "number"), [(0, errno.EINVAL), ("64M", errno.ENOMEM)])
def test_a_mapping_the_kernel_refuses_raises_its_errno(length, number):
    """Nothing, or more than all memory there is."""

    async def scenario(machine, process):
        with pytest.raises(SyscallError) as caught:
            await process.mmap(length)
        assert caught.value.errno == number

    with_process(scenario)


def test_an_access_to_nothing_ends_the_process_with_sigsegv():
    """Pages before the hole are touched, the process is gone, and so is its memory."""

    async def scenario(machine, process):
        before = free_pages(machine) + int(machine.mem.pcp_count.sum())
        region = await process.mmap(4 * PAGE)
        beyond = MappedRange(region.address, 1 << 40)
        result = await process.touch(beyond, write=True)
        assert result.signal == SIGSEGV
        assert result.minflt >= 4
        assert process.exit_status == -SIGSEGV
        assert free_pages(machine) + int(machine.mem.pcp_count.sum()) == before + 1  # its pgd
        with pytest.raises(ProcessEndedError, match="was killed by SIGSEGV"):
            await process.touch(region)

    with_process(scenario)


@pytest.mark.parametrize("as_list", [False, True])
def test_a_write_to_a_read_only_mapping_ends_the_process_with_sigsegv(as_list):
    """Reading it is allowed."""

    async def scenario(machine, process):
        change = process._process.mm.mmap(2 * PAGE, PROT_READ)
        region = MappedRange(change.result, 2 * PAGE)
        assert isinstance(process._process.mm.map.find_vma(region.address), VmArea)
        pages = [region.address // PAGE]
        assert (await process.touch(region)).signal == 0
        assert (await process.touch_pages(pages, [0])).signal == 0
        if as_list:
            result = await process.touch_pages(pages, [1])
        else:
            result = await process.touch(region, write=True)
        assert result.signal == SIGSEGV
        assert process.exit_status == -SIGSEGV

    with_process(scenario)


def test_a_list_of_accesses_segfaults_where_it_leaves_the_mapping():
    """The accesses before that one were done."""

    async def scenario(machine, process):
        region = await process.mmap(4 * PAGE)
        first = region.address // PAGE
        result = await process.touch_pages([first, first + 3, 7, first + 1], [1, 1, 1, 1])
        assert (result.minflt, result.signal) == (2, SIGSEGV)

    with_process(scenario)


def test_a_list_of_accesses_faults_once_for_each_page():
    """In any order, again and again, reads and writes mixed."""

    async def scenario(machine, process):
        region = await process.mmap(8 * PAGE)
        pages = np.array([3, 3, 1, 7, 1, 0, 3]) + region.address // PAGE
        result = await process.touch_pages(pages, np.ones(7))
        assert result.minflt == 4
        assert process.stats.rss_pages == 4

    with_process(scenario)


@pytest.mark.parametrize("stride_pages", [1, 3, 600])
def test_a_stride_touches_every_so_manieth_page(stride_pages):
    """From the first byte on."""

    async def scenario(machine, process):
        region = await process.mmap("4M")
        result = await process.touch(region, write=True, stride=stride_pages * PAGE)
        assert result.minflt == process.stats.rss_pages == -(-1024 // stride_pages)

    with_process(scenario)


def test_passes_repeat_the_accesses():
    """Only the first faults; each later one costs TLB and memory alone."""

    async def scenario(machine, process):
        region = await process.mmap(64 * PAGE)
        once = await process.touch(region, write=True)
        thrice = await process.touch(region, write=True, passes=3)
        assert (once.minflt, thrice.minflt) == (64, 0)
        costs = machine.spec.latency
        assert thrice.latency_ns == 3 * 64 * (costs.tlb_hit_ns + costs.memory_local_ns)

    with_process(scenario)


def test_a_killed_process_ends_in_the_middle_of_a_touch():
    """At the next boundary, with its memory back, and the touch says which signal it was."""

    async def scenario(machine, process):
        async def killer(_handle):
            await machine.sleep("1ms")
            await process.kill()

        before = free_pages(machine) + int(machine.mem.pcp_count.sum())
        await machine.spawn("killer", killer, cpu=1)
        region = await process.mmap("12M")
        result = await process.touch(region, write=True)
        assert result.signal == SIGKILL
        assert 0 < result.minflt < 3072
        assert process.exit_status == -SIGKILL
        await machine.sleep("1ms")  # the killer ends too
        kept = VMAP_STACK_PAGES  # of the killer's CPU; that of the process was taken before
        assert free_pages(machine) + int(machine.mem.pcp_count.sum()) == before + 1 - kept

    with_process(scenario, cpus=("0-1",))


def test_a_process_that_is_killed_while_idle_ends_at_once():
    """It need not be asked for anything first."""

    async def scenario(machine, process):
        await process.kill()
        assert await process.wait() == -SIGKILL

    with_process(scenario)


def test_waiting_returns_the_status_it_ended_with():
    """Also when it ended before."""

    async def scenario(machine, process):
        await process.exit(3)
        assert await process.wait() == 3
        assert await process.wait() == 3

    with_process(scenario)


def test_a_program_ends_its_process_when_it_returns():
    """Its result stays on the handle."""

    async def main(machine):
        async def program(process):
            await process.touch(await process.mmap(PAGE), write=True)
            return "done"

        process = await machine.spawn("p", program)
        return await process.wait(), process.result

    assert run(small_machine(), main).result == (0, "done")


def test_sleeping_uses_no_cpu():
    """Another process has the CPU meanwhile."""

    async def scenario(machine, process):
        async def busy(handle):
            region = await handle.mmap(PAGE)
            await handle.touch(region, passes=10_000)

        other = await machine.spawn("busy", busy, cpu=0)
        began_ns = machine.now_ns
        used_ns = process.stats.utime_ns + process.stats.stime_ns
        await process.sleep("1s")
        assert machine.now_ns - began_ns == 10**9
        assert process.stats.utime_ns + process.stats.stime_ns == used_ns
        assert await other.wait() == 0

    with_process(scenario)


def test_two_processes_on_one_cpu_share_it():
    """Each waits in the run queue while the other computes; together they take the sum."""
    passes = 400

    async def main(machine):
        async def program(process):
            region = await process.mmap(64 * PAGE)
            await process.touch(region, write=True)
            await process.touch(region, passes=passes * len(names))

        processes = [await machine.spawn(name, program, cpu=0) for name in names]
        for process in processes:
            await process.wait()
        return [process.stats for process in processes], machine.now_ns

    names = ["a", "b"]
    (first, second), both_ns = run(small_machine(), main).result
    assert first.utime_ns == second.utime_ns
    slice_ns = 3_000_000
    assert first.utime_ns > slice_ns
    for stats in (first, second):
        assert stats.run_delay_ns > first.utime_ns // 2
    cpu_ns = sum(stats.utime_ns + stats.stime_ns for stats in (first, second))
    assert cpu_ns < both_ns < cpu_ns * 102 // 100


def test_the_heap_grows_and_shrinks():
    """By brk, in pages; what is cut off is freed."""

    async def scenario(machine, process):
        start = process._process.mm.brk
        end = await process.brk("64K")
        assert end == start + (64 << 10)
        heap = MappedRange(start, 64 << 10)
        await process.touch(heap, write=True)
        assert process.stats.rss_pages == 16
        assert await process.brk("-32K") == start + (32 << 10)
        assert process.stats.rss_pages == 8

    with_process(scenario)


@pytest.mark.mission("V10")
@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_touch_below_the_stack_makes_it_grow(one_by_one):
    """A store 1 MiB below the top grows the stack to that page; only what is touched is resident.

    The way of the access does not matter: a range, or a list of pages.
    """

    async def scenario(machine, process):
        top, mm = process.stack("1M"), process._process.mm
        before, charged = mm.stack_vm, mm.commit.committed_pages
        if one_by_one:
            vpns = np.arange(top.address // PAGE, top.address // PAGE + 3)
            result = await process.touch_pages(vpns, np.ones(3))
        else:
            result = await process.touch(top, write=True, length=3 * PAGE)
        assert (result.signal, result.minflt, process.stats.rss_pages) == (0, 3, 3)
        assert (33, 256) == (before, mm.stack_vm)
        assert mm.commit.committed_pages == charged + 256 - 33
        return [vma for vma in mm.map if mm.vma_name(vma) == "[stack]"]

    (stack,) = with_process(scenario).result
    assert (stack.end - stack.start) == 1 << 20


def test_a_stack_grows_to_its_limit_and_not_into_its_guard_gap():
    """8 MiB below the top is the last page; one further down, or near a mapping, is SIGSEGV."""

    async def deep(machine, process):
        assert (await process.touch(process.stack("8M"), write=True, length=1)).signal == 0
        return (await process.touch(process.stack(8 * MIB + 1), write=True, length=1)).signal

    async def crowded(machine, process):
        top = process.stack("4M")
        await process.mmap(PAGE, address=top.address - MIB)
        assert (await process.touch(process.stack(4 * MIB - PAGE), write=True)).signal == 0
        return (await process.touch(top, length=1)).signal

    assert [SIGSEGV, SIGSEGV] == [with_process(each).result for each in (deep, crowded)]
