"""Kernel stacks: what each thread needs before it can run.

Linux: kernel/fork.c: alloc_thread_stack_node, account_kernel_stack, free_thread_stack, 6.1.
On 64 bits a stack is an area of vmalloc with a guard page behind it; each CPU keeps two of those
that were freed. Elsewhere it is two pages of low memory in a row. It is free when its thread has
run for the last time, before 4.9 when its parent has heard of its end. Threads that run since boot
have theirs in what the kernel held then.
# Differs from Linux: Who runs for the last time frees its own kernel stack, at once, not who runs
# next, and an RCU grace period later; a parent's end frees those that init would.
# Differs from Linux: A thread that no process forked takes its stack itself.
Interface: `alloc_thread_stack` before a thread is born, `release_stacks` when it has ended.
Units: pages.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np

from kernelsim.actors.alloc.kernel_pages import (
    alloc_kernel_block,
    free_kernel_block,
)
from kernelsim.actors.alloc.vmalloc import vfree, vmalloc_aligned
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.memory_access import clear_pages
from kernelsim.actors.core.task import Task
from kernelsim.mm.core.mem import nids_of
from kernelsim.mm.core.vmstat import NR_KERNEL_STACK
from kernelsim.mm.page.gfp import GFP_KERNEL_ACCOUNT, Gfp
from kernelsim.mm.space.thread_stack import BLOCK_ORDER, VMAP_STACK_PAGES, ThreadStack
from kernelsim.units import PAGE_SIZE

THREADINFO_GFP: Final = GFP_KERNEL_ACCOUNT | Gfp.ZERO
PAGE_KB: Final = PAGE_SIZE >> 10


async def take_thread_stack(current: Current) -> None:
    """Give a thread that nobody kills yet its stack."""
    current.task.stack = await alloc_thread_stack(current)
    assert current.task.stack is not None, "no request of its that may sleep fails"


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


async def put_task_stack(current: Current) -> None:
    """Give up the own stack, having run for the last time, unless the parent is to do that.

    Source: Linux 6.1 kernel/fork.c:put_task_stack; 3.16 kernel/fork.c:free_task
    """
    if current.kernel.spec.era.vmap_stack:
        await release_stacks(current, (current.task,))


async def release_stacks(current: Current, tasks: Iterable[Task]) -> None:
    """Free the stacks that tasks still have of which nobody needs to hear any more; on a CPU.

    Source: Linux 6.1 kernel/exit.c:release_task; 3.16 kernel/fork.c:free_task
    """
    stacks: list[ThreadStack] = []
    for task in tasks:
        stacks += [] if task.stack is None else [task.stack]
        task.stack = None
    on_cpu = current.task.on_cpu
    if stacks and not on_cpu:
        await current.task.get_cpu(wakeup=True)
    for stack in stacks:
        await free_thread_stack(current, stack)
    if stacks and not on_cpu:
        await current.task.put_cpu()


def _account_kernel_stack(current: Current, stack: ThreadStack, sign: int) -> None:
    """Count a stack, in kB.

    Source: Linux 6.1 kernel/fork.c:account_kernel_stack
    """
    mem = current.kernel.mem
    np.add.at(mem.node_stat[:, NR_KERNEL_STACK], nids_of(mem, stack.pfns), sign * PAGE_KB)
