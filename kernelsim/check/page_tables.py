"""Check page tables against everything that is counted or remembered about them.

Read-only, and independent of the leaves it checks: it reads the tables as columns and counts again.
Interface: `check_page_tables` returns one line for each fault found, at most `LINES_MAX` of a kind,
and an empty list when all is well.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.check.lru import count_by_node
from kernelsim.check.tables import (
    LINES_MAX,
    PRESENT,
    SPECIAL,
    WRITABLE,
    Tables,
    cut_short,
    walk_tables,
)
from kernelsim.mm.core.mem import (
    I64,
    Mem,
    PG_anon,
    PG_buddy,
    PG_kernel,
    PG_pcp,
    PG_swapbacked,
    PG_table,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES, NR_MAPPED, NR_PAGE_TABLE_PAGES
from kernelsim.mm.space.pgtable import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    MM_SWAPENTS,
    PT_LEVELS,
    PT_NR_FREE,
    Mms,
    PageTables,
)

__all__ = ["LINES_MAX", "check_page_tables"]

COUNTED_LEVELS: Final = 2  # nr_page_table_pages knows tables of PTEs and PMDs
NO_USER_PAGE: Final = PG_buddy | PG_pcp | PG_table | PG_kernel


def check_page_tables(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm_numbers: Iterable[int],
    boot_node_stat: I64 | None = None,
    *,
    tables: Tables | None = None,
) -> list[str]:
    """Check all page tables of the machine.

    Args:
        mem: Physical memory.
        pt: The pool of tables.
        mms: State of the address spaces.
        mm_numbers: All that live.
        boot_node_stat: `Mem.node_stat` when the machine was built, for what a recorded machine
            had before any process ran; None for zeros.
        tables: What `walk_tables` found of these; None to walk now.
    """
    numbers = sorted(mm_numbers)
    if tables is None:
        tables = walk_tables(mem, pt, mms, numbers)
    stray = sorted(set(np.flatnonzero(mms.pgd_row).tolist()) - set(numbers))
    lines = list(cut_short(f"mm {mm} does not live but has a PGD" for mm in stray))
    lines += tables.lines
    lines += check_counts(mem, mms, tables, np.array(numbers, np.int64))
    lines += check_pool(mem, pt, tables)
    lines += check_mapped(mem, tables)
    lines += check_node_stat(mem, pt, tables, boot_node_stat)
    return lines


def check_counts(mem: Mem, mms: Mms, tables: Tables, numbers: I64) -> Iterator[str]:
    """Compare what is counted for each address space with its entries and tables."""
    size = len(mms.pgd_row)
    is_mapped = tables.is_mapped
    flags = mem.pages.flags[tables.pfns(is_mapped)]
    is_anon = flags & np.uint32(PG_anon) != 0
    is_shmem = ~is_anon & (flags & np.uint32(PG_swapbacked) != 0)
    mapped = tables.mm[is_mapped]
    expected = {
        "MM_ANONPAGES": (MM_ANONPAGES, np.bincount(mapped[is_anon], minlength=size)),
        "MM_SWAPENTS": (MM_SWAPENTS, np.bincount(tables.mm[tables.is_swap], minlength=size)),
        "MM_FILEPAGES": (MM_FILEPAGES, np.bincount(mapped[~is_anon & ~is_shmem], minlength=size)),
        "MM_SHMEMPAGES": (MM_SHMEMPAGES, np.bincount(mapped[is_shmem], minlength=size)),
    }
    for name, (column, counts) in expected.items():
        for mm in numbers[mms.rss[numbers, column] != counts[numbers]].tolist():
            yield f"mm {mm}: {name} is {mms.rss[mm, column]}, its entries say {counts[mm]}"
    nr_tables = np.bincount(tables.owner, minlength=size) - 1  # without the PGD
    for mm in numbers.tolist():
        if mms.pgd_row[mm] and mms.nr_ptes[mm] != nr_tables[mm]:
            yield f"mm {mm}: nr_ptes is {mms.nr_ptes[mm]}, it has {nr_tables[mm]} tables"


def check_pool(mem: Mem, pt: PageTables, tables: Tables) -> Iterator[str]:
    """Check that every row in use is reached exactly once and every other is empty and free."""
    nr_rows = len(pt.row_pfn)
    reached = np.bincount(tables.row, minlength=nr_rows)
    used = pt.row_pfn != 0
    yield from cut_short(f"table row {row} is used twice" for row in np.flatnonzero(reached > 1))
    lost = np.flatnonzero(used & (reached == 0))
    yield from cut_short(f"table row {row} belongs to no mm" for row in lost)
    free = pt.free_row[: int(pt.state[PT_NR_FREE])]
    listed = np.bincount(free, minlength=nr_rows)
    wrong = np.flatnonzero(listed[1:] != ~used[1:]) + 1
    yield from cut_short(f"table row {row} is both free and used, or neither" for row in wrong)
    unused = np.flatnonzero(~used)
    filled = unused[pt.entry[unused].any(axis=1)]
    yield from cut_short(f"free table row {row} is not empty" for row in filled)
    nr_flagged = int(np.count_nonzero(mem.pages.flags & np.uint32(PG_table)))
    nr_used = int(np.count_nonzero(used))
    if nr_flagged != nr_used:
        yield f"{nr_flagged} frames have PG_table, {nr_used} rows are in use"


def check_mapped(mem: Mem, tables: Tables) -> list[str]:
    """Check the pages behind all entries that map one; for those of files there is more elsewhere.

    See mapped_files.py.
    """
    pages = mem.pages
    is_mapped = tables.is_mapped
    every = tables.pfns(is_mapped)
    bad_users = every[pages.flags[every] & np.uint32(NO_USER_PAGE) != 0]
    is_mapped[is_mapped] = pages.flags[every] & np.uint32(PG_anon) != 0
    vpn, mm, pfn = tables.vpn[is_mapped], tables.mm[is_mapped], tables.pfns(is_mapped)
    lines: list[str] = []

    def report(bad: NDArray[np.bool_], text: Callable[[int], str]) -> None:
        where = np.flatnonzero(bad).tolist()
        lines.extend(
            cut_short(f"mm {mm[i]} vpn {vpn[i]:#x} pfn {pfn[i]}: {text(pfn[i])}" for i in where)
        )

    mapcount = pages.mapcount[pfn]
    lines.extend(
        cut_short(f"pfn {p}: is mapped, and has flags {pages.flags[p]:#x}" for p in bad_users)
    )
    # Of those that share it since a fork, others than the owner may have moved it (mremap).
    is_owner = pages.mapping[pfn] == mm
    is_elsewhere = (pages.index[pfn] != vpn) & (is_owner | (mapcount == 1))
    report(is_elsewhere, lambda p: f"page has index {pages.index[p]:#x}")
    if not is_owner.all():
        has_owner = np.zeros(len(pages.flags), np.bool_)
        has_owner[pfn[is_owner]] = True
        report(~has_owner[pfn], lambda p: f"owner {pages.mapping[p]} does not map it")
    report(
        (tables.bits[is_mapped] & WRITABLE != 0) & (mapcount != 1),
        lambda p: f"writable, but mapped {pages.mapcount[p]} times",
    )
    lines += wrong_mapcounts(mem, every)
    zero = PRESENT | SPECIAL | WRITABLE
    bad_zero = np.flatnonzero(tables.bits & zero == zero).tolist()
    lines.extend(
        cut_short(
            f"mm {tables.mm[i]} vpn {tables.vpn[i]:#x}: zero page is writable" for i in bad_zero
        )
    )
    return lines


def wrong_mapcounts(mem: Mem, pfn: I64) -> Iterator[str]:
    """Compare how often pages are mapped, `pfn` naming each once for each entry, with mapcount."""
    mapcount = mem.pages.mapcount
    is_mapped = np.zeros(len(mapcount), np.bool_)
    is_mapped[pfn] = True
    nr_counted, nr_mapped = np.count_nonzero(mapcount), np.count_nonzero(is_mapped)
    if nr_mapped == len(pfn):  # nothing is shared: 1 is the only right count
        wrong = pfn[mapcount[pfn] != 1]
    else:
        counts = np.bincount(pfn, minlength=len(mapcount))
        wrong = np.flatnonzero(is_mapped & (counts != mapcount))
    yield from cut_short(f"pfn {p}: mapcount is {mapcount[p]}, entries differ" for p in wrong)
    if nr_counted != nr_mapped:
        yield f"{nr_counted} pages have a mapcount, entries map {nr_mapped}"


def check_node_stat(
    mem: Mem, pt: PageTables, tables: Tables, boot_node_stat: I64 | None
) -> Iterator[str]:
    """Compare the counters of the nodes."""
    is_counted = (tables.level <= COUNTED_LEVELS) & (tables.level < pt.state[PT_LEVELS])
    is_anon = mem.pages.flags & np.uint32(PG_anon) != 0
    for name, column, pfns in (
        ("nr_page_table_pages", NR_PAGE_TABLE_PAGES, pt.row_pfn[tables.row[is_counted]]),
        ("nr_anon_pages", NR_ANON_PAGES, np.flatnonzero((mem.pages.mapcount != 0) & is_anon)),
        ("nr_mapped", NR_MAPPED, np.flatnonzero((mem.pages.mapcount != 0) & ~is_anon)),
    ):
        counted = count_by_node(mem, pfns)
        stat = mem.node_stat[:, column].copy()
        if boot_node_stat is not None:
            stat -= boot_node_stat[:, column]
        for nid in np.flatnonzero(stat != counted).tolist():
            yield f"node {nid}: {name} is {stat[nid]}, counted {counted[nid]}"
