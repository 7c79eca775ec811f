"""Invariants of swap: counts of slots, the swap cache, and what slots hold.

Linux: what mm/swapfile.c and mm/swap_state.c keep true between two lock holds (6.1).

Interface: `check_swap` for the swap map and the swap cache, `check_swap_entries` for the page
tables too. Between two steps of the machine; no task may hold a slot that is not in the cache yet.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.check.lru import count_by_node
from kernelsim.check.tables import PRESENT, SHIFT, Tables, walk_tables
from kernelsim.mm.core.mem import (
    I64,
    U32,
    Mem,
    PG_dirty,
    PG_locked,
    PG_swapcache,
    PG_uptodate,
    PG_writeback,
)
from kernelsim.mm.core.vmstat import (
    NR_SWAPCACHED,
    NR_WRITEBACK,
)
from kernelsim.mm.space.pgtable import _PAGE_DIRTY, MM_SWAPENTS, Mms, PageTables
from kernelsim.mm.swap.swap_area import (
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

DIRTY: Final = PRESENT | _PAGE_DIRTY


def check_swap(mem: Mem, swap: SwapArea) -> list[str]:
    """Return what is wrong with the swap map and the swap cache, one line each.

    Checked: cache_pfn, PG_swapcache, private and SWAP_HAS_CACHE belong together; slots in use of
    every area and cluster, free slots of all; the lists of free clusters; nr_swapcached and
    nr_writeback; a clean unmapped page of the cache that swap entries name holds what its slot
    holds.
    """
    return [
        *check_cache(mem, swap),
        *check_usage(swap),
        *check_free_clusters(swap),
        *check_counters(mem),
    ]


def check_cache(mem: Mem, swap: SwapArea) -> list[str]:
    """Return where the swap cache and its pages disagree."""
    pages = mem.pages
    slots = np.flatnonzero(swap.cache_pfn != 0)
    pfns = swap.cache_pfn[slots].astype(np.int64)
    flags, users = pages.flags[pfns], swap.map[slots]
    problems = [
        f"slot {slots[i]} caches pfn {pfns[i]}, which has no PG_swapcache"
        for i in np.flatnonzero(flags & np.uint32(PG_swapcache) == 0)
    ]
    problems += [
        f"slot {slots[i]} caches pfn {pfns[i]}, which says {pages.private[pfns[i]]}"
        for i in np.flatnonzero(pages.private[pfns] != slots)
    ]
    problems += [
        f"slot {slots[i]} is cached without SWAP_HAS_CACHE"
        for i in np.flatnonzero(users & SWAP_HAS_CACHE == 0)
    ]
    wanted = users & SWAP_MAP_COUNT != 0  # otherwise it will not be read again
    idle = is_idle(flags) & wanted & (pages.mapcount[pfns] == 0)
    problems += check_content(mem, swap, slots[idle])
    cached = np.flatnonzero(pages.flags & np.uint32(PG_swapcache) != 0)
    lost = cached[swap.cache_pfn[np.minimum(pages.private[cached], len(swap.map) - 1)] != cached]
    problems += [f"pfn {pfn} has PG_swapcache but is not in the cache" for pfn in lost]
    held = swap.map & SWAP_HAS_CACHE != 0
    for cpu, left in enumerate(swap.cpu_slots_left.tolist()):  # taken ahead, for no page yet
        held[swap.cpu_slots[cpu, swap.cpu_slots.shape[1] - left :]] = False
    empty = np.flatnonzero(held & (swap.cache_pfn == 0))
    problems += [f"slot {slot} has SWAP_HAS_CACHE but no page" for slot in empty]
    return problems


def is_idle(flags: U32) -> NDArray[np.bool_]:
    """Tell which cached pages hold what is in their slot, as far as flags say so.

    Of a page that is being written the slot holds nothing certain until the write ends.
    """
    busy = np.uint32(PG_uptodate | PG_dirty | PG_locked | PG_writeback)
    idle: NDArray[np.bool_] = flags & busy == np.uint32(PG_uptodate)
    return idle


def check_content(mem: Mem, swap: SwapArea, slots: I64) -> list[str]:
    """Return the clean cached pages that hold something else than their slots."""
    pfns = swap.cache_pfn[slots]
    in_page, in_slot = mem.pages.token[pfns], swap.token[slots]
    return [
        f"clean pfn {pfns[i]} holds {in_page[i]}, its slot {slots[i]} holds {in_slot[i]}"
        for i in np.flatnonzero(in_page != in_slot)
    ]


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


def check_counters(mem: Mem) -> list[str]:
    """Return the nodes and zones that miscount their pages in the swap cache or under writeback."""
    cached, writing = (
        np.flatnonzero(mem.pages.flags & np.uint32(bit) != 0)
        for bit in (PG_swapcache, PG_writeback)
    )
    return [
        f"{what} {row} {name} is {counted[row]}, found {found[row]}"
        for what, name, counted, found in (
            ("node", "nr_swapcached", mem.node_stat[:, NR_SWAPCACHED], count_by_node(mem, cached)),
            ("node", "nr_writeback", mem.node_stat[:, NR_WRITEBACK], count_by_node(mem, writing)),
        )
        for row in np.flatnonzero(counted != found).tolist()
    ]


def check_swap_entries(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    swap: SwapArea,
    *,
    tables: Tables | None = None,
    of_shmem: I64 | None = None,
) -> list[str]:
    """Return where page tables and the swap map disagree, one line each.

    Checked: each slot is named by as many entries as its count says; MM_SWAPENTS of every mm; a
    page of the cache that is mapped nowhere dirty, and is not dirty itself, holds what its slot
    holds.

    Args:
        mem: Physical memory.
        pt: The pool of tables.
        mms: State of the address spaces.
        swap: The swap areas.
        tables: What `walk_tables` found of all that live; None to walk now.
        of_shmem: Slots that files of shared memory name; None for none.
    """
    living = np.flatnonzero(mms.pgd_row)
    if tables is None:
        tables = walk_tables(mem, pt, mms, living.tolist())
    is_swap = tables.is_swap
    owners, slots = tables.mm[is_swap], tables.pte[is_swap] >> SHIFT
    nr_entries = np.bincount(owners, minlength=len(mms.pgd_row))
    problems = [
        f"mm {mm} counts {mms.rss[mm, MM_SWAPENTS]} swap entries of {nr_entries[mm]}"
        for mm in living[mms.rss[living, MM_SWAPENTS] != nr_entries[living]].tolist()
    ]
    problems += [
        f"mm {owners[i]} names slot {slots[i]}, which no area has"
        for i in np.flatnonzero(slots >= len(swap.map)).tolist()
    ]
    named = slots[slots < len(swap.map)]
    if of_shmem is not None:
        named = np.concatenate((named, of_shmem))
    users = np.bincount(named, minlength=len(swap.map))
    counts = np.where(swap.map == SWAP_MAP_BAD, 0, swap.map & SWAP_MAP_COUNT)
    problems += [
        f"slot {slot} counts {counts[slot]} users, {users[slot]} entries name it"
        for slot in np.flatnonzero(counts != users).tolist()
    ]
    return problems + check_mapped_content(mem, swap, tables)


def check_mapped_content(mem: Mem, swap: SwapArea, tables: Tables) -> list[str]:
    """Return the cached pages that were not written since, and that differ from their slots."""
    slots = np.flatnonzero(swap.cache_pfn != 0)
    if not len(slots):
        return []
    pfns = swap.cache_pfn[slots]
    written = np.zeros(len(mem.pages.flags), np.bool_)
    written[tables.pfns(tables.bits & DIRTY == DIRTY)] = True
    clean = is_idle(mem.pages.flags[pfns]) & ~written[pfns] & (mem.pages.mapcount[pfns] != 0)
    return check_content(mem, swap, slots[clean])
