"""The LRU lists of a node: adding, removing, marking and rotating pages.

Linux: mm/swap.c and include/linux/mm_inline.h (6.1).

Interface: each node has five lists, `LRU_INACTIVE_ANON` … `LRU_UNEVICTABLE`. Which one a page
belongs to follows from its flags: PG_swapbacked (anon) or not (file), PG_active, PG_unevictable.
The front of a list is its young end; reclaim takes from the tail. The node's actor calls these
under its lru_lock. `pfns` are int64 arrays of which the first `n` count.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.list import list_add, list_add_tail, list_del
from kernelsim.mm.core.lru_gen import (
    GEN_MASK,
    lru_gen_add_folio,
    lru_gen_del_folio,
    lru_gen_enabled,
)
from kernelsim.mm.core.lruvec import update_lru_size
from kernelsim.mm.core.mem import (
    I64,
    L_COUNT,
    L_HEAD,
    L_TAIL,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_UNEVICTABLE,
    MLOCK_COUNT_MASK,
    Z_NID,
    Mem,
    PG_active,
    PG_anon,
    PG_dirty,
    PG_locked,
    PG_lru,
    PG_mlocked,
    PG_referenced,
    PG_swapbacked,
    PG_swapcache,
    PG_unevictable,
    lru_list,
    pageblock_part,
    zone_of,
)
from kernelsim.mm.core.vmstat import (
    PGLAZYFREE,
    PGROTATED,
    UNEVICTABLE_PGS_CULLED,
    UNEVICTABLE_PGS_RESCUED,
)

LRU_KIND: Final = PG_swapbacked | PG_active | PG_unevictable | PG_mlocked  # decide on the list
ALL_FLAGS: Final = 0xFFFF_FFFF  # clears a flag as `ALL_FLAGS ^ flag`, within 32 bits


@leaf
def folio_lru_list(flags: int) -> int:
    """Return the list a page with these flags belongs to.

    Source: Linux 6.1 include/linux/mm_inline.h:folio_lru_list
    """
    if flags & PG_unevictable:
        return LRU_UNEVICTABLE
    base = LRU_INACTIVE_ANON if flags & PG_swapbacked else LRU_INACTIVE_FILE
    return base + 1 if flags & PG_active else base


@leaf
def lruvec_add_folio(mem: Mem, pfn: int, tail: bool) -> None:
    """Put a page on the list its flags name, in front or at the tail, and count it.

    With the multi-generational LRU that is the list of a generation.
    """
    if lru_gen_enabled(mem) and not mem.pages.flags[pfn] & PG_unevictable:
        lru_gen_add_folio(mem, pfn, tail)
        return
    zone = zone_of(mem, pfn)
    lru = folio_lru_list(mem.pages.flags[pfn])
    mem.pages.flags[pfn] |= PG_lru
    number = lru_list(mem, mem.zone[zone, Z_NID], lru)
    if tail:
        list_add_tail(mem, number, pfn)
    else:
        list_add(mem, number, pfn)
    update_lru_size(mem, zone, lru, 1)


@leaf
def lruvec_del_folio(mem: Mem, pfn: int) -> None:
    """Take a page off the list it is on and count it."""
    if mem.pages.gen[pfn] & GEN_MASK:
        lru_gen_del_folio(mem, pfn, False)
        return
    zone = zone_of(mem, pfn)
    lru = folio_lru_list(mem.pages.flags[pfn])
    list_del(mem, lru_list(mem, mem.zone[zone, Z_NID], lru), pfn)
    mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_lru
    update_lru_size(mem, zone, lru, -1)


@leaf
def folio_add_lru(mem: Mem, pfn: int) -> None:
    """Put one page that is on no list in front of its list; a locked one on the unevictable.

    Source: Linux 6.1 mm/swap.c:lru_add_fn
    """
    flags = mem.pages.flags[pfn]
    was_unevictable = flags & PG_unevictable
    if flags & PG_mlocked:
        mem.pages.flags[pfn] = (flags | PG_unevictable) & (ALL_FLAGS ^ PG_active)
        if not was_unevictable:
            mem.vm_event[UNEVICTABLE_PGS_CULLED] += 1
        else:  # whether others locked it meanwhile is not known: rather too few
            mem.pages.flags[pfn] &= ALL_FLAGS ^ MLOCK_COUNT_MASK
    elif was_unevictable:
        mem.pages.flags[pfn] = flags & (ALL_FLAGS ^ PG_unevictable)
        mem.vm_event[UNEVICTABLE_PGS_RESCUED] += 1
    lruvec_add_folio(mem, pfn, False)


@leaf
def lru_add(mem: Mem, pfns: I64, n: int) -> None:
    """Put pages that are on no list in front of their lists, in the order given.

    A new anonymous page starts inactive: it has PG_swapbacked and no PG_active.

    Source: Linux 6.1 mm/swap.c:folio_add_lru
    """
    at = 0
    while at < n:
        pfn = int(pfns[at])
        if lru_gen_enabled(mem) or mem.pages.flags[pfn] & (PG_mlocked | PG_unevictable):
            folio_add_lru(mem, pfn)
            at += 1
        else:
            at = lru_add_alike(mem, pfns, at, n)


@leaf
def lru_add_alike(mem: Mem, pfns: I64, at: int, n: int) -> int:
    """Put `pfns[at]`, and those behind it that go from the same pageblock to the same list, there.

    None of them is locked in memory. Returns the index behind the last one.
    """
    flags, before, after = mem.pages.flags, mem.pages.prev, mem.pages.next
    pfn = int(pfns[at])
    zone = zone_of(mem, pfn)
    low, high = pageblock_part(mem, pfn)
    kind = flags[pfn] & LRU_KIND
    lru = folio_lru_list(flags[pfn])
    number = lru_list(mem, mem.zone[zone, Z_NID], lru)
    head = int(mem.lists[number, L_HEAD])
    if head == 0:
        mem.lists[number, L_TAIL] = pfn
    first = at
    while at < n:
        pfn = int(pfns[at])
        if pfn < low or pfn >= high or flags[pfn] & LRU_KIND != kind:
            break
        flags[pfn] |= PG_lru
        after[pfn] = head
        if head:
            before[head] = pfn
        head = pfn
        at += 1
    before[head] = 0
    mem.lists[number, L_HEAD] = head
    mem.lists[number, L_COUNT] += at - first
    update_lru_size(mem, zone, lru, at - first)
    return at


@leaf
def folio_rotate_reclaimable(mem: Mem, pfn: int) -> bool:
    """Move a page that was just written for reclaim to the tail of its inactive list.

    Source: Linux 6.1 mm/swap.c:folio_rotate_reclaimable, :lru_move_tail_fn
    """
    flags = mem.pages.flags[pfn]
    if not flags & PG_lru or flags & (PG_locked | PG_dirty | PG_unevictable):
        return False
    lruvec_del_folio(mem, pfn)
    mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_active
    lruvec_add_folio(mem, pfn, True)
    mem.vm_event[PGROTATED] += 1
    return True


@leaf
def lru_lazyfree(mem: Mem, pfns: I64, n: int) -> None:
    """Move anonymous pages to the inactive list of files, whose pages need no swap.

    Source: Linux 6.1 mm/swap.c:lru_lazyfree_fn
    """
    for i in range(n):
        pfn = int(pfns[i])
        flags = mem.pages.flags[pfn]
        is_anon = flags & PG_anon and flags & PG_swapbacked and not flags & PG_swapcache
        if not is_anon or not flags & PG_lru or flags & PG_unevictable:
            continue
        lruvec_del_folio(mem, pfn)
        kept = mem.pages.flags[pfn] & (ALL_FLAGS ^ (PG_active | PG_referenced | PG_swapbacked))
        mem.pages.flags[pfn] = kept
        lruvec_add_folio(mem, pfn, False)
        mem.vm_event[PGLAZYFREE] += 1
