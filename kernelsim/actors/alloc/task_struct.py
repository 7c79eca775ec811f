"""What the kernel holds of a thread: its kernel stack, and objects in slabs.

Linux: kernel/fork.c: dup_task_struct, copy_process, put_task_stack, put_task_struct;
kernel/exit.c: exit_files, exit_fs, release_task, 6.1.
Stack and files go when the thread has run for the last time, the rest when its parent has heard of
its end, and before 4.9 the stack, too. Threads that run since boot have theirs in what the kernel
held then.
# Differs from Linux: Who runs for the last time frees its own kernel stack and files, not who runs
# next; what RCU puts off is free at once, and a parent's end frees what init would.
# Differs from Linux: A thread that no process forked takes what it needs itself.
Interface: `dup_task_struct` before a thread is born, `exit_task` when it ends, `release_tasks` when
nobody needs to hear of it any more.
Units: objects.
"""

from collections.abc import Iterable

import attrs

from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.alloc.thread_stack import alloc_thread_stack, free_thread_stack
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.task import Task
from kernelsim.mm.core.kernel_objects import (
    EXIT_OBJECTS,
    KTHREAD_OBJECTS,
    PROCESS_OBJECTS,
    KernelObjects,
)
from kernelsim.mm.core.slab import has_slab_work
from kernelsim.mm.space.thread_stack import ThreadStack


@attrs.frozen(eq=False)
class TaskStruct:
    """What a thread that is to be born will have.

    Attributes:
        objects: In slabs.
        stack: To run on in the kernel.
    """

    objects: KernelObjects
    stack: ThreadStack


async def dup_task_struct(current: Current) -> TaskStruct | None:
    """Get what a process needs in the kernel; None if there is no stack for it.

    Source: Linux 6.1 kernel/fork.c:copy_process, :dup_task_struct
    """
    return await _dup_task_struct(current, PROCESS_OBJECTS)


async def _dup_task_struct(current: Current, caches: Iterable[int]) -> TaskStruct | None:
    objects = await alloc_objects(current, caches)
    stack = await alloc_thread_stack(current)
    if stack is None:
        await free_objects(current, objects)
        return None
    return TaskStruct(objects, stack)


async def take_task_struct(current: Current, *, is_kthread: bool = True) -> None:
    """Give a thread that nobody kills yet what it needs."""
    caches = KTHREAD_OBJECTS if is_kthread else PROCESS_OBJECTS
    got = await _dup_task_struct(current, caches)
    assert got is not None, "no request of its that may sleep fails"
    current.task.objects, current.task.stack = got.objects, got.stack


async def free_task_struct(current: Current, got: TaskStruct) -> None:
    """Give back what a thread would have had that is not born.

    Source: Linux 6.1 kernel/fork.c:copy_process, at bad_fork_free
    """
    await free_thread_stack(current, got.stack)
    await free_objects(current, got.objects)


async def exit_task(current: Current) -> None:
    """Free the own files, and the own stack unless the parent is to do that; on a CPU.

    Source: Linux 6.1 kernel/exit.c:do_exit, kernel/fork.c:put_task_stack; 3.16 :free_task
    """
    kernel, task = current
    if task.objects is not None:
        await free_objects(current, task.objects, EXIT_OBJECTS)
    stack = task.stack
    if stack is not None and kernel.spec.era.vmap_stack:
        task.stack = None
        await free_thread_stack(current, stack)


async def release_tasks(current: Current, tasks: Iterable[Task]) -> None:
    """Free what there still is of threads that nobody waits for any more.

    Source: Linux 6.1 kernel/exit.c:release_task; 3.16 kernel/fork.c:free_task
    """
    kernel, own = current
    stacks: list[ThreadStack] = []
    for task in tasks:
        stacks += [] if task.stack is None else [task.stack]
        if task.objects is not None:
            rest = tuple(task.objects.rows)
            kernel.object_sets.free(task.objects, rest, own.cpu.nid)
        task.stack = task.objects = None
    if not stacks and not has_slab_work(kernel.mem.slabs):
        return
    on_cpu = own.on_cpu
    if not on_cpu:
        await own.get_cpu(wakeup=True)
    for stack in stacks:
        await free_thread_stack(current, stack)
    await settle_slabs(current)
    if not on_cpu:
        await own.put_cpu()


async def alloc_objects(current: Current, caches: Iterable[int]) -> KernelObjects:
    """Take an object of each of some caches.

    Differs: Of a task that is killed meanwhile the objects may lie on no page; Linux fails then.

    Source: Linux 6.1 mm/slub.c:kmem_cache_alloc
    """
    kernel, task = current
    objects = kernel.object_sets.new()
    for cache in caches:
        kernel.object_sets.alloc(objects, cache, task.cpu.nid)
        if has_slab_work(kernel.mem.slabs):
            await settle_slabs(current)
    return objects


async def free_objects(
    current: Current, objects: KernelObjects, caches: Iterable[int] | None = None
) -> None:
    """Give objects back: those of some caches, or all.

    Source: Linux 6.1 mm/slub.c:kmem_cache_free
    """
    kernel, task = current
    which = tuple(objects.rows) if caches is None else caches
    kernel.object_sets.free(objects, which, task.cpu.nid)
    if has_slab_work(kernel.mem.slabs):
        await settle_slabs(current)
