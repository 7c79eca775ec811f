"""The steps of a fault inside a burst, from the entry to the return to the program.

Linux: mm/memory.c:handle_pte_fault, :do_anonymous_page, :__pte_alloc, 6.1.
Each step happens at its time and says when the next one does; `pages.py` has those that get a page,
`batch.py` those that put it on the LRU. The fault handler's actor takes the same steps, and each
message between actors is an event here as well. A missing page table is allocated and cleared as a
page is; when it is in its place the fault is looked at again.

Interface: `fault_step` for what is due once a program has faulted.
Units: ns, pages.
"""

from kernelsim.hw.leaf import (
    inlined_leaf,
    leaf,
)
from kernelsim.mm.burst.access import (
    access_page,
    advance,
    next_access,
    row_of,
)
from kernelsim.mm.burst.batch import (
    add,
    added,
    move,
)
from kernelsim.mm.burst.columns import (
    ADD,
    ADDED,
    B_ENTERED,
    B_FAULT_LOCK_NS,
    B_FAULT_NS,
    B_FILE,
    B_FIRST_VPN,
    B_FLUSH_NS,
    B_FOR,
    B_HITS,
    B_IN_LRU_FAULT,
    B_INDEX,
    B_IS_LINE,
    B_KILLED,
    B_KIND,
    B_LAST_HIT,
    B_LOCK_BEGAN,
    B_LOCK_NS,
    B_LOCKED,
    B_MM,
    B_NR_FAULTS,
    B_NR_INTERLEAVED,
    B_NR_ZERO,
    B_PFN,
    B_PHASE,
    B_STOLEN,
    B_TIME,
    B_TOKEN,
    B_USER_NS,
    B_UTIME,
    BACK,
    C_FAULT_ENTRY,
    C_HAS_BUS,
    C_PTE_SET,
    C_ZERO_PFN,
    CALL_FLUSH,
    CALL_NOTHING,
    CLEAR,
    CROSSED,
    ENTER,
    FAULT,
    FLUSH,
    FLUSHED,
    FOR_NODE,
    FOR_PAGE,
    FOR_TABLE,
    LINK,
    LRU,
    MAP,
    PASSED,
    REFILL,
    RETURN,
    SENT,
    STOP_ENTERED,
    TAKE,
    TRAFFIC,
    USER,
    Burst,
)
from kernelsim.mm.burst.events import (
    push,
    spend,
    stop,
)
from kernelsim.mm.burst.memory_path import begin_access, end_access, send
from kernelsim.mm.burst.pages import (
    allocate,
    clear,
    cross,
    go_on_clearing,
    refill,
    take,
    traffic,
)
from kernelsim.mm.burst.servers import (
    drawn_ns,
)
from kernelsim.mm.core.folio_batch import (
    folio_batch_add,
    lru_gen_in_fault,
)
from kernelsim.mm.core.mem import (
    Mem,
)
from kernelsim.mm.core.mlock import mlock_new_folio
from kernelsim.mm.core.vmstat import (
    PGFAULT,
)
from kernelsim.mm.space.memory import (
    FAULT_ANON,
    FAULT_MIGRATION,
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
    pte_swap_slot,
)
from kernelsim.mm.space.wp_page import (
    wp_page_reuse,
)
from kernelsim.mm.swap.do_swap_page import (
    is_cached_for_others,
    map_swapcache_run,
)
from kernelsim.mm.swap.swap_area import (
    SwapArea,
)


@inlined_leaf
def enter(mem: Mem, burst: Burst, cpu: int) -> None:
    """Enter the kernel.

    Source: Linux 6.1 mm/memory.c:handle_mm_fault
    """
    mem.vm_event[PGFAULT] += 1
    run = burst.run[cpu]
    run[B_ENTERED] = run[B_TIME]
    run[B_LOCK_BEGAN] = run[B_LOCK_NS]
    spend(burst, cpu, FAULT, drawn_ns(burst, cpu, int(burst.cost[C_FAULT_ENTRY])))


@inlined_leaf
def begin_fault(mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, cpu: int) -> None:
    """Look at a fault whose entry has been paid: serve it, or begin to get a page for it.

    Source: Linux 6.1 mm/memory.c:handle_pte_fault
    """
    run = burst.run[cpu]
    mm = int(run[B_MM])
    vpn, write = next_access(burst, cpu)
    row = row_of(mem, pt, mms, burst, cpu, vpn)
    kind, pte = FAULT_ANON, 0
    if row:
        pte = get_pte(pt.entry, row, vpn & ((1 << pt.state[PT_BITS]) - 1))
        kind = fault_kind(pte, write)
    run[B_KIND] = kind
    if kind == FAULT_ANON and run[B_FILE]:
        stop(burst, cpu, STOP_ENTERED)
        return
    served = 1
    if row == 0 or (kind == FAULT_ANON and write) or kind == FAULT_ZERO_WP:
        run[B_FOR] = wanted_page(burst, cpu, vpn) if row else FOR_TABLE
        allocate(mem, burst, cpu)
        return
    if kind == FAULT_ANON:
        served = map_zero(mem, pt, mms, mm, vpn, 1, 1, int(burst.cost[C_ZERO_PFN]))
    elif kind == FAULT_SWAP:
        served = 0
        must_copy = write and is_cached_for_others(mem, swap, pte_swap_slot(pte))
        if not run[B_KILLED] and not run[B_LOCKED] and not must_copy:
            served, _, hits = map_swapcache_run(
                mem, pt, mms, swap, mm, vpn, 1, 1, write, int(run[B_TOKEN])
            )
        if served:
            run[B_HITS] += hits
            run[B_LAST_HIT] = vpn
    elif kind == FAULT_MIGRATION:
        served = 0
    elif kind == FAULT_WP:
        served = wp_page_reuse(mem, pt, mms, mm, vpn, 1, 1)
    if served == 0:
        stop(burst, cpu, STOP_ENTERED)
        return
    run[B_USER_NS] = access_page(mem, pt, mms, burst, cpu, vpn, write)
    spend(burst, cpu, RETURN, int(burst.cost[C_PTE_SET]))


@inlined_leaf
def wanted_page(burst: Burst, cpu: int, vpn: int) -> int:
    """Return FOR_* of a page of the program: which of its requests is for it.

    Source: Linux 6.1 mm/mempolicy.c:interleave_nid
    """
    run = burst.run[cpu]
    if run[B_NR_INTERLEAVED] == 0:
        return FOR_PAGE
    return FOR_NODE + int(vpn + run[B_INDEX]) % int(run[B_NR_INTERLEAVED])


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
def map_page(mem: Mem, pt: PageTables, mms: Mms, burst: Burst, cpu: int) -> None:
    """Map the page, let the program have it, and put it in the CPU's folio_batch."""
    run = burst.run[cpu]
    vpn, write = next_access(burst, cpu)
    row = row_of(mem, pt, mms, burst, cpu, vpn)
    at = vpn & ((1 << pt.state[PT_BITS]) - 1)
    map_anon_page(mem, pt, row, at, int(run[B_MM]), vpn, int(run[B_PFN]), int(run[B_TOKEN]))
    mms.rss[run[B_MM], MM_ANONPAGES] += 1
    burst.placed[0] += 1
    if run[B_LOCKED]:
        mlock_new_folio(mem, int(run[B_PFN]))
    run[B_USER_NS] = access_page(mem, pt, mms, burst, cpu, vpn, write)
    if run[B_IN_LRU_FAULT]:
        lru_gen_in_fault(mem, int(run[B_PFN]))
    if folio_batch_add(mem, cpu, int(run[B_PFN])):
        push(burst, cpu, ADD, int(run[B_TIME]))
    else:
        spend(burst, cpu, RETURN, int(burst.cost[C_PTE_SET]))


@inlined_leaf
def leave(burst: Burst, cpu: int) -> None:
    """Count a fault that was served; the access that faulted is done, if it can be now."""
    run = burst.run[cpu]
    kind, now_ns = int(run[B_KIND]), int(run[B_TIME])
    vpn, write = next_access(burst, cpu)
    if kind == FAULT_ANON and not write:
        run[B_NR_ZERO] += 1
    if run[B_NR_FAULTS + kind] == 0:
        run[B_FIRST_VPN + kind] = vpn
    run[B_NR_FAULTS + kind] += 1
    run[B_FAULT_NS + kind] += now_ns - run[B_ENTERED]
    run[B_FAULT_LOCK_NS + kind] += run[B_LOCK_NS] - run[B_LOCK_BEGAN]
    if run[B_USER_NS] >= 0:
        advance(burst, cpu)
    push(burst, cpu, BACK, now_ns)


@inlined_leaf
def return_to_user(burst: Burst, cpu: int) -> None:
    """Let the access that faulted take its time, and what interrupts took meanwhile."""
    run = burst.run[cpu]
    run[B_PHASE] = USER
    if run[B_USER_NS] <= 0:
        return
    if burst.cost[C_HAS_BUS]:
        begin_access(burst, cpu, int(run[B_USER_NS]))
        return
    user_ns = int(run[B_USER_NS] + run[B_STOLEN])
    run[B_STOLEN] = 0
    run[B_UTIME] += run[B_USER_NS]
    push(burst, cpu, USER, int(run[B_TIME]) + user_ns)


@inlined_leaf
def fault_step(mem: Mem, pt: PageTables, mms: Mms, swap: SwapArea, burst: Burst, cpu: int) -> int:
    """Do the step of a fault that is due on a CPU; return CALL_* for the actors."""
    phase = int(burst.run[cpu, B_PHASE])
    if phase == MAP and burst.run[cpu, B_FOR] == FOR_TABLE:
        add_table(mem, pt, mms, burst, cpu)
        phase = FAULT  # which goes on at once
    if phase == ENTER:
        enter(mem, burst, cpu)
    elif phase == FAULT:
        begin_fault(mem, pt, mms, swap, burst, cpu)
    elif phase == TAKE:
        return take(mem, burst, cpu)
    elif phase == REFILL:
        return refill(mem, burst, cpu)
    elif phase == CLEAR:
        return clear(mem, burst, cpu)
    elif phase == LINK:
        cross(mem, burst, cpu)
    elif phase == CROSSED:
        push(burst, cpu, TRAFFIC, int(burst.run[cpu, B_TIME]))
    elif phase == TRAFFIC:
        traffic(mem, burst, cpu)
    elif phase == PASSED and burst.run[cpu, B_IS_LINE]:
        end_access(burst, cpu)
    elif phase == PASSED:
        go_on_clearing(mem, burst, cpu)
    elif phase == MAP and burst.run[cpu, B_KIND] == FAULT_ZERO_WP:
        burst.run[cpu, B_PHASE] = FLUSH
        return CALL_FLUSH
    elif phase == FLUSH:
        spend(burst, cpu, FLUSHED, int(burst.run[cpu, B_FLUSH_NS]))
    elif phase in (MAP, FLUSHED):
        map_page(mem, pt, mms, burst, cpu)
    else:
        return leave_step(mem, burst, cpu, phase)
    return CALL_NOTHING


@inlined_leaf
def leave_step(mem: Mem, burst: Burst, cpu: int, phase: int) -> int:
    """Do one of the steps behind the mapping; return CALL_* for the actors."""
    if phase == ADD:
        return add(mem, burst, cpu)
    if phase == SENT:
        send(burst, cpu)
    elif phase == LRU:
        move(mem, burst, cpu)
    elif phase == ADDED:
        added(mem, burst, cpu)
    elif phase == RETURN:
        leave(burst, cpu)
    else:
        return_to_user(burst, cpu)
    return CALL_NOTHING
