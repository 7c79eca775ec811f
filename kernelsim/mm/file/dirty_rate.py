"""How fast writers may dirty pages, so that dirty pages stay at their setpoint.

Linux: mm/page-writeback.c, 6.1: wb_position_ratio, wb_update_write_bandwidth,
wb_update_dirty_ratelimit, wb_max_pause, wb_min_pause.

A control loop with two inputs. Where: `wb_position_ratio` says how far dirty pages are from the
setpoint, halfway between freerun and the limit; 1024 is 1.0, less slows down. How fast: every
200 ms the device's write bandwidth, and the rate at which pages were dirtied meanwhile, give the
rate limit that would keep the balance. A task may dirty `dirty_ratelimit * pos_ratio` pages a
second.
# Differs from Linux: No device has BDI_CAP_STRICTLIMIT, which in 6.1 only FUSE sets.
Units: pages, pages per second, jiffies.
"""

from typing import Final

import attrs

from kernelsim.mm.file.backing_dev import BdiWriteback, WbDomain
from kernelsim.mm.file.dirty_limits import DirtyLimits
from kernelsim.units import HZ, PAGE_SHIFT

RATELIMIT_CALC_SHIFT: Final = 10
RATELIMIT_ONE: Final = 1 << RATELIMIT_CALC_SHIFT
BANDWIDTH_INTERVAL: Final = max(HZ // 5, 1)  # between two estimates
MAX_PAUSE: Final = max(HZ // 5, 1)
DIRTY_POLL_THRESH: Final = 128 >> (PAGE_SHIFT - 10)  # pages a pause should be worth
BITS_PER_LONG: Final = 64
_PERIOD_SHIFT: Final = (3 * HZ - 1).bit_length()  # bandwidth is averaged over about 3 s
_HZ_POW2: Final = 1 << (HZ - 1).bit_length()
_EIGHTH_POW2: Final = 1 << (HZ // 8).bit_length()  # roundup_pow_of_two(1 + HZ / 8)


@attrs.frozen
class DirtyThrottleControl:
    """What one look at the dirty pages found.

    Attributes:
        limits: Of the machine.
        dirty: Dirty pages of the machine, those being written too.
        wb_thresh: The device's share of the upper limit.
        wb_dirty: The device's dirty pages, those being written too.
        hard_limit: The upper limit, or what is left of an earlier higher one.
    """

    limits: DirtyLimits
    dirty: int
    wb_thresh: int
    wb_dirty: int
    hard_limit: int

    @property
    def setpoint(self) -> int:
        """Where dirty pages should be."""
        return (self.limits.freerun + self.hard_limit) // 2

    @property
    def is_exceeded(self) -> bool:
        """Whether the machine and the device are both above their limits.

        Source: Linux 6.1 mm/page-writeback.c:balance_dirty_pages
        """
        return self.wb_dirty > self.wb_thresh and self.dirty > self.limits.thresh


def _truncated(numerator: int, denominator: int) -> int:
    # Division as C has it, towards zero.
    quotient = abs(numerator) // denominator
    return -quotient if numerator < 0 else quotient


def pos_ratio_polynom(setpoint: int, dirty: int, limit: int) -> int:
    """Return 1024 * (1 + ((setpoint - dirty) / (limit - setpoint))^3), within 0 … 2048.

    Source: Linux 6.1 mm/page-writeback.c:pos_ratio_polynom
    """
    x = _truncated((setpoint - dirty) << RATELIMIT_CALC_SHIFT, (limit - setpoint) | 1)
    ratio = x * x >> RATELIMIT_CALC_SHIFT
    ratio = (ratio * x >> RATELIMIT_CALC_SHIFT) + RATELIMIT_ONE
    return min(max(ratio, 0), 2 * RATELIMIT_ONE)


def wb_position_ratio(wb: BdiWriteback, dtc: DirtyThrottleControl) -> int:
    """Return by what writers are to be sped up or slowed down; 1024 is no change.

    Source: Linux 6.1 mm/page-writeback.c:wb_position_ratio
    """
    thresh, limit, wb_dirty = dtc.limits.thresh, dtc.hard_limit, dtc.wb_dirty
    if dtc.dirty >= limit:
        return 0
    pos_ratio = pos_ratio_polynom(dtc.setpoint, dtc.dirty, limit)
    # A share near 0 tells of a device that was idle, not of a slow one: it gets room to begin.
    wb_thresh = max(min(dtc.wb_thresh, thresh), (limit - dtc.dirty) // 8)
    x = (wb_thresh << 16) // (thresh | 1)
    wb_setpoint = dtc.setpoint * x >> 16
    # One device alone: eight seconds' worth of writing. Many: a device's share, which may jump.
    span = (thresh - wb_thresh + 8 * wb.avg_write_bandwidth) * x >> 16
    x_intercept = wb_setpoint + span
    if wb_dirty < x_intercept - span // 4:
        pos_ratio = pos_ratio * (x_intercept - wb_dirty) // ((x_intercept - wb_setpoint) | 1)
    else:
        pos_ratio //= 4
    # The pool of the device must not run dry: below half its share writers are sped up.
    reserve = wb_thresh // 2
    if wb_dirty < reserve:
        pos_ratio = pos_ratio * reserve // wb_dirty if wb_dirty > reserve // 8 else pos_ratio * 8
    return pos_ratio


def wb_update_write_bandwidth(wb: BdiWriteback, elapsed: int) -> None:
    """Estimate the device's bandwidth from the pages written in the last `elapsed` jiffies.

    Source: Linux 6.1 mm/page-writeback.c:wb_update_write_bandwidth
    """
    period = 1 << _PERIOD_SHIFT
    average, old = wb.avg_write_bandwidth, wb.write_bandwidth
    bandwidth = (wb.nr_written - min(wb.nr_written, wb.written_stamp)) * HZ
    if elapsed > period:
        bandwidth = average = bandwidth // elapsed
    else:
        bandwidth = (bandwidth + old * (period - elapsed)) >> _PERIOD_SHIFT
        if average > old >= bandwidth:
            average -= (average - old) >> 3
        if average < old <= bandwidth:
            average += (old - average) >> 3
    wb.write_bandwidth = bandwidth
    wb.avg_write_bandwidth = max(average, 1)


def wb_update_dirty_ratelimit(
    wb: BdiWriteback, dtc: DirtyThrottleControl, pos_ratio: int, elapsed: int
) -> tuple[int, int]:
    """Move the rate limit towards the balance; return (rate of dirtying, rate allowed) so far.

    The limit moves only if both inputs agree on the direction, and by no more than the smaller of
    them asks for.

    Source: Linux 6.1 mm/page-writeback.c:wb_update_dirty_ratelimit
    """
    bandwidth, old = wb.avg_write_bandwidth, wb.dirty_ratelimit
    dirty_rate = (wb.nr_dirtied - wb.dirtied_stamp) * HZ // elapsed
    task_ratelimit = (old * pos_ratio >> RATELIMIT_CALC_SHIFT) + 1
    balanced = min(task_ratelimit * bandwidth // (dirty_rate | 1), bandwidth)
    step = 0
    if dtc.dirty < dtc.setpoint:
        step = max(min(wb.balanced_dirty_ratelimit, balanced, task_ratelimit) - old, 0)
    else:
        step = max(old - max(wb.balanced_dirty_ratelimit, balanced, task_ratelimit), 0)
    shift = old // (2 * step + 1)  # near the aim it goes slowly
    step = -(-(step >> shift) // 8) if shift < BITS_PER_LONG else 0
    wb.dirty_ratelimit = max(old + step if old < balanced else old - step, 1)
    wb.balanced_dirty_ratelimit = balanced
    return dirty_rate, task_ratelimit


def update_dirty_limit(dom: WbDomain, dtc: DirtyThrottleControl, now: int) -> None:
    """Let the hard limit follow the threshold: up at once, down slowly and never below `dirty`.

    Source: Linux 6.1 mm/page-writeback.c:domain_update_dirty_limit
    """
    if now < dom.dirty_limit_tstamp + BANDWIDTH_INTERVAL:
        return
    dom.dirty_limit_tstamp = now
    thresh, limit = dtc.limits.thresh, dom.dirty_limit
    if limit < thresh:
        dom.dirty_limit = thresh
        return
    thresh = max(thresh, dtc.dirty)
    if limit > thresh:
        dom.dirty_limit = limit - ((limit - thresh) >> 5)


def wb_max_pause(wb: BdiWriteback, wb_dirty: int) -> int:
    """Return the longest pause: an eighth of the time the device's dirty pages last.

    Source: Linux 6.1 mm/page-writeback.c:wb_max_pause
    """
    return min(wb_dirty // (1 + wb.avg_write_bandwidth // _EIGHTH_POW2) + 1, MAX_PAUSE)


def wb_min_pause(wb: BdiWriteback, max_pause: int, task_ratelimit: int) -> tuple[int, int]:
    """Return the shortest pause worth taking, and the pages to dirty until the next look.

    Source: Linux 6.1 mm/page-writeback.c:wb_min_pause
    """
    ratelimit = wb.dirty_ratelimit
    target = max(1, HZ // 100)
    doublings = wb.avg_write_bandwidth.bit_length() - ratelimit.bit_length()
    if doublings > 0:  # about 2^n tasks share the bandwidth
        target += doublings * (10 * HZ) // 1024
    target = min(target, 1 + max_pause // 2)
    pages = ratelimit * target // _HZ_POW2
    if pages < DIRTY_POLL_THRESH:
        target = max_pause
        pages = ratelimit * target // _HZ_POW2
        if pages > DIRTY_POLL_THRESH:
            pages = DIRTY_POLL_THRESH
            target = HZ * DIRTY_POLL_THRESH // ratelimit
    if HZ * pages // (task_ratelimit + 1) > max_pause:
        target = max_pause
        pages = task_ratelimit * target // _HZ_POW2
    return (1 + target // 2 if pages >= DIRTY_POLL_THRESH else target), pages
