"""Address spaces that several tasks use: who shares one, and where its locks are.

Linux: kernel/fork.c:copy_mm with CLONE_VM, 6.1.
Interface: `share_mm`, `mmap_lock_of`.
"""

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
