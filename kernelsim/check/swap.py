"""Invariants of swap: counts of slots, the swap cache, and what slots hold.

Linux: what mm/swapfile.c and mm/swap_state.c keep true between two lock holds (6.1).

Interface: `check_swap` for the swap map and the swap cache, `check_swap_entries` for the page
tables too. Between two steps of the machine; nobody may hold a slot that is not in the cache yet.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from kernelsim.mm.mem import (
    Mem,
    PG_dirty,
    PG_locked,
    PG_swapcache,
    PG_uptodate,
    nid_of,
)
from kernelsim.mm.pgtable import (
    _PAGE_DIRTY,
    _PAGE_PRESENT,
    MM_SWAPENTS,
    PT_LEVELS,
    PTE_PFN_MASK,
    Mms,
    PageTables,
    pte_swap_slot,
)
from kernelsim.mm.swapfile import (
    CL_AREA,
    CL_COUNT,
    CL_FREE,
    CL_NEXT,
    SA_FREE_HEAD,
    SA_FREE_TAIL,
    SA_INUSE,
    SA_MAX,
    SA_ROTATIONAL,
    SA_START,
    SS_FREE,
    SS_TOTAL,
    SWAP_HAS_CACHE,
    SWAP_MAP_BAD,
    SWAP_MAP_COUNT,
    SWAPFILE_CLUSTER,
    SwapArea,
)
from kernelsim.mm.vmstat import NR_SWAPCACHED


def check_swap(mem: Mem, swap: SwapArea) -> list[str]:
    """Return what is wrong with the swap map and the swap cache, one line each.

    Checked: cache_pfn, PG_swapcache, private and SWAP_HAS_CACHE belong together; slots in use of
    every area and cluster, free slots of all; the lists of free clusters; nr_swapcached; a clean
    unmapped page of the cache that swap entries name holds what its slot holds.
    """
    return [
        *check_cache(mem, swap),
        *check_usage(swap),
        *check_free_clusters(swap),
        *check_swapcached(mem),
    ]


def check_cache(mem: Mem, swap: SwapArea) -> list[str]:
    """Return where the swap cache and its pages disagree."""
    problems: list[str] = []
    for slot in np.flatnonzero(swap.cache_pfn).tolist():
        pfn = int(swap.cache_pfn[slot])
        flags = int(mem.pages.flags[pfn])
        if not flags & PG_swapcache:
            problems.append(f"slot {slot} caches pfn {pfn}, which has no PG_swapcache")
        if int(mem.pages.private[pfn]) != slot:
            problems.append(f"slot {slot} caches pfn {pfn}, which says {mem.pages.private[pfn]}")
        if not int(swap.map[slot]) & SWAP_HAS_CACHE:
            problems.append(f"slot {slot} is cached without SWAP_HAS_CACHE")
        idle = flags & PG_uptodate and not flags & (PG_dirty | PG_locked)
        wanted = int(swap.map[slot]) & SWAP_MAP_COUNT  # otherwise nobody will read it again
        if idle and wanted and int(mem.pages.mapcount[pfn]) == 0:
            problems += check_content(mem, swap, slot, pfn)
    for pfn in np.flatnonzero(mem.pages.flags & np.uint32(PG_swapcache)).tolist():
        if int(swap.cache_pfn[int(mem.pages.private[pfn])]) != pfn:
            problems.append(f"pfn {pfn} has PG_swapcache but is not in the cache")
    used = (swap.map & SWAP_HAS_CACHE) != 0
    for cpu, left in enumerate(swap.cpu_slots_left.tolist()):  # taken ahead, for no page yet
        used[swap.cpu_slots[cpu, swap.cpu_slots.shape[1] - left :]] = False
    for slot in np.flatnonzero(used & (swap.cache_pfn == 0)).tolist():
        problems.append(f"slot {slot} has SWAP_HAS_CACHE but no page")
    return problems


def check_content(mem: Mem, swap: SwapArea, slot: int, pfn: int) -> list[str]:
    """Return a line when a clean page and its slot hold different things."""
    in_page, in_slot = int(mem.pages.token[pfn]), int(swap.token[slot])
    if in_page == in_slot:
        return []
    return [f"clean pfn {pfn} holds {in_page}, its slot {slot} holds {in_slot}"]


def check_usage(swap: SwapArea) -> list[str]:
    """Return the areas and clusters whose count of slots in use is wrong."""
    problems: list[str] = []
    in_use = 0
    for number, area in enumerate(swap.area):
        start, size = int(area[SA_START]), int(area[SA_MAX])
        if int(swap.map[start]) != SWAP_MAP_BAD:
            problems.append(f"area {number}: its header is not marked bad")
        found = int(np.count_nonzero(swap.map[start + 1 : start + size]))
        if found != int(area[SA_INUSE]):
            problems.append(f"area {number}: {area[SA_INUSE]} slots in use, found {found}")
        in_use += found
    if int(swap.state[SS_TOTAL] - swap.state[SS_FREE]) != in_use:
        problems.append(f"{swap.state[SS_FREE]} of {swap.state[SS_TOTAL]} free, {in_use} in use")
    if len(swap.area):
        by_cluster = np.count_nonzero(swap.map.reshape(-1, SWAPFILE_CLUSTER), axis=1)
        for cluster in np.flatnonzero(by_cluster != swap.cluster[:, CL_COUNT]).tolist():
            counted, found = int(swap.cluster[cluster, CL_COUNT]), int(by_cluster[cluster])
            problems.append(f"cluster {cluster} counts {counted} slots in use, found {found}")
    return problems


def check_free_clusters(swap: SwapArea) -> list[str]:
    """Return what is wrong with the lists of wholly free clusters."""
    problems: list[str] = []
    for number, area in enumerate(swap.area):
        listed: list[int] = []
        place = int(area[SA_FREE_HEAD])
        while place and len(listed) <= len(swap.cluster):
            listed.append(place - 1)
            place = int(swap.cluster[place - 1, CL_NEXT])
        if int(area[SA_FREE_TAIL]) != (listed[-1] + 1 if listed else 0):
            problems.append(f"area {number}: the tail of its free clusters is wrong")
        mine = swap.cluster[:, CL_AREA] == number
        free = np.flatnonzero(mine & (swap.cluster[:, CL_COUNT] == 0)).tolist()
        marked = np.flatnonzero(mine & (swap.cluster[:, CL_FREE] != 0)).tolist()
        if area[SA_ROTATIONAL]:
            free = []  # such an area keeps no list
        if not sorted(listed) == free == marked:
            problems.append(
                f"area {number}: free clusters {free}, marked {marked}, on list {listed}"
            )
    return problems


def check_swapcached(mem: Mem) -> list[str]:
    """Return the nodes whose nr_swapcached is not the number of their cached pages."""
    cached = np.flatnonzero(mem.pages.flags & np.uint32(PG_swapcache)).tolist()
    by_node = Counter(int(nid_of(mem, pfn)) for pfn in cached)
    problems: list[str] = []
    for nid in range(mem.node_stat.shape[0]):
        counted = int(mem.node_stat[nid, NR_SWAPCACHED])
        if counted != by_node[nid]:
            problems.append(f"node {nid} nr_swapcached is {counted}, found {by_node[nid]}")
    return problems


def check_swap_entries(mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea) -> list[str]:
    """Return where page tables and the swap map disagree, one line each.

    Checked: each slot is named by as many entries as its count says; MM_SWAPENTS of every mm; a
    page of the cache that is mapped nowhere dirty, and is not dirty itself, holds what its slot
    holds.
    """
    problems: list[str] = []
    users: Counter[int] = Counter()
    written: set[int] = set()
    for mm in np.flatnonzero(mms.pgd_row).tolist():
        nr_entries = 0
        for pte in leaf_entries(mem, pt, int(mms.pgd_row[mm]), int(pt.state[PT_LEVELS]) - 1):
            if pte & _PAGE_PRESENT:
                if pte & _PAGE_DIRTY:
                    written.add((pte & PTE_PFN_MASK) >> 12)
            else:
                users[int(pte_swap_slot(pte))] += 1
                nr_entries += 1
        if nr_entries != int(mms.rss[mm, MM_SWAPENTS]):
            problems.append(
                f"mm {mm} counts {mms.rss[mm, MM_SWAPENTS]} swap entries of {nr_entries}"
            )
    counts = np.where(swap.map == SWAP_MAP_BAD, 0, swap.map & SWAP_MAP_COUNT)
    for slot in sorted({*np.flatnonzero(counts).tolist(), *users}):
        if int(counts[slot]) != users[slot]:
            problems.append(
                f"slot {slot} counts {counts[slot]} users, {users[slot]} entries name it"
            )
    for slot in np.flatnonzero(swap.cache_pfn).tolist():
        pfn = int(swap.cache_pfn[slot])
        flags = int(mem.pages.flags[pfn])
        idle = flags & PG_uptodate and not flags & (PG_dirty | PG_locked)
        if idle and pfn not in written and int(mem.pages.mapcount[pfn]):
            problems += check_content(mem, swap, slot, pfn)
    return problems


def leaf_entries(mem: Mem, pt: PageTables, row: int, level: int) -> Iterator[int]:
    """Give all entries in use of the tables of PTEs below a table."""
    entries = [int(entry) for entry in pt.entry[row].view(np.int64) if entry]
    for entry in entries:
        if level == 0:
            yield entry
        else:
            below = int(mem.pages.private[(entry & PTE_PFN_MASK) >> 12])
            yield from leaf_entries(mem, pt, below, level - 1)
