"""Pages locked in memory: the mark, the count of locks, and the unevictable list.

Linux: mm/mlock.c, 6.1.
A page that a locked mapping maps has PG_mlocked from the moment it is mapped; it comes to the
unevictable list under lru_lock, when it is on a list at all. `mlock_count` says how many mappings
lock it, as far as that is known: it is lost when the page is off the unevictable list meanwhile,
and may be too low, never too high.
Differs: Reclaim does not look whether a mapping is locked: a page whose mlock_count was too low can
be evicted when the first of its locks is taken off.
Interface: `mlock_new_folio` for a page that was just mapped, `mlock_folio` marks one that is in
use; `mlock_folios` and `munlock_folios` move a batch of them under lru_lock. `mlock_count` reads
the count.
Units: pages.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import (
    I64,
    MLOCK_COUNT_MASK,
    MLOCK_COUNT_MAX,
    MLOCK_COUNT_SHIFT,
    Mem,
    PG_active,
    PG_lru,
    PG_mlocked,
    PG_unevictable,
    zone_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS, lruvec_add_folio, lruvec_del_folio
from kernelsim.mm.core.vmstat import (
    NR_MLOCK,
    UNEVICTABLE_PGS_CLEARED,
    UNEVICTABLE_PGS_CULLED,
    UNEVICTABLE_PGS_MLOCKED,
    UNEVICTABLE_PGS_MUNLOCKED,
    UNEVICTABLE_PGS_RESCUED,
    UNEVICTABLE_PGS_STRANDED,
)


@leaf
def mlock_count(mem: Mem, pfn: int) -> int:
    """Return how many mappings are known to lock a page."""
    return int(mem.pages.flags[pfn]) >> MLOCK_COUNT_SHIFT


@leaf
def set_mlock_count(mem: Mem, pfn: int, count: int) -> None:
    """Note how many mappings lock a page, up to 15; more are not counted."""
    flags = mem.pages.flags[pfn] & (ALL_FLAGS ^ MLOCK_COUNT_MASK)
    mem.pages.flags[pfn] = flags | min(count, MLOCK_COUNT_MAX) << MLOCK_COUNT_SHIFT


@leaf
def mlock_new_folio(mem: Mem, pfn: int) -> None:
    """Mark a page that was just mapped and is on no list yet; the folio_batch takes it there.

    Source: Linux 6.1 mm/mlock.c:mlock_new_page
    """
    mlock_folio(mem, pfn)
    set_mlock_count(mem, pfn, 1)


@inlined_leaf
def mlock_folio(mem: Mem, pfn: int) -> None:
    """Mark a page as locked and count it, unless it is marked already.

    Source: Linux 6.1 mm/mlock.c:mlock_folio
    """
    if mem.pages.flags[pfn] & PG_mlocked == 0:
        mem.pages.flags[pfn] |= PG_mlocked
        mem.zone_stat[zone_of(mem, pfn), NR_MLOCK] += 1
        mem.vm_event[UNEVICTABLE_PGS_MLOCKED] += 1


@leaf
def mlock_folios(mem: Mem, pfns: I64, n: int) -> None:
    """Move marked pages to the unevictable list, or count one lock more of those that are there.

    One that is off its list comes there when it is put back.

    Source: Linux 6.1 mm/mlock.c:__mlock_page
    """
    for i in range(n):
        pfn = int(pfns[i])
        flags = mem.pages.flags[pfn]
        if not flags & PG_lru or not flags & PG_mlocked:
            continue
        if flags & PG_unevictable:
            set_mlock_count(mem, pfn, mlock_count(mem, pfn) + 1)
            continue
        lruvec_del_folio(mem, pfn)
        flags = mem.pages.flags[pfn]
        mem.pages.flags[pfn] = (flags | PG_unevictable) & (ALL_FLAGS ^ PG_active)
        set_mlock_count(mem, pfn, 1)
        lruvec_add_folio(mem, pfn, False)
        mem.vm_event[UNEVICTABLE_PGS_CULLED] += 1


@leaf
def munlock_folios(mem: Mem, pfns: I64, n: int) -> None:
    """Take a lock off each page; one that has none left is like any other again.

    Source: Linux 6.1 mm/mlock.c:__munlock_page
    """
    for i in range(n):
        pfn = int(pfns[i])
        flags = mem.pages.flags[pfn]
        on_list = flags & PG_lru != 0
        if on_list and flags & PG_unevictable:
            count = max(0, mlock_count(mem, pfn) - 1)
            set_mlock_count(mem, pfn, count)
            if count:
                continue
        if flags & PG_mlocked:
            clear_mlocked(mem, pfn)
            stranded = not on_list and flags & PG_unevictable
            mem.vm_event[UNEVICTABLE_PGS_STRANDED if stranded else UNEVICTABLE_PGS_MUNLOCKED] += 1
        if on_list and flags & PG_unevictable:
            lruvec_del_folio(mem, pfn)
            mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_unevictable
            lruvec_add_folio(mem, pfn, False)
            mem.vm_event[UNEVICTABLE_PGS_RESCUED] += 1


@leaf
def clear_mlocked(mem: Mem, pfn: int) -> None:
    """Take the mark off a page, and count it as not locked."""
    mem.pages.flags[pfn] &= ALL_FLAGS ^ (PG_mlocked | MLOCK_COUNT_MASK)
    mem.zone_stat[zone_of(mem, pfn), NR_MLOCK] -= 1


@inlined_leaf
def forget_mlocked(mem: Mem, pfn: int) -> None:
    """Count a locked page that is freed no more as locked."""
    if mem.pages.flags[pfn] & PG_mlocked:
        clear_mlocked(mem, pfn)
        mem.vm_event[UNEVICTABLE_PGS_CLEARED] += 1


@inlined_leaf
def page_cache_release(mem: Mem, pfn: int) -> None:
    """Take a page that nobody uses any more off its list, bare of all flags, to be freed.

    Source: Linux 6.1 mm/swap.c:__page_cache_release
    """
    if mem.pages.flags[pfn] & PG_lru:
        lruvec_del_folio(mem, pfn)
    forget_mlocked(mem, pfn)
    mem.pages.flags[pfn] = 0
