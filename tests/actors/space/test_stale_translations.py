"""Translations that a CPU may still have when a page is replaced, or given back."""

from kernelsim.actors.core.memory_access import copy_pages
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range
from kernelsim.actors.space import fault_handler, mmu_gather
from kernelsim.check.machine import check_machine
from kernelsim.check.translations import TAG_MASK
from kernelsim.mm.space.pgtable import MM_ANONPAGES
from tests.small_machine import PAGE, run, small_machine

PAGES = 12
CPUS = 4
FORKED = 101  # pid of the first child


def test_no_thread_goes_on_reading_zeros_of_a_page_that_another_has_stored_to():
    """The entry changes first, then TLBs are flushed: who reads meanwhile reads the new page."""

    async def main(machine):
        process = await machine.spawn("threads")
        region = await process.mmap(PAGES * PAGE)
        found = []

        async def read(thread):
            for _ in range(40):
                await thread.touch(region)

        await process.touch(region)
        readers = [await process.fork(read, shares_vm=True) for _ in range(CPUS - 1)]
        for number, reader in enumerate(readers, start=1):
            await reader.set_affinity(number)
        await process.set_affinity(0)
        for number in range(PAGES):
            await process.touch(region, offset=number * PAGE, length=PAGE, write=True)
            found += check_machine(machine.kernel)
        for reader in readers:
            await reader.wait()
        return found

    spec = small_machine(cpus=(f"0-{CPUS - 1}",))
    assert run(spec, main, burst_pages=1).result == []


def in_tlbs(machine, region):
    """Tell of each CPU whether it has a translation of the first page, in whatever space."""
    tags = machine.kernel.burst.tlb_tag & TAG_MASK
    return (tags == region.address // PAGE).any(axis=(1, 2)).tolist()


def test_a_copy_lets_go_of_a_page_only_when_no_relative_can_reach_it(monkeypatch):
    """A child unmaps a page while its parent copies it: its CPU may load it until it has flushed.

    Both take long, so that the parent is done first.
    """

    async def slow_flush(current, *words):
        if current.task.pid == FORKED:
            await current.task.compute(4_000_000)
        await flush_tlb_mm_range(current, *words)

    async def slow_copy(current, *words, **options):
        await current.task.compute(2_000_000)
        await copy_pages(current, *words, **options)

    monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", slow_flush)
    monkeypatch.setattr(fault_handler, "copy_pages", slow_copy)

    async def main(machine):
        parent = await machine.spawn("parent", cpu=0)
        region = await parent.mmap(PAGE)
        await parent.touch(region, write=True)

        async def leave(child):
            await child.set_affinity(1)
            await child.touch(region)
            await child.sleep("500us")
            await child.munmap(region)

        child = await parent.fork(leave)
        await parent.sleep("100us")
        assert in_tlbs(machine, region) == [False, True]
        number = machine.kernel.processes[FORKED].mm.number
        copied = await parent.touch(region, write=True)
        assert copied.minflt == 1
        assert child.exit_status is None
        assert not machine.kernel.mms.mms.rss[number, MM_ANONPAGES]
        assert in_tlbs(machine, region) == [True, False]
        await child.wait()

    run(small_machine(cpus=("0-1",)), main, burst_pages=1)
