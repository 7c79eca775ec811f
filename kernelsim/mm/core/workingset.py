"""Which evicted pages come back too soon: the refault distance.

Linux: mm/workingset.c (6.1).
Differs: Refault distances know no memory cgroups.

Interface: `workingset_eviction` gives the shadow to keep in the page's place,
`workingset_refault` judges it when the page is read again, `workingset_activation` is told of
pages that proved themselves while resident.
Units: ages and distances are pages.

The argument. Between the moment a page is evicted and the moment it is read again, every other
eviction and activation moved the inactive list by one page. The number of those moves is how many
more pages the inactive list should have had for this page to be still there. If the active lists
hold at least that many pages, the page deserves one of their places more than some page there:
it is activated at once and left to compete.

    age at eviction                      age at refault
    |------------- distance -------------|      activate if distance <= what could make room

What could make room for a file page: active file pages, and all anonymous ones while there is swap
to put them on. For an anonymous page: all file pages, and the active anonymous ones.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.lru_gen import (
    LG_EVICTED,
    LG_MIN_SEQ,
    LG_REFAULTED,
    LRU_REFS_WIDTH,
    MAX_NR_TIERS,
    folio_lru_refs,
    is_file,
    lru_gen_enabled,
    lru_tier_from_refs,
)
from kernelsim.mm.core.lruvec import LV_NONRESIDENT_AGE, lru_note_cost
from kernelsim.mm.core.mem import I64_2D, Mem, PG_active, PG_swapbacked, PG_workingset, nid_of
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_ANON,
    NR_ACTIVE_FILE,
    NR_INACTIVE_ANON,
    NR_INACTIVE_FILE,
    WORKINGSET_ACTIVATE_ANON,
    WORKINGSET_REFAULT_ANON,
    WORKINGSET_RESTORE_ANON,
)

_NODE_BITS: Final = 10  # MAX_NUMNODES 1024
_SHADOW_SET: Final = 1  # lowest bit: a shadow is never 0
_SHADOW_WORKINGSET: Final = 2
_EVICTION_MASK: Final = (1 << (62 - 2 - _NODE_BITS)) - 1


@leaf
def lru_gen_eviction(mem: Mem, pfn: int) -> int:
    """Return the shadow of a page of the oldest generation: which that was, and the page's uses.

    Source: Linux 6.1 mm/workingset.c:lru_gen_eviction
    """
    nid, file, refs = nid_of(mem, pfn), is_file(mem, pfn), folio_lru_refs(mem, pfn)
    min_seq = mem.lru_gen[nid, LG_MIN_SEQ + file]
    mem.lru_gen[nid, LG_EVICTED + file * MAX_NR_TIERS + lru_tier_from_refs(refs)] += 1
    token = min_seq << LRU_REFS_WIDTH | max(refs - 1, 0)
    shadow = (token << _NODE_BITS | nid) << 2 | _SHADOW_SET
    return int(shadow | _SHADOW_WORKINGSET if refs else shadow)


@leaf
def lru_gen_refault(mem: Mem, pfn: int, shadow: int, in_fault: bool) -> None:
    """Count a page that is read again while the oldest generation is the one it was evicted from.

    One that a program waits for, or that was used too often for its uses to be counted, is marked
    as part of the working set, and workingset_restore counts it.

    Source: Linux 6.1 mm/workingset.c:lru_gen_refault
    """
    nid, file = nid_of(mem, pfn), is_file(mem, pfn)
    token = shadow >> (2 + _NODE_BITS)
    if (shadow >> 2) & ((1 << _NODE_BITS) - 1) != nid:
        return
    if token >> LRU_REFS_WIDTH != mem.lru_gen[nid, LG_MIN_SEQ + file]:
        return
    refs = token & ((1 << LRU_REFS_WIDTH) - 1)
    refs += 1 if shadow & _SHADOW_WORKINGSET else 0
    mem.lru_gen[nid, LG_REFAULTED + file * MAX_NR_TIERS + lru_tier_from_refs(refs)] += 1
    mem.node_stat[nid, WORKINGSET_REFAULT_ANON + file] += 1
    if in_fault or refs == 1 << LRU_REFS_WIDTH:
        mem.pages.flags[pfn] |= PG_workingset
        mem.node_stat[nid, WORKINGSET_RESTORE_ANON + file] += 1


@leaf
def workingset_age_nonresident(lruvec: I64_2D, nid: int, nr_pages: int) -> None:
    """Advance the clock against which refault distances are measured."""
    lruvec[nid, LV_NONRESIDENT_AGE] += nr_pages


@leaf
def workingset_eviction(mem: Mem, lruvec: I64_2D, pfn: int) -> int:
    """Return the shadow of a page that is about to be freed, never 0; ages the node.

    Source: Linux 6.1 mm/workingset.c:workingset_eviction
    """
    if lru_gen_enabled(mem):
        return lru_gen_eviction(mem, pfn)
    nid = nid_of(mem, pfn)
    shadow = (lruvec[nid, LV_NONRESIDENT_AGE] << _NODE_BITS) | nid
    shadow = (shadow << 2) | _SHADOW_SET
    if mem.pages.flags[pfn] & PG_workingset:
        shadow |= _SHADOW_WORKINGSET
    workingset_age_nonresident(lruvec, nid, 1)
    return int(shadow)


@leaf
def workingset_refault(
    mem: Mem, lruvec: I64_2D, pfn: int, shadow: int, swap_free: int, in_fault: bool
) -> bool:
    """Judge a page that is read again while its shadow was still there.

    Counts workingset_refault and, when the page is due for the active list, sets PG_active and
    counts workingset_activate; when it was active before, also PG_workingset and
    workingset_restore. The caller puts it on its list.

    Returns:
        Whether it was activated. `swap_free` is the number of free swap slots; `in_fault`: a
        program waits for it, or for a page beside it.

    Source: Linux 6.1 mm/workingset.c:workingset_refault
    """
    if lru_gen_enabled(mem):
        lru_gen_refault(mem, pfn, shadow, in_fault)
        return False
    node_mask = (1 << _NODE_BITS) - 1
    eviction_nid = (shadow >> 2) & node_mask
    eviction = shadow >> (2 + _NODE_BITS)
    distance = (lruvec[eviction_nid, LV_NONRESIDENT_AGE] - eviction) & _EVICTION_MASK
    file = 0 if mem.pages.flags[pfn] & PG_swapbacked else 1
    nid = nid_of(mem, pfn)
    mem.node_stat[nid, WORKINGSET_REFAULT_ANON + file] += 1
    size = mem.node_stat[eviction_nid, NR_ACTIVE_FILE]
    if not file:
        size += mem.node_stat[eviction_nid, NR_INACTIVE_FILE]
    if swap_free > 0:
        size += mem.node_stat[eviction_nid, NR_ACTIVE_ANON]
        if file:
            size += mem.node_stat[eviction_nid, NR_INACTIVE_ANON]
    if distance > size:
        return False
    mem.pages.flags[pfn] |= PG_active
    workingset_age_nonresident(lruvec, nid, 1)
    mem.node_stat[nid, WORKINGSET_ACTIVATE_ANON + file] += 1
    if shadow & _SHADOW_WORKINGSET:
        mem.pages.flags[pfn] |= PG_workingset
        lru_note_cost(mem, lruvec, nid, file, 1)
        mem.node_stat[nid, WORKINGSET_RESTORE_ANON + file] += 1
    return True
