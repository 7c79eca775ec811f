"""Aging: when a node needs a new youngest generation, and how it comes and the oldest goes.

Linux: mm/vmscan.c: should_run_aging, inc_max_seq, inc_min_seq, try_to_inc_min_seq,
lru_gen_change_state, 6.1.

Interface: `should_run_aging` looks; the others are called under the node's lru_lock. A new
generation is made when page tables have been walked (lru_gen_walk.py): `inc_min_seq` as long as
`needs_inc_min_seq`, then `inc_max_seq`.
Units: pages, ns.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.lru_gen import (
    LG_CAPS,
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LG_TIMESTAMPS,
    LRU_GEN_ANON,
    LRU_GEN_CORE,
    LRU_GEN_FILE,
    MAX_LRU_BATCH,
    MIN_NR_GENS,
    folio_inc_gen,
    lru_gen_from_seq,
    move_to_gen_list,
    pages_column,
)
from kernelsim.mm.core.lruvec import update_lru_size
from kernelsim.mm.core.mem import (
    ANON_AND_FILE,
    I64,
    L_COUNT,
    L_TAIL,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_FILE,
    MAX_NR_GENS,
    MAX_NR_ZONES,
    Mem,
    gen_list,
    lru_list,
)
from kernelsim.mm.core.swap import lruvec_add_folio, lruvec_del_folio
from kernelsim.mm.reclaim.lru_gen_control import reset_ctrl_pos


@inlined_leaf
def get_nr_gens(state: I64, file: int) -> int:
    """Return how many generations of a type there are.

    Source: Linux 6.1 mm/vmscan.c:get_nr_gens
    """
    return int(state[LG_MAX_SEQ] - state[LG_MIN_SEQ + file] + 1)


@leaf
def gen_size(state: I64, gen: int, file: int) -> int:
    """Return the pages of a type in a generation; a zone that lacks counts has none."""
    size = 0
    for zone_type in range(MAX_NR_ZONES):
        size += max(state[pages_column(gen, file, zone_type)], 0)
    return int(size)


@leaf
def should_run_aging(state: I64, priority: int, can_swap: bool) -> tuple[bool, int]:
    """Tell whether a new generation is due, and how many pages to scan at a priority.

    It is due when all but MIN_NR_GENS are gone, or one more is left and pages are not spread
    evenly: the youngest has more than half of them, or the oldest less than a quarter.

    Source: Linux 6.1 mm/vmscan.c:should_run_aging
    """
    young, old, total = 0, 0, 0
    max_seq, first = state[LG_MAX_SEQ], LRU_GEN_ANON if can_swap else LRU_GEN_FILE
    for file in range(first, ANON_AND_FILE):
        for seq in range(state[LG_MIN_SEQ + file], max_seq + 1):
            size = gen_size(state, lru_gen_from_seq(seq), file)
            total += size
            if seq == max_seq:
                young += size
            elif seq + MIN_NR_GENS == max_seq:
                old += size
    nr_to_scan = total >> priority
    min_seq = state[LG_MIN_SEQ + first]
    if min_seq + MIN_NR_GENS > max_seq:
        return True, nr_to_scan
    if min_seq + MIN_NR_GENS < max_seq:
        return False, nr_to_scan
    return young * MIN_NR_GENS > total or old * (MIN_NR_GENS + 2) < total, nr_to_scan


@leaf
def needs_inc_min_seq(state: I64) -> bool:
    """Tell whether a new generation would be one too many for some type."""
    return MAX_NR_GENS in (get_nr_gens(state, LRU_GEN_FILE), get_nr_gens(state, LRU_GEN_ANON))


@leaf
def inc_min_seq(mem: Mem, nid: int, can_swap: bool) -> int:
    """Let oldest generations go, of types that have as many as may be, a batch of pages at a time.

    Their pages come to the old end of the next, the oldest first, whose order turns.
    Anonymous ones that cannot be swapped stay where they are; what becomes the youngest generation
    has them then.

    Returns:
        How many were moved. When `needs_inc_min_seq` still holds, call again.

    Source: Linux 6.1 mm/vmscan.c:inc_min_seq
    """
    state = mem.lru_gen[nid]
    moved = 0
    for file in range(ANON_AND_FILE - 1, -1, -1):
        if get_nr_gens(state, file) != MAX_NR_GENS:
            continue
        old_gen = lru_gen_from_seq(state[LG_MIN_SEQ + file])
        for zone_type in range(MAX_NR_ZONES if file or can_swap else 0):
            number = gen_list(mem, nid, old_gen, file, zone_type)
            zone = nid * mem.lowmem_reserve.shape[1] + zone_type
            while mem.lists[number, L_COUNT]:
                pfn = int(mem.lists[number, L_TAIL])
                new_gen = folio_inc_gen(mem, pfn, zone, False)
                move_to_gen_list(mem, pfn, zone, new_gen, True)
                moved += 1
                if moved == MAX_LRU_BATCH:
                    return moved
        reset_ctrl_pos(state, file)
        state[LG_MIN_SEQ + file] += 1
    return moved


@leaf
def try_to_inc_min_seq(mem: Mem, nid: int, can_swap: bool) -> bool:
    """Let oldest generations that are empty go; tell whether any did.

    As long as both types can be evicted the oldest of files is no younger than that of anonymous
    pages, unless it was before.

    Source: Linux 6.1 mm/vmscan.c:try_to_inc_min_seq
    """
    state = mem.lru_gen[nid]
    anon = oldest_populated(mem, nid, LRU_GEN_ANON) if can_swap else state[LG_MIN_SEQ]
    file = oldest_populated(mem, nid, LRU_GEN_FILE)
    if can_swap:
        anon = min(anon, file)
        file = max(anon, state[LG_MIN_SEQ + LRU_GEN_FILE])
    success = False
    if anon != state[LG_MIN_SEQ + LRU_GEN_ANON]:
        reset_ctrl_pos(state, LRU_GEN_ANON)
        state[LG_MIN_SEQ + LRU_GEN_ANON] = anon
        success = True
    if file != state[LG_MIN_SEQ + LRU_GEN_FILE]:
        reset_ctrl_pos(state, LRU_GEN_FILE)
        state[LG_MIN_SEQ + LRU_GEN_FILE] = file
        success = True
    return success


@leaf
def oldest_populated(mem: Mem, nid: int, file: int) -> int:
    """Return the sequence number of the oldest generation that has pages, or is among the last."""
    state = mem.lru_gen[nid]
    seq = int(state[LG_MIN_SEQ + file])
    while seq + MIN_NR_GENS <= state[LG_MAX_SEQ]:
        for zone_type in range(MAX_NR_ZONES):
            if mem.lists[gen_list(mem, nid, lru_gen_from_seq(seq), file, zone_type), L_COUNT]:
                return seq
        seq += 1
    return seq


@leaf
def inc_max_seq(mem: Mem, nid: int, now_ns: int) -> None:
    """Begin a new youngest generation; what was the second youngest is inactive from now on.

    Source: Linux 6.1 mm/vmscan.c:inc_max_seq
    """
    state = mem.lru_gen[nid]
    assert not needs_inc_min_seq(state), "a generation more than there may be"
    prev = lru_gen_from_seq(state[LG_MAX_SEQ] - 1)
    new = lru_gen_from_seq(state[LG_MAX_SEQ] + 1)
    for file in range(ANON_AND_FILE):
        for zone_type in range(mem.lowmem_reserve.shape[1]):
            delta = state[pages_column(prev, file, zone_type)]
            delta -= state[pages_column(new, file, zone_type)]
            if delta:
                zone = nid * mem.lowmem_reserve.shape[1] + zone_type
                lru = LRU_INACTIVE_FILE if file else 0
                update_lru_size(mem, zone, lru, delta)
                update_lru_size(mem, zone, lru + 1, -delta)
    state[LG_TIMESTAMPS + new] = now_ns
    state[LG_MAX_SEQ] += 1


def lru_gen_change_state(mem: Mem, caps: int) -> None:
    """Switch the multi-generational LRU on or off, by LRU_GEN_* bits; pages change their lists.

    Source: Linux 6.1 mm/vmscan.c:enabled_store, :lru_gen_change_state
    """
    # Differs from Linux: All pages come to their new lists at once, and nobody waits for that;
    # Linux takes lru_lock for each 4096 of them.
    was_enabled = bool(mem.lru_gen[0, LG_CAPS] & LRU_GEN_CORE)
    is_enabled = bool(caps & LRU_GEN_CORE)
    mem.lru_gen[:, LG_CAPS] = caps
    if was_enabled == is_enabled:
        return
    for nid in range(len(mem.node_stat)):
        if is_enabled:
            fill_evictable(mem, nid)
        else:
            drain_evictable(mem, nid)


@leaf
def fill_evictable(mem: Mem, nid: int) -> None:
    """Move the pages of a node from its lists to its generations.

    Source: Linux 6.1 mm/vmscan.c:fill_evictable
    """
    for lru in range(LRU_ACTIVE_FILE + 1):
        refile(mem, lru_list(mem, nid, lru))


@leaf
def drain_evictable(mem: Mem, nid: int) -> None:
    """Move the pages of a node from its generations to its lists.

    Source: Linux 6.1 mm/vmscan.c:drain_evictable
    """
    first = gen_list(mem, nid, 0, 0, 0)
    for number in range(first, gen_list(mem, nid + 1, 0, 0, 0)):
        refile(mem, number)


@leaf
def refile(mem: Mem, number: int) -> None:
    """Move all pages of a list, the oldest first, to where they belong now."""
    for _ in range(mem.lists[number, L_COUNT]):
        pfn = int(mem.lists[number, L_TAIL])
        lruvec_del_folio(mem, pfn)
        lruvec_add_folio(mem, pfn, False)
