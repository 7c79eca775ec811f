"""Finding out what was used: by walking page tables, and by looking around a page that was.

Linux: mm/vmscan.c: walk_pte_range, suitable_to_scan, lru_gen_look_around, update_bloom_filter,
reset_batch_size, 6.1.
Differs: The accessed bits of upper page tables tell nothing (LRU_GEN_NONLEAF_YOUNG): the processor
model does not set them. A page table that serves two mappings is judged for each. Looking around an
anonymous page ends where its page table does, not its mapping. A dirty bit stays in its entry: that
a page of MADV_FREE was written since shows when reclaim unmaps it, not when it is sorted.

A walk goes only into page tables that the last one, or a look around a page, found worth it: at
least one page in eight was used. A Bloom filter remembers them: it may name some wrongly, and
forgets none. There are two for each node, for this generation and the next.

Interface: an `MmWalk` is the work space of one reclaimer; `walk_ptes` and `look_around_batch` clear
accessed bits and give pages to the youngest generation, and note in the work space what that
changes; `reset_batch_size` enters it under lru_lock.
Units: pages, virtual page numbers, cache lines.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.lru_gen import (
    LG_MAX_SEQ,
    LG_NR_BATCHED,
    LG_NR_PAGES,
    LRU_GEN_FILE,
    MIN_LRU_BATCH,
    folio_update_gen,
    is_file,
    lru_gen_from_seq,
    lru_gen_is_active,
    pages_column,
)
from kernelsim.mm.core.lruvec import update_lru_size
from kernelsim.mm.core.mem import (
    ANON_AND_FILE,
    I64,
    LRU_INACTIVE_FILE,
    MAX_NR_GENS,
    NR_GEN_LISTS,
    U8,
    Z_NID,
    Z_TYPE_INDEX,
    Mem,
    PG_activating,
    PG_anon,
    PG_isolated,
    PG_locked,
    PG_mlocked,
    PG_referenced,
    PG_writeback,
    zone_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.reclaim.reclaim_batch import ReclaimBatch
from kernelsim.mm.space.i_mmap import FV_FLAGS, FV_NEXT, FV_NR_PAGES, FV_VPN
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_PRESENT,
    _PAGE_SPECIAL,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    pte_pfn,
    pte_span,
)
from kernelsim.mm.space.rmap_file import first_mapping, table_of, vpn_in
from kernelsim.mm.space.vm_flags import VM_READ_HINTS

BLOOM_FILTER_SHIFT: Final = 15
NR_BLOOM_BITS: Final = 1 << BLOOM_FILTER_SHIFT
GOLDEN_RATIO_32: Final = 0x61C88647  # include/linux/hash.h
ENTRIES_A_LINE: Final = 8  # 64-byte cache lines, 8-byte entries
NOT_LOOKED_AT: Final = PG_locked | PG_writeback | PG_mlocked
READ_HINTS: Final = int(VM_READ_HINTS)

# Entries of MmWalk.state
W_MAX_SEQ: Final = 0  # the youngest generation when it began
W_CAN_SWAP: Final = 1  # anonymous pages count, too
W_FORCE_SCAN: Final = 2  # go into all page tables: the address space is new
W_BATCHED: Final = 3  # pages whose change is not entered yet
W_NR_LINES: Final = 4  # cache lines touched since the caller asked last
NR_WALK_FIELDS: Final = 5


class MmWalk(NamedTuple):
    """Work space of one reclaimer; struct lru_gen_mm_walk."""

    state: I64  # [W_*]
    nr_pages: I64  # changes of LG_NR_PAGES that are not entered yet


def new_mm_walk() -> MmWalk:
    """Return the work space of a reclaimer that has not begun."""
    walk = MmWalk(np.zeros(NR_WALK_FIELDS, np.int64), np.zeros(NR_GEN_LISTS, np.int64))
    walk.state[W_CAN_SWAP] = 1
    return walk


def new_bloom_filters() -> U8:
    """Return the two filters of a node, one behind the other, a byte a bit."""
    return np.zeros(2 * NR_BLOOM_BITS, np.uint8)


@inlined_leaf
def bloom_bits(seq: int, pfn: int) -> tuple[int, int]:
    """Return the two places of a page-table page in the filter of a generation.

    Source: Linux 6.1 mm/vmscan.c:get_item_key
    """
    hashed = ((pfn * GOLDEN_RATIO_32) & 0xFFFF_FFFF) >> (32 - 2 * BLOOM_FILTER_SHIFT)
    base = (seq % 2) * NR_BLOOM_BITS
    return base + hashed % NR_BLOOM_BITS, base + (hashed >> BLOOM_FILTER_SHIFT)


@inlined_leaf
def update_bloom_filter(bloom: U8, seq: int, pfn: int) -> None:
    """Remember a page-table page for the walk of a generation."""
    first, second = bloom_bits(seq, pfn)
    bloom[first] = 1
    bloom[second] = 1


@inlined_leaf
def test_bloom_filter(bloom: U8, seq: int, pfn: int) -> bool:
    """Tell whether a walk is to go into a page-table page."""
    first, second = bloom_bits(seq, pfn)
    return bloom[first] != 0 and bloom[second] != 0


def reset_bloom_filter(bloom: U8, seq: int) -> None:
    """Empty the filter of a generation."""
    base = (seq % 2) * NR_BLOOM_BITS
    bloom[base : base + NR_BLOOM_BITS] = 0


@inlined_leaf
def suitable_to_scan(total: int, young: int) -> bool:
    """Tell whether enough of the entries of a page table were used: one in each cache line."""
    return young * ENTRIES_A_LINE >= total


@inlined_leaf
def promote(mem: Mem, nid: int, pfn: int, new_gen: int, walk: MmWalk) -> None:
    """Give a page that was used to the youngest generation.

    Source: Linux 6.1 mm/vmscan.c:update_batch_size
    """
    old_gen = folio_update_gen(mem, pfn, new_gen)
    if old_gen < 0 or old_gen == new_gen:
        return
    file, zone_type = is_file(mem, pfn), int(mem.zone[zone_of(mem, pfn), Z_TYPE_INDEX])
    walk.nr_pages[pages_column(old_gen, file, zone_type) - LG_NR_PAGES] -= 1
    walk.nr_pages[pages_column(new_gen, file, zone_type) - LG_NR_PAGES] += 1
    walk.state[W_BATCHED] += 1
    mem.lru_gen[nid, LG_NR_BATCHED] += 1


@inlined_leaf
def age_entries(
    mem: Mem, pt: PageTables, nid: int, row: int, first: int, end: int, own: int, seq: int,
    can_swap: bool, walk: MmWalk,
) -> int:  # fmt: skip
    """Promote the pages of a node that entries of a page table say were used, and forget it.

    Not that of the entry `own`, which the caller looks at.

    Returns:
        How many were used.
    """
    new_gen = lru_gen_from_seq(seq)
    young = 0
    for at in range(first, end):
        pte = get_pte(pt.entry, row, at)
        if pte & (_PAGE_PRESENT | _PAGE_SPECIAL) != _PAGE_PRESENT or not pte & _PAGE_ACCESSED:
            continue
        pfn = pte_pfn(pte)
        if mem.zone[zone_of(mem, pfn), Z_NID] != nid:
            continue
        if not can_swap and is_file(mem, pfn) != LRU_GEN_FILE:
            continue
        young += 1
        if at == own:
            continue
        pt.entry[row, at] = pte & ~_PAGE_ACCESSED
        promote(mem, nid, pfn, new_gen, walk)
    walk.state[W_NR_LINES] += (end - first) // ENTRIES_A_LINE + 1 + young
    return young


@leaf
def walk_ptes(
    mem: Mem, pt: PageTables, mms: Mms, nid: int, bloom: U8, walk: MmWalk, mm: int, vpn: int,
    end: int, nr_tables: int,
) -> int:  # fmt: skip
    """Walk the page tables under part of a mapping, a few at a time.

    Args:
        mem: Physical memory.
        pt: Page tables.
        mms: Address spaces.
        nid: The node whose pages are promoted.
        bloom: Its filters.
        walk: Work space.
        mm: Number of the address space.
        vpn: First page.
        end: Behind the last page.
        nr_tables: Most page tables to look at.

    Returns:
        The page to go on from; `end` when all is done.

    Source: Linux 6.1 mm/vmscan.c:walk_pmd_range, :walk_pte_range
    """
    mask = (1 << pt.state[PT_BITS]) - 1
    seq, can_swap = int(walk.state[W_MAX_SEQ]), walk.state[W_CAN_SWAP] != 0
    for _ in range(nr_tables):
        if vpn >= end:
            break
        row, stop = pte_span(mem, pt, mms, mm, vpn)
        stop = min(stop, end)
        walk.state[W_NR_LINES] += 1
        if row:
            table = int(pt.row_pfn[row])
            if walk.state[W_FORCE_SCAN] or test_bloom_filter(bloom, seq, table):
                first = vpn & mask
                young = age_entries(
                    mem, pt, nid, row, first, first + stop - vpn, -1, seq, can_swap, walk
                )
                if suitable_to_scan(stop - vpn, young):
                    update_bloom_filter(bloom, seq + 1, table)
        vpn = stop
    return min(vpn, end)


@leaf
def look_around_batch(
    mem: Mem, pt: PageTables, mms: Mms, nid: int, bloom: U8, walk: MmWalk, batch: ReclaimBatch,
    first: int, last: int,
) -> None:  # fmt: skip
    """Look around the mapped pages `first` to `last` of a batch that were used.

    To be called in the step before these pages are judged, which looks at their own entries.

    Source: Linux 6.1 mm/rmap.c:folio_referenced_one, mm/vmscan.c:lru_gen_look_around
    """
    for i in range(first, last):
        pfn = int(batch.folios[i])
        flags = int(mem.pages.flags[pfn])
        if flags & (ALL_FLAGS ^ PG_activating) == PG_isolated or flags & NOT_LOOKED_AT:
            continue
        if mem.pages.mapcount[pfn] == 0 or flags & PG_referenced:
            continue
        if flags & PG_anon:
            look_around_anon(mem, pt, mms, nid, bloom, walk, pfn)
        else:
            look_around_file(mem, pt, mms, nid, bloom, walk, pfn)


@leaf
def look_around_anon(
    mem: Mem, pt: PageTables, mms: Mms, nid: int, bloom: U8, walk: MmWalk, pfn: int
) -> None:
    """Look around an anonymous page, in every address space that has it."""
    size = 1 << pt.state[PT_BITS]
    owner, vpn = int(mem.pages.mapping[pfn]), int(mem.pages.index[pfn])
    mm, left = owner, int(mem.pages.mapcount[pfn])
    while left > 0:
        row, _ = pte_span(mem, pt, mms, mm, vpn)
        pte = get_pte(pt.entry, row, vpn & (size - 1)) if row else 0
        if pte & _PAGE_PRESENT and pte_pfn(pte) == pfn:
            left -= 1
            look_around_entry(mem, pt, nid, bloom, walk, row, vpn & (size - 1), 0, size)
        mm = int(mms.fork_next[mm])
        if mm == owner:
            break


@leaf
def look_around_file(
    mem: Mem, pt: PageTables, mms: Mms, nid: int, bloom: U8, walk: MmWalk, pfn: int
) -> None:
    """Look around a page of a file, in every mapping that shows it without a hint of its order."""
    size = 1 << pt.state[PT_BITS]
    index, left = int(mem.pages.index[pfn]), int(mem.pages.mapcount[pfn])
    mapping = first_mapping(mms, int(mem.pages.mapping[pfn]))
    while left > 0 and mapping:
        vpn = vpn_in(mms.file_vma, mapping, index)
        row = table_of(mem, pt, mms, mapping, vpn, pfn)
        if row:
            left -= 1
            if not mms.file_vma[mapping, FV_FLAGS] & READ_HINTS:
                own, start = vpn & (size - 1), int(mms.file_vma[mapping, FV_VPN])
                low = max(0, own - (vpn - start))
                high = min(size, own + start + int(mms.file_vma[mapping, FV_NR_PAGES]) - vpn)
                look_around_entry(mem, pt, nid, bloom, walk, row, own, low, high)
        mapping = int(mms.file_vma[mapping, FV_NEXT])


@inlined_leaf
def look_around_entry(
    mem: Mem, pt: PageTables, nid: int, bloom: U8, walk: MmWalk, row: int, own: int, low: int,
    high: int,
) -> None:  # fmt: skip
    """Promote pages beside one that was used, MIN_LRU_BATCH entries of `low` to `high` at most.

    Source: Linux 6.1 mm/vmscan.c:lru_gen_look_around
    """
    if not get_pte(pt.entry, row, own) & _PAGE_ACCESSED:
        return
    half = MIN_LRU_BATCH // 2
    if high - low > MIN_LRU_BATCH:
        if own - low < half:
            high = low + MIN_LRU_BATCH
        elif high - own < half:
            low = high - MIN_LRU_BATCH
        else:
            low, high = own - half, own + half
    seq, can_swap = int(mem.lru_gen[nid, LG_MAX_SEQ]), walk.state[W_CAN_SWAP] != 0
    young = age_entries(mem, pt, nid, row, low, high, own, seq, can_swap, walk)
    if suitable_to_scan(high - low, young):
        update_bloom_filter(bloom, seq, int(pt.row_pfn[row]))


@leaf
def reset_batch_size(mem: Mem, nid: int, walk: MmWalk) -> None:
    """Count the pages that were promoted since the last time; under lru_lock.

    Source: Linux 6.1 mm/vmscan.c:reset_batch_size
    """
    state = mem.lru_gen[nid]
    state[LG_NR_BATCHED] -= walk.state[W_BATCHED]
    walk.state[W_BATCHED] = 0
    for gen in range(MAX_NR_GENS):
        for file in range(ANON_AND_FILE):
            for zone_type in range(mem.lowmem_reserve.shape[1]):
                column = pages_column(gen, file, zone_type)
                delta = walk.nr_pages[column - LG_NR_PAGES]
                if delta:
                    walk.nr_pages[column - LG_NR_PAGES] = 0
                    state[column] += delta
                    lru = LRU_INACTIVE_FILE if file else 0
                    lru += 1 if lru_gen_is_active(state, gen) else 0
                    zone = nid * mem.lowmem_reserve.shape[1] + zone_type
                    update_lru_size(mem, zone, lru, delta)
