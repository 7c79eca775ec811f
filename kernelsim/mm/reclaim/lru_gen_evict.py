"""Eviction: which pages of the oldest generation are taken, and how the rest comes back.

Linux: mm/vmscan.c: isolate_folios, scan_folios, sort_folio, isolate_folio, evict_folios, 6.1.
Differs: A page that was written to swap while reclaim had it comes back as a rejected one, to the
youngest generation, as in 6.1.0; later versions try it once more.

Interface: `isolate_folios`, then shrink_folio_list (vmscan_folio.py) without the lock, then
`putback_folios`; the node's actor calls the first and the last under its lru_lock.
Units: pages.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.list import list_add, list_del
from kernelsim.mm.core.lru_gen import (
    LG_MIN_SEQ,
    LG_NR_ISOLATED,
    LG_PROTECTED,
    LRU_GEN_ANON,
    LRU_GEN_FILE,
    LRU_REFS_FLAGS,
    MAX_LRU_BATCH,
    MAX_NR_TIERS,
    MIN_LRU_BATCH,
    MIN_NR_GENS,
    folio_inc_gen,
    folio_lru_gen,
    folio_lru_refs,
    lru_gen_del_folio,
    lru_gen_from_seq,
    lru_tier_from_refs,
    move_to_gen_list,
)
from kernelsim.mm.core.mem import (
    L_COUNT,
    L_TAIL,
    Mem,
    PG_activating,
    PG_active,
    PG_anon,
    PG_dirty,
    PG_isolated,
    PG_locked,
    PG_mlocked,
    PG_reclaim,
    PG_referenced,
    PG_swapcache,
    PG_unevictable,
    PG_writeback,
    gen_list,
)
from kernelsim.mm.core.swap import ALL_FLAGS, lruvec_add_folio
from kernelsim.mm.core.vmstat import (
    PGREFILL,
    PGSCAN_ANON,
    PGSCAN_DIRECT,
    PGSCAN_KSWAPD,
    PGSKIP_DMA,
    PGSTEAL_ANON,
    PGSTEAL_DIRECT,
    PGSTEAL_KSWAPD,
    UNEVICTABLE_PGS_CULLED,
    WORKINGSET_ACTIVATE_ANON,
)
from kernelsim.mm.reclaim.lru_gen_aging import get_nr_gens, try_to_inc_min_seq
from kernelsim.mm.reclaim.lru_gen_control import get_tier_idx, get_type_to_scan
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_IO,
    SHRINK_KSWAPD,
    SHRINK_MAY_UNMAP,
    SHRINK_MAY_WRITEPAGE,
    STAT_NR_PUTBACK,
    STAT_NR_RECLAIMED,
    STAT_NR_TAKEN,
    STAT_NR_TO_FREE,
    ReclaimBatch,
)
from kernelsim.mm.reclaim.vmscan_list import move_folios_to_lru


@leaf
def isolate_folios(
    mem: Mem, nid: int, swappiness: int, reclaim_idx: int, how: int, batch: ReclaimBatch
) -> tuple[int, int, int, int]:
    """Take up to MIN_LRU_BATCH pages of the oldest generation, and let it go if it is empty then.

    Counts pgscan_*, pgskip_*, pgrefill (pages that were sorted instead), and clears `batch.stat`.

    Args:
        mem: Physical memory.
        nid: Node.
        swappiness: 0 takes no anonymous pages, 1 files first, 200 anonymous ones first.
        reclaim_idx: Pages of zone types above it are left alone.
        how: SHRINK_* bits.
        batch: Gets the pages and STAT_NR_TAKEN.

    Returns:
        How many were scanned, as eviction counts its progress: 0 for none, or when no more can be
        taken before the node ages. The type of the pages taken; how many pages were looked at; how
        many of these were sorted.

    Source: Linux 6.1 mm/vmscan.c:isolate_folios, :evict_folios
    """
    state = mem.lru_gen[nid]
    batch.stat[:] = 0
    file, tier = first_choice(mem, nid, swappiness)
    scanned, looked, is_sorted = 0, 0, 0
    for _ in range(2 if swappiness else 1):
        if tier < 0:
            tier = get_tier_idx(state, file)
        scanned, nr_looked, nr_sorted = scan_folios(mem, nid, file, tier, reclaim_idx, how, batch)
        looked += nr_looked
        is_sorted += nr_sorted
        if scanned:
            break
        file, tier = 1 - file, -1
    if try_to_inc_min_seq(mem, nid, swappiness != 0):
        scanned += 1
    if get_nr_gens(state, LRU_GEN_ANON if swappiness else LRU_GEN_FILE) == MIN_NR_GENS:
        scanned = 0
    return scanned, file, looked, is_sorted


@leaf
def first_choice(mem: Mem, nid: int, swappiness: int) -> tuple[int, int]:
    """Return the type to take pages of first, and its last tier to take; -1: by its own refaults.

    Source: Linux 6.1 mm/vmscan.c:isolate_folios
    """
    state = mem.lru_gen[nid]
    if swappiness == 0:
        return LRU_GEN_FILE, -1
    if state[LG_MIN_SEQ + LRU_GEN_ANON] < state[LG_MIN_SEQ + LRU_GEN_FILE]:
        return LRU_GEN_ANON, -1
    if swappiness == 1:
        return LRU_GEN_FILE, -1
    if swappiness == 200:
        return LRU_GEN_ANON, -1
    return get_type_to_scan(state, swappiness)


@leaf
def scan_folios(
    mem: Mem, nid: int, file: int, tier: int, reclaim_idx: int, how: int, batch: ReclaimBatch
) -> tuple[int, int, int]:
    """Take pages of a type off the old end of the oldest generation, zone by zone from the highest.

    Those that belong elsewhere are sorted; those that may not be taken go to the young end.

    Returns:
        How many were scanned, 0 if that led to nothing; how many were looked at; how many sorted.

    Source: Linux 6.1 mm/vmscan.c:scan_folios
    """
    state = mem.lru_gen[nid]
    if get_nr_gens(state, file) == MIN_NR_GENS:
        return 0, 0, 0
    gen = lru_gen_from_seq(state[LG_MIN_SEQ + file])
    scanned, nr_sorted, isolated = 0, 0, 0
    for zone_type in range(reclaim_idx, -1, -1):
        number = gen_list(mem, nid, gen, file, zone_type)
        zone = nid * mem.lowmem_reserve.shape[1] + zone_type
        skipped, first, last = 0, 0, 0  # a chain of them, through `next`
        while mem.lists[number, L_COUNT]:
            pfn = int(mem.lists[number, L_TAIL])
            scanned += 1
            if sort_folio(mem, nid, zone, pfn, file, tier):
                nr_sorted += 1
            elif isolate_folio(mem, nid, how, pfn):
                batch.folios[isolated] = pfn
                isolated += 1
            else:
                list_del(mem, number, pfn)
                if last:
                    mem.pages.next[last] = pfn
                else:
                    first = pfn
                last = pfn
                skipped += 1
            if scanned == MAX_LRU_BATCH or max(isolated, skipped) >= MIN_LRU_BATCH:
                break
        for _ in range(skipped):
            after = int(mem.pages.next[first])
            list_add(mem, number, first)
            first = after
        mem.vm_event[PGSKIP_DMA + zone_type] += skipped
        if scanned == MAX_LRU_BATCH or isolated >= MIN_LRU_BATCH:
            break
    mem.vm_event[PGSCAN_KSWAPD if how & SHRINK_KSWAPD else PGSCAN_DIRECT] += isolated
    mem.vm_event[PGSCAN_ANON + file] += isolated
    mem.vm_event[PGREFILL] += nr_sorted
    batch.stat[STAT_NR_TAKEN] = isolated
    is_progress = isolated or scanned == MAX_LRU_BATCH
    return scanned if is_progress else 0, scanned, nr_sorted


@inlined_leaf
def sort_folio(mem: Mem, nid: int, zone: int, pfn: int, file: int, tier_idx: int) -> bool:
    """Move a page to where it belongs, if that is not the oldest generation; tell whether it was.

    That is: locked pages, those a walk has promoted, those of tiers that are spared, and those
    that wait to be written.

    Source: Linux 6.1 mm/vmscan.c:sort_folio
    """
    flags, state = mem.pages.flags[pfn], mem.lru_gen[nid]
    if flags & PG_mlocked:
        lru_gen_del_folio(mem, pfn, True)
        mem.pages.flags[pfn] |= PG_unevictable
        lruvec_add_folio(mem, pfn, False)
        mem.vm_event[UNEVICTABLE_PGS_CULLED] += 1
        return True
    gen = folio_lru_gen(mem, pfn)
    if gen != lru_gen_from_seq(state[LG_MIN_SEQ + file]):
        move_to_gen_list(mem, pfn, zone, gen, False)
        return True
    tier = lru_tier_from_refs(folio_lru_refs(mem, pfn))
    if tier > tier_idx:
        gen = folio_inc_gen(mem, pfn, zone, False)
        move_to_gen_list(mem, pfn, zone, gen, True)
        state[LG_PROTECTED + file * MAX_NR_TIERS + tier] += 1
        mem.node_stat[nid, WORKINGSET_ACTIVATE_ANON + file] += 1
        return True
    if flags & (PG_locked | PG_writeback) or (file and flags & PG_dirty):
        gen = folio_inc_gen(mem, pfn, zone, True)
        move_to_gen_list(mem, pfn, zone, gen, False)
        return True
    return False


@inlined_leaf
def isolate_folio(mem: Mem, nid: int, how: int, pfn: int) -> bool:
    """Take a page off its list to be evicted, if the reclaimer may do what that needs.

    Source: Linux 6.1 mm/vmscan.c:isolate_folio
    """
    flags = mem.pages.flags[pfn]
    if not how & SHRINK_MAY_UNMAP and mem.pages.mapcount[pfn] != 0:
        return False
    if not (how & SHRINK_MAY_WRITEPAGE and how & SHRINK_IO):
        if flags & PG_dirty or (flags & PG_anon and not flags & PG_swapcache):
            return False
    lru_gen_del_folio(mem, pfn, True)
    cleared = PG_reclaim | PG_referenced
    if not flags & PG_referenced:  # the uses it had are of no account
        cleared |= LRU_REFS_FLAGS
        mem.pages.gen[pfn] = 0
    mem.pages.flags[pfn] = mem.pages.flags[pfn] & (ALL_FLAGS ^ cleared) | PG_isolated
    mem.lru_gen[nid, LG_NR_ISOLATED] += 1
    return True


@leaf
def putback_folios(mem: Mem, nid: int, file: int, how: int, batch: ReclaimBatch) -> int:
    """Put back what shrink_folio_list left in `batch.folios`, and count what it reclaimed.

    Pages that reclaim waits for come to the second oldest generation, the rest to the youngest:
    what was rejected once is not to be met again at once.

    Returns:
        Entries of `batch.to_free`; pages freed by others meanwhile were added.

    Source: Linux 6.1 mm/vmscan.c:evict_folios
    """
    stat, flags = batch.stat, mem.pages.flags
    for i in range(stat[STAT_NR_PUTBACK]):
        pfn = int(batch.folios[i])
        if flags[pfn] & (ALL_FLAGS ^ PG_activating) == PG_isolated:
            continue
        mem.pages.gen[pfn] = 0
        flags[pfn] &= ALL_FLAGS ^ LRU_REFS_FLAGS
        if flags[pfn] & PG_reclaim and flags[pfn] & (PG_dirty | PG_writeback):
            flags[pfn] &= ALL_FLAGS ^ PG_active
        else:
            flags[pfn] |= PG_active
    move_folios_to_lru(mem, batch)
    reclaimed = stat[STAT_NR_RECLAIMED]
    mem.lru_gen[nid, LG_NR_ISOLATED] -= stat[STAT_NR_TAKEN]
    mem.vm_event[PGSTEAL_KSWAPD if how & SHRINK_KSWAPD else PGSTEAL_DIRECT] += reclaimed
    mem.vm_event[PGSTEAL_ANON + file] += reclaimed
    return int(stat[STAT_NR_TO_FREE])
