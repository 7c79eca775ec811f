"""Lets a task read a file from its disk in compiled code, window after window.

While nobody else acts, that a lone reader sleeps, is woken, copies and sends for more decides
nothing. With `burst_pages` of 1, or when somebody listens to each step, all of it goes by messages;
the outcome is the same, to the last counter and the last nanosecond.
Interface: a `ReadStream` a task; `go_on` takes the place of a wait for a page.
Units: pages, ns.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.lock_run import LockRun
from kernelsim.actors.core.page_requests import fill_request
from kernelsim.actors.file.page_io import Entered, max_pages, note_reads, read_bio
from kernelsim.actors.messages.node import EndPageRead
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.actors.parts.page_read import PageRead
from kernelsim.actors.tracing import Speaker, trace, wants
from kernelsim.block.mq_deadline import Request
from kernelsim.fs.file import OpenFile
from kernelsim.fs.inode import HOLE, Inode
from kernelsim.mm.burst.cache_pages import CR_AT, CR_END, CR_HAVE, CR_MARK, CR_NR_PLACED
from kernelsim.mm.burst.lock_run import LR_NUMBER_END, NR_LR_FIELDS
from kernelsim.mm.burst.read_stream import read_stream
from kernelsim.mm.burst.stream_steps import (
    FLIGHT_MAX,
    Q_AT,
    Q_BEGAN,
    Q_NR,
    Q_NUMBER,
    Q_SENT,
    Q_START,
    Q_WINDOW,
    ST_CHARGED,
    ST_CHARGED_THEN,
    ST_FIRST_SLEEP,
    ST_GOT_CPU,
    ST_HEAD,
    ST_IRQ_END,
    ST_LAST_SLEEP,
    ST_LOCK_NS,
    ST_MIN_VRUNTIME,
    ST_NOW,
    ST_NR_DONE,
    ST_NR_FLIGHT,
    ST_NR_SLEEPS,
    ST_NUMBER,
    ST_RA_ASYNC,
    ST_RA_START,
    ST_READER,
    ST_SLEPT,
    ST_TASK,
    ST_VRUNTIME,
    cached_run,
    new_stream,
)
from kernelsim.mm.core.mem import I64, I64_2D
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.filemap_read import R_INDEX, READ_LOCKED
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.swap.swap_area import SS_FREE
from kernelsim.sched.psi import PSI_PERIOD_NS
from kernelsim.sim.event import Planned
from kernelsim.trace.kmem import mm_page_alloc
from kernelsim.trace.ks import ks_readpages

NO_PAGES: Final = np.zeros(0, np.uint64)
EXTENT_PAGES: Final = 1 << 30  # more than an extent has


class ReadStream:
    """The reads of one task.

    Args:
        current: The task.

    Attributes:
        stream: The state of the last one, for a window that is entered in part.
        has_acted: Whether the last one did anything.
    """

    def __init__(self, current: Current) -> None:
        self._current = current
        self._kernel, self._task = current
        self._locks = LockRun(current, np.zeros(NR_LR_FIELDS, np.int64), mm_page_alloc)
        self.stream = new_stream()
        self.has_acted = False

    def go_on(self, file: OpenFile, io: I64, context: AllocContext) -> int:
        """Go on with a read that waits for page `R_INDEX`, as far as nobody can notice.

        Args:
            file: What is read.
            io: State of the read; its time is to be computed when this has acted.
            context: What pages are allocated by.

        Returns:
            READ_* as `read_stream` does; READ_LOCKED when it has not acted.
        """
        self.has_acted = False
        kernel, inode, device = self._kernel, file.inode, self._kernel.devices[file.inode.device]
        pending = self._pending(inode, device)
        if not pending or not pending[0][2].index <= io[R_INDEX] or not self._may_begin(context):
            return READ_LOCKED
        place, nr = inode.map_blocks(int(io[R_INDEX]), EXTENT_PAGES)
        if place == HOLE or not device.lend(self.stream.state):
            return READ_LOCKED
        self._begin(file, device, [planned for _, planned, _ in pending], int(io[R_INDEX]) + nr)
        fill_request(self.stream.request, context, oom_victim=self._task.oom_victim)
        for row, (request, planned, end_io) in zip(self.stream.flight, pending, strict=False):
            began_ns = request.parts[0][2]
            row[:] = (
                end_io.index, len(end_io.pfns), end_io.began_ns, began_ns,
                planned.at_ns, planned.number, -1,
            )  # fmt: skip
        why = read_stream(
            kernel.mem, kernel.spaces.mappings, kernel.lruvec, kernel.burst,
            kernel.bursts.slab_requests(self._task), self.stream, io, NO_PAGES, inode.disk,
        )  # fmt: skip
        if self.stream.state[ST_NR_SLEEPS]:
            self.has_acted = True
            self._end(file, device, pending)
        return why

    def entered(self) -> Entered:
        """Return the window that was entered in part."""
        run = self.stream.run
        done, stop = int(run[CR_NR_PLACED]), int(run[CR_END])
        start = int(run[CR_AT]) - done
        pfns = self.stream.pfns[: stop - start].copy()
        return Entered(start, stop, int(run[CR_MARK]), done, int(run[CR_HAVE]), pfns)

    def _pending(
        self, inode: Inode, device: BlockDevice
    ) -> list[tuple[Request, Planned, EndPageRead]]:
        """Return what the task has under way, in the order it will be done.

        Nothing if anybody else waits for one of these pages.
        """
        found = []
        for request, planned in device.planned.items():
            bio = request.parts[0][0]
            end_io = bio.end_io
            if not isinstance(end_io, EndPageRead) or end_io.inode is not inode:
                continue
            queue = self._kernel.page_reads[page_key(inode.number, end_io.index)]
            is_own = bio.comm == self._task.name and bio.cpu == self._task.cpu.number
            if not is_own or len(request.parts) > 1 or queue.nr_waiting:
                return []
            found.append((request, planned, end_io))
        found.sort(key=lambda each: (each[1].at_ns, each[1].number))
        return found if len(found) < FLIGHT_MAX else []

    def _may_begin(self, context: AllocContext) -> bool:
        """Tell whether steps may be taken in compiled code, and the CPU has no other task."""
        kernel, task = self._kernel, self._task
        is_alone = not any(cpu.state.run_queue for cpu in kernel.cpus)
        is_plain = not context.is_interleaved and not task.entity.in_memstall
        is_plain = is_plain and not task.in_lru_fault and task.cpu in task.cpus
        return is_alone and is_plain and self._locks.begin(computes=True)

    def _begin(
        self, file: OpenFile, device: BlockDevice, own: list[Planned], extent_end: int
    ) -> None:
        kernel, task = self._kernel, self._task
        clock, cpu, entity = kernel.engine.clock, task.cpu, task.entity
        latency, charged_ns = kernel.spec.latency, task.utime_ns + task.stime_ns
        self.stream.state[ST_TASK] = (
            clock.now_ns, clock.number, self._locks.run[LR_NUMBER_END], clock.next_of_others(own),
            kernel.psi.period_began_ns + PSI_PERIOD_NS, charged_ns, task.got_cpu_ns,
            task.charged_ns, entity.vruntime_ns, cpu.fair.since_ns, cpu.fair.min_vruntime_ns,
            cpu.fair.latency_ns // 2, cpu.irq_end_ns, latency.end_io_ns, 0, 0, 0, 0, 0,
        )  # fmt: skip
        ra = file.ra
        self.stream.state[ST_READER] = (
            file.inode.number, file.inode.nr_pages, extent_end, ra.start, ra.size,
            ra.async_size, ra.ra_pages, max_pages(device), latency.submit_bio_ns,
            latency.read_folio_ns, kernel.swap.state[SS_FREE], cpu.nid, cpu.number, 0, len(own), 0,
        )  # fmt: skip

    def _end(
        self,
        file: OpenFile,
        device: BlockDevice,
        pending: list[tuple[Request, Planned, EndPageRead]],
    ) -> None:
        """Let all be as compiled code has left it."""
        kernel, stream = self._kernel, self.stream
        state, clock = stream.state, kernel.engine.clock
        clock.now_ns, clock.number = int(state[ST_NOW]), int(state[ST_NUMBER])
        done = stream.done[: state[ST_NR_DONE]]
        device.take_back(state, len(done), int(done[:, Q_NR].sum()))
        for request, planned, end_io in pending[: len(done)]:
            del device.planned[request]
            clock.call_off(planned)
            first = page_key(file.inode.number, end_io.index)
            for key in range(first, first + len(end_io.pfns)):
                del kernel.page_reads[key]
        self._send_rest(file.inode, device, max(len(pending) - len(done), 0))
        clock.next_event()  # what is not planned any more is no horizon
        self._end_task()
        file.ra.start, file.ra.size, file.ra.async_size = state[
            ST_RA_START : ST_RA_ASYNC + 1
        ].tolist()
        self._tell(file.inode, device, done)
        kernel.bursts.look_at_locks()

    def _send_rest(self, inode: Inode, device: BlockDevice, nr_known: int) -> None:
        """Plan the end of requests that were sent in compiled code and are under way."""
        kernel, state = self._kernel, self.stream.state
        queues: dict[int, PageRead] = {}  # one for each window
        for place in range(nr_known, int(state[ST_NR_FLIGHT])):
            row = self.stream.flight[(state[ST_HEAD] + place) % FLIGHT_MAX]
            start, nr = int(row[Q_START]), int(row[Q_NR])
            pfns = np.zeros(nr, np.int64)
            cached_run(kernel.spaces.mappings, inode.number, start, nr, pfns)
            window = int(row[Q_WINDOW])
            if window not in queues:
                name = f"file page {window} of {inode.number}"
                queues[window] = PageRead(kernel.engine, name, self._current.task.name)
            note_reads(kernel, inode, start, nr, queues[window])
            at, _ = inode.map_blocks(start, nr)
            bio = read_bio(self._current, inode, start, pfns, at, int(row[Q_SENT]))
            device.resume(bio, int(row[Q_BEGAN]), int(row[Q_AT]), int(row[Q_NUMBER]))

    def _end_task(self) -> None:
        task, state = self._task, self.stream.state
        cpu, entity, nr_sleeps = task.cpu, task.entity, int(state[ST_NR_SLEEPS])
        first_ns, woken_ns, slept_ns = state[[ST_FIRST_SLEEP, ST_GOT_CPU, ST_SLEPT]].tolist()
        ran_ns = woken_ns - first_ns - slept_ns
        task.nvcsw += nr_sleeps
        task.stime_ns = int(state[ST_CHARGED]) - task.utime_ns
        task.got_cpu_ns, task.charged_ns = woken_ns, int(state[ST_CHARGED_THEN])
        task.waits.io_ns += slept_ns
        task.waits.lock_ns += int(state[ST_LOCK_NS])
        cpu.irq_end_ns = int(state[ST_IRQ_END])
        cpu.tlb_state.is_switched = True
        cpu.state.nr_switches += 2 * nr_sleeps  # to the idle task and back
        cpu.state.busy_ns += first_ns - cpu.state.busy_since_ns + ran_ns
        cpu.state.iowait_ns += slept_ns
        cpu.state.busy_since_ns = cpu.state.iowait_since_ns = woken_ns
        cpu.state.need_resched = False
        cpu.state.slice_end_ns = cpu.next_tick_ns(woken_ns)
        cpu.fair.run(entity, woken_ns)
        cpu.fair.min_vruntime_ns = int(state[ST_MIN_VRUNTIME])
        entity.vruntime_ns, entity.left_ns = int(state[ST_VRUNTIME]), int(state[ST_LAST_SLEEP])
        nr_iowait = cpu.state.nr_iowait
        cpu.psi.record(first_ns, nr_running=0, nr_iowait=nr_iowait + 1)
        cpu.psi.alternates(woken_ns, ran_ns=ran_ns, slept_ns=slept_ns, nr_iowait=nr_iowait)

    def _tell(self, inode: Inode, device: BlockDevice, done: I64_2D) -> None:
        speaker = Speaker(self._kernel.engine, self._task.name)
        if not wants(speaker, ks_readpages):
            return
        for row in done.tolist():
            start, nr, at_ns = row[Q_START], row[Q_NR], row[Q_AT]
            point = ks_readpages(device.name, inode.number, start, nr, at_ns - row[Q_SENT])
            trace(speaker, point, at_ns=at_ns)
