"""Kernel stacks: what each thread needs before it can run.

Linux: kernel/fork.c: alloc_thread_stack_node, account_kernel_stack, free_thread_stack, 6.1.
On 64 bits a stack is an area of vmalloc with a guard page behind it; each CPU keeps two of those
that were freed. On 32 bits it is two pages of low memory.
# Differs from Linux: The two pages of a kernel stack on 32 bits need not follow each other, and the
# thread takes its stack itself, not who creates it.
Units: pages.
"""

from collections import Counter
from typing import Final

import numpy as np

from kernelsim.actors.alloc.kernel_pages import alloc_kernel_pages, free_kernel_pages
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.actors.space.vmalloc import vfree, vmalloc_aligned
from kernelsim.mm.core.mem import nids_of
from kernelsim.mm.core.vmstat import NR_KERNEL_STACK
from kernelsim.mm.page.gfp import GFP_KERNEL_ACCOUNT, Gfp
from kernelsim.mm.space.thread_stack import NR_CACHED_STACKS, THREAD_PAGES, ThreadStack
from kernelsim.units import PAGE_SIZE

THREADINFO_GFP: Final = GFP_KERNEL_ACCOUNT | Gfp.ZERO
PAGE_KB: Final = PAGE_SIZE >> 10


async def alloc_thread_stack(current: Current) -> ThreadStack:
    """Take a stack that this CPU has kept, or make one.

    Source: Linux 6.1 kernel/fork.c:alloc_thread_stack_node
    """
    kernel, task = current
    arch = kernel.spec.arch
    nr = THREAD_PAGES[arch]
    if arch != "x86_64":  # no VMAP_STACK
        stack = ThreadStack(await alloc_kernel_pages(current, THREADINFO_GFP, nr))
    elif kernel.cached_stacks[task.cpu.number]:
        stack = kernel.cached_stacks[task.cpu.number].pop()
        for nid, nr_there in Counter(nids_of(kernel.mem, stack.pfns).tolist()).items():
            await clear_pages(current, nid, nr_there)
    else:
        size = nr * PAGE_SIZE
        gfp = (THREADINFO_GFP & ~Gfp.ACCOUNT) | Gfp.HIGHMEM
        area = await vmalloc_aligned(current, size, task.name, align=size, gfp=gfp)
        assert area is not None, "32 TiB are enough for all stacks"
        stack = ThreadStack(area.pfns, area.address)
    _account_kernel_stack(current, stack, 1)
    return stack


async def free_thread_stack(current: Current, stack: ThreadStack) -> None:
    """Keep a stack for the next thread of this CPU, or free it.

    Source: Linux 6.1 kernel/fork.c:free_thread_stack
    """
    kernel, task = current
    _account_kernel_stack(current, stack, -1)
    kept = kernel.cached_stacks[task.cpu.number]
    if not stack.address:
        await free_kernel_pages(current, stack.pfns)
    elif len(kept) < NR_CACHED_STACKS:
        kept.append(stack)
    else:
        await vfree(current, stack.address)


def _account_kernel_stack(current: Current, stack: ThreadStack, sign: int) -> None:
    """Count a stack, in kB.

    Source: Linux 6.1 kernel/fork.c:account_kernel_stack
    """
    mem = current.kernel.mem
    np.add.at(mem.node_stat[:, NR_KERNEL_STACK], nids_of(mem, stack.pfns), sign * PAGE_KB)
