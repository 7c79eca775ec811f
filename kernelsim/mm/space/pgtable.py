"""Page tables: entries, the walk, and the table pages themselves.

Linux: arch/x86/include/asm/pgtable*.h, mm/memory.c:pmd_install and :free_pgtables (6.1).
Differs: The entries of a page of page tables lie in a row of `PageTables.entry`; its frame is a
real page of a zone (flag PG_table) whose `Pages.private` is the row. An entry of an upper table
holds the pfn of the next table, so a walk goes through the frames. There are no huge pages in the
tables.

Interface: `pte_span` finds the row of the last level; `tables_needed` says how many frames to
allocate, `install_tables` uses them, `free_pgtables` gives them back. The pool of
page_table_pool.py must have made room before `install_tables` and `pgd_alloc`.
Units: a vpn is a virtual page number; a level is 1 for a table of PTEs, 2 PMD, 3 PUD, 4 PGD.

The shape (x86-64: 4 levels of 9 bits; i386: 2 of 10; i386 with PAE: 3 of 9) is kept in
`PageTables.state`, so that one walk serves all.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I32, I64, I64_2D, U64_2D, Mem, PG_table, nid_of
from kernelsim.mm.core.vmstat import NR_PAGE_TABLE_PAGES

# Bits of an entry; arch/x86/include/asm/pgtable_types.h
_PAGE_PRESENT: Final = 0x001
_PAGE_RW: Final = 0x002
_PAGE_USER: Final = 0x004  # cleared by PROT_NONE
_PAGE_ACCESSED: Final = 0x020
_PAGE_DIRTY: Final = 0x040
_PAGE_SPECIAL: Final = 0x200  # software bit: no struct page behind it (the shared zero page)
_PAGE_NX: Final = -(1 << 63)  # bit 63 of an entry seen as a signed number
PTE_PFN_MASK: Final = 0x000F_FFFF_FFFF_F000
_KERNPG_TABLE: Final = 0x067  # present, rw, user, accessed, dirty: an upper entry
_SWP_OFFSET_SHIFT: Final = 12  # bits that mean something in a present entry stay clear

# Columns of Mms.rss; include/linux/mm_types_task.h
MM_FILEPAGES: Final = 0
MM_ANONPAGES: Final = 1
MM_SWAPENTS: Final = 2
MM_SHMEMPAGES: Final = 3
NR_MM_COUNTERS: Final = 4

# Entries of PageTables.state
PT_NR_FREE: Final = 0  # rows on the stack of free rows
PT_BITS: Final = 1  # address bits a level translates
PT_LEVELS: Final = 2


class Mms(NamedTuple):
    """What leaves need to know of each mm; indexed by mm number, 0 is never an mm."""

    pgd_row: I64  # row of the top table, 0 = no such mm
    rss: I64_2D  # [mm, MM_*] pages
    hiwater_rss: I64  # pages, brought up to date before resident pages go down
    nr_ptes: I64  # table pages below the PGD; Linux's pgtables_bytes / 4096
    fork_next: I64  # ring of the mms that came from each other by fork; itself when alone
    tlb_flush_batched: I64  # entries try_to_unmap took since their TLB flush was last asked for
    file_vma: I64_2D  # [row, FV_*] mappings of files, see i_mmap.py; row 0 = none
    i_mmap: I64  # [number of the file] first row of its mappings; a file behind the end has none


class PageTables(NamedTuple):
    """All table pages of the machine. Row 0 is never used; a free row holds only zeros."""

    entry: U64_2D  # [row, index in the table]
    row_pfn: I32  # [row] frame of the table page, 0 = row free
    free_row: I32  # stack of free rows, the top is taken first
    state: I64  # [PT_*]


@leaf
def update_hiwater_rss(mms: Mms, mm: int) -> None:
    """Note the resident pages before they go down.

    Source: Linux 6.1 include/linux/mm.h:update_hiwater_rss
    """
    rss = get_mm_rss(mms, mm)
    mms.hiwater_rss[mm] = max(mms.hiwater_rss[mm], rss)


@leaf
def get_mm_rss(mms: Mms, mm: int) -> int:
    """Return the resident pages of an mm."""
    return int(mms.rss[mm, MM_FILEPAGES] + mms.rss[mm, MM_ANONPAGES] + mms.rss[mm, MM_SHMEMPAGES])


@leaf
def get_pte(entry: U64_2D, row: int, index: int) -> int:
    """Read `PageTables.entry` as a signed number, so that arithmetic stays in 64-bit integers."""
    return int(np.int64(entry[row, index]))


@leaf
def pte_pfn(pte: int) -> int:
    """Return the page frame number of a present entry."""
    return (pte & PTE_PFN_MASK) >> 12


@leaf
def mk_pte(pfn: int, bits: int) -> int:
    """Return an entry for a frame with the given `_PAGE_*` bits."""
    return (pfn << 12) | bits


@leaf
def is_swap_pte(pte: int) -> bool:
    """Tell whether an entry says where on swap the page is."""
    return pte != 0 and (pte & (_PAGE_PRESENT | _PAGE_SPECIAL)) == 0


@leaf
def is_migration_pte(pte: int) -> bool:
    """Tell whether an entry stands for a page that is being moved to another frame.

    Its bits are those of the present entry it was, with the frame the page leaves.

    Source: Linux 6.1 include/linux/swapops.h:is_migration_entry
    """
    return pte & (_PAGE_PRESENT | _PAGE_SPECIAL) == _PAGE_SPECIAL


@leaf
def maps_page(pte: int) -> bool:
    """Tell whether a page counts an entry in its mapcount: a present one, or one of a migration."""
    return (pte & _PAGE_PRESENT != 0) != (pte & _PAGE_SPECIAL != 0)


@leaf
def make_migration_pte(pte: int) -> int:
    """Return what stands in place of the entry of a page while it is moved.

    Source: Linux 6.1 include/linux/swapops.h:make_readable_migration_entry
    """
    return (pte & ~_PAGE_PRESENT) | _PAGE_SPECIAL


@leaf
def end_migration_pte(pte: int, pfn: int) -> int:
    """Return the present entry of a page that has been moved to a frame.

    Source: Linux 6.1 mm/migrate.c:remove_migration_pte
    """
    return (pte & ~(PTE_PFN_MASK | _PAGE_SPECIAL)) | _PAGE_PRESENT | pfn << 12


@leaf
def mk_swap_pte(slot: int) -> int:
    """Return the entry for a page that is in a swap slot (1 or more)."""
    return slot << _SWP_OFFSET_SHIFT


@leaf
def pte_swap_slot(pte: int) -> int:
    """Return the swap slot of a swap entry."""
    return pte >> _SWP_OFFSET_SHIFT


@leaf
def swap_slot_at(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int) -> int:
    """Return the swap slot that the entry of a page names; 0 if it names none."""
    pte = pte_at(mem, pt, mms, mm, vpn)
    return pte_swap_slot(pte) if is_swap_pte(pte) else 0


@leaf
def pte_span(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int) -> tuple[int, int]:
    """Walk to the table of PTEs for a page.

    Returns:
        Its row and the first vpn behind it; row 0 when a table is missing on the way, with the
        first vpn behind everything that is missing.
    """
    return walk(pt.entry, pt.state, mem.pages.private, int(mms.pgd_row[mm]), vpn)


@leaf
def walk(entry: U64_2D, state: I64, private: I32, row: int, vpn: int) -> tuple[int, int]:
    """Walk from the top table in `row`; as `pte_span`, with only the arrays it needs."""
    bits = state[PT_BITS]
    mask = (1 << bits) - 1
    shift = bits * (state[PT_LEVELS] - 1)
    while shift > 0:
        upper = get_pte(entry, row, (vpn >> shift) & mask)
        if upper == 0:
            return 0, ((vpn >> shift) + 1) << shift
        row = private[pte_pfn(upper)]
        shift -= bits
    return int(row), ((vpn >> bits) + 1) << bits


@leaf
def pte_at(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int) -> int:
    """Return the PTE of one page, 0 when there is none."""
    row, _ = pte_span(mem, pt, mms, mm, vpn)
    return get_pte(pt.entry, row, vpn & ((1 << pt.state[PT_BITS]) - 1)) if row else 0


@leaf
def tables_needed(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int) -> int:
    """Count the table pages that are missing under `nr` consecutive pages."""
    bits = pt.state[PT_BITS]
    mask = (1 << bits) - 1
    first = vpn >> bits
    needed = 0
    for table in range(first, ((vpn + nr - 1) >> bits) + 1):
        row = mms.pgd_row[mm]
        level = pt.state[PT_LEVELS] - 1
        while level > 0:
            entry = get_pte(pt.entry, row, (table >> (bits * (level - 1))) & mask)
            if entry == 0:
                break
            row = mem.pages.private[pte_pfn(entry)]
            level -= 1
        while level > 0:  # levels `level` … 1 are missing; each is counted where it starts
            shift = bits * (level - 1)
            if table == first or (table >> shift) != ((table - 1) >> shift):
                needed += 1
            level -= 1
    return needed


@leaf
def install_tables(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int, pfns: I64, n: int
) -> int:
    """Build the missing tables under `nr` pages from the frames `pfns[:n]`, lowest page first.

    Counts nr_ptes of the mm and nr_page_table_pages of each frame's node.

    Returns:
        How many frames were used; the rest belongs to the caller.

    Raises:
        IndexError: The pool has no free row: `PageTablePool.reserve` was forgotten.

    Source: Linux 6.1 mm/memory.c:__pte_alloc, :__pmd_alloc, :__pud_alloc
    """
    bits = pt.state[PT_BITS]
    mask = (1 << bits) - 1
    used = 0
    for table in range(vpn >> bits, ((vpn + nr - 1) >> bits) + 1):
        row = mms.pgd_row[mm]
        for level in range(pt.state[PT_LEVELS] - 1, 0, -1):
            index = (table >> (bits * (level - 1))) & mask
            entry = get_pte(pt.entry, row, index)
            if entry == 0:
                if used == n:
                    return used
                pfn = int(pfns[used])
                used += 1
                new_row = take_row(mem, pt, pfn)
                count_table(mem, pt, mms, mm, pfn, level, 1)
                entry = mk_pte(pfn, _KERNPG_TABLE)
                pt.entry[row, index] = entry
                row = new_row
            else:
                row = mem.pages.private[pte_pfn(entry)]
    return used


@leaf
def take_row(mem: Mem, pt: PageTables, pfn: int) -> int:
    """Make a frame a table page with an empty row."""
    if pt.state[PT_NR_FREE] == 0:
        raise IndexError("no free page-table row: reserve rows before installing tables")
    pt.state[PT_NR_FREE] -= 1
    row = int(pt.free_row[pt.state[PT_NR_FREE]])
    pt.row_pfn[row] = pfn
    mem.pages.flags[pfn] |= np.uint32(PG_table)
    mem.pages.private[pfn] = row
    return row


@leaf
def release_row(mem: Mem, pt: PageTables, row: int) -> int:
    """Give an empty row back; return its frame, which is no table page any more."""
    pfn = int(pt.row_pfn[row])
    pt.row_pfn[row] = 0
    pt.free_row[pt.state[PT_NR_FREE]] = row
    pt.state[PT_NR_FREE] += 1
    mem.pages.flags[pfn] &= np.uint32(~PG_table & 0xFFFFFFFF)
    mem.pages.private[pfn] = 0
    return pfn


@leaf
def count_table(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, pfn: int, level: int, sign: int
) -> None:
    """Count a table page that came or went; nr_page_table_pages knows only PTE and PMD tables."""
    mms.nr_ptes[mm] += sign
    if level <= 2 and level < pt.state[PT_LEVELS]:
        mem.node_stat[nid_of(mem, pfn), NR_PAGE_TABLE_PAGES] += sign


@leaf
def pgd_alloc(mem: Mem, pt: PageTables, mms: Mms, mm: int, pfn: int) -> None:
    """Give an mm its top table in a frame. No counter of Linux includes that page.

    Source: Linux 6.1 arch/x86/mm/pgtable.c:pgd_alloc; differs: no second page for PTI.
    """
    mms.pgd_row[mm] = take_row(mem, pt, pfn)


@leaf
def pgd_free(mem: Mem, pt: PageTables, mms: Mms, mm: int) -> int:
    """Take the top table of an mm whose other tables are gone; return its frame."""
    row = int(mms.pgd_row[mm])
    mms.pgd_row[mm] = 0
    return release_row(mem, pt, row)


@leaf
def free_pgtables(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, floor: int, ceiling: int, out_pfns: I64
) -> int:
    """Free the tables that only serve pages of [floor, ceiling); all PTEs there must be gone.

    Call it with the ends of the neighbouring VMAs; (0, user pages) frees all but the PGD.

    Returns:
        How many frames were put in `out_pfns`. When that is its length, call again.

    Source: Linux 6.1 mm/memory.c:free_pgtables
    """
    n = 0
    for level in range(1, pt.state[PT_LEVELS]):
        n = free_pgtables_level(mem, pt, mms, mm, floor, ceiling, out_pfns, n, level)
    return n


@leaf
def free_pgtables_level(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm: int,
    floor: int,
    ceiling: int,
    out_pfns: I64,
    n: int,
    level: int,
) -> int:
    """Free the tables of one level; return the new count of `out_pfns`."""
    bits = pt.state[PT_BITS]
    mask = (1 << bits) - 1
    shift = bits * level
    table = (floor + (1 << shift) - 1) >> shift
    end = ceiling >> shift
    while table < end and n < len(out_pfns):
        row = mms.pgd_row[mm]
        upper = pt.state[PT_LEVELS] - 1
        while upper > level:
            entry = get_pte(pt.entry, row, (table >> (bits * (upper - level))) & mask)
            if entry == 0:
                break
            row = mem.pages.private[pte_pfn(entry)]
            upper -= 1
        skip = bits * (upper - level)
        if skip:
            table = ((table >> skip) + 1) << skip
            continue
        last = min(end, (table | mask) + 1)
        while table < last and n < len(out_pfns):
            entry = get_pte(pt.entry, row, table & mask)
            if entry:
                pt.entry[row, table & mask] = 0
                pfn = pte_pfn(entry)
                count_table(mem, pt, mms, mm, pfn, level, -1)
                out_pfns[n] = release_row(mem, pt, int(mem.pages.private[pfn]))
                n += 1
            table += 1
    return n
