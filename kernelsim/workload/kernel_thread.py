"""The handle of a kernel thread: kernel code that a workload has run, such as a driver's.

    driver = machine.kernel_thread("driver")
    pages = await driver.alloc_pages(32, "GFP_KERNEL")      # waits for reclaim if it must
    some = await driver.alloc_pages(32, "GFP_ATOMIC")       # may be fewer: it does not wait
    await driver.free_pages(pages)
    block = await driver.alloc_block(4)                     # 2**4 pages in a row, or None
    await driver.free_block(block)
    area = await driver.vmalloc("1M")                       # area.address, area.pfns
    await driver.vfree(area)
    address = await driver.kmap(page)                       # sleeps while no slot is free
    await driver.kunmap(page)

Units: pages; bytes, or text such as "64K".
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

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
from kernelsim.actors.space.kernel_thread import KernelThread
from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.mm.core.mem import I64, MAX_ORDER
from kernelsim.mm.page.gfp import GFP_ATOMIC, GFP_KERNEL, GFP_NOWAIT, Gfp
from kernelsim.mm.space.vmalloc import VmStruct
from kernelsim.units import parse_size
from kernelsim.workload.arguments import cpus_of, process_name, whole_number
from kernelsim.workload.panic import until_panic

GFP_WORDS: Final = {
    "GFP_KERNEL": GFP_KERNEL,
    "GFP_ATOMIC": GFP_ATOMIC,
    "GFP_NOWAIT": GFP_NOWAIT,
    "GFP_DMA": Gfp.DMA,
    "GFP_DMA32": Gfp.DMA32,
    "__GFP_HIGHMEM": Gfp.HIGHMEM,
    "__GFP_ZERO": Gfp.ZERO,
    "__GFP_NOWARN": Gfp.NOWARN,
    "__GFP_NORETRY": Gfp.NORETRY,
    "__GFP_RETRY_MAYFAIL": Gfp.RETRY_MAYFAIL,
}


class KernelThreadHandle:
    """One thread, seen from a workload.

    Args:
        kernel: The machine.
        thread: Its actor.
    """

    def __init__(self, kernel: Kernel, thread: KernelThread) -> None:
        self._kernel = kernel
        self._thread = thread
        self._has_ended = False
        self._blocks: dict[int, I64] = {}  # frames of each that it has, by the first

    async def alloc_pages(self, nr: int, gfp: str = "GFP_KERNEL") -> I64:
        """Allocate single pages; return their frames: all, unless gfp does not let it wait.

        Args:
            nr: How many.
            gfp: As in C: "GFP_ATOMIC", "GFP_KERNEL | __GFP_HIGHMEM".
        """
        most = len(self._kernel.mem.pages.flags)  # no request gets as many
        message = AllocKernelPages(gfp_of(gfp), min(whole_number("nr", nr, 0), most))
        pages: I64 = await self._ask(message)
        self._kernel.kthread_pages.update(pages.tolist())
        return pages

    async def free_pages(self, pages: I64) -> None:
        """Give pages back, whichever thread has allocated them.

        Raises:
            WorkloadError: They are not what `alloc_pages` returned, or part of it, or one has been
                freed since, or has a mapping by `kmap`.
        """
        self._check_runs()
        pfns = self._checked(pages)
        self._kernel.kthread_pages.difference_update(pfns)
        await self._ask(FreeKernelPages(np.array(pfns, np.int64)))

    async def alloc_block(self, order: int, gfp: str = "GFP_KERNEL") -> I64 | None:
        """Allocate pages that follow each other; return their frames, None if there are none.

        A request that failed leaves a warning in the kernel log, unless gfp has __GFP_NOWARN. One
        of order 3 and below that may wait does not fail.

        Args:
            order: How many, as a logarithm: 1 to 10, for 2 to 1024 pages.
            gfp: As in C: "GFP_KERNEL | __GFP_NORETRY".
        """
        message = AllocKernelBlock(gfp_of(gfp), whole_number("order", order, 1, MAX_ORDER - 1))
        pages: I64 = await self._ask(message)
        if not len(pages):
            return None
        self._blocks[int(pages[0])] = pages.copy()
        return pages

    async def free_block(self, pages: I64) -> None:
        """Give a block back; unlike single pages, it belongs to the handle that allocated it.

        Raises:
            WorkloadError: It is not all of what `alloc_block` of this handle returned, or has been
                given back.
        """
        self._check_runs()
        first = int(pages[0]) if are_frames(pages) and len(pages) else None
        if first is None or not np.array_equal(self._blocks.get(first, ()), pages):
            rule = "free_block wants what alloc_block returned here and is not given back"
            raise WorkloadError(f"{rule}, not {kind_of(pages)}")
        await self._ask(FreeKernelBlock(self._blocks.pop(first)))

    async def vmalloc(self, size: int | str) -> VmStruct | None:
        """Allocate memory page by page; None if no hole of the vmalloc area is large enough.

        None as well for nothing, and for more than all memory of the machine.
        """
        area: VmStruct | None = await self._ask(Vmalloc(parse_size(size, key="size")))
        return area

    async def vfree(self, area: VmStruct) -> None:
        """Free it.

        Raises:
            WorkloadError: It is no area in use.
        """
        if not isinstance(area, VmStruct):
            raise WorkloadError(f"vfree wants what vmalloc returned, not {kind_of(area)}")
        if not await self._ask(Vfree(area)):
            raise WorkloadError(f"vfree: the area at {area.address:#x} has been freed")

    async def kmap(self, page: int) -> int:
        """Map a page by its frame; return its address. Sleeps while no slot is free."""
        return int(await self._ask(Kmap(self._frame(page))))

    async def kunmap(self, page: int) -> None:
        """Give the mapping of a page back.

        Raises:
            WorkloadError: It has none.
        """
        if not await self._ask(Kunmap(self._frame(page))):
            raise WorkloadError(f"kunmap wants a page that kmap has mapped, not {page!r}")

    async def copy_highpage(self, to: int, source: int) -> tuple[int, int]:
        """Copy a page through kmap_atomic; return the addresses that both had meanwhile."""
        message = CopyHighpage(self._frame(to), self._frame(source))
        addresses: tuple[int, int] = await self._ask(message)
        return addresses

    async def stop(self) -> None:
        """End the thread; its stack is free when this returns, what it allocated stays.

        Every other call after it raises `WorkloadError`.
        """
        self._check_runs()
        self._has_ended = True  # now: what is asked while it ends would have no answer
        with until_panic(self._kernel):
            await self._thread.ref.ask(StopThread())

    def address_of(self, page: int) -> int | None:
        """Return the address of a page in the direct map; None for one of high memory."""
        layout, pfn = self._kernel.init_mm.layout, self._frame(page)
        return layout.virt(pfn) if layout.is_lowmem(pfn) else None

    def _frame(self, page: int) -> int:
        """Return the number of a frame that `alloc_pages` returned."""
        pfn = whole_number("page", page, 0, len(self._kernel.mem.pages.flags) - 1)
        if pfn not in self._kernel.kthread_pages:
            raise ConfigError("page", page, "must be one that alloc_pages returned")
        return pfn

    def _checked(self, pages: I64) -> list[int]:
        """Return frames that `free_pages` may free."""
        if not are_frames(pages):
            raise WorkloadError(f"free_pages wants what alloc_pages returned, not {kind_of(pages)}")
        pfns: list[int] = pages.tolist()
        for pfn in pfns:
            if pfn not in self._kernel.kthread_pages:
                raise WorkloadError(f"free_pages: page {pfn} is none that alloc_pages returned")
            if self._kernel.init_mm.pkmap.nr_users(pfn):
                raise WorkloadError(f"free_pages: page {pfn} is mapped by kmap")
        if len(set(pfns)) < len(pfns):
            raise WorkloadError("free_pages: a page is there twice")
        return pfns

    async def _ask(self, message: object) -> Any:  # noqa: ANN401 - depends on the message
        self._check_runs()
        with until_panic(self._kernel):
            return await self._thread.ref.ask(message)

    def _check_runs(self) -> None:
        if self._has_ended:
            raise WorkloadError(f"{self._thread.name} has been stopped")


def are_frames(pages: object) -> bool:
    """Return whether something is a row of whole numbers."""
    return isinstance(pages, np.ndarray) and pages.ndim == 1 and pages.dtype.kind in "iu"


def kind_of(value: object) -> str:
    """Return what a value is, in a few words: an array in full may have many lines."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, of shape {value.shape}"
    return repr(value)


def gfp_of(text: object) -> Gfp:
    """Return the bits that words of C stand for.

    Raises:
        ConfigError: One of them is unknown.
    """
    words = [word.strip() for word in text.split("|")] if isinstance(text, str) else []
    if not words or any(word not in GFP_WORDS for word in words):
        rule = f"must be one of {', '.join(GFP_WORDS)}, or several with | between them"
        raise ConfigError("gfp", text, rule)
    gfp = Gfp(0)
    for word in words:
        gfp |= GFP_WORDS[word]
    return gfp


def start_kernel_thread(
    kernel: Kernel, name: str, cpu: int | Iterable[int] | None
) -> KernelThreadHandle:
    """Start the actor of a thread; return its handle.

    Args:
        kernel: The machine.
        name: Its comm.
        cpu: The CPU it may run on, or several in the order it prefers them; None for all.
    """
    comm = process_name(name)
    cpus = kernel.cpus if cpu is None else cpus_of(kernel, "cpu", cpu)
    pid, kernel.next_pid = kernel.next_pid, kernel.next_pid + 1
    task = Task(kernel.engine, f"{comm}-{pid}", pid, cpus)
    kernel.kthreads.append(task)
    thread = KernelThread(kernel, task)
    kernel.engine.spawn(thread)
    return KernelThreadHandle(kernel, thread)
