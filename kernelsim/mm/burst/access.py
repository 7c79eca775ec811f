"""Accesses inside a burst: which is next, and what it costs when the page is there.

Interface: `next_access` and `advance` go through what a CPU was asked to do; `access_page` does one
access; `may_enter` tells whether a fault on a page can be served inside the burst.
Units: ns, virtual page numbers.
"""

from kernelsim.hw.leaf import inlined_leaf
from kernelsim.hw.tlb import (
    TLB_MISS,
    TLB_PFN_SHIFT,
    TLB_STORES,
    Tlb,
    tlb_enter,
    tlb_flush_range,
    tlb_lookup,
)
from kernelsim.mm.burst.columns import (
    B_ASID,
    B_AT,
    B_DONE,
    B_FILE,
    B_LEFT,
    B_LISTED,
    B_MM,
    B_NID,
    B_READ,
    B_ROW,
    B_SPREADS_TABLES,
    B_STRIDE,
    B_TABLE,
    B_TARGET,
    B_TOKEN,
    B_VPN,
    B_WRITE,
    C_TLB_HIT,
    C_WALK_STEP,
    Burst,
)
from kernelsim.mm.core.mem import (
    Mem,
    PG_anon,
    PG_anon_exclusive,
    PG_locked,
    PG_swapcache,
    node_at,
)
from kernelsim.mm.space.memory import (
    FAULT_ANON,
    FAULT_MIGRATION,
    FAULT_SWAP,
    FAULT_WP,
    fault_kind,
    read_sum,
    tlb_entry_of,
)
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_DIRTY,
    _PAGE_PRESENT,
    _PAGE_RW,
    _PAGE_USER,
    PT_BITS,
    PT_LEVELS,
    Mms,
    PageTables,
    get_pte,
    pte_pfn,
    pte_swap_slot,
    walk,
)
from kernelsim.mm.swap.swap_area import SwapArea


@inlined_leaf
def next_access(burst: Burst, cpu: int) -> tuple[int, bool]:
    """Return the page of a CPU's next access, and whether it is a store."""
    run = burst.run[cpu]
    if run[B_LISTED]:
        packed = int(burst.access[cpu, run[B_AT]])
        return packed >> 1, packed & 1 != 0
    return int(run[B_VPN]), run[B_WRITE] != 0


@inlined_leaf
def advance(burst: Burst, cpu: int) -> None:
    """Note that an access was done."""
    run = burst.run[cpu]
    run[B_DONE] += 1
    run[B_LEFT] -= 1
    run[B_AT] += 1
    run[B_VPN] += run[B_STRIDE]


@inlined_leaf
def row_of(mem: Mem, pt: PageTables, mms: Mms, burst: Burst, cpu: int, vpn: int) -> int:
    """Return the row of a page's table of PTEs; 0 if there is none.

    A table does not go while its process accesses memory, so the last one is remembered.
    """
    run = burst.run[cpu]
    table = vpn >> pt.state[PT_BITS]
    if run[B_ROW] and run[B_TABLE] == table:
        return int(run[B_ROW])
    row, _ = walk(pt.entry, pt.state, mem.pages.private, int(mms.pgd_row[run[B_MM]]), vpn)
    run[B_TABLE] = table
    run[B_ROW] = row
    return row


@inlined_leaf
def access_page(
    mem: Mem, pt: PageTables, mms: Mms, burst: Burst, cpu: int, vpn: int, write: bool
) -> int:
    """Access a page as the CPU does; return what it costs, or -1 when the page is not there.

    A TLB hit or a walk of every level, and an access to the memory of the frame's node. A walk sets
    the accessed bit, and for a store the dirty bit; a store leaves its token in the frame.
    """
    run = burst.run[cpu]
    tlb = Tlb(burst.tlb_tag[cpu], burst.tlb_entry[cpu], burst.tlb_victim[cpu])
    held = tlb_lookup(tlb, int(run[B_ASID]), vpn)
    if held != TLB_MISS and (not write or held & TLB_STORES):
        pfn = held >> TLB_PFN_SHIFT
        tlb_ns = int(burst.cost[C_TLB_HIT])
    else:
        pfn = walk_to_page(mem, pt, mms, burst, cpu, vpn, write, tlb, held)
        if pfn < 0:
            return -1
        tlb_ns = int(pt.state[PT_LEVELS] * burst.cost[C_WALK_STEP])
    if write:
        mem.pages.token[pfn] = run[B_TOKEN]
    else:
        run[B_READ] = read_sum(mem, int(run[B_READ]), pfn)
    nid = node_at(mem.block_zone, mem.split_zone, mem.zone, pfn)
    run[B_TARGET] = nid
    return tlb_ns + int(burst.memory_ns[run[B_NID], nid])


@inlined_leaf
def walk_to_page(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    burst: Burst,
    cpu: int,
    vpn: int,
    write: bool,
    tlb: Tlb,
    held: int,
) -> int:
    """Walk to a page and enter it in the TLB; return its frame, or -1 for a fault.

    A fault drops what the TLB had.
    """
    run = burst.run[cpu]
    row = row_of(mem, pt, mms, burst, cpu, vpn)
    at = vpn & ((1 << pt.state[PT_BITS]) - 1)
    pte = get_pte(pt.entry, row, at) if row else 0
    permit = _PAGE_PRESENT | _PAGE_USER | (_PAGE_RW if write else 0)
    if pte & permit != permit:
        if held != TLB_MISS:
            tlb_flush_range(tlb, int(run[B_ASID]), vpn, 1)
        return -1
    pte |= _PAGE_ACCESSED | (_PAGE_DIRTY if write else 0)
    pt.entry[row, at] = pte
    tlb_enter(tlb, int(run[B_ASID]), vpn, tlb_entry_of(pte), held)
    return pte_pfn(pte)


@inlined_leaf
def may_enter(
    mem: Mem,
    pt: PageTables,
    mms: Mms,
    swap: SwapArea,
    burst: Burst,
    cpu: int,
    vpn: int,
    write: bool,
) -> bool:
    """Tell whether a fault looks as if it could be served inside the burst."""
    row = row_of(mem, pt, mms, burst, cpu, vpn)
    is_file = burst.run[cpu, B_FILE] != 0
    if row == 0:
        return not is_file and not burst.run[cpu, B_SPREADS_TABLES]  # the tables can be built
    pte = get_pte(pt.entry, row, vpn & ((1 << pt.state[PT_BITS]) - 1))
    kind = fault_kind(pte, write)
    if kind == FAULT_MIGRATION or (kind == FAULT_ANON and is_file):
        return False
    if kind == FAULT_SWAP:
        pfn = int(swap.cache_pfn[pte_swap_slot(pte)])
        return pfn != 0 and mem.pages.flags[pfn] & PG_locked == 0
    if kind == FAULT_WP:
        pfn = pte_pfn(pte)
        flags = mem.pages.flags[pfn]
        if flags & PG_anon == 0:
            return False
        if flags & PG_anon_exclusive:
            return True
        return mem.pages.mapcount[pfn] <= 1 and flags & PG_swapcache == 0
    return True
