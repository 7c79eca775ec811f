"""How many buffered writes may be on their way to a disk, so that reads are not drowned.

Linux: block/blk-wbt.c, block/blk-rq-qos.c:rq_qos_wait, 6.1.
A write counts from when its request begins, in the plug already, until it is done. Kswapd's writes
are counted apart. How many may be under way follows from the depth (rq_depth.py): all of it for
kswapd, for writes that somebody waits for, and while writers are made to wait for the disk; half of
it for others, a quarter while the disk also reads. The flusher's background work is no exception:
ext4 marks no write REQ_BACKGROUND. Disks have a write cache, so a waiting task is woken when all
writes of the kind are done, unless writers wait.
Interface: a disk has one, and the queues its writers sleep in. A writer calls `try_begin`, and
sleeps if that is refused, having said so with `waits`; one that is woken has been counted. The disk
calls `done`, and `end_window` when that is due.
Units: requests, ns.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from kernelsim.block.rq_depth import RqDepth
from kernelsim.units import NS_PER_S

CLOSE_IO_NS: Final = NS_PER_S // 10  # a disk that read this lately has competing I/O
RECENT_WAIT_NS: Final = NS_PER_S  # a writer was made to wait this lately
LONG_AGO_NS: Final = -NS_PER_S - 1
WBT_RWQ_BG: Final = 0  # enum of block/blk-wbt.h
WBT_RWQ_KSWAPD: Final = 1


class Sleepers(Protocol):
    """The queue in which writers of one kind sleep."""

    @property
    def nr_waiting(self) -> int:
        """How many sleep."""
        ...

    def wake(self) -> int:
        """Wake the first; return how many there were, 0 or 1."""
        ...


@attrs.define(eq=False)
class WritebackThrottle:
    """The accounts of one disk.

    Attributes:
        queues: Where writers sleep, by kind.
        depth: How many may be under way.
        inflight: Writes begun and not done, by kind.
        waiting: Whether somebody waits for what those that sleep write, by kind, in their order.
        last_read_ns: When a read last began or ended.
        dirty_sleep_ns: When balance_dirty_pages last made a writer wait.
        is_timed: A window is under way.
    """

    queues: Sequence[Sleepers]
    depth: RqDepth
    inflight: list[int] = attrs.field(factory=lambda: [0, 0])
    waiting: tuple[deque[bool], ...] = attrs.field(factory=lambda: (deque(), deque()))
    last_read_ns: int = LONG_AGO_NS
    dirty_sleep_ns: int = LONG_AGO_NS
    is_timed: bool = False

    def limit(self, kind: int, now_ns: int, *, is_sync: bool = False) -> int:
        """Return how many writes of a kind may be under way now.

        Source: Linux 6.1 block/blk-wbt.c:get_limit
        """
        if kind == WBT_RWQ_KSWAPD or is_sync or self._has_recent_wait(now_ns):
            return self.depth.max_depth
        has_reads = now_ns < self.last_read_ns + CLOSE_IO_NS
        return self.depth.background if has_reads else self.depth.normal

    def try_begin(self, kind: int, now_ns: int, *, is_sync: bool = False) -> bool:
        """Count one more write, if it may begin: no task passes those that wait already.

        Source: Linux 6.1 block/blk-rq-qos.c:rq_qos_wait
        """
        limit = self.limit(kind, now_ns, is_sync=is_sync)
        if self.queues[kind].nr_waiting or self.inflight[kind] >= limit:
            return False
        self.inflight[kind] += 1
        return True

    def waits(self, kind: int, *, is_sync: bool) -> None:
        """Note that a writer goes to sleep in the queue of its kind."""
        self.waiting[kind].append(is_sync)

    def done(self, kind: int, now_ns: int) -> None:
        """Count a write less; when few are left, count and wake those who may go on.

        Source: Linux 6.1 block/blk-wbt.c:wbt_rqw_done
        """
        self.inflight[kind] -= 1
        inflight = self.inflight[kind]
        limit = self.depth.normal if self._has_recent_wait(now_ns) else 0
        if not inflight or limit - inflight >= max(self.depth.background // 2, 1):
            self._wake(kind, now_ns)

    def end_window(self, now_ns: int, window_ns: int, *, is_busy: bool) -> int:
        """Judge the depth, and wake those who may go on; return how long the next window is.

        Args:
            now_ns: The time.
            window_ns: How long this one was.
            is_busy: The disk has something to do; else nothing will end the wait for it.

        Source: Linux 6.1 block/blk-wbt.c:wb_timer_fn, :scale_up
        """
        has_writes = (is_busy and sum(self.inflight) > 0) or self._has_recent_wait(now_ns)
        before = self.depth.scale_step
        next_ns = self.depth.end_window(now_ns, window_ns, has_writes=has_writes)
        if self.depth.scale_step < before:
            for kind in range(len(self.queues)):
                self._wake(kind, now_ns)
        self.is_timed = next_ns > 0
        return next_ns

    def note_read(self, now_ns: int) -> None:
        """Note that a read began or ended."""
        self.last_read_ns = now_ns

    def _has_recent_wait(self, now_ns: int) -> bool:
        # Source: Linux 6.1 block/blk-wbt.c:wb_recent_wait
        return now_ns < self.dirty_sleep_ns + RECENT_WAIT_NS

    def _wake(self, kind: int, now_ns: int) -> None:
        # Source: Linux 6.1 block/blk-rq-qos.c:rq_qos_wake_function
        queue, waiting = self.queues[kind], self.waiting[kind]
        while waiting and self.inflight[kind] < self.limit(kind, now_ns, is_sync=waiting[0]):
            waiting.popleft()
            if not queue.wake():
                waiting.clear()
                return
            self.inflight[kind] += 1
