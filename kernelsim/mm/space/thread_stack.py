"""Kernel stacks of threads, and those that CPUs keep.

Linux: arch/x86/include/asm/page_64_types.h, page_32_types.h; kernel/fork.c:cached_stacks, 6.1.
Units: pages.
"""

from typing import Final

import attrs

from kernelsim.mm.core.mem import I64

THREAD_PAGES: Final = {"x86_64": 4, "i386": 2, "i386pae": 2}  # 1 << THREAD_SIZE_ORDER
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
