"""A user process: runs the calls and accesses its program asks for, one after the other.

Linux: the user side of a task, 6.1. What each call does is an entry of the table in calls/.
Owns: its address space and its entry of the process table.
Interface: ask a value of one of the calls; the answer is its result, `None` if it ends before.
Then the actor ends, too. What others may know of it is in its entry of the process table.
"""

import errno
from typing import Any

from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.shared_mm import mmap_lock
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.executing import start_elf
from kernelsim.actors.process.calls.table import CALLS
from kernelsim.sim.actor import Actor


class Process(Actor):
    """The actor of one process.

    Args:
        kernel: The machine.
        entry: What the process table will hold of it.
    """

    def __init__(self, kernel: Kernel, entry: ProcessEntry) -> None:
        super().__init__(entry.task.name)
        self._kernel = kernel
        self._entry = entry
        self._caller = Caller(kernel, entry)

    async def on_start(self) -> None:
        """Get a CPU, an address space and a fault handler."""
        caller, task = self._caller, self._entry.task
        await caller.start()
        if self._entry.elf is not None and not (self._entry.is_forked or self._entry.has_ended()):
            await task.get_cpu()
            await start_elf(caller)
            await task.put_cpu()

    async def receive(self, message: Any) -> Any:  # noqa: ANN401 - the value of a call
        """Run one call, on a CPU if it wants one; act on a fatal signal before and after."""
        entry, caller = self._entry, self._caller
        if entry.has_ended():
            return None
        if entry.vfork_child is not None:
            await caller.wait_for_vfork_done()
        if entry.must_die():
            await caller.exit(-entry.group_exit_code)
            return None
        call = CALLS.by_value[type(message)]
        if not call.is_program:
            return await call.handler(caller, message)
        observer = self._kernel.observer
        caller.nr_operations += 1
        await entry.task.get_cpu(wakeup=True)
        observer.begins(entry.pid, caller.mm, message)
        locking, is_held, result = call.mmap_locking(message), True, None
        if locking == "none":
            result = await call.handler(caller, message)
        else:
            write, killable = locking != "read", locking == "write_killable"
            held = mmap_lock(caller.current, caller.mm, write=write, killable=killable)
            async with held as is_held:
                result = await call.handler(caller, message) if is_held else -errno.EINTR
        if locking not in ("none", "read"):  # mappings have come or gone
            await settle_slabs(caller.current)
        if not entry.has_ended():
            observer.ends(entry.pid, message, result, caller.token)
        await entry.task.put_cpu()
        self.progress()
        if entry.must_die():
            await caller.exit(-entry.group_exit_code)
            if not is_held or call.errno_of(result):  # it never comes back to its program
                return None
        return result
