"""A user process: runs the operations its program asks for, one after the other.

Linux: the user side of a task, and the system calls it makes (mm/mmap.c, mm/madvise.c,
kernel/exit.c, 6.1).
An access to memory runs on the process's CPU in time slices, page by page in a compiled leaf; the
first page that faults goes to the process's fault handler, with all that follow it and need the
same, and the process waits.
Interface: ask one of the operations of process_operations.py; the answer is its result. Asking an
ended process gives `None` at once. `exited` is woken when it has ended.
Units: bytes for addresses and lengths, pages where it says so, ns.
"""

import errno
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.fault_handler import FaultResult, PageFault
from kernelsim.actors.messages.process import (
    Brk,
    Exit,
    Madvise,
    Mmap,
    Munmap,
    Sleep,
    StartImage,
    Touch,
    TouchPages,
    TouchResult,
)
from kernelsim.actors.space.fault_handler import FaultHandler
from kernelsim.actors.space.memory_access import run_length
from kernelsim.actors.space.process_memory import (
    FORK_FAULTS,
    IMAGE_FILE_FAULTS,
    IMAGE_FILE_PAGES,
    free_address_space,
    free_tables,
    make_address_space,
    map_libc_start,
    zap,
)
from kernelsim.mm.core.vmstat import PGFAULT
from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.reclaim.oom_kill import OomTask
from kernelsim.mm.space.memory import TOUCH_FAULT, touch_list, touch_present
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, VmChange
from kernelsim.mm.space.pgtable import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS
from kernelsim.mm.space.vm_flags import MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE
from kernelsim.sim.actor import Actor
from kernelsim.sim.locks import WaitQueue
from kernelsim.trace.ks import ks_process_exit, ks_process_start
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

SIGKILL: Final = 9
SIGSEGV: Final = 11
ACCESSES_AT_ONCE: Final = 1 << 16  # of those that are listed one by one


class Process(Actor):
    """The actor of one process.

    Args:
        kernel: The machine.
        comm: Its name.
        task: Its thread of control.
        policy: Memory policy of its pages and tables; None for the node of the CPU it runs on.
    """

    def __init__(self, kernel: Kernel, comm: str, task: Task, policy: Mempolicy | None) -> None:
        super().__init__(task.name)
        self.comm = comm
        self.task = task
        self.mm: MmStruct
        self.minflt = 0
        self.majflt = 0
        self.oom_score_adj = 0
        self.uid = 0
        self.mempolicy = "default"  # as its author gave it: "bind:0,1"
        self.image_rss_pages = 0  # page cache of the program's file, mapped by it
        self.start_ns = 0
        self.exit_status: int | None = None
        self.exited: WaitQueue
        self._signals: WaitQueue
        self._kernel = kernel
        self._policy = policy
        self._fault: FaultHandler
        self._nr_operations = 0
        self._handlers: dict[type, Callable[[Any], Awaitable[Any]]] = {
            Mmap: self.on_mmap,
            Munmap: self.on_munmap,
            Brk: self.on_brk,
            Madvise: self.on_madvise,
            Touch: self.on_touch,
            TouchPages: self.on_touch_pages,
            StartImage: self.on_start_image,
            Exit: self.on_exit,
        }

    async def on_start(self) -> None:
        """Get a CPU, an address space and a fault handler."""
        kernel = self._kernel
        self.start_ns = self.engine.now_ns
        self.exited = self.engine.wait_queue(f"exit of {self.name}")
        self._signals = self.engine.wait_queue(f"signals of {self.name}")
        await self.task.get_cpu()
        self.mm = await make_address_space(kernel, self.task, self._policy)
        self._fault = FaultHandler(kernel, self.task, self.mm, self._policy)
        self.engine.spawn(self._fault)
        kernel.processes[self.task.pid] = self
        kernel.trace(self.name, ks_process_start(self.task.pid, 0, self.comm, self.task.cpu.number))
        await self.task.put_cpu()

    async def receive(self, message: Any) -> Any:  # noqa: ANN401 - an operation
        """Run one operation on a CPU."""
        if self.has_ended():
            return None
        if self.must_die() or (isinstance(message, Exit) and message.status == -SIGKILL):
            await self._exit(-SIGKILL)
            return None
        if isinstance(message, Sleep):
            await self._sleep(message.ns)
            return None
        self._nr_operations += 1
        await self.task.get_cpu(wakeup=True)
        self._kernel.observer.begins(self, message)
        result = await self._handlers[type(message)](message)
        self._kernel.observer.ends(self, message, result, self._token())
        await self.task.put_cpu()
        self.progress()
        if self.must_die():
            await self._exit(-SIGKILL)
        return result

    async def on_mmap(self, message: Mmap) -> int:
        """Map anonymous memory."""
        await self._enter_kernel()
        flags = MAP_PRIVATE | (MAP_NORESERVE if message.noreserve else 0)
        flags |= MAP_FIXED if message.address else 0
        return await self._finish(
            self.mm.mmap(message.length, map_flags=flags, address=message.address)
        )

    async def on_munmap(self, message: Munmap) -> int:
        """Unmap, and free what was there."""
        await self._enter_kernel()
        return await self._finish(self.mm.munmap(message.address, message.length))

    async def on_brk(self, message: Brk) -> int:
        """Grow or shrink the heap."""
        await self._enter_kernel()
        return await self._finish(self.mm.set_brk(self.mm.brk + message.increment))

    async def on_madvise(self, message: Madvise) -> int:
        """Drop the pages of a range; they read as zero afterwards."""
        await self._enter_kernel()
        if message.address % PAGE_SIZE:
            return -errno.EINVAL
        end = message.address + -(-message.length // PAGE_SIZE) * PAGE_SIZE
        self.task.rss_stat.sync()
        await zap(self._kernel, self.task, self.mm, message.address, end)
        # What is mapped has been dropped; that there was a hole is only told.
        return 0 if self.mm.map.covers(message.address, end) else -errno.ENOMEM

    async def on_touch(self, message: Touch) -> TouchResult:
        """Access a range."""
        result = TouchResult()
        began_ns = self.engine.now_ns
        for _ in range(message.passes):
            if self.has_ended():
                break
            address, end = message.address, message.address + message.length
            while address < end and not self.task.killed:
                vma = self.mm.map.find_vma(address)
                if vma is None or vma.start > address or not vma.permits(write=message.write):
                    await self._segfault(result)
                    break
                limit = min(end, vma.end)
                if message.stride % PAGE_SIZE:
                    address += await self._touch_bytes(address, limit, message, result)
                    continue
                nr = -(-(limit - address) // message.stride)
                address += await self._touch_run(vma, address, nr, message, result)
        result.latency_ns = self.engine.now_ns - began_ns
        result.signal = self._signal()
        return result

    async def _touch_run(
        self, vma: VmArea, address: int, nr: int, touch: Touch, result: TouchResult
    ) -> int:
        """Access `nr` strides of one VMA; return how many bytes further the program got."""
        kernel, task, mm = self._kernel, self.task, self.mm
        stride = max(1, touch.stride >> PAGE_SHIFT)
        vpn = address >> PAGE_SHIFT
        done = 0
        while done < nr and not task.killed:
            cpu = task.cpu
            mm.cpu_bitmap |= 1 << cpu.number
            left_ns = max(1, cpu.state.slice_end_ns - self.engine.now_ns)
            if not cpu.state.run_queue:
                left_ns = kernel.spec.latency.time_slice_ns
            burst = min(nr - done, kernel.burst_pages)
            touched, why, elapsed_ns, _, _ = touch_present(
                kernel.mem, kernel.pool.pt, kernel.mms.mms, cpu.tlb, mm.number, mm.ctx_id, vpn,
                burst, stride, touch.write, self._token(), left_ns, cpu.access_cost,
            )  # fmt: skip
            if touch.write:
                kernel.observer.stored(task.pid, vpn, touched, stride, self._token())
            done += touched
            vpn += touched * stride
            if elapsed_ns:
                await task.compute(elapsed_ns, user=True)
            if why == TOUCH_FAULT and not task.killed:
                served = await self._page_fault(vma, vpn, nr - done, stride, touch.write, result)
                done += served
                vpn += served * stride
        return done * touch.stride

    async def on_touch_pages(self, message: TouchPages) -> TouchResult:
        """Access pages in a given order."""
        result = TouchResult()
        began_ns = self.engine.now_ns
        await self._touch_list(message, result)
        result.latency_ns = self.engine.now_ns - began_ns
        result.signal = self._signal()
        return result

    async def _touch_bytes(
        self, address: int, limit: int, touch: Touch, result: TouchResult
    ) -> int:
        """Access by strides that are no whole pages; return how many bytes further it got."""
        last = min(limit, address + touch.stride * ACCESSES_AT_ONCE)
        vpns = np.arange(address, last, touch.stride, dtype=np.int64) >> PAGE_SHIFT
        await self._touch_list(TouchPages(vpns, np.full(len(vpns), touch.write, np.uint8)), result)
        return len(vpns) * touch.stride

    async def _touch_list(self, message: TouchPages, result: TouchResult) -> None:
        kernel, task, mm = self._kernel, self.task, self.mm
        done, n = 0, len(message.vpns)
        while done < n and not task.killed:
            cpu = task.cpu
            mm.cpu_bitmap |= 1 << cpu.number
            last = min(n, done + kernel.burst_pages)
            touched, why, elapsed_ns, _, _ = touch_list(
                kernel.mem, kernel.pool.pt, kernel.mms.mms, cpu.tlb, mm.number, mm.ctx_id,
                message.vpns, message.writes, done, last, self._token(),
                kernel.spec.latency.time_slice_ns, cpu.access_cost,
            )  # fmt: skip
            kernel.observer.stored_listed(task.pid, message, done, touched, self._token())
            done += touched
            if elapsed_ns:
                await task.compute(elapsed_ns, user=True)
            if why != TOUCH_FAULT or task.killed:
                continue
            vpn, write = int(message.vpns[done]), bool(message.writes[done])
            vma = mm.map.find_vma(vpn << PAGE_SHIFT)
            if vma is None or vma.vpn > vpn or not vma.permits(write=write):
                await self._segfault(result)
                break
            ahead = run_length(message.vpns, message.writes, done, n, vma, kernel.burst_pages)
            done += await self._page_fault(vma, vpn, ahead, 1, write, result)

    async def on_start_image(self, _message: StartImage) -> None:
        """Touch what a static program touches before its main.

        Its text is page cache the machine had before; it counts as resident only.
        """
        stat = self.task.rss_stat
        stack, data = map_libc_start(self.mm)
        await self.on_touch_pages(TouchPages(stack[:1], np.ones(1, np.uint8)))
        stat.sync()  # exec adds the page of the arguments at once
        vpns = np.concatenate((stack[1:], data))
        await self.on_touch_pages(TouchPages(vpns, np.ones(len(vpns), np.uint8)))
        stat.count_faults(IMAGE_FILE_FAULTS, (0, 0, 0, 0))
        stat.pending[MM_FILEPAGES] += IMAGE_FILE_PAGES
        self.image_rss_pages = IMAGE_FILE_PAGES
        self.minflt += FORK_FAULTS + IMAGE_FILE_FAULTS
        self._kernel.mem.vm_event[PGFAULT] += FORK_FAULTS + IMAGE_FILE_FAULTS

    async def on_exit(self, message: Exit) -> None:
        """End of the program's own accord."""
        await self._enter_kernel()
        await self._exit(message.status)

    def kill(self) -> None:
        """Send SIGKILL; it takes effect at the next boundary of whatever the process does."""
        self.task.killed = True
        self._signals.wake_all()
        self._kernel.wake_throttled()
        if not self.is_serving:
            self.ref.tell(Exit(-SIGKILL))

    def rss(self) -> list[int]:
        """Return the pages that count as resident or swapped, by kind (MM_*)."""
        rss = [int(pages) for pages in self._kernel.mms.mms.rss[self.mm.number]]
        rss[MM_FILEPAGES] += self.image_rss_pages
        return rss

    def hiwater_rss(self) -> int:
        """Return the most pages that were resident at one time, as last noted before unmapping."""
        pages = int(self._kernel.mms.mms.hiwater_rss[self.mm.number])
        return pages + self.image_rss_pages if pages else 0

    def oom_task(self) -> OomTask:
        """Return what the OOM killer looks at."""
        rss = self.rss()
        return OomTask(
            pid=self.task.pid,
            comm=self.comm,
            uid=self.uid,
            total_vm=self.mm.total_vm,
            rss_anon=rss[MM_ANONPAGES],
            rss_file=rss[MM_FILEPAGES],
            rss_shmem=rss[MM_SHMEMPAGES],
            swapents=rss[MM_SWAPENTS],
            pgtables_bytes=int(self._kernel.mms.mms.nr_ptes[self.mm.number]) * PAGE_SIZE,
            oom_score_adj=self.oom_score_adj,
            has_mm=not self.has_ended(),
            will_free_mem=self.task.killed,
            policy=self._policy,
            is_victim=self.task.oom_victim,
        )

    def has_ended(self) -> bool:
        """Return whether the process is gone, its memory with it."""
        return self.exit_status is not None

    def must_die(self) -> bool:
        """Return whether a fatal signal is waiting to be acted on."""
        return self.task.killed and not self.has_ended()

    async def _sleep(self, ns: int) -> None:
        """Sleep off the CPU; a signal ends the sleep, and the process."""
        with self.engine.move_on_after(ns):
            await self._signals.wait()
        if self.task.killed:
            await self._exit(-SIGKILL)

    async def _page_fault(
        self, vma: VmArea, vpn: int, nr: int, stride: int, write: bool, result: TouchResult
    ) -> int:
        fault = PageFault(vpn, nr, stride, write, vma, self._token())
        self._kernel.observer.faulting(self.task.pid, fault)
        served: FaultResult = await self._fault.ref.ask(fault)
        self._kernel.observer.served(self.task.pid, served.nr)
        result.minflt += served.minflt
        result.majflt += served.majflt
        self.minflt += served.minflt
        self.majflt += served.majflt
        if served.user_ns:
            await self.task.compute(served.user_ns, user=True)
        return served.nr

    def _token(self) -> int:
        # What a store leaves in a page: who wrote it, and in which of its operations.
        return self.task.pid << 32 | self._nr_operations

    async def _enter_kernel(self) -> None:
        await self.task.compute(self._kernel.spec.latency.syscall_entry_ns)

    async def _finish(self, change: VmChange) -> int:
        if change.unmapped:
            self.task.rss_stat.sync()
        kernel, task, mm = self._kernel, self.task, self.mm
        for vma in change.unmapped:
            await zap(kernel, task, mm, vma.start, vma.end)
        if change.unmapped:
            floor_vpn, ceiling_vpn = change.floor >> PAGE_SHIFT, change.ceiling >> PAGE_SHIFT
            await free_tables(kernel, task, mm, floor_vpn, ceiling_vpn)
        return change.result

    async def _segfault(self, result: TouchResult) -> None:
        result.signal = SIGSEGV
        await self._exit(-SIGSEGV)

    def _signal(self) -> int:
        if self.exit_status is not None and self.exit_status < 0:
            return -self.exit_status
        return SIGKILL if self.task.killed else 0

    async def _exit(self, status: int) -> None:
        on_cpu = self.task.on_cpu
        if not on_cpu:
            await self.task.get_cpu()
        self.exit_status = status
        nr_freed = await free_address_space(self._kernel, self.task, self.mm)
        del self._kernel.processes[self.task.pid]
        self._fault.ref.stop()
        self._kernel.trace(self.name, ks_process_exit(self.task.pid, self.comm, status, nr_freed))
        if not on_cpu:
            await self.task.put_cpu()
        self.exited.wake_all()
