"""Kernel stacks of threads, and those that CPUs keep.

Linux: arch/x86/include/asm/page_64_types.h, page_32_types.h; kernel/fork.c:cached_stacks, 6.1.
Interface: `Kernel.thread_stacks` is the one `ThreadStacks` of a machine.
Units: pages.
"""

from typing import Final

import attrs

from kernelsim.mm.core.mem import I64

VMAP_STACK_PAGES: Final = 4  # 1 << THREAD_SIZE_ORDER of x86_64; since 3.15
BLOCK_ORDER: Final = 1  # of i386, and of x86_64 before it had VMAP_STACK
NR_CACHED_STACKS: Final = 2  # of a CPU


@attrs.frozen(eq=False)
class ThreadStack:
    """A stack.

    Attributes:
        pfns: Its frames.
        address: Where it lies in vmalloc; 0 if it has its addresses in the direct map.
    """

    pfns: I64
    address: int = 0

    @property
    def first(self) -> int:
        """Its first frame."""
        return int(self.pfns[0])


class ThreadStacks:
    """The stacks of a machine, but for those that were there at boot.

    Args:
        nr_cpus: Of the machine.

    Attributes:
        in_use: Those that threads have, or will have when they are born, by their first frame.
        cached: Those that each CPU keeps for the next threads.
    """

    def __init__(self, nr_cpus: int) -> None:
        self.in_use: dict[int, ThreadStack] = {}
        self.cached: list[list[ThreadStack]] = [[] for _ in range(nr_cpus)]

    def keep(self, cpu: int, stack: ThreadStack) -> bool:
        """Keep a stack for the next thread of a CPU; False if it has enough of them.

        Source: Linux 6.1 kernel/fork.c:try_release_thread_stack_to_cache
        """
        kept = self.cached[cpu]
        if len(kept) == NR_CACHED_STACKS:
            return False
        kept.append(stack)
        return True
