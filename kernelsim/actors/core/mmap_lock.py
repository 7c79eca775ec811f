"""The locks of an address space that several tasks share: mmap_lock, and those of its page tables.

Linux: include/linux/mmap_lock.h (a rw_semaphore), mm/memory.c:pte_offset_map_lock, 6.1.
Faults and calls that only look at mappings hold mmap_lock for reading, several at a time; calls
that change mappings hold it alone. Who waits sleeps. Behind one that waits all wait; when the first
of them is a reader, all readers are let in with it, past the writers between them. A fatal signal
ends the wait of most writers. A page table is locked while an entry of it is set; who waits for
that spins.
# Differs from Linux: A fault keeps mmap_lock while it waits for a page. Calls keep it that bring in
# the pages of what they map, wait for files to be read or written, or free what they have unmapped.
# Nobody spins on it before sleeping, and nobody takes it between its release and the wake-up.
Where one task uses an address space nobody waits, and nothing of this exists.
Interface: `MmapLock`, one an address space; shared_mm.py makes and finds them.
Units: ns.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from kernelsim.actors.core.task import Task
from kernelsim.actors.tracing import trace
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import FifoServer
from kernelsim.trace.ks import ks_sleep


@attrs.define(eq=False)
class _Ticket:
    """One that waits."""

    task: Task
    is_write: bool
    is_granted: bool = False

    def waits(self) -> bool:
        """Tell whether its turn has not come."""
        return not self.is_granted


class MmapLock:
    """The locks of one address space.

    Args:
        engine: Of the run.
        number: Of the address space, for reports.
    """

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self._account = engine.account("mmap_lock")
        self._queue = engine.wait_queue(f"mmap_lock of mm {number}")
        self._waiting: deque[_Ticket] = deque()
        self._holders: set[str] = set()
        self._is_written = False
        self._tables: dict[int, FifoServer] = {}

    def is_held_by(self, task: Task) -> bool:
        """Tell whether a task holds it."""
        return task.name in self._holders

    @asynccontextmanager
    async def held(self, task: Task, *, write: bool, killable: bool = False) -> AsyncIterator[bool]:
        """Hold it inside the block, alone for writing; False: killed meanwhile, it is not held.

        Source: Linux 6.1 include/linux/mmap_lock.h:mmap_read_lock, :mmap_write_lock_killable
        """
        if not await self._down(_Ticket(task, write), killable=killable):
            yield False
            return
        try:
            yield True
        finally:
            self._up(task)

    def wake_killed(self) -> None:
        """Let those that wait see whether they have been killed."""
        if self._waiting:
            self._queue.wake_all()

    async def _down(self, ticket: _Ticket, *, killable: bool) -> bool:
        self._waiting.append(ticket)
        self._grant()
        if not ticket.waits():
            return True
        began_ns, holder = self._engine.now_ns, min(self._holders, default="another")
        async with ticket.task.off_cpu():
            while ticket.waits() and not (killable and ticket.task.killed):
                await self._queue.wait()
        wait_ns = self._engine.now_ns - began_ns
        self._account.add_wait(wait_ns)
        trace(ticket.task, ks_sleep("mmap_lock", holder, wait_ns))
        if not ticket.waits():
            return True
        self._waiting.remove(ticket)
        self._let_in()
        return False

    def _up(self, task: Task) -> None:
        self._holders.remove(task.name)
        self._is_written = False
        self._let_in()

    def _let_in(self) -> None:
        if self._grant():
            self._queue.wake_all()

    def _grant(self) -> bool:
        """Let in those that may be: the first writer, or all readers; return if there were any.

        Source: Linux 6.1 kernel/locking/rwsem.c:rwsem_mark_wake
        """
        nr_before = len(self._waiting)
        while self._waiting and not self._is_written:
            first = self._waiting[0]
            if first.is_write and self._holders:
                break
            is_write = self._is_written = first.is_write
            granted = [first] if is_write else [each for each in self._waiting if not each.is_write]
            for ticket in granted:
                self._waiting.remove(ticket)
                ticket.is_granted = True
                self._holders.add(ticket.task.name)
            self._account.nr_holds += len(granted)
        return len(self._waiting) != nr_before

    async def set_pte(self, table: int, hold_ns: int) -> None:
        """Spend the time of setting an entry, under the lock of its table of PTEs.

        Source: Linux 6.1 mm/memory.c:do_anonymous_page, which takes ptl for it
        """
        server = self._tables.get(table)
        if server is None:
            server = self._tables[table] = self._engine.server("page table lock")
        await server.serve(hold_ns)
