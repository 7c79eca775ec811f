"""Tests of making and tearing down address spaces: all that was taken is given back."""

import numpy as np

from kernelsim.mm.core.vmstat import NR_ANON_PAGES, NR_PAGE_TABLE_PAGES
from kernelsim.mm.swap.swap_area import SS_FREE, SS_TOTAL
from tests.small_machine import (
    PAGE,
    available,
    objects_in_use,
    pages_of_slabs,
    run,
    slab_pages_kept,
    small_machine,
)


def slots_in_use(machine):
    """Return the swap slots in use, without those CPUs took ahead."""
    swap = machine.kernel.swap
    return int(swap.state[SS_TOTAL] - swap.state[SS_FREE] - swap.cpu_slots_left.sum())


async def settle(machine):
    """Let the last writes to swap end, and what they wrote be reclaimed."""
    await machine.sleep("1s")


def test_munmap_gives_back_pages_but_not_page_tables_of_others():
    """The rest of the address space keeps what it had."""

    async def main(machine):
        process = await machine.spawn("p")
        kept = await process.mmap("1M")
        await process.touch(kept, write=True)
        gone = await process.mmap("3M")
        before = available(machine)
        tables = int(machine.mem.node_stat[0, NR_PAGE_TABLE_PAGES])
        await process.touch(gone, write=True)
        await process.munmap(gone)
        grown = int(machine.mem.node_stat[0, NR_PAGE_TABLE_PAGES]) - tables
        assert before - available(machine) == grown
        assert (await process.touch(kept)).minflt == 0
        return process.stats.rss_pages

    assert run(small_machine(), main).result == 256


def test_exit_gives_back_everything():
    """Pages, page tables, the address space itself; what slabs keep, an earlier process left."""

    async def main(machine):
        await (await machine.spawn("earlier")).exit()
        before, slabs = available(machine), pages_of_slabs(machine)
        process = await machine.spawn("p")
        for size in ("1M", "2M", "256K"):
            await process.touch(await process.mmap(size), write=True)
        await process.touch(await process.mmap("4M"))
        assert available(machine) < before - 800
        await process.exit()
        assert available(machine) == before
        assert pages_of_slabs(machine) == slabs
        assert machine.mem.node_stat[0, NR_ANON_PAGES] == 0
        assert machine.mem.node_stat[0, NR_PAGE_TABLE_PAGES] == 0
        assert machine.kernel.mms.mms.pgd_row.max() <= 0
        return machine.kernel.processes

    assert run(small_machine(), main).result == {}


def test_exit_gives_back_swap_slots():
    """When no page of the process is just being written, none is left behind."""

    async def main(machine):
        process = await machine.spawn("p")
        await process.touch(await process.mmap("24M"), write=True)
        await settle(machine)
        used = slots_in_use(machine)
        cached = int(np.count_nonzero(machine.kernel.swap.cache_pfn))
        await process.exit()
        assert used - cached > 1000
        assert slots_in_use(machine) == np.count_nonzero(machine.kernel.swap.cache_pfn) == 0
        assert objects_in_use(machine) == 0
        assert 0 < pages_of_slabs(machine) <= slab_pages_kept(machine)

    run(small_machine(swap="64M"), main)


def test_exit_while_pages_are_written_loses_none():
    """They belong to the swap cache then, and go when somebody reclaims."""

    async def main(machine):
        before = available(machine)
        process = await machine.spawn("p")
        await process.touch(await process.mmap("24M"), write=True)
        assert machine.kernel.devices["vda"].nr_in_flight > 0
        await process.exit()
        left = int(np.count_nonzero(machine.kernel.swap.cache_pfn))
        assert slots_in_use(machine) == left > 0
        await settle(machine)
        left = int(np.count_nonzero(machine.kernel.swap.cache_pfn))
        assert available(machine) + left == before
        assert pages_of_slabs(machine) <= slab_pages_kept(machine)

    run(small_machine(swap="64M", disk={"bandwidth": "50M"}), main)


def test_dropped_pages_read_as_zero():
    """MADV_DONTNEED frees them, the mapping stays."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("1M")
        await process.touch(region, write=True)
        before = available(machine)
        await process.madvise_dontneed(region)
        assert available(machine) - before == 256
        assert process.stats.rss_pages == 0
        again = await process.touch(region)
        return again.minflt, process.stats.rss_pages

    assert run(small_machine(), main).result == (256, 0)


def test_unmapping_interrupts_the_cpus_the_process_ran_on_and_no_others():
    """A process that moved leaves entries behind in another CPU's TLB."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(64 * PAGE)
        process._process.task.cpus = (machine.kernel.cpus[2],)
        await process.touch(region, write=True)
        process._process.task.cpus = (machine.kernel.cpus[0],)
        await process.touch(region)
        before = [cpu.state.nr_ipis for cpu in machine.kernel.cpus]
        began_ns = machine.now_ns
        await process.munmap(region)
        after = [cpu.state.nr_ipis for cpu in machine.kernel.cpus]
        assert machine.now_ns - began_ns > machine.spec.latency.ipi_ns
        return [now - then for now, then in zip(after, before, strict=True)]

    assert run(small_machine(cpus=("0-2",)), main).result == [0, 0, 1]


def test_pages_go_back_to_the_nodes_they_came_from():
    """An address space over two nodes fills both again."""

    async def main(machine):
        def granted():
            return [int(node.nr_granted) for node in machine.kernel.nodes]

        await (await machine.spawn("first", cpu=0)).exit()  # its stack is kept
        before = granted()
        process = await machine.spawn("p", cpu=0, mempolicy="preferred:1")
        await process.touch(await process.mmap("20M"), write=True)
        spread = granted()
        assert spread[0] > 1000 < spread[1]
        await process.exit()
        return before == granted()

    assert run(small_machine(cpus=("0", "1")), main).result


def test_translations_of_the_zero_page_are_forgotten_too():
    """Pages only read cost as much after MADV_DONTNEED as the first time: no stale translation."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("2M")
        first = await process.touch(region)
        await process.madvise_dontneed(region)
        again = await process.touch(region)
        assert again.minflt == first.minflt == 512
        return first.latency_ns, again.latency_ns

    first_ns, again_ns = run(small_machine(), main).result
    walks_ns = 512 * 4 * small_machine().latency.page_walk_step_ns
    assert again_ns > walks_ns
    assert abs(again_ns - first_ns) < walks_ns // 4  # the tables themselves are there already
