"""The handle of a kernel thread: kernel code that a workload has run, such as a driver's.

    driver = machine.kernel_thread("driver")
    pages = await driver.alloc_pages(32, "GFP_KERNEL")      # waits for reclaim if it must
    some = await driver.alloc_pages(32, "GFP_ATOMIC")       # may be fewer: it does not wait
    await driver.free_pages(pages)

Units: pages.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.kernel_thread import AllocKernelPages, FreeKernelPages
from kernelsim.actors.space.kernel_thread import KernelThread
from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.mm.core.mem import I64
from kernelsim.mm.page.gfp import GFP_ATOMIC, GFP_KERNEL, GFP_NOWAIT, Gfp
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

    async def alloc_pages(self, nr: int, gfp: str = "GFP_KERNEL") -> I64:
        """Allocate single pages; return their frames: all, unless gfp does not let it wait.

        Args:
            nr: How many.
            gfp: As in C: "GFP_ATOMIC", "GFP_KERNEL | __GFP_HIGHMEM".
        """
        pages: I64 = await self._ask(AllocKernelPages(gfp_of(gfp), whole_number("nr", nr, 0)))
        return pages

    async def free_pages(self, pages: I64) -> None:
        """Give pages back.

        Raises:
            WorkloadError: They are not what `alloc_pages` returned.
        """
        if not isinstance(pages, np.ndarray):
            raise WorkloadError(f"free_pages wants what alloc_pages returned, not {pages!r}")
        await self._ask(FreeKernelPages(pages))

    async def _ask(self, message: object) -> Any:  # noqa: ANN401 - depends on the message
        with until_panic(self._kernel):
            return await self._thread.ref.ask(message)


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
    thread = KernelThread(kernel, Task(kernel.engine, f"{comm}-{pid}", pid, cpus))
    kernel.engine.spawn(thread)
    return KernelThreadHandle(kernel, thread)
