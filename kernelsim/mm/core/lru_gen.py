"""The multi-generational LRU: what a generation is, and how pages come into one and leave it.

Linux: include/linux/mm_inline.h (lru_gen_*, folio_lru_*), include/linux/mmzone.h:struct
lru_gen_struct, mm/swap.c:folio_inc_refs, mm/vmscan.c:folio_update_gen, :folio_inc_gen, 6.1.
Differs: Generations are dated in ns, not in jiffies. Pages that reclaim has taken off the lists are
counted in `LG_NR_ISOLATED`, for checkers; Linux counts them nowhere.

The idea. Pages of one age are a generation. Generations have sequence numbers: the youngest is
`max_seq`, the oldest `min_seq`, one for anonymous pages and one for those of files; at least
MIN_NR_GENS and at most MAX_NR_GENS exist. Aging makes a new youngest generation for what was used
since (mm/reclaim/lru_gen_aging.py); eviction takes the oldest (mm/reclaim/lru_gen_evict.py). Within
a generation, pages that were read or written by system calls more than once form tiers: tier n has
those of more than 2**(n-1) uses, up to 2**n.

Interface: `Pages.gen` has a page's generation + 1, its number of uses, and the generation whose
list it is on, which Linux need not know: one that was changed without lru_lock (`folio_update_gen`)
waits on the old list until eviction meets it. PG_active is clear in a generation. A row of
`Mem.lru_gen` is what Linux keeps of a node's generations.
Units: pages, ns.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.list import list_add, list_add_tail, list_del
from kernelsim.mm.core.lruvec import update_lru_size
from kernelsim.mm.core.mem import (
    ANON_AND_FILE,
    I64,
    I64_2D,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    MAX_NR_GENS,
    MAX_NR_ZONES,
    NR_GEN_LISTS,
    Z_NID,
    Z_TYPE_INDEX,
    Mem,
    PG_active,
    PG_dirty,
    PG_lru,
    PG_reclaim,
    PG_referenced,
    PG_swapbacked,
    PG_swapcache,
    PG_unevictable,
    PG_workingset,
    PG_writeback,
    gen_list,
    zone_of,
)

MIN_NR_GENS: Final = 2  # include/linux/mmzone.h
MAX_NR_TIERS: Final = 4
MIN_LRU_BATCH: Final = 64  # BITS_PER_LONG
MAX_LRU_BATCH: Final = 64 * 64
LRU_REFS_WIDTH: Final = 2
LRU_GEN_ANON: Final = 0  # types of pages
LRU_GEN_FILE: Final = 1

# Bits of /sys/kernel/mm/lru_gen/enabled; include/linux/mmzone.h
LRU_GEN_CORE: Final = 1  # the multi-generational LRU is in force
LRU_GEN_MM_WALK: Final = 2  # aging walks page tables

# Pages.gen
GEN_MASK: Final = 0x07  # number of the generation + 1; 0 for none
REFS_SHIFT: Final = 3
REFS_MASK: Final = 0x18  # uses beyond PG_referenced and PG_workingset
LISTED_SHIFT: Final = 5
LISTED_MASK: Final = 0x60  # generation whose list it is on

# Columns of Mem.lru_gen; struct lru_gen_struct. By type and tier: + type * MAX_NR_TIERS + tier
LG_CAPS: Final = 0  # LRU_GEN_*, the same in all rows
LG_MAX_SEQ: Final = 1
LG_MIN_SEQ: Final = 2  # and of files
LG_NR_BATCHED: Final = 4  # pages that walks have moved and not counted yet
LG_NR_ISOLATED: Final = 5
LG_TIMESTAMPS: Final = 6  # by generation, when it was born
LG_AVG_REFAULTED: Final = LG_TIMESTAMPS + MAX_NR_GENS  # moving averages of generations gone
LG_AVG_TOTAL: Final = LG_AVG_REFAULTED + ANON_AND_FILE * MAX_NR_TIERS
LG_REFAULTED: Final = LG_AVG_TOTAL + ANON_AND_FILE * MAX_NR_TIERS  # of the oldest generation
LG_EVICTED: Final = LG_REFAULTED + ANON_AND_FILE * MAX_NR_TIERS
LG_PROTECTED: Final = LG_EVICTED + ANON_AND_FILE * MAX_NR_TIERS  # none of tier 0
LG_NR_PAGES: Final = LG_PROTECTED + ANON_AND_FILE * MAX_NR_TIERS  # as lists, `pages_column`
NR_LRU_GEN_FIELDS: Final = LG_NR_PAGES + NR_GEN_LISTS

LRU_REFS_FLAGS: Final = PG_referenced | PG_workingset
_ALL: Final = 0xFFFF_FFFF


def new_lru_gen(nr_nodes: int) -> I64_2D:
    """Return the generations of nodes without pages, shape [nid, LG_*].

    Source: Linux 6.1 mm/vmscan.c:lru_gen_init_lruvec
    """
    state = np.zeros((nr_nodes, NR_LRU_GEN_FIELDS), np.int64)
    state[:, LG_MAX_SEQ] = MIN_NR_GENS + 1
    return state


@inlined_leaf
def lru_gen_enabled(mem: Mem) -> bool:
    """Tell whether the multi-generational LRU is in force."""
    return mem.lru_gen[0, LG_CAPS] & LRU_GEN_CORE != 0


@inlined_leaf
def lru_gen_from_seq(seq: int) -> int:
    """Return the generation of a sequence number."""
    return int(seq % MAX_NR_GENS)


@inlined_leaf
def pages_column(gen: int, file: int, zone_type: int) -> int:
    """Return the column of `Mem.lru_gen` that counts pages of a generation in a zone."""
    return LG_NR_PAGES + (gen * ANON_AND_FILE + file) * MAX_NR_ZONES + zone_type


@inlined_leaf
def is_file(mem: Mem, pfn: int) -> int:
    """Return LRU_GEN_FILE or LRU_GEN_ANON.

    Source: Linux 6.1 include/linux/mm_inline.h:folio_is_file_lru
    """
    return LRU_GEN_ANON if mem.pages.flags[pfn] & PG_swapbacked else LRU_GEN_FILE


@inlined_leaf
def folio_lru_gen(mem: Mem, pfn: int) -> int:
    """Return the generation of a page; -1 for none."""
    return int(mem.pages.gen[pfn] & GEN_MASK) - 1


@inlined_leaf
def listed_gen(mem: Mem, pfn: int) -> int:
    """Return the generation whose list a page of some generation is on."""
    return int(mem.pages.gen[pfn] & LISTED_MASK) >> LISTED_SHIFT


@inlined_leaf
def folio_lru_refs(mem: Mem, pfn: int) -> int:
    """Return how often a page was used by system calls, less one; 0 for once or never."""
    refs = int(mem.pages.gen[pfn] & REFS_MASK) >> REFS_SHIFT
    return refs + 1 if mem.pages.flags[pfn] & PG_workingset else refs


@inlined_leaf
def lru_tier_from_refs(refs: int) -> int:
    """Return the tier of pages by `folio_lru_refs`, their uses less one: log2 of them, rounded up.

    Source: Linux 6.1 include/linux/mm_inline.h:lru_tier_from_refs
    """
    if refs < 2:
        return int(refs)
    return 2 if refs <= 3 else 3


@inlined_leaf
def lru_gen_is_active(state: I64, gen: int) -> bool:
    """Tell whether pages of a generation count as active: those of the two youngest do."""
    max_seq = state[LG_MAX_SEQ]
    return gen == lru_gen_from_seq(max_seq) or gen == lru_gen_from_seq(max_seq - 1)


@leaf
def lru_gen_update_size(mem: Mem, zone: int, file: int, old_gen: int, new_gen: int) -> None:
    """Count a page that changes its generation; -1 for none.

    Source: Linux 6.1 include/linux/mm_inline.h:lru_gen_update_size
    """
    state, zone_type = mem.lru_gen[mem.zone[zone, Z_NID]], int(mem.zone[zone, Z_TYPE_INDEX])
    lru = LRU_INACTIVE_FILE if file else LRU_INACTIVE_ANON
    was_active, is_active = 0, 0
    if old_gen >= 0:
        state[pages_column(old_gen, file, zone_type)] -= 1
        was_active = 1 if lru_gen_is_active(state, old_gen) else 0
    if new_gen >= 0:
        state[pages_column(new_gen, file, zone_type)] += 1
        is_active = 1 if lru_gen_is_active(state, new_gen) else 0
    if old_gen < 0:
        update_lru_size(mem, zone, lru + is_active, 1)
    elif new_gen < 0:
        update_lru_size(mem, zone, lru + was_active, -1)
    elif is_active and not was_active:
        update_lru_size(mem, zone, lru, -1)
        update_lru_size(mem, zone, lru + 1, 1)
    else:
        assert is_active == was_active, "a page is demoted without being isolated"


@leaf
def lru_gen_add_folio(mem: Mem, pfn: int, reclaiming: bool) -> None:
    """Put a page that is on no list in a generation, the later the hotter it is.

    What was just faulted in or is active comes to the youngest; what cannot be evicted at once to
    the second oldest; the rest to the oldest, at its old end if `reclaiming`.

    Source: Linux 6.1 include/linux/mm_inline.h:lru_gen_add_folio
    """
    flags = int(mem.pages.flags[pfn])
    assert not mem.pages.gen[pfn] & GEN_MASK, "a page is in a generation already"
    zone, file = zone_of(mem, pfn), is_file(mem, pfn)
    nid = int(mem.zone[zone, Z_NID])
    state = mem.lru_gen[nid]
    under_io = flags & PG_reclaim and flags & (PG_dirty | PG_writeback)
    if flags & PG_active:
        seq = state[LG_MAX_SEQ]
    elif under_io or (not file and not flags & PG_swapcache):
        seq = state[LG_MIN_SEQ + file] + 1
    else:
        seq = state[LG_MIN_SEQ + file]
    gen = lru_gen_from_seq(seq)
    mem.pages.gen[pfn] = mem.pages.gen[pfn] & REFS_MASK | gen + 1 | gen << LISTED_SHIFT
    mem.pages.flags[pfn] = (flags | PG_lru) & (_ALL ^ PG_active)
    lru_gen_update_size(mem, zone, file, -1, gen)
    number = gen_list(mem, nid, gen, file, int(mem.zone[zone, Z_TYPE_INDEX]))
    if reclaiming:
        list_add_tail(mem, number, pfn)
    else:
        list_add(mem, number, pfn)


@leaf
def lru_gen_del_folio(mem: Mem, pfn: int, reclaiming: bool) -> None:
    """Take a page out of its generation; one of the two youngest is active then.

    One that is taken off to be evicted (`reclaiming`) is not.

    Source: Linux 6.1 include/linux/mm_inline.h:lru_gen_del_folio
    """
    zone, file, gen = zone_of(mem, pfn), is_file(mem, pfn), folio_lru_gen(mem, pfn)
    nid, zone_type = int(mem.zone[zone, Z_NID]), int(mem.zone[zone, Z_TYPE_INDEX])
    list_del(mem, gen_list(mem, nid, listed_gen(mem, pfn), file, zone_type), pfn)
    flags = mem.pages.flags[pfn] & (_ALL ^ PG_lru)
    if not reclaiming and lru_gen_is_active(mem.lru_gen[nid], gen):
        flags |= PG_active
    mem.pages.flags[pfn] = flags
    mem.pages.gen[pfn] &= REFS_MASK
    lru_gen_update_size(mem, zone, file, gen, -1)


@inlined_leaf
def move_to_gen_list(mem: Mem, pfn: int, zone: int, gen: int, tail: bool) -> None:
    """Move a page to the list of a generation, which is its own."""
    file, zone_type = is_file(mem, pfn), int(mem.zone[zone, Z_TYPE_INDEX])
    nid = int(mem.zone[zone, Z_NID])
    list_del(mem, gen_list(mem, nid, listed_gen(mem, pfn), file, zone_type), pfn)
    mem.pages.gen[pfn] = mem.pages.gen[pfn] & (GEN_MASK | REFS_MASK) | gen << LISTED_SHIFT
    if tail:
        list_add_tail(mem, gen_list(mem, nid, gen, file, zone_type), pfn)
    else:
        list_add(mem, gen_list(mem, nid, gen, file, zone_type), pfn)


@inlined_leaf
def folio_inc_refs(mem: Mem, pfn: int) -> None:
    """Count one more use of a page by a system call, up to the last tier.

    Source: Linux 6.1 mm/swap.c:folio_inc_refs
    """
    flags = mem.pages.flags[pfn]
    if flags & PG_unevictable:
        return
    if not flags & PG_referenced:
        mem.pages.flags[pfn] = flags | PG_referenced
    elif not flags & PG_workingset:
        mem.pages.flags[pfn] = flags | PG_workingset
    elif mem.pages.gen[pfn] & REFS_MASK != REFS_MASK:
        mem.pages.gen[pfn] += 1 << REFS_SHIFT


@inlined_leaf
def folio_update_gen(mem: Mem, pfn: int, gen: int) -> int:
    """Let a page that was used through a page table be of a generation, without lru_lock.

    It stays on its list, and is not counted yet. One that is on no list is marked, so that it is
    not evicted.

    Returns:
        The generation it was of; -1 for none.

    Source: Linux 6.1 mm/vmscan.c:folio_update_gen
    """
    old_gen = folio_lru_gen(mem, pfn)
    if old_gen < 0:
        mem.pages.flags[pfn] |= PG_referenced
    else:
        mem.pages.flags[pfn] &= _ALL ^ LRU_REFS_FLAGS
        mem.pages.gen[pfn] = mem.pages.gen[pfn] & LISTED_MASK | gen + 1
    return old_gen


@inlined_leaf
def folio_inc_gen(mem: Mem, pfn: int, zone: int, reclaiming: bool) -> int:
    """Let a page of the oldest generation be of the next, and count it; return its generation.

    One that a walk has moved to a younger one stays there.

    Args:
        mem: Physical memory.
        pfn: The page.
        zone: Its zone row.
        reclaiming: It goes to the old end of its list when it has been written.

    Source: Linux 6.1 mm/vmscan.c:folio_inc_gen
    """
    file, gen = is_file(mem, pfn), folio_lru_gen(mem, pfn)
    old_gen = lru_gen_from_seq(mem.lru_gen[mem.zone[zone, Z_NID], LG_MIN_SEQ + file])
    if gen != old_gen:
        return gen
    new_gen = (old_gen + 1) % MAX_NR_GENS
    flags = mem.pages.flags[pfn] & (_ALL ^ LRU_REFS_FLAGS)
    mem.pages.flags[pfn] = flags | PG_reclaim if reclaiming else flags
    mem.pages.gen[pfn] = mem.pages.gen[pfn] & LISTED_MASK | new_gen + 1
    lru_gen_update_size(mem, zone, file, old_gen, new_gen)
    return new_gen
