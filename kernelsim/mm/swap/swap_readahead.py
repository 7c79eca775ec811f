"""How much to read around a fault on swap: around the address, or around the slot.

Linux: mm/swap_state.c:swap_vma_readahead, used when all swap devices seek for free, and
:swap_cluster_readahead, used when one does not (6.1).
Differs: Swap readahead reckons with 512 entries to a table of PTEs on every architecture.

Interface: the caller keeps one number for each VMA, 0 at first. `swap_ra_info` is asked at a major
fault, `swap_ra_hit` is told of faults whose pages were cached; both return the VMA's new number.
Where seeking costs, the machine keeps one `ClusterReadahead`: its window is an aligned block of
slots, of any process.
Units: page numbers and pages; slots.
"""

from typing import Final

import attrs

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import I64, Mem
from kernelsim.mm.space.pgtable import (
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    is_swap_pte,
    pte_span,
    pte_swap_slot,
)
from kernelsim.mm.swap.swap_area import SWAP_MAP_BAD, SwapArea, swap_count

SWAP_RA_ORDER_CEILING: Final = 5  # log2 pages
SWAP_RA_WIN_SHIFT: Final = 6  # PAGE_SHIFT / 2
SWAP_RA_HITS_MASK: Final = (1 << SWAP_RA_WIN_SHIFT) - 1
SWAP_RA_HITS_MAX: Final = SWAP_RA_HITS_MASK
SWAP_RA_START: Final = 4  # hits credited to a VMA that never swapped in
_PTES_OF_A_PMD: Final = 512


def swap_ra_info(
    ra_val: int, vpn: int, *, vma_start_vpn: int, vma_end_vpn: int, page_cluster: int
) -> tuple[int, int, int]:
    """Choose the pages around a fault that are read with it.

    Args:
        ra_val: The VMA's readahead state: 0 at first, then what this and `swap_ra_hit` return.
        vpn: Page that faulted.
        vma_start_vpn: First page of the VMA.
        vma_end_vpn: First page behind it.
        page_cluster: sysctl vm.page-cluster, log2 of the largest window.

    Returns:
        New `ra_val`, and the window [start, end) in page numbers; it stays inside the VMA and
        inside the faulting page's table of PTEs.

    Source: Linux 6.1 mm/swap_state.c:swap_ra_info
    """
    max_win = 1 << min(page_cluster, SWAP_RA_ORDER_CEILING)
    if max_win == 1:
        return ra_val, vpn, vpn + 1
    previous, previous_win, hits = unpack_ra(ra_val)
    win = swapin_nr_pages(previous, vpn, hits, max_win, previous_win)
    ra_val = pack_ra(vpn, win, 0)
    if win == 1:
        return ra_val, vpn, vpn + 1
    if vpn == previous + 1:
        left = vpn
    elif previous == vpn + 1:
        left = vpn - win + 1
    else:
        left = vpn - (win - 1) // 2
    table = vpn & ~(_PTES_OF_A_PMD - 1)
    start = max(left, vma_start_vpn, table)
    end = min(left + win, vma_end_vpn, table + _PTES_OF_A_PMD)
    return ra_val, start, end


def swapin_nr_pages(previous: int, vpn: int, hits: int, max_pages: int, previous_win: int) -> int:
    """Return the size of the window: larger after hits, shrinking by half at most.

    Source: Linux 6.1 mm/swap_state.c:__swapin_nr_pages
    """
    pages = hits + 2
    if pages == 2:
        if vpn not in (previous + 1, previous - 1):
            pages = 1
    else:
        pages = max(4, 1 << (pages - 1).bit_length())
    return max(min(pages, max_pages), previous_win // 2)


def swap_ra_hit(ra_val: int, last_vpn: int, *, hits: int) -> int:
    """Return the VMA's readahead state after faults found their pages cached.

    Args:
        ra_val: State before.
        last_vpn: The page of the last of these faults.
        hits: How many of their pages readahead had brought.

    Source: Linux 6.1 mm/swap_state.c:swap_cache_get_folio
    """
    _, win, before = unpack_ra(ra_val)
    return pack_ra(last_vpn, win, min(before + hits, SWAP_RA_HITS_MAX))


def pack_ra(vpn: int, win: int, hits: int) -> int:
    """Pack a readahead state: page number, window and hits."""
    return vpn << (2 * SWAP_RA_WIN_SHIFT) | win << SWAP_RA_WIN_SHIFT | hits


def unpack_ra(ra_val: int) -> tuple[int, int, int]:
    """Unpack a readahead state; a VMA that has none yet starts with some hits to its credit."""
    if ra_val == 0:
        ra_val = SWAP_RA_START
    win = ra_val >> SWAP_RA_WIN_SHIFT & SWAP_RA_HITS_MASK
    return ra_val >> (2 * SWAP_RA_WIN_SHIFT), win, ra_val & SWAP_RA_HITS_MASK


@attrs.define
class ClusterReadahead:
    """Readahead of all swap of a machine with a rotating swap disk.

    Attributes:
        previous: Slot of the last fault that came without hits before it.
        previous_win: Size of the last window.
        hits: Faults since then whose pages readahead had brought.
    """

    previous: int = 0
    previous_win: int = 0
    hits: int = SWAP_RA_START

    def window(self, slot: int, *, page_cluster: int) -> tuple[int, int]:
        """Choose the block of slots [start, end) that is read with a slot.

        Source: Linux 6.1 mm/swap_state.c:swapin_nr_pages, :swap_cluster_readahead
        """
        max_pages = 1 << page_cluster
        if max_pages == 1:
            return slot, slot + 1
        hits, self.hits = self.hits, 0
        pages = swapin_nr_pages(self.previous, slot, hits, max_pages, self.previous_win)
        if not hits:
            self.previous = slot
        self.previous_win = pages
        start = slot & ~(pages - 1)
        return start, start + pages


@inlined_leaf
def is_missing(swap: SwapArea, slot: int) -> bool:
    """Tell whether entries name a slot and the cache has it not."""
    return bool(swap.cache_pfn[slot] == 0 and swap_count(swap, slot) != 0)


@leaf
def missing_slots(swap: SwapArea, slots: I64, n: int) -> int:
    """Keep those of `slots[:n]` that entries name and the cache has not; return how many."""
    nr_missing = 0
    for i in range(n):
        slot = int(slots[i])
        if is_missing(swap, slot):
            slots[nr_missing] = slot
            nr_missing += 1
    return nr_missing


@leaf
def still_missing_slots(swap: SwapArea, slots: I64, n: int, target: int) -> int:
    """Keep what is missing of a window of `n` slots; return how many.

    A target that the window had no page for comes first, in place of the last one.
    """
    nr_missing = missing_slots(swap, slots, n)
    for i in range(nr_missing):
        if slots[i] == target:
            return nr_missing
    if n == 0 or not is_missing(swap, target):
        return nr_missing
    nr_missing = min(nr_missing + 1, n)
    for i in range(nr_missing - 1, 0, -1):
        slots[i] = slots[i - 1]
    slots[0] = target
    return nr_missing


@leaf
def cluster_slots(swap: SwapArea, start: int, end: int, out: I64) -> int:
    """Collect those of the slots [start, end) that entries name and the cache has not.

    Source: Linux 6.1 mm/swap_state.c:swap_cluster_readahead, :__read_swap_cache_async
    """
    found = 0
    for slot in range(start, min(end, len(swap.map))):
        if swap.map[slot] != SWAP_MAP_BAD and swap_count(swap, slot) and not swap.cache_pfn[slot]:
            out[found] = slot
            found += 1
    return found


@leaf
def swapin_slots(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, mm: int, start: int, end: int, out: I64
) -> int:
    """Collect the slots named by the entries of pages [start, end) that are not in the cache.

    The range lies in one table of PTEs. Returns how many are in `out`, in rising address order.

    Source: Linux 6.1 mm/swap_state.c:swap_vma_readahead
    """
    mask = (1 << pt.state[PT_BITS]) - 1
    row, _ = pte_span(mem, pt, mms, mm, start)
    found = 0
    if row == 0:
        return 0
    for vpn in range(start, end):
        pte = get_pte(pt.entry, row, vpn & mask)
        if is_swap_pte(pte):
            slot = pte_swap_slot(pte)
            if swap.cache_pfn[slot] == 0:
                out[found] = slot
                found += 1
    return found
