"""Making those wait who dirty pages faster than disks write them.

Linux: mm/page-writeback.c:balance_dirty_pages_ratelimited, 6.1.
The decision is mm/file/page_writeback.py's; here the task sleeps, and tells what it was told.
Units: pages, jiffies.
"""

from kernelsim.actors.core.backing_dev import BackingDev
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.task import Task
from kernelsim.actors.file.balance_classic import balance_dirty_pages_classic
from kernelsim.actors.tracing import trace, wants
from kernelsim.mm.core.vmstat import NR_DIRTIED, NR_WRITTEN
from kernelsim.mm.file.dirty_limits import DirtyLimits
from kernelsim.mm.file.page_writeback import Balance, Throttle
from kernelsim.trace.writeback import (
    balance_dirty_pages,
    bdi_dirty_ratelimit,
    global_dirty_state,
)
from kernelsim.units import HZ, NS_PER_JIFFY, PAGE_SHIFT

KIB_SHIFT = PAGE_SHIFT - 10
MS_PER_S = 1000


async def balance_dirty_pages_ratelimited(current: Current, bdi: BackingDev) -> None:
    """Look at the limits if the task has dirtied enough since the last look, and pause.

    Source: Linux 6.1 mm/page-writeback.c:balance_dirty_pages_ratelimited, :balance_dirty_pages
    """
    if bdi.pool is not None:
        await balance_dirty_pages_classic(current, bdi)
        return
    kernel, task = current
    state, dirty = bdi.state, task.dirty
    if not state.must_balance(bdi.wb, dirty, task.cpu.number):
        return
    pages_dirtied, start = dirty.nr_dirtied, bdi.now
    while True:
        now = bdi.now
        is_flushing = bdi.is_running
        balance = state.balance_dirty_pages(
            bdi.wb, dirty, pages_dirtied, now, is_flushing=is_flushing
        )
        _trace_balance(task, bdi, balance, pages_dirtied, start)
        if balance.wakes_flusher:
            bdi.wakeup()
        throttle = balance.throttle
        if throttle is None or throttle.pause <= 0:
            return
        bdi.device.throttle.dirty_sleep_ns = began_ns = kernel.engine.now_ns
        async with task.off_cpu(in_iowait=True):
            # Differs from Linux: A signal does not end the pause of a writer, 200 ms at most.
            await kernel.engine.sleep((now + throttle.pause) * NS_PER_JIFFY - began_ns)
        task.waits.io_ns += kernel.engine.now_ns - began_ns
        if state.end_pause(dirty, throttle, now) or task.killed:
            return


def _trace_balance(
    task: Task, bdi: BackingDev, balance: Balance, pages_dirtied: int, start: int
) -> None:
    if wants(task, global_dirty_state):
        trace(task, _global_state(bdi, balance.limits))
    if balance.rates is not None:
        trace(task, _ratelimit(bdi, balance.rates))
    if balance.throttle is not None:
        trace(task, _pause(task, bdi, balance.throttle, pages_dirtied, start))


def _global_state(bdi: BackingDev, limits: DirtyLimits) -> global_dirty_state:
    stat, state = bdi.state.phys.mem.node_stat, bdi.state
    return global_dirty_state(
        nr_dirty=state.nr_dirty,
        nr_writeback=state.nr_writeback,
        background_thresh=limits.bg_thresh,
        dirty_thresh=limits.thresh,
        dirty_limit=state.dom.dirty_limit,
        nr_dirtied=int(stat[:, NR_DIRTIED].sum()),
        nr_written=int(stat[:, NR_WRITTEN].sum()),
    )


def _ratelimit(bdi: BackingDev, rates: tuple[int, int]) -> bdi_dirty_ratelimit:
    wb = bdi.wb
    return bdi_dirty_ratelimit(
        bdi=wb.name,
        write_bw=wb.write_bandwidth << KIB_SHIFT,
        avg_write_bw=wb.avg_write_bandwidth << KIB_SHIFT,
        dirty_rate=rates[0] << KIB_SHIFT,
        dirty_ratelimit=wb.dirty_ratelimit << KIB_SHIFT,
        task_ratelimit=rates[1] << KIB_SHIFT,
        balanced_dirty_ratelimit=wb.balanced_dirty_ratelimit << KIB_SHIFT,
    )


def _pause(
    task: Task, bdi: BackingDev, throttle: Throttle, pages_dirtied: int, start: int
) -> balance_dirty_pages:
    limits, limit = throttle.dtc.limits, bdi.state.dom.dirty_limit
    setpoint = (limit + limits.freerun) // 2
    since = task.dirty.dirty_paused_when
    return balance_dirty_pages(
        bdi=bdi.wb.name,
        limit=limit,
        setpoint=setpoint,
        dirty=throttle.dtc.dirty,
        wb_setpoint=setpoint * throttle.dtc.wb_thresh // (limits.thresh + 1),
        wb_dirty=throttle.dtc.wb_dirty,
        dirty_ratelimit=throttle.dirty_ratelimit << KIB_SHIFT,
        task_ratelimit=throttle.task_ratelimit << KIB_SHIFT,
        dirtied=pages_dirtied,
        dirtied_pause=task.dirty.nr_dirtied_pause,
        paused=_ms(bdi.now - start),
        pause=_ms(throttle.pause),
        period=_ms(throttle.period),
        think=_ms(bdi.now - since) if since else 0,
    )


def _ms(jiffies: int) -> int:
    return jiffies * MS_PER_S // HZ
