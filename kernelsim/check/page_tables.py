"""Check page tables against everything that is counted or remembered about them.

Read-only, and independent of the leafs it checks: it walks the tables itself, a table at a time,
and counts again.
Interface: both functions return one line for each fault found, at most `LINES_MAX` of a kind, and
an empty list when all is well.
"""

from collections.abc import Callable, Iterable
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.mm.mem import (
    I64,
    PAGEBLOCK_ORDER,
    U64,
    Z_NID,
    Mem,
    PG_anon,
    PG_buddy,
    PG_kernel,
    PG_locked,
    PG_pcp,
    PG_table,
)
from kernelsim.mm.pgtable import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    MM_SWAPENTS,
    PT_BITS,
    PT_LEVELS,
    PT_NR_FREE,
    Mms,
    PageTables,
)
from kernelsim.mm.swapfile import SwapArea
from kernelsim.mm.vmstat import NR_ANON_PAGES, NR_PAGE_TABLE_PAGES

LINES_MAX: Final = 8
PRESENT: Final = np.uint64(0x1)
WRITABLE: Final = np.uint64(0x2)
SPECIAL: Final = np.uint64(0x200)
PFN_MASK: Final = np.uint64(0x000F_FFFF_FFFF_F000)
PFN_SHIFT: Final = np.uint64(12)
SLOT_SHIFT: Final = np.uint64(12)
COUNTED_LEVELS: Final = 2  # nr_page_table_pages knows tables of PTEs and PMDs
MM_SHIFT: Final = 32  # pfns are below 2**31


@attrs.define
class Found:
    """What the walk over all address spaces found."""

    lines: list[str] = attrs.Factory(list)
    rows: list[int] = attrs.Factory(list)
    """Rows of all tables, in the order they were met."""
    counted_pfns: list[int] = attrs.Factory(list)
    """Frames of the tables that nr_page_table_pages counts."""
    vpns: list[I64] = attrs.Factory(list)
    ptes: list[U64] = attrs.Factory(list)
    """Entries that are not zero; `vpns` and `mm_numbers` run along."""
    mm_numbers: list[I64] = attrs.Factory(list)

    def report(self, lines: Iterable[str]) -> None:
        """Add faults of one kind."""
        listed = list(lines)
        self.lines += listed[:LINES_MAX]
        if len(listed) > LINES_MAX:
            self.lines.append(f"… and {len(listed) - LINES_MAX} more of this kind")


def check_page_tables(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm_numbers: Iterable[int],
    boot_node_stat: I64 | None = None,
) -> list[str]:
    """Check all page tables of the machine.

    Args:
        mem: Physical memory.
        pt: The pool of tables.
        mms: State of the address spaces.
        mm_numbers: All that live.
        boot_node_stat: `Mem.node_stat` when the machine was built, for what a recorded machine
            had before any process ran; None for zeros.
    """
    found = Found()
    numbers = sorted(mm_numbers)
    stray = sorted(set(np.flatnonzero(mms.pgd_row).tolist()) - set(numbers))
    found.report(f"mm {mm} does not live but has a PGD" for mm in stray)
    for mm in numbers:
        check_mm(mem, pt, mms, mm, found)
    check_pool(mem, pt, found)
    if found.vpns:
        vpn, pte = np.concatenate(found.vpns), np.concatenate(found.ptes)
        mm_of = np.concatenate(found.mm_numbers)
    else:
        vpn, pte, mm_of = np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
    mapped = (pte & PRESENT != 0) & (pte & SPECIAL == 0)
    check_mapped(mem, found, vpn[mapped], pte[mapped], mm_of[mapped])
    bad_zero = (pte & SPECIAL != 0) & (pte & WRITABLE != 0)
    found.report(
        f"mm {m} vpn {v:#x}: zero page is writable"
        for m, v in zip(mm_of[bad_zero].tolist(), vpn[bad_zero].tolist(), strict=True)
    )
    check_node_stat(mem, found, boot_node_stat)
    return found.lines


def check_mm(mem: Mem, pt: PageTables, mms: Mms, mm: int, found: Found) -> None:
    """Walk one address space and compare what is counted for it."""
    nr_rows, nr_arrays = len(found.rows), len(found.ptes)
    root = int(mms.pgd_row[mm])
    if root == 0:
        found.report([f"mm {mm} has no PGD"])
        return
    levels, bits = int(pt.state[PT_LEVELS]), int(pt.state[PT_BITS])
    check_table(mem, pt, mm, root, (levels, 0), bits, found)
    ptes = found.ptes[nr_arrays:]
    present = sum(int(((p & PRESENT != 0) & (p & SPECIAL == 0)).sum()) for p in ptes)
    swapped = sum(int((p & PRESENT == 0).sum()) for p in ptes)
    expected = {
        "MM_ANONPAGES": (MM_ANONPAGES, present),
        "MM_SWAPENTS": (MM_SWAPENTS, swapped),
        "MM_FILEPAGES": (MM_FILEPAGES, 0),
        "MM_SHMEMPAGES": (MM_SHMEMPAGES, 0),
    }
    found.report(
        f"mm {mm}: {name} is {mms.rss[mm, column]}, its entries say {count}"
        for name, (column, count) in expected.items()
        if mms.rss[mm, column] != count
    )
    tables = len(found.rows) - nr_rows - 1
    if mms.nr_ptes[mm] != tables:
        found.report([f"mm {mm}: nr_ptes is {mms.nr_ptes[mm]}, it has {tables} tables"])


def check_table(
    mem: Mem,
    pt: PageTables,
    mm: int,
    row: int,
    place: tuple[int, int],
    bits: int,
    found: Found,
) -> None:
    """Check one table and those below it.

    Args:
        mem: Physical memory.
        pt: The pool.
        mm: Whose table it is.
        row: Its row.
        place: Its level and the first vpn it translates.
        bits: Address bits a level translates.
        found: What is collected.
    """
    level, base_vpn = place
    pfn = int(pt.row_pfn[row])
    found.rows.append(row)
    if level <= COUNTED_LEVELS and level < pt.state[PT_LEVELS]:
        found.counted_pfns.append(pfn)
    flags, private = int(mem.pages.flags[pfn]), int(mem.pages.private[pfn])
    if pfn == 0 or not flags & PG_table or private != row:
        found.report([f"mm {mm}: frame {pfn} of table row {row} says row {private}"])
    indices = np.flatnonzero(pt.entry[row])
    entries = pt.entry[row, indices]
    if level == 1:
        found.vpns.append(base_vpn + indices.astype(np.int64))
        found.ptes.append(entries)
        found.mm_numbers.append(np.full(len(indices), mm, np.int64))
        return
    span = 1 << (bits * (level - 1))
    for index, child_pfn in zip(indices.tolist(), pfns_of(entries).tolist(), strict=True):
        child = int(mem.pages.private[child_pfn])
        if not mem.pages.flags[child_pfn] & PG_table or pt.row_pfn[child] != child_pfn:
            found.report([f"mm {mm}: entry {index} of row {row} names frame {child_pfn}, no table"])
            continue
        check_table(mem, pt, mm, child, (level - 1, base_vpn + index * span), bits, found)


def pfns_of(ptes: U64) -> I64:
    """Return the frames of present entries."""
    return ((ptes & PFN_MASK) >> PFN_SHIFT).astype(np.int64)


def check_pool(mem: Mem, pt: PageTables, found: Found) -> None:
    """Check that every row in use is reached exactly once and every other is empty and free."""
    reached = np.array(sorted(found.rows), np.int64)
    twice = reached[1:][reached[1:] == reached[:-1]]
    found.report(f"table row {row} is used twice" for row in twice.tolist())
    used = np.flatnonzero(pt.row_pfn)
    lost = sorted(set(used.tolist()) - set(reached.tolist()))
    found.report(f"table row {row} belongs to no mm" for row in lost)
    free = pt.free_row[: int(pt.state[PT_NR_FREE])]
    wrong = set(free.tolist()) ^ (set(range(1, len(pt.row_pfn))) - set(used.tolist()))
    found.report(f"table row {row} is both free and used, or neither" for row in sorted(wrong))
    found.report(f"free table row {row} is not empty" for row in free[pt.entry[free].any(axis=1)])
    nr_flagged = int(np.count_nonzero(mem.pages.flags & np.uint32(PG_table)))
    if nr_flagged != len(used):
        found.report([f"{nr_flagged} frames have PG_table, {len(used)} rows are in use"])


def check_mapped(mem: Mem, found: Found, vpn: I64, pte: U64, mm_of: I64) -> None:
    """Check the pages behind all entries that map one."""
    pages = mem.pages
    pfn = pfns_of(pte)

    def report(bad: NDArray[np.bool_], text: Callable[[int], str]) -> None:
        where = np.flatnonzero(bad)
        found.report(
            f"mm {mm_of[i]} vpn {vpn[i]:#x} pfn {pfn[i]}: {text(int(pfn[i]))}" for i in where
        )

    flags = pages.flags[pfn]
    no_user_page = PG_buddy | PG_pcp | PG_table | PG_kernel
    report(flags & np.uint32(no_user_page) != 0, lambda p: f"page has flags {pages.flags[p]:#x}")
    report(flags & np.uint32(PG_anon) == 0, lambda _: "page is not PG_anon")
    report(pages.index[pfn] != vpn, lambda p: f"page has index {pages.index[p]:#x}")
    mappers = (mm_of << MM_SHIFT) | pfn
    owners = (pages.mapping[pfn].astype(np.int64) << MM_SHIFT) | pfn
    report(~np.isin(owners, mappers), lambda p: f"owner {pages.mapping[p]} does not map it")
    report(
        (pte & WRITABLE != 0) & (pages.mapcount[pfn] != 1),
        lambda p: f"writable, but mapped {pages.mapcount[p]} times",
    )
    mapped, counts = np.unique(pfn, return_counts=True)
    wrong = mapped[pages.mapcount[mapped] != counts]
    found.report(f"pfn {p}: mapcount is {pages.mapcount[p]}, entries differ" for p in wrong)
    nr_mapped = int(np.count_nonzero(pages.mapcount))
    if nr_mapped != len(mapped):
        found.report([f"{nr_mapped} pages have a mapcount, entries map {len(mapped)}"])


def check_node_stat(mem: Mem, found: Found, boot_node_stat: I64 | None) -> None:
    """Compare the counters of the nodes."""
    anon = np.flatnonzero(mem.pages.mapcount)
    for name, column, pfns in (
        ("nr_page_table_pages", NR_PAGE_TABLE_PAGES, np.array(found.counted_pfns, np.int64)),
        ("nr_anon_pages", NR_ANON_PAGES, anon),
    ):
        nr_nodes = len(mem.node_stat)
        counted = np.bincount(nids_of(mem, pfns), minlength=nr_nodes)
        stat = mem.node_stat[:, column].copy()
        if boot_node_stat is not None:
            stat -= boot_node_stat[:, column]
        found.report(
            f"node {nid}: {name} is {stat[nid]}, counted {counted[nid]}"
            for nid in range(nr_nodes)
            if stat[nid] != counted[nid]
        )


def nids_of(mem: Mem, pfns: I64) -> I64:
    """Return the node of each frame."""
    zones = mem.block_zone[pfns >> PAGEBLOCK_ORDER].astype(np.int64) - 1
    nids: I64 = mem.zone[zones, Z_NID]
    return nids


def check_tokens(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm: int,
    vpn: int,
    nr: int,
    expected_token: int,
    *,
    swap: SwapArea | None = None,
) -> list[str]:
    """Check that every page of a range that was written holds what was written last.

    Args:
        mem: Physical memory.
        pt: The pool of tables.
        mms: State of the address spaces.
        mm: Address space.
        vpn: First page.
        nr: Number of pages.
        expected_token: What they must hold; 0 fits pages never written too.
        swap: For pages that are on swap; None when the machine has none.
    """
    found = Found()
    wrong = []
    for page in range(vpn, vpn + nr):
        token = token_at(mem, pt, mms, mm, page, swap)
        if token != expected_token:
            wrong.append(f"mm {mm} vpn {page:#x}: holds {token}, expected {expected_token}")
    found.report(wrong)
    return found.lines


def token_at(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, swap: SwapArea | None) -> int:
    """Return what a program would read at a page; 0 where it never wrote."""
    row = int(mms.pgd_row[mm])
    bits = int(pt.state[PT_BITS])
    for level in range(int(pt.state[PT_LEVELS]) - 1, -1, -1):
        pte = pt.entry[row, (vpn >> (bits * level)) & ((1 << bits) - 1)]
        if not pte:
            return 0
        if level:
            row = int(mem.pages.private[int((pte & PFN_MASK) >> PFN_SHIFT)])
    if pte & PRESENT:
        return int(mem.pages.token[int((pte & PFN_MASK) >> PFN_SHIFT)])
    assert swap is not None, "a page is on swap in a machine without swap"
    slot = int(pte >> SLOT_SHIFT)
    cached = int(swap.cache_pfn[slot])
    if cached and not mem.pages.flags[cached] & PG_locked:  # locked: still being read
        return int(mem.pages.token[cached])
    return int(swap.token[slot])
