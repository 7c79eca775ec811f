"""fork, vfork, clone(CLONE_VM), wait: the calls that make processes of processes.

Linux: kernel/fork.c:kernel_clone, kernel/exit.c:do_wait, 6.1.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.alloc.task_struct import dup_task_struct, free_task_struct, release_tasks
from kernelsim.actors.core.process_table import new_entry
from kernelsim.actors.core.shared_mm import mmap_lock, share_mm
from kernelsim.actors.core.task import Task
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.space.address_space import mmput
from kernelsim.actors.space.fork import dup_mm
from kernelsim.mm.space.mm_struct import MmStruct


@attrs.frozen
class Fork:
    """Make a child; answered with its pid or a negative errno.

    Attributes:
        shares_vm: It has the same address space (CLONE_VM), not a copy.
        vfork: The caller runs on only when the child has ended, or runs a program of its own
            (CLONE_VFORK); it is answered at once, but begins nothing else before.
    """

    shares_vm: bool = False
    vfork: bool = False


@attrs.frozen
class Wait4:
    """Wait until a child has ended; answered with `Waited`, or -ECHILD."""

    pid: int


@attrs.frozen
class Waited:
    """A child that has ended, and of which nothing is left.

    Attributes:
        status: What it ended with, or minus the signal that ended it.
    """

    status: int


async def fork(caller: Caller, message: Fork) -> int:
    """Make a child that goes on from here.

    Source: Linux 6.1 kernel/fork.c:copy_process
    """
    await caller.enter_kernel()
    kernel, entry = caller.kernel, caller.entry
    pid, kernel.next_pid = kernel.next_pid, kernel.next_pid + 1
    got = await dup_task_struct(caller.current)
    if got is None:
        return -errno.EINTR if entry.must_die() else -errno.ENOMEM
    mm = await copy_mm(caller, pid, shares_vm=message.shares_vm)
    if mm is None:
        await free_task_struct(caller.current, got)
        return -errno.EINTR if entry.must_die() else -errno.ENOMEM
    task = Task(kernel.engine, f"{entry.comm}-{pid}", pid, entry.task.cpus)
    task.set_mempolicy(entry.policy)
    task.stack, task.objects = got.stack, got.objects
    child = new_entry(task, entry.comm, entry.program)
    child.uid, child.parent, child.is_forked = entry.uid, entry, True
    child.oom_score_adj = entry.oom_score_adj
    child.oom_score_adj_min = entry.oom_score_adj_min
    child.catches_faults, child.elf = entry.catches_faults, entry.elf
    child.files = dict(entry.files)
    for file in child.files.values():
        file.inode.nr_open += 1
    child.mm = mm
    entry.children[pid] = child
    if message.vfork:
        child.vfork_parent, entry.vfork_child = entry, child
    kernel.start_process(child)
    kernel.processes[pid] = child
    return pid


async def copy_mm(caller: Caller, pid: int, *, shares_vm: bool) -> MmStruct | None:
    """Return the address space of a child; None if there is no memory, or the caller must die.

    Source: Linux 6.1 kernel/fork.c:copy_mm
    """
    current, mm = caller.current, caller.mm
    if shares_vm:
        share_mm(caller.kernel, mm)
    else:
        async with mmap_lock(current, mm, write=True, killable=True) as is_held:
            copy, is_whole = await dup_mm(current, mm, pid) if is_held else (None, False)
        if copy is None or not is_whole:
            if copy is not None:
                await mmput(current, copy)
            return None
        mm = copy
    if caller.entry.must_die():
        await mmput(current, mm)
        return None
    return mm


async def wait4(caller: Caller, message: Wait4) -> Waited | int | None:
    """Sleep until a child has ended, and forget it.

    Source: Linux 6.1 kernel/exit.c:do_wait
    """
    entry = caller.entry
    child = entry.children.get(message.pid)
    if child is None:
        return -errno.ECHILD
    while not child.is_zombie and not entry.must_die():
        await entry.signals.wait()
    if entry.must_die():
        await caller.exit(-entry.group_exit_code)
        return None
    del entry.children[message.pid], caller.kernel.zombies[message.pid]
    await release_tasks(caller.current, (child.task,))
    assert child.exit_status is not None, "a zombie has ended"
    return Waited(child.exit_status)


CALLS: Final = (
    Call(
        name="fork",
        value=Fork,
        handler=fork,
        returns="number",
        errors=(errno.ENOMEM, errno.EINTR),
        form="",
    ),
    Call(
        name="wait4",
        value=Wait4,
        handler=wait4,
        returns="result",
        errors=(errno.ECHILD,),
        is_program=False,
    ),
)
