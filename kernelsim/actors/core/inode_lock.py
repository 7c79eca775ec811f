"""The lock of a file: who writes it or cuts it off, one after the other; the others sleep.

Linux: include/linux/fs.h:inode_lock (i_rwsem), 6.1. Reads do not take it.
Interface: `async with inode_lock(current, inode):`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kernelsim.actors.core.current import Current
from kernelsim.fs.inode import Inode


@asynccontextmanager
async def inode_lock(current: Current, inode: Inode) -> AsyncIterator[None]:
    """Hold the lock of a file; it is handed on to who has waited longest.

    Source: Linux 6.1 kernel/locking/rwsem.c:down_write, :up_write
    """
    kernel, task = current
    if inode.is_locked:
        queue = kernel.inode_waits.get(inode.number)
        if queue is None:
            name = f"i_rwsem of inode {inode.number}"
            queue = kernel.inode_waits[inode.number] = kernel.engine.wait_queue(name)
        async with task.off_cpu():
            if inode.is_locked:  # it may have been let go while the CPU was left
                await queue.wait()  # whoever wakes it has handed the lock on
            inode.is_locked = True
    else:
        inode.is_locked = True
    try:
        yield
    finally:
        waiting = kernel.inode_waits.get(inode.number)
        inode.is_locked = waiting is not None and waiting.nr_waiting > 0
        if waiting is not None and inode.is_locked:
            waiting.wake()
