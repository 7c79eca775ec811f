"""Invariants of the LRU lists: flags, membership and counters tell the same story.

Linux: what mm/swap.c and mm/vmscan.c keep true between two lock holds (6.1).

Interface: `check_lru` between two steps of the machine; no list operation may be under way.
Cost: one walk of the lists and a few passes over the pages on them, some 40 ms for a million.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.check.lru_gen import check_generations
from kernelsim.check.tables import cut_short
from kernelsim.mm.core.list import (
    WALK_COUNT,
    WALK_OUTSIDE,
    WALK_PREV,
    WALK_TAIL,
    WALK_TWICE,
    walk_list,
)
from kernelsim.mm.core.lru_gen import LG_NR_BATCHED, LG_NR_ISOLATED
from kernelsim.mm.core.mem import (
    I32,
    I64,
    L_COUNT,
    L_TAIL,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    MLOCK_COUNT_MASK,
    NR_LRU_LISTS,
    U32,
    Z_NID,
    Mem,
    PG_active,
    PG_isolated,
    PG_lru,
    PG_mlocked,
    PG_swapbacked,
    PG_unevictable,
    lru_list,
    zones_of,
)
from kernelsim.mm.core.vmstat import (
    NODE_STAT_NAMES,
    NR_ISOLATED_ANON,
    NR_ISOLATED_FILE,
    NR_MLOCK,
    NR_ZONE_INACTIVE_ANON,
    ZONE_STAT_NAMES,
)

LIST_NAMES: Final = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
JUDGED: Final = PG_swapbacked | PG_active | PG_unevictable | PG_lru | PG_isolated
FLAGS_OF_LIST: Final = (  # of those judged; on the unevictable list the others may be set too
    PG_lru | PG_swapbacked,
    PG_lru | PG_swapbacked | PG_active,
    PG_lru,
    PG_lru | PG_active,
    PG_lru | PG_unevictable,
)


def check_lru(mem: Mem, *, is_between_batches: bool = True) -> list[str]:
    """Return what is wrong with the LRU lists of the machine, one line each; empty: all is well.

    Checked: links and lengths of every list; each page is on the list its flags name, on its own
    node's; PG_lru is set exactly for pages on a list; nr_* of zones and nodes are the lengths;
    the same of generations, of which the two youngest count as active;
    nr_mlock is the number of pages that are marked so, and no other page counts locks.

    Args:
        mem: Physical memory.
        is_between_batches: No reclaimer has a batch in its hands, so that nr_isolated_* is exact.
    """
    problems: list[str] = []
    base = int(lru_list(mem, 0, 0))
    nr_lists = mem.node_stat.shape[0] * NR_LRU_LISTS
    owner = np.zeros(len(mem.pages.flags), np.int32)
    used = [number for number in range(nr_lists) if mem.lists[base + number].any()]
    for number in used:
        code, place = walk_list(mem, base + number, owner)
        if code:
            problems.append(broken_list(mem, base, number, (code, int(place)), owner))
    by_zone = np.zeros((NR_LRU_LISTS, mem.zone.shape[0]), np.int64)
    nr_flagged = 0
    for number in used:
        pfns = np.flatnonzero(owner == base + number + 1)
        flags = mem.pages.flags[pfns]
        nr_flagged += int(np.count_nonzero(flags & np.uint32(PG_lru)))
        by_zone[number % NR_LRU_LISTS] += count_by_zone(mem, pfns)
        problems += misplaced(mem, number, pfns, flags)
    generations = check_generations(mem, owner)
    problems += generations.problems
    nr_flagged += generations.nr_listed
    by_zone += generations.by_zone
    problems += check_counts(mem, by_zone)
    listed = mem.pages.flags & np.uint32(PG_lru) != 0
    if np.count_nonzero(listed) != nr_flagged:
        lost = np.flatnonzero(listed & (owner == 0))
        problems += cut_short(f"pfn {pfn} has PG_lru but is on no list" for pfn in lost)
    problems += check_mlocked(mem)
    return problems + check_isolated(mem) if is_between_batches else problems


def check_mlocked(mem: Mem) -> list[str]:
    """Return the zones that miscount their locked pages, and locked pages on other lists."""
    locked = mem.pages.flags & np.uint32(PG_mlocked) != 0
    counted, found = mem.zone_stat[:, NR_MLOCK], count_by_zone(mem, np.flatnonzero(locked))
    problems = [
        f"zone {zone}: nr_mlock is {counted[zone]}, {found[zone]} pages are locked"
        for zone in np.flatnonzero(counted != found).tolist()
    ]
    unlocked = mem.pages.flags & np.uint32(PG_mlocked) == 0
    stray = np.flatnonzero(unlocked & (mem.pages.flags & np.uint32(MLOCK_COUNT_MASK) != 0))
    return [*problems, *cut_short(f"pfn {pfn} counts locks and has none" for pfn in stray)]


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


def count_by_zone(mem: Mem, pfns: I64) -> I64:
    """Count pages by zone row, those in no zone not at all."""
    counts: I64 = np.bincount(zones_of(mem, pfns) + 1, minlength=len(mem.zone) + 1)[1:]
    return counts


def count_by_node(mem: Mem, pfns: I64) -> I64:
    """Count pages by node, those in no zone not at all."""
    counts = np.zeros(len(mem.node_stat), np.int64)
    np.add.at(counts, mem.zone[:, Z_NID], count_by_zone(mem, pfns))
    return counts


def misplaced(mem: Mem, number: int, pfns: I64, flags: U32) -> Iterator[str]:
    """Find the pages of a list that their flags, or their zone, put elsewhere."""
    nid, lru = divmod(number, NR_LRU_LISTS)
    if (flags & np.uint32(JUDGED) != np.uint32(FLAGS_OF_LIST[lru])).any():
        yield from misflagged(number, pfns, flags)
    if int(count_by_node(mem, pfns)[nid]) != len(pfns):
        zone = zones_of(mem, pfns)
        foreign = pfns[(zone < 0) | (mem.zone[zone, Z_NID] != nid)]
        name = list_name(number)
        yield from cut_short(f"pfn {pfn} is on {name} but lies on another node" for pfn in foreign)


def misflagged(number: int, pfns: I64, flags: U32) -> Iterator[str]:
    """Find the pages of a list that their flags put elsewhere."""
    said = f"is on {list_name(number)}"
    wanted = np.where(flags & np.uint32(PG_swapbacked), 0, 2)
    wanted += (flags & np.uint32(PG_active)) != 0
    wanted[flags & np.uint32(PG_unevictable) != 0] = NR_LRU_LISTS - 1
    yield from cut_short(
        f"pfn {pfns[i]} {said}, its flags say {LIST_NAMES[wanted[i]]}"
        for i in np.flatnonzero(wanted != number % NR_LRU_LISTS)
    )
    bare = pfns[flags & np.uint32(PG_lru) == 0]
    yield from cut_short(f"pfn {pfn} {said} without PG_lru" for pfn in bare)
    isolated = pfns[flags & np.uint32(PG_isolated) != 0]
    yield from cut_short(f"pfn {pfn} {said} and PG_isolated" for pfn in isolated)


def check_counts(mem: Mem, by_zone: I64) -> Iterator[str]:
    """Find the counters of nodes and zones that differ from what was found on the lists.

    What a walk has promoted is counted a little later: until then only the sums are right.
    """
    stats = mem.zone_stat[:, NR_ZONE_INACTIVE_ANON : NR_ZONE_INACTIVE_ANON + NR_LRU_LISTS].T
    is_moving = mem.lru_gen[:, LG_NR_BATCHED] != 0
    by_node, node_stats = np.zeros((2, NR_LRU_LISTS, len(mem.node_stat)), np.int64)
    np.add.at(by_node.T, mem.zone[:, Z_NID], by_zone.T)
    node_stats[:] = mem.node_stat[:, :NR_LRU_LISTS].T
    for lru, nid in np.argwhere(settled(node_stats, is_moving) != settled(by_node, is_moving)):
        name, counted = NODE_STAT_NAMES[lru], node_stats[lru, nid]
        yield f"node {nid} {name} is {counted}, its list has {by_node[lru, nid]}"
    is_moving = is_moving[mem.zone[:, Z_NID]]
    for lru, zone in np.argwhere(settled(stats, is_moving) != settled(by_zone, is_moving)):
        name = ZONE_STAT_NAMES[NR_ZONE_INACTIVE_ANON + lru]
        yield f"zone {zone} {name} is {stats[lru, zone]}, found {by_zone[lru, zone]}"


def settled(counts: I64, is_moving: NDArray[np.bool_]) -> I64:
    """Return counts by LRU_* and place; inactive ones with the active ones, where pages move."""
    sums = counts.copy()
    for lru in (LRU_INACTIVE_ANON, LRU_INACTIVE_FILE):
        sums[lru] += np.where(is_moving, counts[lru + 1], 0)
        sums[lru + 1] = np.where(is_moving, 0, counts[lru + 1])
    return sums


def check_isolated(mem: Mem) -> list[str]:
    """Return the nodes where nr_isolated_* is not the number of pages with PG_isolated."""
    found = count_by_node(mem, np.flatnonzero(mem.pages.flags & np.uint32(PG_isolated) != 0))
    counted = mem.node_stat[:, NR_ISOLATED_ANON] + mem.node_stat[:, NR_ISOLATED_FILE]
    counted += mem.lru_gen[:, LG_NR_ISOLATED]
    return [
        f"node {nid} nr_isolated is {counted[nid]}, found {found[nid]}"
        for nid in np.flatnonzero(counted != found).tolist()
    ]
