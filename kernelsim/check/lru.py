"""Invariants of the LRU lists: flags, membership and counters tell the same story.

Linux: what mm/swap.c and mm/vmscan.c keep true between two lock holds (6.1).

Interface: `check_lru` between two steps of the machine; nobody may be inside a list operation.
"""

from collections import Counter

import numpy as np

from kernelsim.mm.mem import (
    L_COUNT,
    L_HEAD,
    L_TAIL,
    NR_LRU_LISTS,
    Mem,
    PG_active,
    PG_isolated,
    PG_lru,
    PG_swapbacked,
    PG_unevictable,
    lru_list,
    zone_of,
)
from kernelsim.mm.vmstat import (
    NODE_STAT_NAMES,
    NR_ISOLATED_ANON,
    NR_ISOLATED_FILE,
    NR_ZONE_INACTIVE_ANON,
    ZONE_STAT_NAMES,
)

LIST_NAMES = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")


def check_lru(mem: Mem) -> list[str]:
    """Return what is wrong with the LRU lists of the machine, one line each; empty: all is well.

    Checked: links and lengths of every list; each page is on the list its flags name, on its own
    node's; PG_lru is set exactly for pages on a list; nr_* of zones and nodes are the lengths.
    """
    problems: list[str] = []
    seen: dict[int, str] = {}
    zone_counts: Counter[tuple[int, int]] = Counter()
    nr_nodes = mem.node_stat.shape[0]
    for nid in range(nr_nodes):
        for lru in range(NR_LRU_LISTS):
            name = f"node {nid} {LIST_NAMES[lru]}"
            pfns = walk_list(mem, int(lru_list(mem, nid, lru)), name, problems)
            for pfn in pfns:
                zone = int(zone_of(mem, pfn))
                zone_counts[zone, lru] += 1
                problems += check_page(mem, pfn, zone, nid, lru, name)
                if pfn in seen:
                    problems.append(f"pfn {pfn} is on two lists: {seen[pfn]} and {name}")
                seen[pfn] = name
            counted = int(mem.node_stat[nid, lru])
            if counted != len(pfns):
                stat = NODE_STAT_NAMES[lru]
                problems.append(f"node {nid} {stat} is {counted}, its list has {len(pfns)}")
    problems += check_zone_counts(mem, zone_counts)
    for pfn in np.flatnonzero(mem.pages.flags & np.uint32(PG_lru)).tolist():
        if pfn not in seen:
            problems.append(f"pfn {pfn} has PG_lru but is on no list")
    return problems + check_isolated(mem)


def walk_list(mem: Mem, number: int, name: str, problems: list[str]) -> list[int]:
    """Return the pfns of a list, front first; note broken links and a wrong length."""
    pfns: list[int] = []
    before = 0
    pfn = int(mem.lists[number, L_HEAD])
    limit = len(mem.pages.flags)
    while pfn and len(pfns) <= limit:
        if int(mem.pages.prev[pfn]) != before:
            problems.append(f"{name}: prev of pfn {pfn} is {mem.pages.prev[pfn]}, not {before}")
        pfns.append(pfn)
        before, pfn = pfn, int(mem.pages.next[pfn])
    if len(pfns) > limit:
        problems.append(f"{name}: the list runs in a circle")
    if int(mem.lists[number, L_TAIL]) != before:
        problems.append(f"{name}: the tail is pfn {mem.lists[number, L_TAIL]}, not {before}")
    if int(mem.lists[number, L_COUNT]) != len(pfns):
        problems.append(f"{name}: length {mem.lists[number, L_COUNT]}, counted {len(pfns)}")
    return pfns


def check_page(mem: Mem, pfn: int, zone: int, nid: int, lru: int, name: str) -> list[str]:
    """Return what is wrong with one page being on a list."""
    flags = int(mem.pages.flags[pfn])
    problems: list[str] = []
    wanted = 4
    if not flags & PG_unevictable:
        wanted = (0 if flags & PG_swapbacked else 2) + (1 if flags & PG_active else 0)
    if wanted != lru:
        problems.append(f"pfn {pfn} is on {name}, its flags say {LIST_NAMES[wanted]}")
    if not flags & PG_lru:
        problems.append(f"pfn {pfn} is on {name} without PG_lru")
    if flags & PG_isolated:
        problems.append(f"pfn {pfn} is on {name} and PG_isolated")
    if zone < 0 or int(mem.zone[zone, 0]) != nid:
        problems.append(f"pfn {pfn} is on {name} but lies on another node")
    return problems


def check_zone_counts(mem: Mem, zone_counts: Counter[tuple[int, int]]) -> list[str]:
    """Return the zone counters that differ from what was found on the lists."""
    problems: list[str] = []
    for zone in range(mem.zone.shape[0]):
        for lru in range(NR_LRU_LISTS):
            counted = int(mem.zone_stat[zone, NR_ZONE_INACTIVE_ANON + lru])
            if counted != zone_counts[zone, lru]:
                name = ZONE_STAT_NAMES[NR_ZONE_INACTIVE_ANON + lru]
                found = zone_counts[zone, lru]
                problems.append(f"zone {zone} {name} is {counted}, found {found}")
    return problems


def check_isolated(mem: Mem) -> list[str]:
    """Return the nodes where nr_isolated_* is not the number of pages with PG_isolated."""
    found: Counter[int] = Counter()
    for pfn in np.flatnonzero(mem.pages.flags & np.uint32(PG_isolated)).tolist():
        found[int(mem.zone[zone_of(mem, pfn), 0])] += 1
    problems: list[str] = []
    for nid in range(mem.node_stat.shape[0]):
        counted = int(mem.node_stat[nid, NR_ISOLATED_ANON] + mem.node_stat[nid, NR_ISOLATED_FILE])
        if counted != found[nid]:
            problems.append(f"node {nid} nr_isolated is {counted}, found {found[nid]}")
    return problems
