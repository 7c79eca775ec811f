"""Invariants of the LRU lists: flags, membership and counters tell the same story.

Linux: what mm/swap.c and mm/vmscan.c keep true between two lock holds (6.1).

Interface: `check_lru` between two steps of the machine; nobody may be inside a list operation.
Cost: one walk of the lists and a few passes over the pages on them, some 40 ms for a million.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from kernelsim.check.tables import cut_short
from kernelsim.mm.list import WALK_COUNT, WALK_OUTSIDE, WALK_PREV, WALK_TAIL, WALK_TWICE, walk_list
from kernelsim.mm.mem import (
    I32,
    I64,
    L_COUNT,
    L_TAIL,
    NR_LRU_LISTS,
    PAGEBLOCK_ORDER,
    Z_NID,
    Z_SPANNED,
    Z_START_PFN,
    Mem,
    PG_active,
    PG_isolated,
    PG_lru,
    PG_swapbacked,
    PG_unevictable,
    lru_list,
    nid_of,
)
from kernelsim.mm.vmstat import (
    NODE_STAT_NAMES,
    NR_ISOLATED_ANON,
    NR_ISOLATED_FILE,
    NR_ZONE_INACTIVE_ANON,
    ZONE_STAT_NAMES,
)

LIST_NAMES: Final = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")


def check_lru(mem: Mem) -> list[str]:
    """Return what is wrong with the LRU lists of the machine, one line each; empty: all is well.

    Checked: links and lengths of every list; each page is on the list its flags name, on its own
    node's; PG_lru is set exactly for pages on a list; nr_* of zones and nodes are the lengths.
    """
    problems: list[str] = []
    base = int(lru_list(mem, 0, 0))
    owner = np.zeros(len(mem.pages.flags), np.int32)
    for number in range(mem.node_stat.shape[0] * NR_LRU_LISTS):
        code, place = walk_list(mem, base + number, owner)
        if code:
            problems.append(broken_list(mem, base, number, (code, int(place)), owner))
    pfns = np.flatnonzero(owner)
    number = owner[pfns].astype(np.int64) - 1 - base
    zone = zones_of(mem, pfns)
    flags = mem.pages.flags[pfns]
    problems += check_pages_on_lists(mem, pfns, number, zone, flags)
    problems += check_counts(mem, number, zone)
    nr_flagged = np.count_nonzero(mem.pages.flags & np.uint32(PG_lru))
    if nr_flagged != np.count_nonzero(flags & np.uint32(PG_lru)):
        lost = np.flatnonzero((mem.pages.flags & np.uint32(PG_lru) != 0) & (owner == 0))
        problems += cut_short(f"pfn {pfn} has PG_lru but is on no list" for pfn in lost)
    return problems + check_isolated(mem)


def list_name(number: int) -> str:
    """Name a list for people; 0 is the first of node 0."""
    nid, lru = divmod(number, NR_LRU_LISTS)
    return f"node {nid} {LIST_NAMES[lru]}"


def broken_list(mem: Mem, base: int, number: int, fault: tuple[int, int], owner: I32) -> str:
    """Say what `walk_list` stumbled over, in the list `base + number`."""
    code, place = fault
    name = list_name(number)
    if code == WALK_TWICE and owner[place] != base + number + 1:
        other = list_name(int(owner[place]) - 1 - base)
        return f"pfn {place} is on two lists: {other} and {name}"
    row = mem.lists[base + number]
    return {
        WALK_OUTSIDE: f"{name}: leads out of memory at pfn {place}",
        WALK_TWICE: f"{name}: the list runs in a circle at pfn {place}",
        WALK_PREV: f"{name}: prev of pfn {place} is not the page before it",
        WALK_TAIL: f"{name}: the tail is pfn {row[L_TAIL]}, not {place}",
        WALK_COUNT: f"{name}: length {row[L_COUNT]}, counted {place}",
    }[code]


def zones_of(mem: Mem, pfns: I64) -> I64:
    """Return the zone row of some pages, -1 for those in no zone."""
    zone = mem.block_zone[pfns >> PAGEBLOCK_ORDER].astype(np.int64) - 1
    starts, ends = mem.zone[:, Z_START_PFN], mem.zone[:, Z_START_PFN] + mem.zone[:, Z_SPANNED]
    for _ in range(len(starts)):  # a pageblock that zones share is entered under the lowest
        behind = (zone >= 0) & (pfns >= ends[zone])
        if not behind.any():
            break
        zone[behind] += 1
        zone[zone == len(starts)] = -1
    zone[pfns < starts[zone]] = -1
    return zone


def check_pages_on_lists(
    mem: Mem, pfns: I64, number: I64, zone: I64, flags: np.ndarray
) -> Iterator[str]:
    """Find pages that their flags, or their zone, put elsewhere than on the list they are on."""
    nid, lru = number // NR_LRU_LISTS, number % NR_LRU_LISTS
    wanted = np.where(flags & np.uint32(PG_swapbacked), 0, 2)
    wanted += (flags & np.uint32(PG_active)) != 0
    wanted[flags & np.uint32(PG_unevictable) != 0] = NR_LRU_LISTS - 1

    def said(i: int) -> str:
        return f"pfn {pfns[i]} is on {list_name(int(number[i]))}"

    yield from cut_short(
        f"{said(i)}, its flags say {LIST_NAMES[wanted[i]]}" for i in np.flatnonzero(wanted != lru)
    )
    bare = flags & np.uint32(PG_lru) == 0
    yield from cut_short(f"{said(i)} without PG_lru" for i in np.flatnonzero(bare))
    isolated = flags & np.uint32(PG_isolated) != 0
    yield from cut_short(f"{said(i)} and PG_isolated" for i in np.flatnonzero(isolated))
    foreign = (zone < 0) | (mem.zone[zone, Z_NID] != nid)
    yield from cut_short(f"{said(i)} but lies on another node" for i in np.flatnonzero(foreign))


def check_counts(mem: Mem, number: I64, zone: I64) -> Iterator[str]:
    """Find the counters of nodes and zones that differ from what was found on the lists."""
    nr_nodes, nr_zones = mem.node_stat.shape[0], mem.zone.shape[0]
    lengths = np.bincount(number, minlength=nr_nodes * NR_LRU_LISTS)
    for place, length in enumerate(lengths.tolist()):
        nid, lru = divmod(place, NR_LRU_LISTS)
        counted = int(mem.node_stat[nid, lru])
        if counted != length:
            yield f"node {nid} {NODE_STAT_NAMES[lru]} is {counted}, its list has {length}"
    inside = zone >= 0
    in_zone = zone[inside] * NR_LRU_LISTS + number[inside] % NR_LRU_LISTS
    counts = np.bincount(in_zone, minlength=nr_zones * NR_LRU_LISTS)
    for place, found in enumerate(counts.tolist()):
        row, lru = divmod(place, NR_LRU_LISTS)
        counted = int(mem.zone_stat[row, NR_ZONE_INACTIVE_ANON + lru])
        if counted != found:
            name = ZONE_STAT_NAMES[NR_ZONE_INACTIVE_ANON + lru]
            yield f"zone {row} {name} is {counted}, found {found}"


def check_isolated(mem: Mem) -> list[str]:
    """Return the nodes where nr_isolated_* is not the number of pages with PG_isolated."""
    pfns = np.flatnonzero(mem.pages.flags & np.uint32(PG_isolated))
    nids = [int(nid_of(mem, pfn)) for pfn in pfns.tolist()]  # a few batches at most
    problems: list[str] = []
    for nid in range(mem.node_stat.shape[0]):
        counted = int(mem.node_stat[nid, NR_ISOLATED_ANON] + mem.node_stat[nid, NR_ISOLATED_FILE])
        if counted != nids.count(nid):
            problems.append(f"node {nid} nr_isolated is {counted}, found {nids.count(nid)}")
    return problems
