"""Kernel stacks: what each thread needs before it can run.

Linux: kernel/fork.c: alloc_thread_stack_node, account_kernel_stack, free_thread_stack, 6.1.
On 64 bits a stack is an area of vmalloc with a guard page behind it; each CPU keeps two of those
that were freed. Elsewhere it is two pages of low memory in a row.
Interface: `alloc_thread_stack` and `free_thread_stack`, for task_struct.py.
Units: pages.
"""

from collections import Counter
from typing import Final

import numpy as np

from kernelsim.actors.alloc.kernel_pages import (
    alloc_kernel_block,
    free_kernel_block,
)
from kernelsim.actors.alloc.vmalloc import vfree, vmalloc_aligned
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.mm.core.mem import nids_of
from kernelsim.mm.core.vmstat import NR_KERNEL_STACK
from kernelsim.mm.page.gfp import GFP_KERNEL_ACCOUNT, Gfp
from kernelsim.mm.space.thread_stack import BLOCK_ORDER, VMAP_STACK_PAGES, ThreadStack
from kernelsim.units import PAGE_SIZE

THREADINFO_GFP: Final = GFP_KERNEL_ACCOUNT | Gfp.ZERO
PAGE_KB: Final = PAGE_SIZE >> 10


async def alloc_thread_stack(current: Current) -> ThreadStack | None:
    """Take a stack that this CPU has kept, or make one; None if the task was killed meanwhile.

    Source: Linux 6.1 kernel/fork.c:alloc_thread_stack_node
    """
    kernel, task = current
    kept = kernel.thread_stacks.cached[task.cpu.number]
    if kept:
        stack = kept.pop()
        for nid, nr_there in Counter(nids_of(kernel.mem, stack.pfns).tolist()).items():
            await clear_pages(current, nid, nr_there)
    elif kernel.spec.arch == "x86_64" and kernel.spec.era.vmap_stack:
        size = VMAP_STACK_PAGES * PAGE_SIZE
        gfp = (THREADINFO_GFP & ~Gfp.ACCOUNT) | Gfp.HIGHMEM
        area = await vmalloc_aligned(current, size, task.name, align=size, gfp=gfp)
        if area is None:
            return None
        stack = ThreadStack(area.pfns, area.address)
    else:
        pfns = await alloc_kernel_block(current, THREADINFO_GFP, BLOCK_ORDER)
        if not len(pfns):
            return None
        stack = ThreadStack(pfns)
    kernel.thread_stacks.in_use[stack.first] = stack
    _account_kernel_stack(current, stack, 1)
    return stack


async def free_thread_stack(current: Current, stack: ThreadStack) -> None:
    """Keep a stack for the next thread of this CPU, or free it.

    Source: Linux 6.1 kernel/fork.c:free_thread_stack
    """
    kernel, task = current
    del kernel.thread_stacks.in_use[stack.first]
    _account_kernel_stack(current, stack, -1)
    if not stack.address:
        await free_kernel_block(current, stack.pfns)
    elif not kernel.thread_stacks.keep(task.cpu.number, stack):
        await vfree(current, stack.address)


def _account_kernel_stack(current: Current, stack: ThreadStack, sign: int) -> None:
    """Count a stack, in kB.

    Source: Linux 6.1 kernel/fork.c:account_kernel_stack
    """
    mem = current.kernel.mem
    np.add.at(mem.node_stat[:, NR_KERNEL_STACK], nids_of(mem, stack.pfns), sign * PAGE_KB)
