"""Address spaces that several tasks use: who shares one, and where its locks are.

Linux: kernel/fork.c:copy_mm with CLONE_VM, 6.1.
Interface: `share_mm`, `mmap_lock_of`; `mmap_lock` holds the lock inside a block.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.mmap_lock import MmapLock
from kernelsim.mm.space.mm_struct import MmStruct


def share_mm(kernel: Kernel, mm: MmStruct) -> None:
    """Let one more task use an address space."""
    mm.mm_users += 1
    if mm.number not in kernel.mmap_locks:
        kernel.mmap_locks[mm.number] = MmapLock(kernel.engine, mm.number)


def mmap_lock_of(current: Current, mm: MmStruct) -> MmapLock | None:
    """Return the lock that a task has to take; None if it is alone, or has it already."""
    lock = current.kernel.mmap_locks.get(mm.number) if mm.mm_users > 1 else None
    return None if lock is None or lock.is_held_by(current.task) else lock


@asynccontextmanager
async def mmap_lock(
    current: Current, mm: MmStruct, *, write: bool, killable: bool = False
) -> AsyncIterator[bool]:
    """Hold the lock of an address space inside the block, if others use it, too.

    Args:
        current: The task.
        mm: The address space, its own or another one's.
        write: It is held alone.
        killable: A fatal signal ends the wait; the block is told False then, and must do nothing.
    """
    lock = mmap_lock_of(current, mm)
    if lock is None:
        yield True
        return
    async with lock.held(current.task, write=write, killable=killable) as is_held:
        yield is_held
