"""What accesses and faults do to page tables: touch, classify, map.

Linux: mm/memory.c (6.1): handle_pte_fault, do_anonymous_page; copy on write is in wp_page.py,
unmapping in zap.py.
Differs: Each leaf of the fault path does a run of pages that need the same thing. Allocating
frames, swap and LRU lists are left to its caller, which counts pgfault and pgmajfault too, as
handle_mm_fault does above these functions. What a page of a file needs where there is no PTE is in
mm/file/filemap_fault.py.

Interface: a run is `nr` touches of the pages vpn, vpn + stride, …; lengths count touches. Kinds of
fault and reasons to stop are the `FAULT_*` and `TOUCH_*` constants. A token lies in [0, 2**63).
Units: pages, nanoseconds.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.hw.tlb import (
    TLB_MISS,
    TLB_PFN_SHIFT,
    TLB_STORES,
    AccessCost,
    Tlb,
    tlb_enter,
    tlb_flush_range,
    tlb_lookup,
)
from kernelsim.mm.core.mem import (
    I64,
    Mem,
    PG_anon,
    PG_anon_exclusive,
    PG_swapbacked,
    PG_uptodate,
    node_at,
)
from kernelsim.mm.core.vmstat import NR_ANON_PAGES
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_NX,
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_SPECIAL,
    _PAGE_USER,
    MM_ANONPAGES,
    PT_BITS,
    PT_LEVELS,
    Mms,
    PageTables,
    get_pte,
    mk_pte,
    pte_pfn,
    walk,
)

# Why touch_present stopped
TOUCH_DONE: Final = 0
TOUCH_FAULT: Final = 1  # the next page needs the fault handler
TOUCH_TIME: Final = 2  # max_ns is used up

# What the fault handler has to do
FAULT_NONE_PRESENT: Final = 0  # nothing: the access is permitted (spurious)
FAULT_ANON: Final = 1  # no PTE
FAULT_ZERO_WP: Final = 2  # write to the shared zero page
FAULT_SWAP: Final = 3  # the page is on swap or in the swap cache
FAULT_WP: Final = 4  # write to a page mapped read-only
FAULT_FILE: Final = 5  # no PTE, and the mapping is one of a file
FAULT_MIGRATION: Final = 6  # the page is being moved to another frame

_READABLE: Final = _PAGE_PRESENT | _PAGE_USER
_WRITABLE: Final = _PAGE_PRESENT | _PAGE_USER | _PAGE_RW
_ANON_FLAGS: Final = PG_anon | PG_swapbacked | PG_uptodate | PG_anon_exclusive
_WRITTEN: Final = _WRITABLE | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_NX
_ZERO_PAGE: Final = _PAGE_PRESENT | _PAGE_SPECIAL
_NO_OWNER_MASK: Final = ~(PG_anon | PG_anon_exclusive) & 0xFFFF_FFFF


READ_MASK: Final = (1 << 61) - 1  # sums of tokens are cut to it


@inlined_leaf
def tlb_entry_of(pte: int) -> int:
    """Return what a TLB holds of a present PTE."""
    both = _PAGE_RW | _PAGE_DIRTY
    return (pte_pfn(pte) << TLB_PFN_SHIFT) | (TLB_STORES if pte & both == both else 0)


@inlined_leaf
def read_sum(mem: Mem, so_far: int, pfn: int) -> int:
    """Add what a load reads from a frame to what the loads before it read."""
    return int((so_far + (np.int64(mem.pages.token[pfn]) & READ_MASK)) & READ_MASK)


@leaf
def touch_present(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    tlb: Tlb,
    mm: int,
    asid: int,
    vpn: int,
    nr: int,
    stride: int,
    write: bool,
    token: int,
    max_ns: int,
    cost: AccessCost,
) -> tuple[int, int, int, int, int]:
    """Access a run of pages as the CPU does, up to the first fault or the end of the time.

    Each costs a TLB hit or a walk of every level, and an access to the memory of the frame's node.
    A walk sets the accessed bit, for a write the dirty bit, too; a fault drops the TLB's entry.

    Returns:
        Touches done, `TOUCH_*`, ns used (the last access may end after `max_ns`), TLB hits, and
        what loads read (`read_sum`).
    """
    entry, private, top = pt.entry, mem.pages.private, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    walk_ns = pt.state[PT_LEVELS] * cost.page_walk_step_ns
    permit = _WRITABLE if write else _READABLE
    set_bits = _PAGE_ACCESSED | (_PAGE_DIRTY if write else 0)
    elapsed = 0
    hits = 0
    row, end = 0, 0
    reason = TOUCH_DONE
    done = 0
    read = 0
    while done < nr:
        if elapsed >= max_ns:
            reason = TOUCH_TIME
            break
        held = tlb_lookup(tlb, asid, vpn)
        if held != TLB_MISS and (not write or held & TLB_STORES):
            pfn = held >> TLB_PFN_SHIFT
            hits += 1
            elapsed += cost.tlb_hit_ns
        else:
            if vpn >= end:
                row, end = walk(entry, pt.state, private, top, vpn)
            pte = get_pte(entry, row, vpn & mask) if row else 0
            if pte & permit != permit:
                if held != TLB_MISS:
                    tlb_flush_range(tlb, asid, vpn, 1)
                reason = TOUCH_FAULT
                break
            pfn = pte_pfn(pte)
            if pte & set_bits != set_bits:
                entry[row, vpn & mask] = pte | set_bits
            tlb_enter(tlb, asid, vpn, tlb_entry_of(pte | set_bits), held)
            elapsed += walk_ns
        if write:
            mem.pages.token[pfn] = token
        else:
            read = read_sum(mem, read, pfn)
        elapsed += cost.memory_ns[node_at(mem.block_zone, mem.split_zone, mem.zone, pfn)]
        done += 1
        vpn += stride
    return done, reason, elapsed, hits, read


@leaf
def fault_kind(pte: int, write: bool) -> int:
    """Say what an access to a page with this PTE needs."""
    if pte == 0:
        return FAULT_ANON
    if pte & _PAGE_PRESENT == 0:
        return FAULT_MIGRATION if pte & _PAGE_SPECIAL else FAULT_SWAP
    if not write or pte & _PAGE_RW:
        return FAULT_NONE_PRESENT
    return FAULT_ZERO_WP if pte & _PAGE_SPECIAL else FAULT_WP


@leaf
def fault_run(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm: int,
    vpn: int,
    nr_max: int,
    stride: int,
    write: bool,
) -> tuple[int, int]:
    """Classify a page that faulted and count how many touches from it on need the same.

    The caller has checked that the VMA permits the access over all `nr_max` touches.

    Returns:
        `FAULT_*` and the length, 1 … `nr_max`.

    Source: Linux 6.1 mm/memory.c:handle_pte_fault
    """
    entry, private, top = pt.entry, mem.pages.private, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    kind = -1
    length = 0
    while length < nr_max:
        row, end = walk(entry, pt.state, private, top, vpn)
        if row == 0:
            if kind not in (-1, FAULT_ANON):
                break
            kind = FAULT_ANON
            step = min((end - vpn + stride - 1) // stride, nr_max - length)
            length += step
            vpn += step * stride
            continue
        while vpn < end and length < nr_max:
            found = fault_kind(get_pte(entry, row, vpn & mask), write)
            if kind == -1:
                kind = found
            elif kind != found:
                return kind, length
            length += 1
            vpn += stride
    return kind, length


@inlined_leaf
def map_anon_page(
    mem: Mem, pt: PageTables, row: int, at: int, mm: int, vpn: int, pfn: int, token: int
) -> None:
    """Map a fresh frame, written and writable, in an entry of a table of PTEs.

    Source: Linux 6.1 mm/memory.c:do_anonymous_page
    """
    pages = mem.pages
    pt.entry[row, at] = mk_pte(pfn, _WRITTEN)
    pages.flags[pfn] |= np.uint32(_ANON_FLAGS)
    pages.mapcount[pfn] = 1
    pages.mapping[pfn] = mm
    pages.index[pfn] = vpn
    pages.token[pfn] = token
    mem.node_stat[node_at(mem.block_zone, mem.split_zone, mem.zone, pfn), NR_ANON_PAGES] += 1


@leaf
def map_anon(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    mm: int,
    vpn: int,
    nr: int,
    stride: int,
    pfns: I64,
    n: int,
    token: int,
) -> int:
    """Map fresh frames for stores where there is no PTE or only the shared zero page.

    The pages get an owner, mapcount 1 and are counted resident; putting them on an LRU list is
    left to the caller. The stores leave `token` in the pages.

    Returns:
        How many were mapped; fewer than min(nr, n) when a table is missing or a PTE is in use.

    Source: Linux 6.1 mm/memory.c:do_anonymous_page, :wp_page_copy
    """
    entry, private, top = pt.entry, mem.pages.private, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    row, end = 0, 0
    done = 0
    wanted = min(nr, n)
    while done < wanted:
        if vpn >= end:
            row, end = walk(entry, pt.state, private, top, vpn)
            if row == 0:
                break
        pte = get_pte(entry, row, vpn & mask)
        if pte != 0 and pte & _ZERO_PAGE != _ZERO_PAGE:
            break
        map_anon_page(mem, pt, row, vpn & mask, mm, vpn, int(pfns[done]), token)
        done += 1
        vpn += stride
    mms.rss[mm, MM_ANONPAGES] += done
    return done


@leaf
def map_zero(
    mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, nr: int, stride: int, zero_pfn: int
) -> int:
    """Map the shared zero page read-only where there is no PTE; nothing is counted resident.

    Returns:
        How many were mapped; fewer than `nr` when a table is missing or a PTE is in use.

    Source: Linux 6.1 mm/memory.c:do_anonymous_page
    """
    entry, private, top = pt.entry, mem.pages.private, int(mms.pgd_row[mm])
    mask = (1 << pt.state[PT_BITS]) - 1
    pte = mk_pte(zero_pfn, _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_SPECIAL | _PAGE_NX)
    row, end = 0, 0
    done = 0
    while done < nr:
        if vpn >= end:
            row, end = walk(entry, pt.state, private, top, vpn)
            if row == 0:
                break
        if get_pte(entry, row, vpn & mask) != 0:
            break
        entry[row, vpn & mask] = pte
        done += 1
        vpn += stride
    return done
