"""A kernel thread: runs kernel code that is asked of it, with no program and no address space.

Linux: kernel/kthread.c; what a module's thread would do, 6.1.
No signal reaches it, and the OOM killer never chooses it: a request of its that may sleep waits for
as long as it takes.
Owns: its stack; what it allocates belongs to who asked.
Interface: ask the messages of messages/kernel_thread.py.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from kernelsim.actors.alloc.kernel_pages import (
    alloc_kernel_block,
    alloc_kernel_pages,
    free_kernel_block,
    free_kernel_pages,
)
from kernelsim.actors.alloc.task_struct import release_tasks, take_task_struct
from kernelsim.actors.alloc.vmalloc import vfree, vmalloc
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.kernel_thread import (
    AllocKernelBlock,
    AllocKernelPages,
    CopyHighpage,
    FreeKernelBlock,
    FreeKernelPages,
    Kmap,
    Kunmap,
    StopThread,
    Vfree,
    Vmalloc,
)
from kernelsim.actors.space.highmem import copy_highpage, kmap, kunmap
from kernelsim.mm.core.mem import I64
from kernelsim.mm.space.vmalloc import VmStruct
from kernelsim.sim.actor import Actor


class KernelThread(Actor):
    """The actor of one thread.

    Args:
        kernel: The machine.
        task: Its thread of control.
    """

    def __init__(self, kernel: Kernel, task: Task) -> None:
        super().__init__(task.name)
        self._task = task
        self._current = Current(kernel, task)
        self._handlers: dict[type, Callable[[Any], Awaitable[Any]]] = {
            AllocKernelPages: self._alloc_pages,
            FreeKernelPages: self._free_pages,
            AllocKernelBlock: self._alloc_block,
            FreeKernelBlock: self._free_block,
            Vmalloc: self._vmalloc,
            Vfree: self._vfree,
            Kmap: self._kmap,
            Kunmap: self._kunmap,
            CopyHighpage: self._copy_highpage,
            StopThread: self._stop,
        }

    async def on_start(self) -> None:
        """Get a CPU, and a stack to run on."""
        await self._task.get_cpu()
        await take_task_struct(self._current)
        await self._task.put_cpu()

    async def receive(self, message: Any) -> Any:  # noqa: ANN401 - the messages above
        """Do what is asked, on a CPU."""
        await self._task.get_cpu(wakeup=True)
        result = await self._handlers[type(message)](message)
        await self._task.put_cpu()
        self.progress()
        return result

    async def _alloc_pages(self, message: AllocKernelPages) -> I64:
        return await alloc_kernel_pages(self._current, message.gfp, message.nr)

    async def _free_pages(self, message: FreeKernelPages) -> None:
        await free_kernel_pages(self._current, message.pfns)

    async def _alloc_block(self, message: AllocKernelBlock) -> I64:
        return await alloc_kernel_block(self._current, message.gfp, message.order)

    async def _free_block(self, message: FreeKernelBlock) -> None:
        await free_kernel_block(self._current, message.pfns)

    async def _vmalloc(self, message: Vmalloc) -> VmStruct | None:
        return await vmalloc(self._current, message.size, self._task.name)

    async def _vfree(self, message: Vfree) -> bool:
        area = message.area
        if self._current.kernel.init_mm.vms.get(area.address) is not area:
            return False
        await vfree(self._current, area.address)
        return True

    async def _kmap(self, message: Kmap) -> int:
        return await kmap(self._current, message.pfn)

    async def _kunmap(self, message: Kunmap) -> bool:
        return await kunmap(self._current, message.pfn)

    async def _copy_highpage(self, message: CopyHighpage) -> tuple[int, int]:
        return await copy_highpage(self._current, message.to, message.source)

    async def _stop(self, _message: StopThread) -> None:
        await release_tasks(self._current, (self._task,))
        self.ref.stop()
