"""Kernel stacks of threads, and those that CPUs keep.

Linux: arch/x86/include/asm/page_64_types.h, page_32_types.h; kernel/fork.c:cached_stacks, 6.1.
Interface: `Kernel.thread_stacks` is the one `ThreadStacks` of a machine; what a recorded one had is
in it from `keep_stacks_of_boot`.
Units: pages.
"""

from collections.abc import Sequence
from typing import Final

import attrs
import numpy as np

from kernelsim.mm.core.mem import I64, Mem, PG_kernel, nids_of
from kernelsim.mm.space.init_mm import InitMm
from kernelsim.mm.space.vmalloc import VmStruct
from kernelsim.units import PAGE_SIZE

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


def keep_stacks_of_boot(
    stacks: ThreadStacks, mem: Mem, init_mm: InitMm, cpu_nids: Sequence[int]
) -> None:
    """Let each CPU of a recorded machine keep two stacks of processes that had ended before.

    In recordings of one CPU the first process more has KernelStack grow by a stack, VmallocUsed not
    at all, and both are as before when all have ended. Which frames such stacks have is not
    recorded; these are of what the kernel held.

    Args:
        stacks: Empty; they stay so if the machine was not recorded.
        mem: Memory as it was at boot.
        init_mm: The kernel's own address space.
        cpu_nids: Node of each CPU.
    """
    if not init_mm.nr_boot_pages:
        return
    size = 2 * VMAP_STACK_PAGES * PAGE_SIZE  # with a guard page and what aligns the next
    address = init_mm.layout.vmalloc_start + init_mm.nr_boot_pages * PAGE_SIZE & -size
    held = np.flatnonzero(mem.pages.flags == PG_kernel)
    held_nids = nids_of(mem, held)
    for cpu, nid in enumerate(cpu_nids):
        for _ in range(NR_CACHED_STACKS):
            places = np.flatnonzero(held_nids == nid)[-VMAP_STACK_PAGES:]
            address -= size
            if len(places) < VMAP_STACK_PAGES or address < init_mm.layout.vmalloc_start:
                return
            pfns = held[places]
            held_nids[places] = -1
            with_guard = (VMAP_STACK_PAGES + 1) * PAGE_SIZE
            init_mm.areas.adopt(address, with_guard)
            init_mm.tables.map(address // PAGE_SIZE, pfns)
            init_mm.vms[address] = VmStruct(address, with_guard, "boot", pfns)
            init_mm.nr_boot_pages -= VMAP_STACK_PAGES
            stacks.keep(cpu, ThreadStack(pfns, address))
