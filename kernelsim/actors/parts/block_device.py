"""A disk: a queue of limited depth in front of a pipe of limited bandwidth.

Linux: block/blk-mq.c; the device itself is hardware.
A request takes a free slot of the device, waits its access latency there, then its data passes the
pipe, one request after another. At most `NR_REQUESTS` wait; the sender of another one waits for
room.
Owns: its queue, the accounts of its writers, its statistics.
Interface: ask `SubmitBio`; the answer means "accepted", for a read or a synchronous write that
asks to wait, "done". The receiver a bio names is told its `end_io` at completion.
Units: bytes, ns, sectors of 512 bytes.
"""

from collections import deque
from heapq import heapreplace
from typing import Any, Final

import attrs

from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.tracing import trace, wants
from kernelsim.block.blk_wbt import WritebackThrottle
from kernelsim.config.machine import BlockDeviceSpec
from kernelsim.sim.actor import DEFERRED, Actor, Reply
from kernelsim.sim.locks import WaitQueue
from kernelsim.trace.block import block_rq_complete, block_rq_issue
from kernelsim.units import NS_PER_S, PAGE_SIZE

NR_REQUESTS: Final = 256  # requests accepted before submitters wait; BLKDEV_DEFAULT_RQ is 128, x2
SECTORS_PER_PAGE: Final = PAGE_SIZE // 512


@attrs.define
class DiskStatistics:
    """Counts of /proc/diskstats, of requests completed.

    Attributes:
        nr_reads: Read requests.
        nr_writes: Write requests.
        pages_asked: Pages of reads accepted, since boot; the others are counted when done.
        pages_read: Pages read.
        pages_written: Pages written.
        read_ns: Sum over the reads of the time from start to completion.
        write_ns: The same of the writes.
        busy_ns: Time the pipe was busy.
        in_flight_max: Most requests under way at once.
    """

    nr_reads: int = 0
    nr_writes: int = 0
    pages_asked: int = 0
    pages_read: int = 0
    pages_written: int = 0
    read_ns: int = 0
    write_ns: int = 0
    busy_ns: int = 0
    in_flight_max: int = 0


class BlockDevice(Actor):
    """The actor of one disk.

    Args:
        spec: Depth, latencies, bandwidth.
        dev: Device number as Linux packs it, major << 20 | minor.
    """

    def __init__(self, spec: BlockDeviceSpec, dev: int = 8 << 20) -> None:
        super().__init__(spec.name)
        self.dev = dev
        self.spec = spec
        self.statistics = DiskStatistics()
        self.nr_in_flight = 0
        self._active_ns = 0  # with a request or more under way, before the present such time
        self._active_since_ns = 0
        self.throttle: WritebackThrottle
        self.wbt_queues: tuple[WaitQueue, ...]  # where writers back sleep, by WBT_RWQ_*
        self._slots = [0] * spec.queue_depth  # when each becomes free, a heap
        self._pipe_free_ns = 0
        self._waiting: deque[tuple[SubmitBio, Reply]] = deque()

    async def on_start(self) -> None:
        """Make the accounts of the tasks that write back, and the queues they sleep in."""
        kinds = ("others", "kswapd")
        self.wbt_queues = tuple(self.engine.wait_queue(f"{self.name} wbt {kind}") for kind in kinds)
        self.throttle = WritebackThrottle(self.wbt_queues)

    @property
    def is_full(self) -> bool:
        """Whether a submitter has to wait for room."""
        return self.nr_in_flight >= NR_REQUESTS

    @property
    def active_ns(self) -> int:
        """Time with at least one request under way."""
        current = self.engine.now_ns - self._active_since_ns if self.nr_in_flight else 0
        return self._active_ns + current

    def receive(self, message: Any) -> Any:  # noqa: ANN401 - a SubmitBio; None or a later answer
        """Accept a request, or let the submitter wait for room."""
        assert isinstance(message, SubmitBio)
        if self.is_full:
            self._waiting.append((message, self.defer()))
            return DEFERRED
        if message.wait:
            self._start(message, self.defer())
            return DEFERRED
        self._start(message, None)
        return None

    def _start(self, bio: SubmitBio, reply: Reply | None) -> None:
        if not self.nr_in_flight:
            self._active_since_ns = self.engine.now_ns
        self.nr_in_flight += 1
        self.statistics.in_flight_max = max(self.statistics.in_flight_max, self.nr_in_flight)
        spec = self.spec
        if not bio.is_write:
            self.statistics.pages_asked += bio.nr_pages
            self.throttle.note_read(self.engine.now_ns)
        now_ns = self.engine.now_ns
        begin_ns = max(now_ns, self._slots[0])
        latency_ns = spec.write_latency_ns if bio.is_write else spec.read_latency_ns
        transfer_ns = bio.nr_pages * PAGE_SIZE * NS_PER_S // spec.bandwidth_bytes_per_s
        self._pipe_free_ns = max(begin_ns + latency_ns, self._pipe_free_ns) + transfer_ns
        self.statistics.busy_ns += transfer_ns
        heapreplace(self._slots, self._pipe_free_ns)
        if wants(self, block_rq_issue):
            sectors, size_bytes = bio.nr_pages * SECTORS_PER_PAGE, bio.nr_pages * PAGE_SIZE
            point = block_rq_issue(
                self.dev, bio.sector, sectors, size_bytes, 0, bio.rwbs, bio.comm, ""
            )
            trace(self, point)
        self.engine.clock.schedule(self._pipe_free_ns, self._complete, (bio, reply, now_ns))

    def _complete(self, item: tuple[SubmitBio, Reply | None, int]) -> bool:
        bio, reply, began_ns = item
        now_ns = self.engine.now_ns
        self.nr_in_flight -= 1
        if not self.nr_in_flight:
            self._active_ns += now_ns - self._active_since_ns
        statistics = self.statistics
        if bio.is_write:
            statistics.write_ns += now_ns - began_ns
            statistics.nr_writes += 1
            statistics.pages_written += bio.nr_pages
        else:
            statistics.read_ns += now_ns - began_ns
            self.throttle.note_read(self.engine.now_ns)
            statistics.nr_reads += 1
            statistics.pages_read += bio.nr_pages
        if wants(self, block_rq_complete):
            sectors = bio.nr_pages * SECTORS_PER_PAGE
            trace(self, block_rq_complete(self.dev, bio.sector, sectors, 0, 0, bio.rwbs, ""))
        if bio.receiver is not None:
            bio.receiver.tell(bio.end_io)
        if bio.throttled is not None:
            self.throttle.done(bio.throttled, now_ns)
        if reply is not None:
            reply.send(None)
        while self._waiting and self.nr_in_flight < NR_REQUESTS:
            waiting, waiting_reply = self._waiting.popleft()
            if waiting.wait:
                self._start(waiting, waiting_reply)
            else:
                self._start(waiting, None)
                waiting_reply.send(None)
        return False
