"""Tests of unmapping: how often TLBs are flushed, and what stays on its list until when."""

import numpy as np
import pytest

from kernelsim.actors.parts.tlb_state import TLB_LOCAL_SHOOTDOWN
from kernelsim.actors.space.mmu_gather import GATHER_PAGES_MAX
from kernelsim.mm.core.mem import PG_gathered, PG_lru
from kernelsim.mm.core.vmstat import NR_ANON_PAGES
from kernelsim.mm.space.pgtable import _PAGE_PRESENT, pte_at
from kernelsim.mm.swap.swap_area import SS_FREE
from kernelsim.sim.actor import Actor
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE
from kernelsim.workload.syscall import MappedRange
from tests.small_machine import run, small_machine


class Unmapper(Actor):
    """Has a process unmap an area."""

    def __init__(self, process, area):
        super().__init__("unmapper")
        self._process, self._area = process, area

    async def run(self):
        """Unmap."""
        await self._process.munmap(self._area)


def local_flushes(log, since_ns):
    """Return how many flushes tasks made of their own since a time."""
    flushes = [event for event in log.named("tlb_flush") if event.t_ns > since_ns]
    return sum(event.fields["reason"] == TLB_LOCAL_SHOOTDOWN for event in flushes)


@pytest.mark.parametrize(("nr_pages", "nr_flushes"), [(1, 1), (2000, 1), (GATHER_PAGES_MAX + 1, 2)])
def test_a_range_is_flushed_once_or_whenever_the_gather_is_full(nr_pages, nr_flushes):
    """A gather holds as many pages as Linux's, with one flush each time it is emptied."""

    async def main(machine):
        process = await machine.spawn("p")
        area = await process.mmap(nr_pages * PAGE_SIZE)
        await process.touch(area, write=True)
        began_ns = machine.now_ns
        await process.munmap(area)
        return began_ns

    done = run(small_machine(memory="64M"), main)
    assert local_flushes(done.log, done.result) == nr_flushes


def test_nothing_is_flushed_where_no_page_was_present():
    """Entries of swapped pages are in no TLB; their slots are freed all the same."""

    async def main(machine):
        kernel = machine.kernel
        process = await machine.spawn("p")
        cold, hot = await process.mmap("4M"), await process.mmap("12M")
        for area in (cold, hot, hot):
            await process.touch(area, write=True)
        number, first = process._process.mm.number, cold.address >> PAGE_SHIFT
        swapped = [not pte_at(*kernel.space, number, first + i) & _PAGE_PRESENT for i in range(64)]
        assert all(swapped)
        before, began_ns = int(kernel.swap.state[SS_FREE]), machine.now_ns
        await process.munmap(MappedRange(cold.address, 64 * PAGE_SIZE))
        return began_ns, int(kernel.swap.state[SS_FREE]) - before

    done = run(small_machine(swap="16M"), main)
    began_ns, nr_slots = done.result
    assert nr_slots == 64
    assert local_flushes(done.log, began_ns) == 0


def test_unmapped_pages_are_listed_until_lru_lock_is_granted():
    """They lose their owner at once; while the task waits for the lock all of them are listed."""

    async def main(machine):
        kernel, mem = machine.kernel, machine.mem
        process = await machine.spawn("p")
        area = await process.mmap(255 * PAGE_SIZE)  # whole batches of 15
        await process.touch(area, write=True)
        nr_anon = int(mem.node_stat[0, NR_ANON_PAGES])
        kernel.nodes[0].lru_lock.server.free_ns = machine.now_ns + 10_000_000
        task = machine.engine.spawn(Unmapper(process, area))
        await machine.sleep("5ms")
        gathered = mem.pages.flags & np.uint32(PG_gathered) != 0
        listed = gathered & (mem.pages.flags & np.uint32(PG_lru) != 0)
        counts = int(gathered.sum()), int(listed.sum())
        gone = nr_anon - int(mem.node_stat[0, NR_ANON_PAGES])
        await task.join()
        assert not (mem.pages.flags & np.uint32(PG_gathered)).any()
        return counts, gone

    assert run(small_machine(), main).result == ((255, 255), 255)
