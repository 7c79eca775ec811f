"""A disk: a scheduler, a queue of limited depth, and behind it a pipe or an arm.

Linux: block/blk-mq.c; the device itself is hardware.
Requests wait in the scheduler, which may merge them, until the device takes one more. There one
waits its access latency beside others, then its data passes the pipe, one request after another.
Where the description gives a spread, access latencies vary by the seed.
A hard disk serves one at a time: its arm moves to it, the platter turns to it. At most
`NR_REQUESTS` bios are under way; the sender of another one waits for room.
Where CPUs share a bus the data passes that at the same time (dma.py), and is there when both are
done.
Owns: its queue, the accounts of its writers, its statistics.
Interface: ask `SubmitBio`; the answer means "accepted", for a read or a synchronous write that
asks to wait, "done" with its status. The receiver a bio names is told its `end_io` at completion,
with the status: 0, or EIO when `faults` has bad sectors among its own then.
Units: bytes, ns, sectors of 512 bytes.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from errno import EIO
from typing import Any, Final

import msgspec
import numpy as np

from kernelsim.actors.messages.block_device import DataMoved, MoveData, SubmitBio
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.actors.tracing import trace, wants
from kernelsim.block.blk_wbt import WritebackThrottle
from kernelsim.block.device_faults import DeviceFaults
from kernelsim.block.disk_statistics import DiskStatistics
from kernelsim.block.mq_deadline import Request, make_scheduler
from kernelsim.block.rq_depth import MIN_LATENCY_NS, MIN_LATENCY_ROTATIONAL_NS, RqDepth
from kernelsim.block.seek import seek_ns
from kernelsim.config.disks import BlockDeviceSpec
from kernelsim.config.latency import LatencySpec
from kernelsim.hw.spread import spread_ns
from kernelsim.mm.burst.stream_steps import ST_DISK
from kernelsim.mm.core.mem import I64
from kernelsim.sim.actor import DEFERRED, Actor, ActorRef
from kernelsim.sim.event import Planned
from kernelsim.sim.locks import WaitQueue
from kernelsim.sim.reply import Reply
from kernelsim.sim.rng import Rng
from kernelsim.trace.block import block_rq_complete, block_rq_issue
from kernelsim.units import NS_PER_S, SECTOR_SIZE, SECTORS_PER_PAGE

CONGESTION_ON: Final = 128 - 128 // 8 + 1  # of BLKDEV_MAX_RQ; block/blk-core.c of 2.6.31
CONGESTION_OFF: Final = 128 - 128 // 8 - 128 // 16 - 1
NR_REQUESTS: Final = 256  # requests accepted before submitters wait; BLKDEV_DEFAULT_RQ is 128, x2


class BlockDevice(Actor):
    """The actor of one disk.

    Args:
        spec: Depth, latencies, bandwidth.
        dev: Device number as Linux packs it, major << 20 | minor.
        cpus: Of the machine, by number.
        latency: What a request costs them.
    """

    def __init__(
        self, spec: BlockDeviceSpec, dev: int, cpus: Sequence[Cpu], latency: LatencySpec
    ) -> None:
        super().__init__(spec.name)
        self.dev = dev
        self.latency = latency
        self._cpus = cpus
        self.spec = spec
        self.statistics = DiskStatistics()
        self.faults = DeviceFaults()
        self.dma: ActorRef | None = None  # on a machine whose CPUs share a bus
        self.nr_in_flight = 0
        self._active_ns = 0  # with a request or more under way, before the present such time
        self._active_since_ns = 0
        self.throttle: WritebackThrottle
        self.uncongested: WaitQueue  # where tasks wait until less is under way
        self.wbt_queues: tuple[WaitQueue, ...]  # where writers back sleep, by WBT_RWQ_*
        self._scheduler = make_scheduler(spec.scheduler, spec.max_segments)
        self._nr_at_device = 0
        # Differs from Linux: The hardware queues of a disk, one a CPU, are one queue.
        self._nr_accepted_max = max(NR_REQUESTS, spec.queue_depth)
        self._pipe_free_ns = 0
        self._at_arm: list[Request] = []  # of a disk with an arm, by sector
        self._arm_sector = 0  # where the last request ended
        self._arm_is_busy = False
        self._rotation: Rng
        self._waiting: deque[tuple[SubmitBio, Reply]] = deque()
        self._seed = 0
        self._nr_draws = np.zeros(1, np.int64)
        self.planned: dict[Request, Planned] = {}  # of those at the pipe

    async def on_start(self) -> None:
        """Make the accounts of the tasks that write back, and the queues they sleep in."""
        self.uncongested = self.engine.wait_queue(f"{self.name} congested")
        self._seed = self.engine.rng(f"latency of {self.name}").bits(62)
        kinds = ("others", "kswapd")
        self.wbt_queues = tuple(self.engine.wait_queue(f"{self.name} wbt {kind}") for kind in kinds)
        rotates = self.spec.rotational
        latency_ns = MIN_LATENCY_ROTATIONAL_NS if rotates else MIN_LATENCY_NS
        self.throttle = WritebackThrottle(
            self.wbt_queues, RqDepth(self.spec.nr_requests, latency_ns)
        )
        self._rotation = self.engine.rng(f"platter of {self.name}")

    @property
    def is_full(self) -> bool:
        """Whether a submitter has to wait for room."""
        return self.nr_in_flight >= self._nr_accepted_max

    @property
    def is_congested(self) -> bool:
        """Whether so much is under way that those who need not wait go elsewhere.

        Source: Linux 2.6.31 block/blk-core.c:blk_queue_congestion_threshold
        """
        return self.nr_in_flight >= CONGESTION_ON

    @property
    def active_ns(self) -> int:
        """Time with at least one request under way."""
        current = self.engine.now_ns - self._active_since_ns if self.nr_in_flight else 0
        return self._active_ns + current

    def receive(self, message: Any) -> Any:  # noqa: ANN401 - a SubmitBio; None or a later answer
        """Accept a request, or let the submitter wait; be done with one whose data has moved."""
        if isinstance(message, DataMoved):
            at_ns = max(self.engine.now_ns, message.ready_ns)
            self.engine.clock.schedule(at_ns, self._complete, message.request)
            return None
        assert isinstance(message, SubmitBio)
        if self.is_full:
            self._waiting.append((message, self.defer()))
            return DEFERRED
        reply = self.defer() if message.wait else None
        self._accept(message, reply)
        self._dispatch()
        return DEFERRED if message.wait else None

    def _accept(self, bio: SubmitBio, reply: Reply | None) -> None:
        now_ns = self.engine.now_ns
        if not self.nr_in_flight:
            self._active_since_ns = now_ns
        self.nr_in_flight += 1
        self.statistics.in_flight_max = max(self.statistics.in_flight_max, self.nr_in_flight)
        if not bio.is_write:
            self.statistics.pages_asked += bio.nr_pages
            self.throttle.note_read(now_ns)
            # Differs from Linux: A read's time in the scheduler counts for blk-wbt, too.
            self.throttle.depth.issued(now_ns)
        else:
            self.statistics.pages_given += bio.nr_pages
        if bio.throttled is not None and not self.throttle.is_timed:
            self.throttle.is_timed = True
            self._time_window(self.throttle.depth.window_ns())
        sectors = bio.nr_pages * SECTORS_PER_PAGE
        part = (bio, reply, now_ns)
        nr_segments = bio.nr_segments or bio.nr_pages
        request = Request(bio.is_write, bio.sector, sectors, [part], nr_segments)
        self._scheduler.insert(request, now_ns)

    def _time_window(self, window_ns: int) -> None:
        self.engine.clock.schedule(self.engine.now_ns + window_ns, self._end_window, window_ns)

    def _end_window(self, window_ns: int) -> bool:
        """Let the depth of the queue be judged; the next window follows if there is any."""
        next_ns = self.throttle.end_window(
            self.engine.now_ns, window_ns, is_busy=self.nr_in_flight > 0
        )
        if next_ns and self.engine.ended is None:  # a disk that has ended never gets done
            self._time_window(next_ns)
        return False

    def _dispatch(self) -> None:
        """Hand requests to the device as long as it takes more."""
        while self._nr_at_device < self.spec.queue_depth:
            request = self._scheduler.dispatch(self.engine.now_ns)
            if request is None:
                return
            self._nr_at_device += 1
            if wants(self, block_rq_issue):
                self._trace_issue(request)
            if self.spec.average_seek_ns:
                insort(self._at_arm, request, key=_first_sector)
                self._move_arm()
            else:
                self._start(request)

    def _start(self, request: Request) -> None:
        """Let the device serve a request beside others: latencies overlap, data does not."""
        begin_ns = max(self.engine.now_ns + self._drawn_ns(request), self._pipe_free_ns)
        self._transfer(request, begin_ns)

    def _move_arm(self) -> None:
        """Let the arm go up the sectors it has requests for, and from the highest to the lowest.

        Where the last request ended it need not wait for the platter: the track is in its buffer.
        """
        if self._arm_is_busy or not self._at_arm:
            return
        self._arm_is_busy = True
        place = bisect_left(self._at_arm, self._arm_sector, key=_first_sector)
        request = self._at_arm.pop(place if place < len(self._at_arm) else 0)
        spec, distance = self.spec, abs(request.sector - self._arm_sector) * SECTOR_SIZE
        arrive_ns = self.engine.now_ns + self._drawn_ns(request)
        if distance:
            arrive_ns += self._rotation.below(spec.rotation_ns) + seek_ns(
                distance,
                spec.size_bytes,
                track_to_track_ns=spec.track_to_track_ns,
                average_ns=spec.average_seek_ns,
            )
        self._arm_sector = request.end
        self._transfer(request, arrive_ns)

    def _transfer(self, request: Request, begin_ns: int) -> None:
        spec, size_bytes = self.spec, request.nr_sectors * SECTOR_SIZE
        bandwidth = spec.bandwidth_bytes_per_s
        if request.is_write:
            bandwidth = spec.write_bandwidth_bytes_per_s or bandwidth
        transfer_ns = spec.request_ns + size_bytes * NS_PER_S // bandwidth
        self._pipe_free_ns = begin_ns + transfer_ns
        self.statistics.busy_ns += transfer_ns
        if self.dma is None:
            self._plan(request)
            return
        move = MoveData(request, size_bytes, self._pipe_free_ns)
        self.engine.clock.schedule(begin_ns, self._move_data, move)

    def _plan(self, request: Request) -> None:
        self.planned[request] = self.engine.clock.plan(self._pipe_free_ns, self._complete, request)

    def _move_data(self, move: MoveData) -> bool:
        """Let the data of a request pass the bus while the pipe has it."""
        if self.dma is not None and not self.dma.has_ended:
            self.dma.tell(move)
        return False

    def _drawn_ns(self, request: Request) -> int:
        """Return the latency of a request this time; of it the mean and the spread are known."""
        spec = self.spec
        mean_ns = spec.write_latency_ns if request.is_write else spec.read_latency_ns
        spread = spec.latency_spread_permille
        return spread_ns(self._seed, self._nr_draws, 0, mean_ns, max(mean_ns, 1), spread)

    def _complete(self, request: Request) -> bool:
        now_ns = self.engine.now_ns
        self.planned.pop(request, None)
        if now_ns < self.faults.stalled_until_ns:
            self.engine.clock.schedule(self.faults.stalled_until_ns, self._complete, request)
            return False
        self._nr_at_device -= 1
        self._arm_is_busy = False
        cpu = self._cpus[request.parts[0][0].cpu]
        end_ns = cpu.interrupt(self.latency.end_io_ns)
        self.engine.clock.schedule(end_ns, self._end_request, request)
        self._move_arm()
        self._dispatch()
        return False

    def _end_request(self, request: Request) -> bool:
        """Be done with a request, in the interrupt of the CPU that sent it.

        Source: Linux 6.1 block/blk-mq.c:blk_mq_complete_request, :blk_mq_end_request
        """
        self._count(request)
        for bio, reply, began_ns in request.parts:
            self._end_bio(bio, reply, began_ns)
        if self.nr_in_flight < CONGESTION_OFF:
            self.uncongested.wake_all()
        while self._waiting and not self.is_full:
            waiting, waiting_reply = self._waiting.popleft()
            self._accept(waiting, waiting_reply if waiting.wait else None)
            if not waiting.wait:
                waiting_reply.send(None)
        self._dispatch()
        return False

    def lend(self, state: I64) -> bool:
        """Fill in what compiled code takes reads by in the disk's stead; False if it may not."""
        spec, depth = self.spec, self.throttle.depth
        is_full = bool(self._waiting) or self._nr_at_device >= spec.queue_depth
        is_own = bool(spec.average_seek_ns) or self.dma is not None or bool(self.faults.bad)
        is_own = is_own or self.uncongested.nr_waiting > 0
        if is_full or is_own or wants(self, block_rq_issue) or wants(self, block_rq_complete):
            return False
        state[ST_DISK] = (
            self.nr_in_flight, self.statistics.in_flight_max, self._nr_accepted_max,
            self._nr_at_device, spec.queue_depth, self._active_since_ns, self._active_ns,
            self.throttle.last_read_ns, or_none(depth.sync_issue_ns), or_none(depth.read_ns),
            self._pipe_free_ns, self._seed, self._nr_draws[0], spec.read_latency_ns,
            spec.latency_spread_permille, spec.request_ns, spec.bandwidth_bytes_per_s,
            self.faults.stalled_until_ns, 0, 0, 0,
        )  # fmt: skip
        return True

    def take_back(self, state: I64, nr_done: int, pages_done: int) -> None:
        """Enter what compiled code has done in the disk's stead; reads of so many pages are done.

        Those under way are to be given back by `resume`.
        """
        statistics, depth = self.statistics, self.throttle.depth
        (
            self.nr_in_flight, statistics.in_flight_max, _, self._nr_at_device, _,
            self._active_since_ns, self._active_ns, self.throttle.last_read_ns, issue_ns, read_ns,
            self._pipe_free_ns, _, self._nr_draws[0], _, _, _, _, _, asked, took_ns, busy_ns,
        ) = state[ST_DISK].tolist()  # fmt: skip
        depth.sync_issue_ns = issue_ns if issue_ns >= 0 else None
        depth.read_ns = read_ns if read_ns >= 0 else None
        statistics.pages_asked += asked
        statistics.read_ns += took_ns
        statistics.busy_ns += busy_ns
        statistics.nr_reads += nr_done
        statistics.pages_read += pages_done
        if asked:  # each went through a scheduler that had nothing else
            self._scheduler.insert(Request(False, 0, 0, [], 0), self.engine.now_ns)
            self._scheduler.dispatch(self.engine.now_ns)

    def resume(self, bio: SubmitBio, began_ns: int, at_ns: int, number: int) -> None:
        """Go on with a read taken in the disk's stead: when it ends, and that event's number."""
        segments, sectors = bio.nr_segments or bio.nr_pages, bio.nr_pages * SECTORS_PER_PAGE
        request = Request(False, bio.sector, sectors, [(bio, None, began_ns)], segments)
        planned = Planned(self.engine.clock, self._complete, request, at_ns, number)
        self.planned[request] = planned
        self.engine.clock.put_back(at_ns, number, planned)

    def _count(self, request: Request) -> None:
        statistics, nr_merged = self.statistics, len(request.parts) - 1
        if request.is_write:
            statistics.nr_writes += 1
            statistics.nr_write_merges += nr_merged
        else:
            statistics.nr_reads += 1
            statistics.nr_read_merges += nr_merged

    def _end_bio(self, bio: SubmitBio, reply: Reply | None, began_ns: int) -> None:
        """Tell whoever submitted a bio how it ended.

        Source: Linux 6.1 block/blk-mq.c:blk_update_request
        """
        now_ns, statistics = self.engine.now_ns, self.statistics
        failed = self.faults.failed_pages(
            is_write=bio.is_write, sector=bio.sector, nr_pages=bio.nr_pages
        )
        status = EIO if failed else 0  # blk_status_to_errno of BLK_STS_MEDIUM
        self.nr_in_flight -= 1
        if not self.nr_in_flight:
            self._active_ns += now_ns - self._active_since_ns
        self.throttle.depth.completed(is_write=bio.is_write, began_ns=began_ns, now_ns=now_ns)
        if bio.is_write:
            statistics.write_ns += now_ns - began_ns
            statistics.pages_written += bio.nr_pages
        else:
            statistics.read_ns += now_ns - began_ns
            self.throttle.note_read(now_ns)
            statistics.pages_read += bio.nr_pages
        if wants(self, block_rq_complete):
            sectors = bio.nr_pages * SECTORS_PER_PAGE
            trace(self, block_rq_complete(self.dev, bio.sector, sectors, 0, -status, bio.rwbs, ""))
        if bio.receiver is not None and bio.end_io is not None:
            end_io = bio.end_io
            if failed:
                end_io = msgspec.structs.replace(end_io, status=status, failed=failed)
            bio.receiver.tell(end_io)
        if bio.throttled is not None:
            self.throttle.done(bio.throttled, now_ns)
        if reply is not None:
            reply.send(status)

    def _trace_issue(self, request: Request) -> None:
        bio, size_bytes = request.parts[0][0], request.nr_sectors * SECTOR_SIZE
        point = block_rq_issue(
            self.dev, request.sector, request.nr_sectors, size_bytes, 0, bio.rwbs, bio.comm, ""
        )
        trace(self, point)


def or_none(ns: int | None) -> int:
    """Return a time for compiled code, -1 for none."""
    return -1 if ns is None else ns


def _first_sector(request: Request) -> int:
    return request.sector
