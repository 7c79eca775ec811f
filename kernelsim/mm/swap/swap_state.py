"""The swap cache: pages that are in memory and have a swap slot.

Linux: mm/swap_state.c (6.1).
Differs: The swap cache is a column of `SwapArea` instead of a radix tree for each 64 MB, so adding
a page cannot fail for want of memory; it takes what the nodes would (swap_slab.py).

Interface: reclaim enters a page it is going to write with `add_to_swap_cache`; a fault enters fresh
ones with `begin_swap_read`, locked until the disk has filled them (page_io.py).
Counters: pgpgin in kB as /proc/vmstat prints it; pswpin when a read is submitted.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.folio_batch import lru_gen_in_fault
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    Mem,
    PG_locked,
    PG_readahead,
    PG_swapbacked,
    PG_swapcache,
    nid_of,
)
from kernelsim.mm.core.swap import (
    ALL_FLAGS,
    folio_add_lru,
)
from kernelsim.mm.core.vmstat import (
    NR_FILE_PAGES,
    NR_SWAPCACHED,
    PGPGIN,
    PSWPIN,
    SWAP_RA,
)
from kernelsim.mm.core.workingset import workingset_refault
from kernelsim.mm.swap.swap_area import SS_FREE, SWAP_HAS_CACHE, SwapArea
from kernelsim.mm.swap.swap_slab import swap_bio_alloc, swap_node_get, swap_node_put
from kernelsim.mm.swap.swapfile import put_swap_slot

# Why map_swapcache_run stopped

_READ_FLAGS: Final = PG_locked | PG_swapbacked | PG_swapcache


@leaf
def add_to_swap_cache(mem: Mem, swap: SwapArea, pfn: int, slot: int) -> None:
    """Enter a page in the swap cache under a slot that was taken for it.

    Source: Linux 6.1 mm/swap_state.c:add_to_swap_cache
    """
    nid = nid_of(mem, pfn)
    mem.pages.flags[pfn] |= PG_swapcache
    mem.pages.private[pfn] = slot
    swap.cache_pfn[slot] = pfn
    if swap.shadow[slot] == 0:
        swap_node_get(swap, slot, nid)
    swap.shadow[slot] = 0
    mem.node_stat[nid, NR_FILE_PAGES] += 1
    mem.node_stat[nid, NR_SWAPCACHED] += 1


@leaf
def delete_from_swap_cache(mem: Mem, swap: SwapArea, pfn: int, shadow: int) -> None:
    """Take a page out of the swap cache, leaving a shadow, and drop the cache's hold on the slot.

    Source: Linux 6.1 mm/swap_state.c:delete_from_swap_cache
    """
    nid = nid_of(mem, pfn)
    slot = mem.pages.private[pfn]
    mem.pages.flags[pfn] &= ALL_FLAGS ^ PG_swapcache
    mem.pages.private[pfn] = 0
    swap.cache_pfn[slot] = 0
    swap.shadow[slot] = shadow
    if shadow == 0:
        swap_node_put(swap, slot)
    mem.node_stat[nid, NR_FILE_PAGES] -= 1
    mem.node_stat[nid, NR_SWAPCACHED] -= 1
    put_swap_slot(swap, slot)


@leaf
def begin_swap_read(
    mem: Mem,
    swap: SwapArea,
    lruvec: I64_2D,
    slots: I64,
    pfns: I64,
    n: int,
    target_slot: int,
    in_fault: bool,
) -> None:
    """Enter fresh pages for `slots[:n]` in the swap cache, locked, and put them on their lists.

    The caller then reads the slots from the device. All pages but that of `target_slot`
    are readahead. A page whose eviction is remembered may start on the active list. `in_fault`: a
    page fault wants them.

    Source: Linux 6.1 mm/swap_state.c:__read_swap_cache_async, :swap_vma_readahead
    """
    for i in range(n):
        pfn, slot = int(pfns[i]), int(slots[i])
        shadow = int(swap.shadow[slot])
        flags = _READ_FLAGS if slot == target_slot else _READ_FLAGS | PG_readahead
        mem.pages.flags[pfn] |= flags
        mem.pages.mapcount[pfn] = 0
        swap.map[slot] |= SWAP_HAS_CACHE
        add_to_swap_cache(mem, swap, pfn, slot)
        swap_bio_alloc(swap, slot, nid_of(mem, pfn))
        if shadow:
            workingset_refault(mem, lruvec, pfn, shadow, swap.state[SS_FREE], in_fault)
        if in_fault:
            lru_gen_in_fault(mem, pfn)
        folio_add_lru(mem, pfn)
        if slot != target_slot:
            mem.vm_event[SWAP_RA] += 1
    mem.vm_event[PSWPIN] += n
    mem.vm_event[PGPGIN] += 4 * n
