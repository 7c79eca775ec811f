"""The steps of a fault inside a burst: allocate, clear, map, put on the LRU.

Linux: mm/memory.c:do_anonymous_page, :__pte_alloc, mm/page_alloc.c:rmqueue_pcplist,
mm/swap.c:folio_add_lru, 6.1.
Each step happens at its time and says when the next one does. The fault handler's actor takes the
same steps, one await each. A missing page table is allocated and cleared as a page is; when it is
in its place the fault is looked at again.

Interface: `fault_step` for what is due once the kernel has been entered.
Units: ns, pages.
"""

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.burst.access import access_page, advance, next_access, row_of, stop
from kernelsim.mm.burst.bands import note_bands
from kernelsim.mm.burst.columns import (
    B_BEGAN,
    B_ENTERED,
    B_FAULT_LOCK_NS,
    B_FAULT_NS,
    B_FIRST_VPN,
    B_FOR,
    B_HITS,
    B_HOLD,
    B_KIND,
    B_LAST_HIT,
    B_LOCK_BEGAN,
    B_LOCK_NS,
    B_MM,
    B_NID,
    B_NR_FAULTS,
    B_NR_ZERO,
    B_PFN,
    B_PHASE,
    B_SLICE_END,
    B_STIME,
    B_STOLEN,
    B_TIME,
    B_TOKEN,
    B_USER_NS,
    B_UTIME,
    B_ZONE,
    C_CLEAR_PAGE,
    C_CONTROLLER_PAGE,
    C_LINK_PAGE,
    C_LRU_HOLD_PAGE,
    C_PTE_SET,
    C_ZERO_PFN,
    C_ZONE_HOLD_PAGE,
    CALL_BOOSTED,
    CALL_EXTFRAG,
    CALL_FREE,
    CALL_NOTHING,
    CLEAR,
    FAULT,
    FOR_PAGE,
    FOR_TABLE,
    LRU,
    MAP,
    R_ALLOC_FLAGS,
    R_HIGHEST,
    R_MIGRATETYPE,
    R_NR_ZONES,
    R_PREFERRED,
    R_ZONES,
    REFILL,
    RETURN,
    STOP_DRAIN,
    STOP_ENTERED,
    TRAFFIC,
    USER,
    Burst,
)
from kernelsim.mm.burst.servers import (
    controller,
    drawn_ns,
    is_queued,
    link,
    lru_lock,
    note_hold,
    pass_traffic,
    take_lock,
)
from kernelsim.mm.core.folio_batch import (
    folio_batch_add,
    folio_batch_move_lru,
    folio_batch_run,
)
from kernelsim.mm.core.mem import (
    I64,
    L_COUNT,
    Z_BOOSTED_WATERMARK,
    Z_FREE,
    Z_NID,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
    pcp_list,
)
from kernelsim.mm.core.vmstat import PGFAULT
from kernelsim.mm.page.page_alloc import watermark_floor
from kernelsim.mm.page.pcp import alloc_pages_bulk, refill_batch, take_listed_page
from kernelsim.mm.space.memory import (
    FAULT_ANON,
    FAULT_SWAP,
    FAULT_WP,
    FAULT_ZERO_WP,
    fault_kind,
    map_anon_page,
    map_zero,
)
from kernelsim.mm.space.pgtable import (
    MM_ANONPAGES,
    PT_BITS,
    Mms,
    PageTables,
    get_pte,
    install_tables,
)
from kernelsim.mm.space.wp_page import wp_page_reuse
from kernelsim.mm.swap.do_swap_page import map_swapcache_run
from kernelsim.mm.swap.swap_area import SwapArea


@inlined_leaf
def begin_fault(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, cpu: int, before_ns: int
) -> int:
    """Look at a fault whose entry has been paid: serve it, or begin to get a page for it.

    Returns CALL_* for the actors.

    Source: Linux 6.1 mm/memory.c:handle_pte_fault
    """
    run = burst.run[cpu]
    now_ns, mm = int(run[B_TIME]), int(run[B_MM])
    vpn, write = next_access(burst, cpu)
    row = row_of(mem, pt, mms, burst, cpu, vpn)
    kind = FAULT_ANON
    if row:
        kind = fault_kind(get_pte(pt.entry, row, vpn & ((1 << pt.state[PT_BITS]) - 1)), write)
    run[B_KIND] = kind
    served = 1
    if row == 0 or (kind == FAULT_ANON and write) or kind == FAULT_ZERO_WP:
        run[B_FOR] = FOR_PAGE if row else FOR_TABLE
        return allocate(mem, burst, cpu, now_ns)
    if kind == FAULT_ANON:
        served = map_zero(mem, pt, mms, mm, vpn, 1, 1, int(burst.cost[C_ZERO_PFN]))
    elif kind == FAULT_SWAP:
        served, _, hits = map_swapcache_run(
            mem, pt, mms, swap, mm, vpn, 1, 1, write, int(run[B_TOKEN])
        )
        if served:
            run[B_HITS] += hits
            run[B_LAST_HIT] = vpn
    elif kind == FAULT_WP:
        served = wp_page_reuse(mem, pt, mms, mm, vpn, 1, 1)
    if served == 0:
        stop(burst, cpu, STOP_ENTERED)
        return CALL_NOTHING
    run[B_USER_NS] = access_page(mem, pt, mms, burst, cpu, vpn, write)
    finish(mem, burst, cpu, now_ns, before_ns)
    return CALL_NOTHING


@inlined_leaf
def allocate(mem: Mem, burst: Burst, cpu: int, now_ns: int) -> int:
    """Take a page from the CPU's list, or queue for zone->lock to refill it; return CALL_*.

    Source: Linux 6.1 mm/page_alloc.c:get_page_from_freelist, :rmqueue_pcplist
    """
    run = burst.run[cpu]
    request = burst.request[cpu, run[B_FOR]]
    zone = zone_above(mem, request, Z_WMARK_LOW, 0)
    if zone < 0 and may_go_below_low(mem, burst, cpu):
        zone = zone_above(mem, request, Z_WMARK_MIN, int(request[R_ALLOC_FLAGS]))
    if zone < 0:
        stop(burst, cpu, STOP_ENTERED)
        return CALL_NOTHING
    run[B_ZONE] = zone
    migratetype = int(request[R_MIGRATETYPE])
    if mem.lists[pcp_list(mem, zone, cpu, migratetype), L_COUNT]:
        nid, preferred_nid = int(run[B_NID]), int(request[R_PREFERRED])
        run[B_PFN] = take_listed_page(mem, zone, cpu, nid, preferred_nid, migratetype)
        burst.granted[mem.zone[zone, Z_NID]] += 1
        run[B_PHASE] = CLEAR
        return CALL_BOOSTED if mem.zone[zone, Z_BOOSTED_WATERMARK] else CALL_NOTHING
    if is_queued(burst, zone):
        stop(burst, cpu, STOP_ENTERED)
        return CALL_NOTHING
    hold_ns = int(burst.cost[C_ZONE_HOLD_PAGE]) * refill_batch(mem, zone)
    hold_ns = drawn_ns(burst, cpu, hold_ns)
    hold_ns = hold_ns * int(burst.distance[run[B_NID], mem.zone[zone, Z_NID]]) // 10
    run[B_BEGAN] = now_ns
    run[B_HOLD] = hold_ns
    run[B_TIME] = take_lock(burst, zone, now_ns, hold_ns)
    run[B_PHASE] = REFILL
    return CALL_NOTHING


@inlined_leaf
def zone_above(mem: Mem, request: I64, mark: int, alloc_flags: int) -> int:
    """Return the first zone with more free pages than a watermark asks for, -1 for none."""
    highest = int(request[R_HIGHEST])
    for i in range(R_ZONES, R_ZONES + request[R_NR_ZONES]):
        zone = int(request[i])
        if mem.zone[zone, Z_FREE] > watermark_floor(mem, zone, mark, highest, alloc_flags):
            return zone
    return -1


@leaf
def may_go_below_low(mem: Mem, burst: Burst, cpu: int) -> bool:
    """Tell whether every kswapd that a request below low has to tell is at work already.

    Nor may the task have to give way, as it does there if its time is over.

    Source: Linux 6.1 mm/page_alloc.c:wake_all_kswapds
    """
    run = burst.run[cpu]
    if run[B_TIME] >= run[B_SLICE_END]:
        return False
    request = burst.request[cpu, run[B_FOR]]
    zones = request[R_ZONES : R_ZONES + request[R_NR_ZONES]]
    for zone in zones:
        if burst.kswapd_asleep[mem.zone[zone, Z_NID]]:
            return False
    for zone in zones:
        nid = mem.zone[zone, Z_NID]
        burst.kswapd_wanted[nid] = max(burst.kswapd_wanted[nid], request[R_HIGHEST] + 1)
    return True


@leaf
def take_page(mem: Mem, burst: Burst, cpu: int) -> bool:
    """Take one page of the zone from the CPU's list, refilling it if it is empty."""
    run = burst.run[cpu]
    request = burst.request[cpu, run[B_FOR]]
    zone, preferred_nid = int(run[B_ZONE]), int(request[R_PREFERRED])
    got, _ = alloc_pages_bulk(
        mem, zone, cpu, int(run[B_NID]), preferred_nid, int(request[R_MIGRATETYPE]), -1, 1,
        burst.spare, 0,
    )  # fmt: skip
    run[B_PFN] = burst.spare[0]
    burst.granted[mem.zone[zone, Z_NID]] += got
    return got == 1


@leaf
def refill(mem: Mem, burst: Burst, cpu: int) -> int:
    """Refill the CPU's list under zone->lock and take a page; return CALL_* for the actors."""
    run = burst.run[cpu]
    zone = int(run[B_ZONE])
    note_hold(burst, zone, cpu)
    got = take_page(mem, burst, cpu)
    note_bands(mem, burst, int(mem.zone[zone, Z_NID]), int(run[B_TIME]))
    run[B_TIME] += run[B_HOLD]
    lock_ns = run[B_TIME] - run[B_BEGAN]
    run[B_LOCK_NS] += lock_ns
    run[B_STIME] += lock_ns
    if got:
        run[B_PHASE] = CLEAR
    else:
        stop(burst, cpu, STOP_ENTERED)
    if mem.zone[zone, Z_BOOSTED_WATERMARK]:
        return CALL_BOOSTED
    return CALL_EXTFRAG if mem.extfrag[0, 0] else CALL_NOTHING


@inlined_leaf
def clear(mem: Mem, burst: Burst, cpu: int) -> None:
    """Begin to clear the page: its bytes cross the interconnect if it lies on another node."""
    run = burst.run[cpu]
    nid, target = int(run[B_NID]), int(mem.zone[run[B_ZONE], Z_NID])
    run[B_BEGAN] = run[B_TIME]
    run[B_PHASE] = TRAFFIC
    if nid != target:
        server, hold_ns = link(burst, nid, target), int(burst.cost[C_LINK_PAGE])
        run[B_TIME] = pass_traffic(burst, server, int(run[B_TIME]), hold_ns)


@inlined_leaf
def traffic(mem: Mem, burst: Burst, cpu: int) -> None:
    """Let the page's bytes pass the controller; the CPU is busy at least as long as it clears."""
    run = burst.run[cpu]
    nid = int(mem.zone[run[B_ZONE], Z_NID])
    hold_ns = int(burst.cost[C_CONTROLLER_PAGE])
    passed_ns = pass_traffic(burst, controller(burst, nid), int(run[B_TIME]), hold_ns)
    busy_ns = int(burst.cost[C_CLEAR_PAGE] * burst.distance[run[B_NID], nid]) // 10
    run[B_TIME] = max(passed_ns, int(run[B_BEGAN]) + busy_ns)
    run[B_STIME] += run[B_TIME] - run[B_BEGAN]
    run[B_PHASE] = MAP


@leaf
def add_table(mem: Mem, pt: PageTables, mms: Mms, burst: Burst, cpu: int) -> None:
    """Put a clean page in its place among the page tables.

    Source: Linux 6.1 mm/memory.c:__pte_alloc, :__pmd_alloc, :__pud_alloc
    """
    run = burst.run[cpu]
    vpn, _ = next_access(burst, cpu)
    burst.spare[0] = run[B_PFN]
    used = install_tables(mem, pt, mms, int(run[B_MM]), vpn, 1, burst.spare, 1)
    assert used == 1, "a page table appeared while another was being allocated"
    burst.placed[0] += 1


@inlined_leaf
def map_page(mem: Mem, pt: PageTables, mms: Mms, burst: Burst, cpu: int, before_ns: int) -> None:
    """Map the page, let the program have it, and put it in the CPU's folio_batch."""
    run = burst.run[cpu]
    now_ns = int(run[B_TIME])
    vpn, write = next_access(burst, cpu)
    row = row_of(mem, pt, mms, burst, cpu, vpn)
    at = vpn & ((1 << pt.state[PT_BITS]) - 1)
    map_anon_page(mem, pt, row, at, int(run[B_MM]), vpn, int(run[B_PFN]), int(run[B_TOKEN]))
    mms.rss[run[B_MM], MM_ANONPAGES] += 1
    burst.placed[0] += 1
    run[B_USER_NS] = access_page(mem, pt, mms, burst, cpu, vpn, write)
    if folio_batch_add(mem, cpu, int(run[B_PFN])):
        ask_lru_lock(mem, burst, cpu, now_ns)
    else:
        finish(mem, burst, cpu, now_ns, before_ns)


@leaf
def ask_lru_lock(mem: Mem, burst: Burst, cpu: int, now_ns: int) -> None:
    """Queue for the lru_lock of the first pages in the CPU's folio_batch."""
    run = burst.run[cpu]
    nid, nr_pages = folio_batch_run(mem, cpu)
    server = lru_lock(burst, nid)
    if is_queued(burst, server):
        run[B_TIME] = now_ns
        count_fault(mem, burst, cpu, now_ns)
        if run[B_USER_NS] >= 0:
            advance(burst, cpu)
        stop(burst, cpu, STOP_DRAIN)
        return
    hold_ns = drawn_ns(burst, cpu, int(burst.cost[C_LRU_HOLD_PAGE]) * nr_pages)
    run[B_HOLD] = hold_ns
    run[B_BEGAN] = now_ns
    run[B_TIME] = take_lock(burst, server, now_ns, hold_ns)
    run[B_PHASE] = LRU


@leaf
def drain(mem: Mem, burst: Burst, cpu: int, before_ns: int) -> int:
    """Move pages of the folio_batch under lru_lock; return CALL_* for the actors."""
    run = burst.run[cpu]
    nid, nr_pages = folio_batch_run(mem, cpu)
    note_hold(burst, lru_lock(burst, nid), cpu)
    nr_free = folio_batch_move_lru(mem, cpu, nr_pages, burst.spare[1:])
    burst.spare[0] = nr_free
    now_ns = int(run[B_TIME] + run[B_HOLD])
    run[B_STIME] += now_ns - run[B_BEGAN]
    if mem.lru_batch[cpu, 0]:
        ask_lru_lock(mem, burst, cpu, now_ns)
    else:
        finish(mem, burst, cpu, now_ns, before_ns)
    return CALL_FREE if nr_free else CALL_NOTHING


@inlined_leaf
def count_fault(mem: Mem, burst: Burst, cpu: int, end_ns: int) -> None:
    """Count a fault that was served."""
    run = burst.run[cpu]
    kind = int(run[B_KIND])
    vpn, write = next_access(burst, cpu)
    if kind == FAULT_ANON and not write:
        run[B_NR_ZERO] += 1
    if run[B_NR_FAULTS + kind] == 0:
        run[B_FIRST_VPN + kind] = vpn
    run[B_NR_FAULTS + kind] += 1
    run[B_FAULT_NS + kind] += end_ns - run[B_ENTERED]
    run[B_FAULT_LOCK_NS + kind] += run[B_LOCK_NS] - run[B_LOCK_BEGAN]
    mem.vm_event[PGFAULT] += 1


@inlined_leaf
def finish(mem: Mem, burst: Burst, cpu: int, now_ns: int, before_ns: int) -> None:
    """Leave the kernel; the access that faulted is done right behind it, if it can be now."""
    run = burst.run[cpu]
    end_ns = now_ns + int(burst.cost[C_PTE_SET])
    run[B_STIME] += end_ns - now_ns
    count_fault(mem, burst, cpu, end_ns)
    run[B_TIME] = end_ns
    run[B_PHASE] = USER
    if run[B_USER_NS] >= 0:
        advance(burst, cpu)
        if end_ns < before_ns:
            return_to_user(burst, cpu)
        else:  # an interrupt may come until then
            run[B_PHASE] = RETURN


@inlined_leaf
def return_to_user(burst: Burst, cpu: int) -> None:
    """Let the access that faulted take its time, and what interrupts took meanwhile."""
    run = burst.run[cpu]
    run[B_TIME] += run[B_USER_NS] + run[B_STOLEN]
    run[B_STOLEN] = 0
    run[B_UTIME] += run[B_USER_NS]
    run[B_PHASE] = USER


@inlined_leaf
def fault_step(
    mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, cpu: int, before_ns: int
) -> int:
    """Do the step of a fault that is due on a CPU; return CALL_* for the actors."""
    phase = int(burst.run[cpu, B_PHASE])
    if phase == MAP and burst.run[cpu, B_FOR] == FOR_TABLE:
        add_table(mem, pt, mms, burst, cpu)
        phase = FAULT  # which goes on at once
    if phase == FAULT:
        return begin_fault(mem, pt, mms, swap, burst, cpu, before_ns)
    if phase == REFILL:
        return refill(mem, burst, cpu)
    if phase == LRU:
        return drain(mem, burst, cpu, before_ns)
    if phase == CLEAR:
        clear(mem, burst, cpu)
    elif phase == TRAFFIC:
        traffic(mem, burst, cpu)
    elif phase == MAP:
        map_page(mem, pt, mms, burst, cpu, before_ns)
    else:
        return_to_user(burst, cpu)
    return CALL_NOTHING
