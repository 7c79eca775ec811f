"""A user process: runs the operations its program asks for, one after the other.

Linux: the user side of a task, and the system calls it makes (mm/mmap.c, mm/madvise.c,
kernel/exit.c, 6.1).
An access to memory runs on the process's CPU in time slices, page by page in a compiled leaf; the
first page that faults goes to the process's fault handler, with all that follow it and need the
same, and the process waits.
Interface: ask one of the operations of messages/process.py; the answer is its result. Asking an
ended process gives `None` at once. What others may know of it is in its entry of the process table.
Units: bytes for addresses and lengths, pages where it says so, ns.
"""

import errno
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.signal import SIGSEGV
from kernelsim.actors.messages.fault_handler import FaultResult, PageFault
from kernelsim.actors.messages.process import (
    Brk,
    Exit,
    Madvise,
    Mmap,
    Munmap,
    Sleep,
    StartImage,
    StartPrinting,
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
from kernelsim.actors.tracing import trace
from kernelsim.mm.core.vmstat import PGFAULT
from kernelsim.mm.space.memory import TOUCH_FAULT, touch_list, touch_present
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea, VmChange
from kernelsim.mm.space.pgtable import MM_FILEPAGES
from kernelsim.mm.space.vm_flags import MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE
from kernelsim.sim.actor import Actor
from kernelsim.trace.ks import ks_process_exit, ks_process_start
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

FIRST_REPORT_PAGES: Final = 3  # of its data that a program first writes when it prints
ACCESSES_AT_ONCE: Final = 1 << 16  # of those that are listed one by one


class Process(Actor):
    """The actor of one process.

    Args:
        kernel: The machine.
        entry: What the process table will hold of it.
    """

    def __init__(self, kernel: Kernel, entry: ProcessEntry) -> None:
        super().__init__(entry.task.name)
        self.entry = entry
        self.task = entry.task
        self.mm: MmStruct
        self._kernel = kernel
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
            StartPrinting: self.on_start_printing,
            Exit: self.on_exit,
        }

    async def on_start(self) -> None:
        """Get a CPU, an address space and a fault handler.

        A process whose image cannot be loaded is killed.

        Source: Linux 6.1 fs/exec.c:bprm_execve
        """
        kernel, entry = self._kernel, self.entry
        entry.start_ns = self.engine.now_ns
        await self.task.get_cpu()
        self.mm, is_loaded = await make_address_space(kernel, self.task, entry.policy)
        entry.mm = self.mm
        self._fault = FaultHandler(kernel, self.task, self.mm, entry.policy)
        self.engine.spawn(self._fault)
        kernel.processes[entry.pid] = entry
        trace(self, ks_process_start(entry.pid, 0, entry.comm, self.task.cpu.number))
        if not is_loaded:
            await self._exit(-SIGSEGV)
        await self.task.put_cpu()

    async def receive(self, message: Any) -> Any:  # noqa: ANN401 - an operation
        """Run one operation on a CPU."""
        entry = self.entry
        if entry.has_ended():
            return None
        if entry.must_die():
            await self._exit(-entry.group_exit_code)
            return None
        if isinstance(message, Sleep):
            await self._sleep(message.ns)
            return None
        self._nr_operations += 1
        await self.task.get_cpu(wakeup=True)
        self._kernel.observer.begins(entry, message)
        result = await self._handlers[type(message)](message)
        self._kernel.observer.ends(entry, message, result, self._token())
        await self.task.put_cpu()
        self.progress()
        if entry.must_die():
            await self._exit(-entry.group_exit_code)
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
            if self.entry.has_ended():
                break
            address, end = message.address, message.address + message.length
            while address < end and not self.task.killed:
                vma = self.mm.fault_vma(address, write=message.write)
                if vma is None:
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
            vma = mm.fault_vma(vpn << PAGE_SHIFT, write=write)
            if vma is None:
                await self._segfault(result)
                break
            ahead = run_length(message.vpns, message.writes, done, n, vma, kernel.burst_pages)
            done += await self._page_fault(vma, vpn, ahead, 1, write, result)

    async def on_start_image(self, _message: StartImage) -> None:
        """Touch what a static program touches before its main.

        Its text is page cache the machine had before; it counts as resident only. A program that
        gets no heap, since the commit limit is used up, does not survive its start.
        """
        stat = self.task.rss_stat
        stack, data = map_libc_start(self.mm)
        await self.on_touch_pages(TouchPages(stack[:1], np.ones(1, np.uint8)))
        stat.sync()  # exec adds the page of the arguments at once
        vpns = np.concatenate((stack[1:], data))
        if not self.entry.has_ended():
            await self.on_touch_pages(TouchPages(vpns, np.ones(len(vpns), np.uint8)))
        if self.entry.has_ended():
            return
        stat.count_faults(IMAGE_FILE_FAULTS, (0, 0, 0, 0))
        stat.pending[MM_FILEPAGES] += IMAGE_FILE_PAGES
        self.entry.image_rss_pages = IMAGE_FILE_PAGES
        self.entry.minflt += FORK_FAULTS + IMAGE_FILE_FAULTS
        self._kernel.mem.vm_event[PGFAULT] += FORK_FAULTS + IMAGE_FILE_FAULTS

    async def on_start_printing(self, _message: StartPrinting) -> None:
        """Touch the buffers of its output, in pages it has not written before."""
        end = self.mm.start_brk >> PAGE_SHIFT
        vpns = np.arange(end - FIRST_REPORT_PAGES, end)
        await self.on_touch_pages(TouchPages(vpns, np.ones(len(vpns), np.uint8)))

    async def on_exit(self, message: Exit) -> None:
        """End of the program's own accord."""
        await self._enter_kernel()
        await self._exit(message.status)

    async def _sleep(self, ns: int) -> None:
        """Sleep off the CPU; a signal ends the sleep, and the process."""
        with self.engine.move_on_after(ns):
            await self.entry.signals.wait()
        if self.entry.must_die():
            await self._exit(-self.entry.group_exit_code)

    async def _page_fault(
        self, vma: VmArea, vpn: int, nr: int, stride: int, write: bool, result: TouchResult
    ) -> int:
        fault = PageFault(vpn, nr, stride, write, vma, self._token())
        self._kernel.observer.faulting(self.task.pid, fault)
        served: FaultResult = await self._fault.ref.ask(fault)
        self._kernel.observer.served(self.task.pid, served.nr)
        result.minflt += served.minflt
        result.majflt += served.majflt
        self.entry.minflt += served.minflt
        self.entry.majflt += served.majflt
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
        entry = self.entry
        if entry.exit_status is not None and entry.exit_status < 0:
            return -entry.exit_status
        return entry.group_exit_code

    async def _exit(self, status: int) -> None:
        kernel, entry = self._kernel, self.entry
        if entry.has_ended():
            return
        on_cpu = self.task.on_cpu
        if not on_cpu:
            await self.task.get_cpu()
        entry.exit_status = status
        nr_freed = 0
        self.mm.mm_users -= 1
        if not self.mm.mm_users:  # mmput: the last one takes it apart
            nr_freed = await free_address_space(kernel, self.task, self.mm)
        del kernel.processes[entry.pid]
        self._fault.ref.stop()
        trace(self, ks_process_exit(entry.pid, entry.comm, status, nr_freed))
        if not on_cpu:
            await self.task.put_cpu()
        entry.exited.wake_all()
