"""Taking batches of pages off the LRU lists and putting them back.

Linux: mm/vmscan.c:isolate_lru_folios, :move_folios_to_lru, :shrink_active_list, and the parts of
:shrink_inactive_list and :reclaim_folio_list that hold lru_lock (6.1).

Interface: see reclaim_batch.py for the order of calls. The node's actor calls these under its
lru_lock.
Units: pages.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.list import list_add, list_del
from kernelsim.mm.core.lruvec import lru_note_cost, update_lru_size
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    L_TAIL,
    LRU_INACTIVE_FILE,
    Z_TYPE_INDEX,
    Mem,
    PG_activating,
    PG_active,
    PG_batched,
    PG_gathered,
    PG_isolated,
    PG_lru,
    PG_mlocked,
    PG_swapbacked,
    PG_unevictable,
    PG_workingset,
    lru_list,
    zone_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS, folio_add_lru, lruvec_del_folio
from kernelsim.mm.core.vmstat import (
    NR_ISOLATED_ANON,
    PGDEACTIVATE,
    PGREFILL,
    PGSCAN_ANON,
    PGSCAN_DIRECT,
    PGSCAN_KSWAPD,
    PGSKIP_DMA,
    PGSTEAL_ANON,
    PGSTEAL_DIRECT,
    PGSTEAL_KSWAPD,
)
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_KSWAPD,
    SHRINK_MAY_UNMAP,
    STAT_NR_PAGEOUT,
    STAT_NR_PUTBACK,
    STAT_NR_RECLAIMED,
    STAT_NR_TAKEN,
    STAT_NR_TO_FREE,
    ReclaimBatch,
)
from kernelsim.mm.space.pgtable import _PAGE_PRESENT, Mms, PageTables, pte_at, pte_pfn
from kernelsim.mm.space.rmap import folio_referenced


@leaf
def isolate_lru_folios(
    mem: Mem,
    nid: int,
    lru: int,
    nr_to_scan: int,
    highest_zoneidx: int,
    how: int,
    batch: ReclaimBatch,
) -> tuple[int, int, int]:
    """Take up to `nr_to_scan` pages off the tail of a list into `batch.folios`, oldest first.

    Pages of zones above `highest_zoneidx` are not counted against `nr_to_scan`; they go to the
    front of the list. Mapped pages stay unless `how` says SHRINK_MAY_UNMAP. Counts pgscan_*
    (or pgrefill for an active list), pgskip_* and nr_isolated_*, and clears `batch.stat`.

    Returns:
        Pages taken, pages looked at (skipped ones included), pages skipped.

    Source: Linux 6.1 mm/vmscan.c:isolate_lru_folios
    """
    batch.stat[:] = 0
    nr_to_scan = min(nr_to_scan, len(batch.folios))
    number = lru_list(mem, nid, lru)
    scan, taken, skipped = 0, 0, 0
    first, last = 0, 0  # chain of skipped pages, through `next`
    while scan < nr_to_scan:
        pfn = int(mem.lists[number, L_TAIL])
        if pfn == 0:
            break
        zone = zone_of(mem, pfn)
        list_del(mem, number, pfn)
        if mem.zone[zone, Z_TYPE_INDEX] > highest_zoneidx:
            if last:
                mem.pages.next[last] = pfn
            else:
                first = pfn
            last = pfn
            skipped += 1
            mem.vm_event[PGSKIP_DMA + mem.zone[zone, Z_TYPE_INDEX]] += 1
            continue
        scan += 1
        if not how & SHRINK_MAY_UNMAP and mem.pages.mapcount[pfn] != 0:
            list_add(mem, number, pfn)
            continue
        mem.pages.flags[pfn] = (mem.pages.flags[pfn] | PG_isolated) & (ALL_FLAGS ^ PG_lru)
        update_lru_size(mem, zone, lru, -1)
        batch.folios[taken] = pfn
        taken += 1
    for _ in range(skipped):
        after = int(mem.pages.next[first])
        list_add(mem, number, first)
        first = after
    file = 1 if lru >= LRU_INACTIVE_FILE else 0
    mem.node_stat[nid, NR_ISOLATED_ANON + file] += taken
    total = scan + skipped
    if lru & 1:
        mem.vm_event[PGREFILL] += total
    else:
        mem.vm_event[PGSCAN_KSWAPD if how & SHRINK_KSWAPD else PGSCAN_DIRECT] += total
        mem.vm_event[PGSCAN_ANON + file] += total
    batch.stat[STAT_NR_TAKEN] = taken
    return taken, total, skipped


@leaf
def isolate_mapped(
    mem: Mem, pt: PageTables, mms: Mms, nid: int, mm: int, vpns: I64, pfns: I64, batch: ReclaimBatch
) -> int:
    """Take chosen pages off the lists of a node into `batch.folios`, none of them active any more.

    One that its address space does not map any more, or not alone, stays where it is.

    Returns:
        How many of those taken are pages of files.

    Source: Linux 6.1 mm/madvise.c:madvise_cold_or_pageout_pte_range, mm/vmscan.c:reclaim_pages
    """
    # Differs from Linux: Pages that MADV_PAGEOUT takes off their lists count in nr_isolated_*.
    batch.stat[:] = 0
    taken, nr_file = 0, 0
    for i in range(len(vpns)):
        pfn = int(pfns[i])
        pte = pte_at(mem, pt, mms, mm, int(vpns[i]))
        if pte & _PAGE_PRESENT == 0 or pte_pfn(pte) != pfn or mem.pages.mapcount[pfn] != 1:
            continue
        flags = mem.pages.flags[pfn]
        if not flags & PG_lru or flags & (PG_unevictable | PG_gathered | PG_batched):
            continue
        lruvec_del_folio(mem, pfn)
        flags = mem.pages.flags[pfn] & (ALL_FLAGS ^ (PG_active | PG_lru))
        mem.pages.flags[pfn] = flags | PG_isolated
        is_file = 0 if flags & PG_swapbacked else 1
        mem.node_stat[nid, NR_ISOLATED_ANON + is_file] += 1
        nr_file += is_file
        batch.folios[taken] = pfn
        taken += 1
    batch.stat[STAT_NR_TAKEN] = taken
    return nr_file


@leaf
def putback_mapped(mem: Mem, nid: int, nr_file: int, batch: ReclaimBatch) -> int:
    """Put back what is left of a batch of chosen pages, `nr_file` of which were of files.

    Returns:
        Entries of `batch.to_free`.

    Source: Linux 6.1 mm/vmscan.c:reclaim_folio_list
    """
    move_folios_to_lru(mem, batch)
    mem.node_stat[nid, NR_ISOLATED_ANON] -= batch.stat[STAT_NR_TAKEN] - nr_file
    mem.node_stat[nid, NR_ISOLATED_ANON + 1] -= nr_file
    return int(batch.stat[STAT_NR_TO_FREE])


@leaf
def putback_inactive(
    mem: Mem, lruvec: I64_2D, nid: int, lru: int, how: int, batch: ReclaimBatch
) -> int:
    """Put back what shrink_folio_list left in `batch.folios`, and count what it reclaimed.

    Pages freed by others meanwhile are added to `batch.to_free` (STAT_NR_TO_FREE grows).

    Returns:
        Entries of `batch.to_free`.

    Source: Linux 6.1 mm/vmscan.c:shrink_inactive_list, :move_folios_to_lru
    """
    stat = batch.stat
    if stat[STAT_NR_TAKEN] == 0:
        return 0
    file = 1 if lru >= LRU_INACTIVE_FILE else 0
    move_folios_to_lru(mem, batch)
    reclaimed = stat[STAT_NR_RECLAIMED]
    mem.node_stat[nid, NR_ISOLATED_ANON + file] -= stat[STAT_NR_TAKEN]
    mem.vm_event[PGSTEAL_KSWAPD if how & SHRINK_KSWAPD else PGSTEAL_DIRECT] += reclaimed
    mem.vm_event[PGSTEAL_ANON + file] += reclaimed
    lru_note_cost(mem, lruvec, nid, file, stat[STAT_NR_PAGEOUT])
    return int(stat[STAT_NR_TO_FREE])


@leaf
def move_folios_to_lru(mem: Mem, batch: ReclaimBatch) -> int:
    """Put pages in front of the lists their flags name, oldest first; return how many."""
    stat = batch.stat
    moved = 0
    for i in range(stat[STAT_NR_PUTBACK]):
        pfn = int(batch.folios[i])
        if mem.pages.flags[pfn] & (ALL_FLAGS ^ PG_activating) == PG_isolated:
            mem.pages.flags[pfn] &= PG_activating
            if mem.pages.flags[pfn]:
                continue  # the batch of a CPU holds it, and frees it
            batch.to_free[stat[STAT_NR_TO_FREE]] = pfn
            stat[STAT_NR_TO_FREE] += 1
            continue
        mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_isolated
        folio_add_lru(mem, pfn)
        moved += 1
    return moved


@leaf
def shrink_active_list(
    mem: Mem, pt: PageTables, mms: Mms, nid: int, lru: int, batch: ReclaimBatch
) -> int:
    """Move an isolated batch of an active list to the inactive one, forgetting its references.

    Pages of programs that were used since the last look stay where they are.

    Returns:
        How many were deactivated.

    Source: Linux 6.1 mm/vmscan.c:shrink_active_list
    """
    stat = batch.stat
    taken = stat[STAT_NR_TAKEN]
    nr_kept = 0
    for i in range(taken):
        pfn = int(batch.folios[i])
        flags = mem.pages.flags[pfn]
        if flags & (ALL_FLAGS ^ PG_activating) == PG_isolated:
            continue
        if flags & PG_mlocked:
            nr_kept += 1
            continue
        if mem.pages.mapcount[pfn]:
            _, is_exec = folio_referenced(mem, pt, mms, pfn)
            if is_exec:
                nr_kept += 1
                continue
        mem.pages.flags[pfn] = (flags & (ALL_FLAGS ^ PG_active)) | PG_workingset
    stat[STAT_NR_PUTBACK] = taken
    moved = move_folios_to_lru(mem, batch) - nr_kept
    mem.vm_event[PGDEACTIVATE] += moved
    file = 1 if lru >= LRU_INACTIVE_FILE else 0
    mem.node_stat[nid, NR_ISOLATED_ANON + file] -= taken
    return moved
