"""How many buffered writes may be on their way to a disk, so that reads are not drowned.

Linux: block/blk-wbt.c, block/blk-rq-qos.c:rq_qos_wait, 6.1.
# Differs from Linux: The depth to which writeback may fill the queue is not scaled down when reads
# turn slow, nor up when there are none.
A write counts from when its request begins, in the plug already, until it is done. Kswapd's writes
are counted apart and may be more; those of others are held lower while the disk also reads. Disks
have a write cache, so a waiting task is woken when all writes of the kind are done.
Interface: a disk has one, and the queues its writers sleep in. A writer calls `try_begin`, and
sleeps if that is refused; one that is woken has been counted. The disk calls `done`.
Units: requests, ns.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from kernelsim.units import NS_PER_S

RWB_DEF_DEPTH: Final = 16
WB_NORMAL: Final = (RWB_DEF_DEPTH + 1) // 2
WB_BACKGROUND: Final = (RWB_DEF_DEPTH + 3) // 4
CLOSE_IO_NS: Final = NS_PER_S // 10  # a disk that read this lately has competing I/O
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
        inflight: Writes begun and not done, by kind.
        last_read_ns: When a read last began or ended.
    """

    queues: Sequence[Sleepers]
    inflight: list[int] = attrs.field(factory=lambda: [0, 0])
    last_read_ns: int = -CLOSE_IO_NS - 1

    def limit(self, kind: int, now_ns: int) -> int:
        """Return how many writes of a kind may be under way now.

        Source: Linux 6.1 block/blk-wbt.c:get_limit
        """
        if kind == WBT_RWQ_KSWAPD:
            return RWB_DEF_DEPTH
        has_reads = now_ns < self.last_read_ns + CLOSE_IO_NS
        return WB_BACKGROUND if has_reads else WB_NORMAL

    def try_begin(self, kind: int, now_ns: int) -> bool:
        """Count one more write, if it may begin: no task passes those that wait already.

        Source: Linux 6.1 block/blk-rq-qos.c:rq_qos_wait
        """
        if self.queues[kind].nr_waiting or self.inflight[kind] >= self.limit(kind, now_ns):
            return False
        self.inflight[kind] += 1
        return True

    def done(self, kind: int, now_ns: int) -> None:
        """Count a write less; when it was the last, count and wake those who may go on.

        Source: Linux 6.1 block/blk-wbt.c:wbt_rqw_done, block/blk-rq-qos.c:rq_qos_wake_function
        """
        self.inflight[kind] -= 1
        queue = self.queues[kind]
        if not self.inflight[kind]:
            while self.inflight[kind] < self.limit(kind, now_ns) and queue.wake():
                self.inflight[kind] += 1

    def note_read(self, now_ns: int) -> None:
        """Note that a read began or ended."""
        self.last_read_ns = now_ns
