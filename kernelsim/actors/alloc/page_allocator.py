"""Asking nodes for pages: the zonelist, the watermarks, and what to do when there are none.

Linux: mm/page_alloc.c: get_page_from_freelist, __alloc_pages_slowpath, wake_all_kswapds,
__alloc_pages_direct_reclaim, should_reclaim_retry, 6.1.
Requests of an order above 0: block_allocator.py.
A request runs in the time of the task that makes it. It is served in bursts, and a burst ends
where a zone's free pages cross the watermark the request must respect, so each band is entered
exactly: above low nothing happens; below low kswapd is told and the task goes on; below min the
task reclaims itself.
Units: pages.
"""

from typing import Final

import msgspec

from kernelsim.actors.alloc.direct_reclaim import try_to_free_pages
from kernelsim.actors.alloc.node_reclaim import node_reclaim
from kernelsim.actors.alloc.wakeup_kswapd import wake_all_kswapds, wakeup_kswapd
from kernelsim.actors.alloc.warn_alloc import warn_alloc
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import drain_all_pages
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.node import AllocPages
from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.mem import (
    I64,
    SWAP_CLUSTER_MAX,
    Z_BOOSTED_WATERMARK,
    Z_FREE,
    Z_NID,
    Z_TYPE_INDEX,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.file.dirty_limits import node_dirty_ok
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import GFP_PGTABLE_USER, USERPTE_GFP, Gfp, gfp_to_alloc_flags
from kernelsim.mm.page.mempolicy import Mempolicy, offset_il_node
from kernelsim.mm.page.page_alloc import (
    ALLOC_NO_WATERMARKS,
    ALLOC_OOM,
    count_interleave_hit,
    watermark_floor,
)
from kernelsim.mm.reclaim.vmscan_direct import ReclaimRetry
from kernelsim.mm.space.mmap import VmArea
from kernelsim.trace.ks import ks_sleep

# Operators of flags take a microsecond each.
GFP_NORETRY: Final = int(Gfp.NORETRY)
GFP_DIRECT_RECLAIM: Final = int(Gfp.DIRECT_RECLAIM)
GFP_MAY_FAIL: Final = int(Gfp.RETRY_MAYFAIL | Gfp.THISNODE)


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Pages served: `nr` of them, all from node `nid`; 0 when the task is being killed."""

    nr: int
    nid: int


NOTHING = Grant(0, 0)


async def alloc_pages(current: Current, context: AllocContext, want: int, out: I64) -> Grant:
    """Get at least one page and at most `want`, whatever it takes.

    Args:
        current: Who asks; it may sleep in here.
        context: Where to look.
        want: Pages wanted, >= 1; fewer are granted at a watermark.
        out: Array for the page frame numbers, from index 0.

    Returns:
        The grant; none only if the task was killed, or gfp lets the request fail.
    """
    if context.is_spread:
        context, want = _interleaved(current, context), 1
    grant = await get_page_from_freelist(current, context, want, out, mark=Z_WMARK_LOW)
    if not grant.nr:
        grant = await _alloc_pages_slowpath(current, context, want, out)
    if not grant.nr and context.second_try is not None:
        return await alloc_pages(current, context.second_try, want, out)
    if grant.nr and context.is_interleaved:
        count_interleave_hit(current.kernel.mem, int(out[0]), context.preferred_nid, grant.nr)
    return grant


async def get_page_from_freelist(
    current: Current,
    context: AllocContext,
    want: int,
    out: I64,
    *,
    mark: int,
    alloc_flags: int = 0,
) -> Grant:
    """Take pages from the first zone that has more free than the watermark asks for."""
    kernel, task = current
    mem, clock = kernel.mem, kernel.engine.clock
    spreads_dirty = mark == Z_WMARK_LOW and Gfp.WRITE in context.gfp
    for zone in context.zonelist:
        if spreads_dirty and not node_dirty_ok(kernel.phys, int(mem.zone[zone, Z_NID])):
            continue
        floor = watermark_floor(mem, zone, mark, context.highest_zoneidx, alloc_flags)
        if mem.zone[zone, Z_FREE] <= floor and await node_reclaim(current, context, zone):
            floor = watermark_floor(mem, zone, mark, context.highest_zoneidx, alloc_flags)
        if mem.zone[zone, Z_FREE] <= floor:
            continue
        kernel.observer.asks(task, context, zone, mark, alloc_flags, floor)
        nid = int(mem.zone[zone, Z_NID])
        request = AllocPages(
            zone, task.cpu.number, task.cpu.nid, context.preferred_nid, context.migratetype,
            floor, want, out, 0, task.name if task.in_interrupt else task.cpu.name,
            int(context.gfp),
        )  # fmt: skip
        began_ns = clock.now_ns
        got, _ = await kernel.nodes[nid].ref.ask(request)
        spent_ns = clock.now_ns - began_ns  # spinning, and working under the lock
        task.waits.lock_ns += spent_ns
        task.stime_ns += spent_ns
        # ZONE_BOOSTED_WATERMARK is a bit of zone->flags: the task that sees it clears it, unlocked.
        if mem.zone[zone, Z_BOOSTED_WATERMARK]:
            mem.zone[zone, Z_BOOSTED_WATERMARK] = 0
            wakeup_kswapd(current, nid, int(mem.zone[zone, Z_TYPE_INDEX]), Gfp(0))
        if got:
            return Grant(got, nid)
    return NOTHING


async def _alloc_pages_slowpath(
    current: Current, context: AllocContext, want: int, out: I64
) -> Grant:
    kernel, task = current
    # Below low each step is at most a reclaim batch, so that kswapd, which the wake-up below made
    # ready, competes page by page as it does in the kernel.
    want = min(want, SWAP_CLUSTER_MAX)
    retry = ReclaimRetry()
    while True:
        wake_all_kswapds(current, context)
        kernel.observer.short(task, context)
        if int(context.gfp) & GFP_DIRECT_RECLAIM:
            await task.cond_resched()
        alloc_flags = slowpath_flags(task, context.gfp)
        grant = await get_page_from_freelist(
            current, context, want, out, mark=Z_WMARK_MIN, alloc_flags=alloc_flags
        )
        # Differs from Linux: A task killed by another one gives up its allocation like an OOM
        # victim, rather than reclaim before it dies; it gets no reserves.
        if grant.nr or task.memalloc or task.killed:
            return grant
        if not int(context.gfp) & GFP_DIRECT_RECLAIM:
            warn_alloc(current, context)
            return grant
        with task.memstall():
            began_ns = kernel.engine.now_ns
            nr_reclaimed = await try_to_free_pages(current, context.gfp, context.zonelist)
            task.waits.reclaim_ns += kernel.engine.now_ns - began_ns
            grant = await _after_reclaim(current, context, want, out, alloc_flags)
        if grant.nr or int(context.gfp) & GFP_NORETRY:
            return grant
        if retry.should_retry(
            kernel.mem,
            kernel.swap,
            list(context.zonelist),
            order=0,
            highest_zoneidx=context.highest_zoneidx,
            alloc_flags=alloc_flags,
            did_some_progress=nr_reclaimed > 0,
        ):
            await task.cond_resched()
            continue
        if int(context.gfp) & GFP_MAY_FAIL:  # nobody is killed for it
            return NOTHING
        retry = ReclaimRetry()
        await out_of_memory(current, context)


async def _after_reclaim(
    current: Current, context: AllocContext, want: int, out: I64, alloc_flags: int
) -> Grant:
    """Try again; if what was freed hides in the CPUs' lists, empty them and try once more.

    Source: Linux 6.1 mm/page_alloc.c:__alloc_pages_direct_reclaim
    """
    for drained in (False, True):
        grant = await get_page_from_freelist(
            current, context, want, out, mark=Z_WMARK_MIN, alloc_flags=alloc_flags
        )
        if grant.nr or drained:
            return grant
        for zone in context.zonelist:
            await drain_all_pages(current, zone)
    return NOTHING


def slowpath_flags(task: Task, gfp: Gfp) -> int:
    """Return the ALLOC_* bits of a request in the slow path, for a task as it stands now.

    Source: Linux 6.1 mm/page_alloc.c:__alloc_pages_slowpath
    """
    if task.memalloc:
        return ALLOC_NO_WATERMARKS
    alloc_flags = gfp_to_alloc_flags(gfp)
    return alloc_flags | ALLOC_OOM if task.oom_victim else alloc_flags


async def out_of_memory(current: Current, context: AllocContext, order: int = 0) -> None:
    """Have a process killed for a request, and give it time to leave.

    Source: Linux 6.1 mm/page_alloc.c:__alloc_pages_may_oom
    """
    kernel, task = current
    message = OutOfMemory(
        context.gfp, task.name, task.pid, context.nodemask, task.cpu.number, order
    )
    began_ns = kernel.engine.now_ns
    async with task.off_cpu():
        await kernel.oom_killer.ask(message)
        await kernel.engine.sleep(kernel.spec.latency.timer_tick_ns)
    trace(task, ks_sleep("oom", "", kernel.engine.now_ns - began_ns))


def alloc_context(current: Current, gfp: Gfp) -> AllocContext:
    """Return what a request without a mapping is served by: the task's policy, its CPU's node.

    Source: Linux 6.1 mm/mempolicy.c:alloc_pages
    """
    kernel, task = current
    return kernel.alloc_contexts.get(task.cpu.nid, task.mempolicy, gfp)


def _interleaved(current: Current, context: AllocContext) -> AllocContext:
    """Return what the next page of an interleaved policy is served by.

    Source: Linux 6.1 mm/mempolicy.c:alloc_page_interleave
    """
    kernel, task = current
    assert context.policy is not None, "an interleaved request comes from a policy"
    policy = context.policy.on_node(task.interleave_nodes(context.policy))
    return kernel.alloc_contexts.get(task.cpu.nid, policy, context.gfp)


def vma_context(current: Current, vma: VmArea, vpn: int, gfp: Gfp) -> AllocContext:
    """Return what a page of a mapping is allocated by: the mapping's policy or else the task's.

    Source: Linux 6.1 mm/mempolicy.c:vma_alloc_folio, :interleave_nid
    """
    kernel, task = current
    policy = get_vma_policy(task, vma)
    if policy is not None and policy.is_interleaved:
        policy = policy.on_node(offset_il_node(policy, vma.index_of(vpn)))
    return kernel.alloc_contexts.get(task.cpu.nid, policy, gfp)


def get_vma_policy(task: Task, vma: VmArea) -> Mempolicy | None:
    """Return the policy that pages of a mapping are allocated by.

    Source: Linux 6.1 mm/mempolicy.c:get_vma_policy
    """
    return task.mempolicy if vma.policy is None else vma.policy


def table_context(current: Current) -> AllocContext:
    """Return what a page table is allocated by: the policy of the task, in any zone.

    Source: Linux 6.1 arch/x86/mm/pgtable.c:pte_alloc_one
    """
    # Differs from Linux: The middle page tables of PAE, four of a process, may lie in HighMem.
    return alloc_context(current, USERPTE_GFP[current.kernel.spec.arch])


def pgd_context(current: Current) -> AllocContext:
    """Return what the top page table is allocated by: the task's policy, in zones below HighMem.

    Source: Linux 6.1 arch/x86/mm/pgtable.c:_pgd_alloc
    """
    return alloc_context(current, GFP_PGTABLE_USER)
