"""How deep writers may fill a disk's queue: less while it is slow for readers, else more.

Linux: block/blk-rq-qos.c: rq_depth_calc_max_depth, rq_depth_scale_up, rq_depth_scale_down;
block/blk-wbt.c: wb_timer_fn, latency_exceeded, 6.1.
While there are writes, or the depth is not the usual one, the disk is judged once a window. A read
that took longer than it should makes the queue half as deep; a window in which none did, or
without any read, makes it twice as deep.
Interface: a disk has one `RqDepth` and tells it what begins and what is done.
Units: requests, ns.
"""

from math import isqrt
from typing import Final

import attrs

from kernelsim.units import NS_PER_MS

RWB_DEF_DEPTH: Final = 16
RWB_WINDOW_NS: Final = 100 * NS_PER_MS
RWB_MIN_WRITE_SAMPLES: Final = 3
RWB_UNKNOWN_BUMP: Final = 5  # windows without any request after which it goes back to the usual
MIN_LATENCY_NS: Final = 2 * NS_PER_MS  # wbt_default_latency_nsec: what a read may take
MIN_LATENCY_ROTATIONAL_NS: Final = 75 * NS_PER_MS
SHIFT_MAX: Final = 31
SHALLOW: Final = 2  # a depth too small to be divided


@attrs.define(eq=False)
class RqDepth:
    """The depth of one disk's queue.

    Attributes:
        queue_depth: Requests the block layer has for it.
        min_latency_ns: What its fastest read in a window may take.
        scale_step: How often the depth was halved; negative when it was doubled.
        max_depth: Requests that writers of any kind may have under way.
        is_scaled_max: It cannot be deeper.
        unknown_windows: Windows since anything happened.
        read_ns: Latency of the fastest read of this window; None without a read.
        nr_writes: Writes done in this window.
        sync_issue_ns: When a read began that is not done; None for none.
    """

    queue_depth: int
    min_latency_ns: int
    scale_step: int = 0
    max_depth: int = RWB_DEF_DEPTH
    is_scaled_max: bool = False
    unknown_windows: int = 0
    read_ns: int | None = None
    nr_writes: int = 0
    sync_issue_ns: int | None = None

    def __attrs_post_init__(self) -> None:
        self._calc_max_depth()

    @property
    def normal(self) -> int:
        """Requests of ordinary writers.

        Source: Linux 6.1 block/blk-wbt.c:calc_wb_limits
        """
        return self.max_depth if self.max_depth <= SHALLOW else (self.max_depth + 1) // 2

    @property
    def background(self) -> int:
        """Requests of writers that nobody waits for.

        Source: Linux 6.1 block/blk-wbt.c:calc_wb_limits
        """
        return 1 if self.max_depth <= SHALLOW else (self.max_depth + 3) // 4

    def issued(self, now_ns: int) -> None:
        """Note that a read began.

        Source: Linux 6.1 block/blk-wbt.c:wbt_issue
        """
        if self.sync_issue_ns is None:
            self.sync_issue_ns = now_ns

    def completed(self, *, is_write: bool, began_ns: int, now_ns: int) -> None:
        """Note that a request is done.

        Source: Linux 6.1 block/blk-stat.c:blk_stat_add
        """
        if is_write:
            self.nr_writes += 1
            return
        if self.sync_issue_ns == began_ns:
            self.sync_issue_ns = None
        took_ns = now_ns - began_ns
        self.read_ns = took_ns if self.read_ns is None else min(self.read_ns, took_ns)

    def end_window(self, now_ns: int, window_ns: int, *, has_writes: bool) -> int:
        """Judge a window that is over; return how long the next one is, 0 for none.

        Args:
            now_ns: The time.
            window_ns: How long it was.
            has_writes: Writes are under way, or a writer was made to wait lately.

        Source: Linux 6.1 block/blk-wbt.c:wb_timer_fn
        """
        if self._is_exceeded(now_ns, window_ns):
            self._scale_down(hard=True)
        elif has_writes or self.nr_writes:
            self._scale_up()
        else:
            self.unknown_windows += 1
            if self.unknown_windows >= RWB_UNKNOWN_BUMP and self.scale_step:
                self._scale_up() if self.scale_step > 0 else self._scale_down(hard=False)
        self.read_ns = None
        self.nr_writes = 0
        return self.window_ns() if self.scale_step or has_writes else 0

    def window_ns(self) -> int:
        """Return how long the next window is: shorter while the queue is held short.

        Source: Linux 6.1 block/blk-wbt.c:rwb_arm_timer
        """
        if self.scale_step <= 0:
            return RWB_WINDOW_NS
        return (RWB_WINDOW_NS << 4) // isqrt((self.scale_step + 1) << 8)

    def _is_exceeded(self, now_ns: int, window_ns: int) -> bool:
        # Source: Linux 6.1 block/blk-wbt.c:latency_exceeded
        if self.sync_issue_ns is not None:
            waiting_ns = now_ns - self.sync_issue_ns
            if waiting_ns > window_ns or (
                waiting_ns > self.min_latency_ns and self.read_ns is None
            ):
                return True
        if self.read_ns is None or self.nr_writes < RWB_MIN_WRITE_SAMPLES:
            return False
        return self.read_ns > self.min_latency_ns

    def _calc_max_depth(self) -> None:
        if self.queue_depth == 1:
            self.max_depth = 1 if self.scale_step > 0 else 2
            self.is_scaled_max = self.scale_step <= 0
            return
        depth = min(RWB_DEF_DEPTH, self.queue_depth)
        self.is_scaled_max = False
        if self.scale_step > 0:
            depth = 1 + ((depth - 1) >> min(SHIFT_MAX, self.scale_step))
        elif self.scale_step < 0:
            most = 3 * self.queue_depth // 4
            depth = 1 + ((depth - 1) << -self.scale_step)
            self.is_scaled_max = depth > most
            depth = min(depth, most)
        self.max_depth = depth

    def _scale_up(self) -> None:
        if not self.is_scaled_max:
            self.scale_step -= 1
            self._calc_max_depth()
            self.unknown_windows = 0

    def _scale_down(self, *, hard: bool) -> None:
        if self.max_depth == 1:
            return
        self.scale_step = 0 if self.scale_step < 0 and hard else self.scale_step + 1
        self._calc_max_depth()
        self.unknown_windows = 0
