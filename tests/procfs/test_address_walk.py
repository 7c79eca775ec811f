"""The walk of an address: its half, its region, the entries, and how it ends."""

import numpy as np
import pytest

from kernelsim.errors import ConfigError, ProcessEndedError
from kernelsim.mm.space.pgtable import get_pte, make_migration_pte, pte_span
from kernelsim.units import PAGE_SHIFT
from tests.small_machine import PAGE, run, small_machine

FOUR, THREE, TWO = ("PGD", "PUD", "PMD", "PTE"), ("PGD", "PMD", "PTE"), ("PGD", "PTE")


def walked(text):
    """Return the names of the entries, and the other lines by their first word."""
    rows = [line.split(maxsplit=1) for line in text.splitlines()]
    entries = [name for name, rest in rows if rest.startswith("index")]
    return tuple(entries), {name: rest for name, rest in rows if not rest.startswith("index")}


@pytest.mark.mission("V7")
@pytest.mark.parametrize(("arch", "tables"), [("x86_64", FOUR), ("i386", TWO), ("i386pae", THREE)])
def test_a_page_is_found_through_all_levels(arch, tables):
    """A walk stops at the first empty entry; of a page that was written it ends at its frame."""

    async def main(machine):
        process = await machine.spawn("p")
        area = await process.mmap(2 * PAGE)
        none = walked(process.explain(area.address))
        await process.touch(area, write=True, length=1)
        pfn = int((machine.mem.pages.mapcount > 0).nonzero()[0][0])
        return none, walked(process.explain(area.address + 7)), pfn, process.explain(area.address)

    (stopped, lines), (entries, found), pfn, text = run(small_machine(arch=arch), main).result
    assert stopped == tables[: len(stopped)]
    assert "nothing is there yet" in lines["outcome"]
    assert entries == tables
    assert found["frame"] == f"{pfn:#x} of node 0 DMA; physical address {pfn * PAGE + 7:#x}"
    assert "present rw user accessed dirty" in text
    assert found["mapping"].endswith("rw-p")


@pytest.mark.mission("V7")
def test_what_has_no_frame_says_why():
    """In swap, behind all mappings, in one that permits nothing or no longer, in the hole."""

    async def main(machine):
        process = await machine.spawn("p")
        area = await process.mmap(4 * PAGE)
        await process.touch(area, write=True)
        await process.syscall("madvise", area, "pageout")
        closed = await process.mmap(PAGE, prot=0)
        barred = await process.mmap(PAGE)
        await process.touch(barred, write=True)
        await process.syscall("mprotect", barred, 0)  # its page and its entry stay
        places = (area.address, 0x1000, closed.address, 0x8000_0000_0000, barred.address)
        told = [walked(process.explain(at))[1] for at in places]
        await process.exit()
        with pytest.raises(ProcessEndedError):
            process.explain(0)
        other = await machine.spawn("q")
        for wrong in (-1, 1 << 64, "0x1"):
            with pytest.raises(ConfigError):
                other.explain(wrong)
        return told

    swapped, nowhere, closed, hole, barred = run(small_machine(swap="16M"), main).result
    assert "is in slot " in swapped["outcome"]
    assert nowhere["outcome"].startswith("#PF, no mapping")
    assert closed["outcome"] == "#PF, the mapping forbids it: SIGSEGV"
    assert "#GP" in hole["canonical"]
    assert "frame" not in barred
    assert barred["outcome"] == "#PF, the mapping forbids it: SIGSEGV"


@pytest.mark.mission("V7")
@pytest.mark.parametrize(("arch", "entries"), [("x86_64", 3), ("i386", 1), ("i386pae", 2)])
def test_the_kernels_half_has_large_pages_and_entries_of_its_own(arch, entries):
    """The direct map of 16 MiB ends a walk early; an area of vmalloc does not."""

    async def main(machine):
        process, driver = await machine.spawn("p"), machine.kernel_thread("driver")
        layout = machine.kernel_layout
        area = await driver.vmalloc(1)
        direct, own = (
            walked(process.explain(at)) for at in (layout.page_offset + PAGE + 5, area.address)
        )
        behind = walked(process.explain(area.address + PAGE))[1]
        fixed = walked(process.explain(layout.fix_to_virt(3)))[1]
        return direct, own, behind, fixed, int(area.pfns[0])

    (large, low), (small, high), behind, fixed, pfn = run(small_machine(arch=arch), main).result
    assert (len(large), low["frame"].endswith("0x1005")) == (entries, True)
    assert low["region"].startswith("direct map, ")
    assert len(small) > len(large)
    assert high["frame"].startswith(f"{pfn:#x} of ")
    assert behind["outcome"] == "nothing is mapped there"
    ends = {"x86_64": "nothing is mapped there"}  # its fixmap is in no region
    assert fixed["outcome"] == ends.get(arch, "the kernel has things there that are not simulated")
    assert low["program"].startswith("#PF")


def test_an_entry_of_a_page_that_is_moved_is_told_from_none():
    """Its page is somewhere; the access waits for it, and no fault makes another."""

    async def main(machine):
        process = await machine.spawn("p")
        area = await process.mmap(PAGE)
        await process.touch(area, write=True)
        entry, number = machine.kernel.space.pt.entry, process._process.mm.number
        row, _ = pte_span(*machine.kernel.space, number, area.address >> PAGE_SHIFT)
        index = area.address >> PAGE_SHIFT & 511
        pte = entry[row, index]
        entry[row, index] = np.int64(make_migration_pte(get_pte(entry, row, index)))
        told = walked(process.explain(area.address))[1]
        entry[row, index] = pte
        return told

    told = run(small_machine(), main).result
    assert told["outcome"] == "#PF, the page is being moved: the access waits for its new frame"
