"""Whether a task that dirtied pages goes on, starts the flusher, or pauses; and for how long.

Linux: mm/page-writeback.c, 6.1: balance_dirty_pages, balance_dirty_pages_ratelimited,
wb_over_bg_thresh, __wb_update_bandwidth.
Interface: a task calls `must_balance` after it dirtied pages, and then `balance_dirty_pages`
until that says it may go on; between two calls it sleeps as told. `DirtyState` belongs to the
task, `Writeback` to the machine.
Units: pages, jiffies.
"""

from typing import Final

import attrs

from kernelsim.mm.core.vmstat import NR_DIRTY, NR_WRITEBACK
from kernelsim.mm.file.backing_dev import BdiWriteback, WbDomain
from kernelsim.mm.file.dirty_limits import DirtyLimits, global_dirty_limits
from kernelsim.mm.file.dirty_rate import (
    BANDWIDTH_INTERVAL,
    DIRTY_POLL_THRESH,
    RATELIMIT_CALC_SHIFT,
    DirtyThrottleControl,
    update_dirty_limit,
    wb_max_pause,
    wb_min_pause,
    wb_position_ratio,
    wb_update_dirty_ratelimit,
    wb_update_write_bandwidth,
)
from kernelsim.mm.page.phys_mem import PhysMem
from kernelsim.units import HZ

WB_BANDWIDTH_IDLE_JIF: Final = HZ  # an estimate this old says nothing of the present
RATELIMIT_PAGES_MIN: Final = 16
EXCEEDED_RATELIMIT: Final = 8  # pages until the next look while limits are exceeded, 32 KiB


@attrs.define
class DirtyState:
    """What a task remembers of its writing.

    Attributes:
        nr_dirtied: Pages since it last paused.
        nr_dirtied_pause: Pages until it looks at the limits again.
        dirty_paused_when: When its present period began; 0 before it ever dirtied a page.
    """

    nr_dirtied: int = 0
    nr_dirtied_pause: int = DIRTY_POLL_THRESH  # kernel/fork.c:copy_process
    dirty_paused_when: int = 0


@attrs.frozen
class Throttle:
    """What a task above freerun is told; the values of the tracepoint balance_dirty_pages.

    Attributes:
        dtc: Where dirty pages stood.
        dirty_ratelimit: Of the device.
        task_ratelimit: The same for this task now.
        period: What its pages are worth at that rate.
        pause: How long it sleeps; 0 or less if it goes on.
        skipped: More that it would have slept, and is let off.
        nr_dirtied_pause: Pages until it looks again, once it has slept.
    """

    dtc: DirtyThrottleControl
    dirty_ratelimit: int
    task_ratelimit: int
    period: int
    pause: int
    skipped: int
    nr_dirtied_pause: int


@attrs.frozen(kw_only=True)
class Balance:
    """What came of one look at the limits.

    Attributes:
        limits: Of the machine.
        wakes_flusher: The device's flusher has to begin.
        throttle: None below freerun.
        rates: Rates of dirtying so far and allowed, when the device's limits were estimated.
    """

    limits: DirtyLimits
    wakes_flusher: bool
    throttle: Throttle | None = None
    rates: tuple[int, int] | None = None


@attrs.define(eq=False)
class Writeback:
    """Limits and rates of a machine's dirty pages.

    Attributes:
        phys: Its memory.
        dom: What its devices share.
        ratelimit_pages: Pages a CPU may dirty until its task looks at the limits.
        bdp_ratelimits: Pages dirtied since the last look, by CPU.
        dirty_throttle_leaks: Pages of tasks that ended before they were made to wait, by CPU.
    """

    phys: PhysMem
    dom: WbDomain = attrs.field(factory=WbDomain)
    ratelimit_pages: int = RATELIMIT_PAGES_MIN
    bdp_ratelimits: list[int] = attrs.field(factory=list)
    dirty_throttle_leaks: list[int] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.bdp_ratelimits = [0] * self.phys.nr_cpus
        self.dirty_throttle_leaks = [0] * self.phys.nr_cpus
        self.set_ratelimit()

    @property
    def nr_dirty(self) -> int:
        """Dirty pages, without those being written."""
        return int(self.phys.mem.node_stat[:, NR_DIRTY].sum())

    @property
    def nr_writeback(self) -> int:
        """Pages being written."""
        return int(self.phys.mem.node_stat[:, NR_WRITEBACK].sum())

    def set_ratelimit(self) -> None:
        """Take the present limit over, at boot and when the limit was written.

        Source: Linux 6.1 mm/page-writeback.c:writeback_set_ratelimit
        """
        thresh = global_dirty_limits(self.phys).thresh
        self.dom.dirty_limit = thresh
        self.ratelimit_pages = max(thresh // (self.phys.nr_cpus * 32), RATELIMIT_PAGES_MIN)

    def throttle_control(
        self, wb: BdiWriteback, limits: DirtyLimits, now: int
    ) -> DirtyThrottleControl:
        """Return where dirty pages stand.

        Source: Linux 6.1 mm/page-writeback.c:wb_dirty_limits
        """
        return DirtyThrottleControl(
            limits=limits,
            dirty=self.nr_dirty + self.nr_writeback,
            wb_thresh=wb.calc_thresh(self.dom, limits.thresh, now),
            wb_dirty=wb.nr_reclaimable + wb.nr_writeback,
            hard_limit=max(limits.thresh, self.dom.dirty_limit),
        )

    def over_bg_thresh(self, wb: BdiWriteback, now: int) -> bool:
        """Tell whether a device's flusher has to work in the background.

        A device that wrote nothing lately has no share, so that it is over it with its first page.

        Source: Linux 6.1 mm/page-writeback.c:wb_over_bg_thresh
        """
        limits = global_dirty_limits(self.phys)
        if self.nr_dirty > limits.bg_thresh:
            return True
        return wb.nr_reclaimable > wb.calc_thresh(self.dom, limits.bg_thresh, now)

    def update_bandwidth(self, wb: BdiWriteback, now: int) -> None:
        """Estimate a device's bandwidth afresh.

        Source: Linux 6.1 mm/page-writeback.c:__wb_update_bandwidth
        """
        wb_update_write_bandwidth(wb, max(now - wb.bw_time_stamp, 1))
        _stamp(wb, now)

    def update_bandwidth_if_due(self, wb: BdiWriteback, now: int) -> None:
        """The same, but not twice within 200 ms.

        Source: Linux 6.1 mm/page-writeback.c:do_writepages
        """
        if now > wb.bw_time_stamp + BANDWIDTH_INTERVAL:
            self.update_bandwidth(wb, now)

    def bandwidth_estimate_start(self, wb: BdiWriteback, now: int) -> None:
        """Begin to measure when a device that was idle is written to again.

        Source: Linux 6.1 mm/page-writeback.c:wb_bandwidth_estimate_start
        """
        if now - wb.bw_time_stamp > WB_BANDWIDTH_IDLE_JIF and not wb.nr_writeback_inodes:
            _stamp(wb, now)

    def must_balance(self, wb: BdiWriteback, task: DirtyState, cpu: int) -> bool:
        """Tell whether a task has dirtied so much that it has to look at the limits.

        Source: Linux 6.1 mm/page-writeback.c:balance_dirty_pages_ratelimited_flags
        """
        ratelimit = task.nr_dirtied_pause
        if wb.dirty_exceeded:
            ratelimit = min(ratelimit, EXCEEDED_RATELIMIT)
        if task.nr_dirtied >= ratelimit:
            self.bdp_ratelimits[cpu] = 0
        elif self.bdp_ratelimits[cpu] >= self.ratelimit_pages:
            self.bdp_ratelimits[cpu] = 0
            ratelimit = 0
        leaked = self.dirty_throttle_leaks[cpu]
        if leaked > 0 and task.nr_dirtied < ratelimit:
            picked_up = min(leaked, ratelimit - task.nr_dirtied)
            self.dirty_throttle_leaks[cpu] -= picked_up
            task.nr_dirtied += picked_up
        return task.nr_dirtied >= ratelimit

    def balance_dirty_pages(
        self, wb: BdiWriteback, task: DirtyState, pages_dirtied: int, now: int, *, is_flushing: bool
    ) -> Balance:
        """Decide about a task that has dirtied pages; its state is what it is if it goes on.

        Args:
            wb: The device it wrote to.
            task: What it remembers.
            pages_dirtied: Pages since it last paused.
            now: The time.
            is_flushing: The device's flusher works, or is about to.

        Source: Linux 6.1 mm/page-writeback.c:balance_dirty_pages
        """
        limits = global_dirty_limits(self.phys)
        nr_dirty = self.nr_dirty
        dirty = nr_dirty + self.nr_writeback
        wakes = not is_flushing and nr_dirty > limits.bg_thresh
        if dirty <= limits.freerun:
            task.dirty_paused_when = now
            task.nr_dirtied = 0
            task.nr_dirtied_pause = dirty_poll_interval(dirty, limits.thresh)
            return Balance(limits=limits, wakes_flusher=wakes)
        dtc = self.throttle_control(wb, limits, now)
        wb.dirty_exceeded = dtc.is_exceeded
        pos_ratio = wb_position_ratio(wb, dtc)
        rates = None
        if now > wb.bw_time_stamp + BANDWIDTH_INTERVAL:
            elapsed = max(now - wb.bw_time_stamp, 1)
            update_dirty_limit(self.dom, dtc, now)
            rates = wb_update_dirty_ratelimit(wb, dtc, pos_ratio, elapsed)
            self.update_bandwidth(wb, now)
        throttle = _throttle(wb, task, dtc, pages_dirtied, pos_ratio, now)
        return Balance(limits=limits, wakes_flusher=not is_flushing, throttle=throttle, rates=rates)

    def end_pause(self, task: DirtyState, throttle: Throttle, now: int) -> bool:
        """Begin a task's next period after its pause; tell whether it goes on.

        Args:
            task: What it remembers.
            throttle: What it was told.
            now: When it was told.

        Source: Linux 6.1 mm/page-writeback.c:balance_dirty_pages
        """
        task.dirty_paused_when = now + throttle.skipped + throttle.pause
        task.nr_dirtied = 0
        task.nr_dirtied_pause = throttle.nr_dirtied_pause
        return throttle.task_ratelimit > 0 or throttle.dtc.wb_dirty <= self._stat_error

    @property
    def _stat_error(self) -> int:
        # Source: Linux 6.1 include/linux/backing-dev.h:wb_stat_error
        return self.phys.nr_cpus * 8 * self.phys.nr_cpus.bit_length()


def dirty_poll_interval(dirty: int, thresh: int) -> int:
    """Return how many pages a task may dirty until it looks again: the root of what is left.

    Source: Linux 6.1 mm/page-writeback.c:dirty_poll_interval
    """
    return 1 << ((thresh - dirty).bit_length() - 1 >> 1) if thresh > dirty else 1


def _throttle(
    wb: BdiWriteback,
    task: DirtyState,
    dtc: DirtyThrottleControl,
    pages_dirtied: int,
    pos_ratio: int,
    now: int,
) -> Throttle:
    """Decide how long a task pauses; if it does not, its state says so already."""
    task_ratelimit = wb.dirty_ratelimit * pos_ratio >> RATELIMIT_CALC_SHIFT
    max_pause = wb_max_pause(wb, dtc.wb_dirty)
    min_pause, nr_dirtied_pause = wb_min_pause(wb, max_pause, task_ratelimit)
    period = pause = max_pause
    skipped = 0
    if task_ratelimit:
        period = HZ * pages_dirtied // task_ratelimit
        pause = period - (now - task.dirty_paused_when if task.dirty_paused_when else 0)
        if pause < min_pause:
            _go_on(task, pages_dirtied, pause, period, now)
            pause = min(pause, 0)
        elif pause > max_pause:
            skipped = min(pause - max_pause, max_pause)  # the rate allowed dropped for a moment
            pause = max_pause
    return Throttle(
        dtc=dtc,
        dirty_ratelimit=wb.dirty_ratelimit,
        task_ratelimit=task_ratelimit,
        period=period,
        pause=pause,
        skipped=skipped,
        nr_dirtied_pause=nr_dirtied_pause,
    )


def _go_on(task: DirtyState, pages_dirtied: int, pause: int, period: int, now: int) -> None:
    # Thinking up to a second is taken into account in later periods; more is forgotten.
    if pause < -HZ:
        task.dirty_paused_when = now
        task.nr_dirtied = 0
    elif period:
        task.dirty_paused_when += period
        task.nr_dirtied = 0
    elif task.nr_dirtied_pause <= pages_dirtied:
        task.nr_dirtied_pause += pages_dirtied


def _stamp(wb: BdiWriteback, now: int) -> None:
    wb.dirtied_stamp = wb.nr_dirtied
    wb.written_stamp = wb.nr_written
    wb.bw_time_stamp = now
