"""Check that each thread has a kernel stack of its own, and that the pages of all are counted.

Apart from who allocates them: stacks are found where their tasks keep them.
Interface: `check_stacks` lists what is wrong.
Units: pages; kB of counters.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.process.process import Process
from kernelsim.check.waits import is_idle
from kernelsim.mm.core.mem import Mem, PG_kernel, nids_of
from kernelsim.mm.core.vmstat import NR_KERNEL_STACK
from kernelsim.mm.space.thread_stack import NR_CACHED_STACKS, ThreadStack
from kernelsim.units import KIB, PAGE_SIZE


def check_stacks(mem: Mem, kernel: Kernel) -> list[str]:
    """Return where kernel stacks, who has them, their pages and the counter disagree.

    Args:
        mem: Memory, with counters of what our own threads have.
        kernel: The machine.
    """
    stacks = kernel.thread_stacks
    kept = [stack for cpu in stacks.cached for stack in cpu]
    own = [*stacks.in_use.values(), *kept]
    pfns = np.array([pfn for stack in own for pfn in stack.pfns.tolist()], np.int64)
    problems = [*check_owners(kernel), *check_areas(kernel, own)]
    if len(np.unique(pfns)) != len(pfns):
        problems.append("a page belongs to two kernel stacks")
    if (mem.pages.flags[pfns] != PG_kernel).any():
        problems.append("a page of a kernel stack is not the kernel's")
    if any(len(cpu) > NR_CACHED_STACKS for cpu in stacks.cached):
        problems.append("a CPU keeps too many kernel stacks")
    used = pfns[: len(pfns) - sum(len(stack.pfns) for stack in kept)]
    found = np.bincount(nids_of(mem, used), minlength=len(mem.node_stat)) * (PAGE_SIZE // KIB)
    for nid in np.flatnonzero(found != mem.node_stat[:, NR_KERNEL_STACK]).tolist():
        counted = mem.node_stat[nid, NR_KERNEL_STACK]
        problems.append(f"node {nid}: nr_kernel_stack is {counted}, stacks have {found[nid]} kB")
    return problems


def check_owners(kernel: Kernel) -> Iterator[str]:
    """Find threads that share a stack, or have none that is in use, and stacks nobody has."""
    living = kernel.processes.values()
    for process in living:
        if process.task.stack is None and not process.has_ended():
            yield f"{process.task.name} has no kernel stack"
    owners: dict[int, str] = {}
    tasks = [task for each in (*living, *kernel.zombies.values()) for task in each.tasks]
    for task in (*tasks, *kernel.kthreads):
        if task.stack is None:
            continue
        first = task.stack.first
        if kernel.thread_stacks.in_use.get(first) is not task.stack:
            yield f"{task.name} has a kernel stack that is free"
        if first in owners:
            yield f"{task.name} and {owners[first]} have the same kernel stack"
        owners[first] = task.name
    # Who is born, forks or ends has one that stands nowhere else, and so have pdflush threads.
    actors = kernel.engine.actors.values()
    most = sum(isinstance(actor, Process) and not is_idle(actor) for actor in actors)
    most += kernel.pdflush.nr_started if kernel.pdflush is not None else 0
    lost = len(kernel.thread_stacks.in_use.keys() - owners.keys())
    if lost > most:
        yield f"{lost} kernel stacks belong to nobody, and {most} tasks may have one in hand"


def check_areas(kernel: Kernel, stacks: list[ThreadStack]) -> Iterator[str]:
    """Find stacks whose area of vmalloc is gone, or has other pages."""
    for stack in stacks:
        area = kernel.init_mm.vms.get(stack.address)
        if stack.address and (area is None or area.pfns is not stack.pfns):
            yield f"the kernel stack at {stack.address:#x} is no area of vmalloc"
