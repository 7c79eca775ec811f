"""Pages of a file enter page tables: one that faulted, and those around it that are in memory.

Linux: mm/filemap.c: filemap_map_pages, next_uptodate_page; mm/memory.c: do_fault_around,
do_set_pte, finish_mkwrite_fault, 6.1.

Interface: `around` says which pages go with one; `filemap_map_pages` maps those of them that can be
had at once, `map_file_page` the one that was waited for, `make_writable` lets stores through.
Units: virtual page numbers, pages of the file.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I64, Mem, PG_locked, PG_readahead, PG_reclaim, PG_uptodate
from kernelsim.mm.core.xarray import xa_load, xa_next
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_NX,
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_USER,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    mk_pte,
    pte_span,
)
from kernelsim.mm.space.rmap_file import mm_counter_file, page_add_file_rmap
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import KIB, PAGE_SHIFT

FAULT_AROUND_BYTES: Final = 64 * KIB  # mm/memory.c:fault_around_bytes
FAULT_AROUND_PAGES: Final = FAULT_AROUND_BYTES >> PAGE_SHIFT


def page_prot(vma: VmArea, *, is_shmem: bool = False) -> int:
    """Return the bits of an entry that maps a page of a file; the first store faults in any case.

    That is not so of shared memory, where nobody has to hear of stores.

    Source: Linux 6.1 mm/mmap.c:vma_set_page_prot, :vma_wants_writenotify
    """
    bits = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED
    shared_write = VmFlag.VM_SHARED | VmFlag.VM_WRITE
    if is_shmem and vma.flags & shared_write == shared_write:
        bits |= _PAGE_RW
    return bits if vma.flags & VmFlag.VM_EXEC else bits | _PAGE_NX


def around(vma: VmArea, vpn: int, table_bits: int) -> tuple[int, int]:
    """Return the pages [first, end) that are mapped with one: aligned, in one table and mapping.

    Source: Linux 6.1 mm/memory.c:do_fault_around
    """
    first = max(vpn & -FAULT_AROUND_PAGES, vma.vpn)
    end_of_table = ((first >> table_bits) + 1) << table_bits
    return first, min(first + FAULT_AROUND_PAGES, end_of_table, vma.vpn + vma.nr_pages)


@leaf
def filemap_map_pages(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    files: FileMappings,
    number: int,
    mm: int,
    vpn: int,
    nr: int,
    index: int,
    end_index: int,
    bits: int,
    out: I64,
) -> tuple[int, int]:
    """Map what is in memory of the pages `index` on of a file at the pages `vpn` on.

    Left out are pages at the file's end, those being read, those marked for readahead, and places
    that have an entry.

    Args:
        mem: Memory.
        pt: All page tables; that of these pages is there, and is one.
        mms: All address spaces.
        files: All files.
        number: The file.
        mm: Number of the address space.
        vpn: First page.
        nr: Pages.
        index: Page of the file at the first.
        end_index: The file has no page from there on.
        bits: Of the entries.
        out: Gets the page numbers that were mapped; has room for `nr`.

    Returns:
        How many were mapped, and how many could have been.

    Source: Linux 6.1 mm/filemap.c:filemap_map_pages, :next_uptodate_page
    """
    mask = (1 << pt.state[PT_BITS]) - 1
    row, _ = pte_span(mem, pt, mms, mm, vpn)
    last = min(index + nr, end_index) - 1
    mapped, seen = 0, 0
    at = xa_next(files.xa, number, index, last) if index <= last else -1
    while at >= 0:
        pfn = int(xa_load(files.xa, number, at))
        flags = mem.pages.flags[pfn]
        # One bit of Linux means both that it is time to read ahead, and that reclaim waits for it.
        if flags & PG_uptodate and not flags & (PG_locked | PG_readahead | PG_reclaim):
            seen += 1
            place = vpn + at - index
            if get_pte(pt.entry, row, place & mask) == 0:
                pt.entry[row, place & mask] = mk_pte(pfn, bits)
                page_add_file_rmap(mem, pfn)
                out[mapped] = place
                mms.rss[mm, mm_counter_file(flags)] += 1
                mapped += 1
        at = xa_next(files.xa, number, at + 1, last) if at < last else -1
    return mapped, seen


@leaf
def map_file_page(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, pfn: int, bits: int
) -> int:
    """Map a page of a file where there is no entry; return 1, or 0 if there is one by now.

    Source: Linux 6.1 mm/memory.c:do_set_pte
    """
    row, _ = pte_span(mem, pt, mms, mm, vpn)
    at = vpn & ((1 << pt.state[PT_BITS]) - 1)
    if get_pte(pt.entry, row, at) != 0:
        return 0
    pt.entry[row, at] = mk_pte(pfn, bits)
    page_add_file_rmap(mem, pfn)
    mms.rss[mm, mm_counter_file(mem.pages.flags[pfn])] += 1
    return 1


@leaf
def make_writable(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int) -> None:
    """Let stores through to a mapped page of a file, which has become dirty for it.

    Source: Linux 6.1 mm/memory.c:finish_mkwrite_fault
    """
    row, _ = pte_span(mem, pt, mms, mm, vpn)
    at = vpn & ((1 << pt.state[PT_BITS]) - 1)
    pte = get_pte(pt.entry, row, at)
    pt.entry[row, at] = pte | _PAGE_RW | _PAGE_DIRTY
