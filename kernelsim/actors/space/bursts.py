"""Lets the CPUs go on in compiled code until an event outside it can see the difference.

A program's accesses and simple faults are events in virtual time like any others; there are only
too many of them for messages. So those of all CPUs are kept by one compiled loop (mm/burst), which
does what is due before the next event of any other task and then waits in the clock's heap for its
turn. It is no actor and decides nothing: it takes the steps the fault handler takes, in the order
of virtual time, and its waits for locks and controllers are entered in the same accounts. Each of
its events has the number the clock would give to the message or the wait in its place, so that of
two that are due at once the same one comes first.

Interface: `Bursts.run` lets a task's CPU go on with what its columns say and returns why it
stopped, at the virtual time it stopped.
Units: ns.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from kernelsim.actors.alloc.wakeup_kswapd import wakeup_kswapd
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.page_requests import SlabRequests
from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.shared_server import NodeLock
from kernelsim.actors.parts.tlb_state import TLB_LOCAL_SHOOTDOWN
from kernelsim.actors.space.burst_accounts import BurstAccounts
from kernelsim.actors.space.burst_witness import BurstWitness
from kernelsim.mm.burst.access import next_access
from kernelsim.mm.burst.batch import move_in_turn
from kernelsim.mm.burst.columns import (
    ADDED,
    B_BEGAN,
    B_FLUSH_NS,
    B_KILLED,
    B_NUMBER,
    B_PHASE,
    B_SERVER,
    B_STOP,
    B_TIME,
    B_ZONE,
    CALL_BOOSTED,
    CALL_EXTFRAG,
    CALL_FLUSH,
    CALL_QUEUE,
    CLEAR,
    O_IS_SEEDED,
    O_NUMBER,
    O_SEED,
    O_TIME,
    OUT,
    REFILL,
    STOP_FREE,
    STOPPED,
    USER,
)
from kernelsim.mm.burst.pages import refill_in_turn
from kernelsim.mm.burst.run import next_due, run_burst
from kernelsim.mm.core.mem import I64_2D, Z_BOOSTED_WATERMARK, Z_NID, Z_TYPE_INDEX
from kernelsim.mm.page.gfp import Gfp
from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.reply import Reply
from kernelsim.sim.wait import Waiter

EVENTS_AT_ONCE: Final = 1 << 16  # then trio and Ctrl-C get a turn
WHY: Final = "its accesses"


class Bursts:
    """The bursts of one machine.

    Args:
        kernel: The machine, with its actors started.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._burst = kernel.burst
        self._clock = kernel.engine.clock
        self._locks: dict[int, NodeLock] = {}
        self._zone_locks = range(len(kernel.mem.zone))
        for node in kernel.nodes:
            for lock in (*node.zone_locks.values(), node.lru_lock):
                self._locks[lock.server.index] = lock
        self._waiters: dict[int, Waiter] = {}
        self._tasks: dict[int, Task] = {}
        self._fill_requests: dict[int, Callable[[], None]] = {}
        self._due: _Due | None = None
        self._accounts = BurstAccounts(kernel, self._locks)
        kernel.engine.enter_accounts = self._accounts.enter_locks
        for lock in self._locks.values():
            lock.enter_holds = self._accounts.enter_locks
        self._slab_requests = SlabRequests(kernel.alloc_contexts, kernel.nodes)
        self._witness = BurstWitness(kernel)
        seed = self._clock.schedule_seed
        if seed is not None:
            self._burst.order[O_IS_SEEDED] = 1
            self._burst.order[O_SEED] = seed

    async def run(self, task: Task, fill_requests: Callable[[], None]) -> int:
        """Let the CPU of a task go on from now; return STOP_* when it stops.

        Args:
            task: Its columns are filled in.
            fill_requests: Fills in anew what its pages are allocated by.
        """
        clock, number = self._clock, task.cpu.number
        row = self._burst.run[number]
        row[B_KILLED] = task.killed
        row[B_PHASE] = USER
        self._tasks[number] = task
        self._fill_requests[number] = fill_requests
        self._accounts.begins(task)
        if self._kernel.is_observed:
            self._witness.begins(task)
        try:
            while True:
                row[B_TIME], row[B_NUMBER] = clock.now_ns, 0  # it is the event that is being done
                if self._go_on(number) != number:
                    waiter = self._waiters[number] = clock.open_wait(WHY)
                    await clock.wait(waiter)
                if row[B_STOP] != STOP_FREE:
                    return int(row[B_STOP])
                freed = self._burst.freed[number]
                pfns = freed[1 : 1 + freed[0]].copy()
                freed[0] = 0
                await free_frames(Current(self._kernel, task), pfns, len(pfns))
                row[B_PHASE], row[B_BEGAN] = ADDED, clock.now_ns
        finally:
            row[B_PHASE] = OUT
            self._waiters.pop(number, None)
            self._accounts.ends(number)
            del self._tasks[number], self._fill_requests[number]
            if self._kernel.is_observed:
                self._witness.ends(number)

    def slab_requests(self, task: Task) -> I64_2D:
        """Return what slabs that a task's steps open get their pages by, a request a cache."""
        return self._slab_requests.rows(task)

    def zonelists_changed(self) -> None:
        """Have what those in the middle of a burst ask for served by the zonelists of now."""
        for fill_requests in self._fill_requests.values():
            fill_requests()

    def tell_stores(self) -> None:
        """Tell the observer what programs have stored that are in the middle of a burst."""
        self._witness.tell_stores()

    def enter_tasks(self) -> None:
        """Enter in the accounts of tasks what those in the middle of a burst have done so far."""
        self._accounts.enter_tasks()

    def look_at_locks(self) -> None:
        """Enter holds of locks in compiled code in their accounts, if it matters by now."""
        self._accounts.look_at_locks()

    def advance(self) -> bool:
        """Do what is due now and before the next event of any other task.

        Returns:
            Whether a task was made runnable, whose CPU has stopped.
        """
        self._due = None
        number = self._go_on()
        return number >= 0 and self._clock.resume(self._waiters.pop(number))

    def _go_on(self, own: int = -1) -> int:
        """Do what is due before the next event of others; plan the rest.

        Args:
            own: The CPU whose task runs now, and takes its first step in any case; -1 if none does.

        Returns:
            The CPU that stopped, if that is the next event and its task can go on with it now: the
            time is that of the event then. Else -1.
        """
        kernel, burst, clock = self._kernel, self._burst, self._clock
        number_end = clock.number + clock.numbers_left(EVENTS_AT_ONCE)
        is_free = own < 0 or clock.is_in_line()
        while True:
            if is_free and self._due is not None and clock.take_out(self._due):
                self._due = None
            before = clock.next_event() if is_free else (clock.now_ns, 0, 1)
            nr_max = max(1, number_end - clock.number)
            kernel.pool.reserve(1)
            burst.order[O_NUMBER] = clock.number
            if kernel.is_observed:
                nr_done, cpu, call, due = self._witness.run(before, nr_max)
            else:
                nr_done, cpu, call, due = run_burst(
                    *kernel.space, kernel.swap, burst, *before, nr_max
                )
            clock.number = int(burst.order[O_NUMBER])
            if nr_done:
                clock.now_ns = int(burst.order[O_TIME])
            self._accounts.enter()
            if kernel.is_observed:
                self._witness.tell_steps()
            if call:
                self._call(call, cpu)
            elif due < 0:
                return -1
            elif burst.run[due, B_PHASE] == STOPPED:
                return self._stopped(due, own, before)
            elif not nr_done or clock.number >= number_end or self._key(due) >= before:
                self._plan(due)
                return -1

    def _stopped(self, cpu: int, own: int, before: tuple[int, int, int]) -> int:
        """Let the task of a CPU that stopped go on, if its turn has come and none runs."""
        if (own >= 0 and cpu != own) or self._key(cpu) >= before:
            self._plan(cpu)
            return -1
        row = self._burst.run[cpu]
        self._clock.now_ns = int(row[B_TIME])
        row[B_PHASE] = OUT
        due = next_due(self._burst) if len(self._tasks) > 1 else -1
        if due >= 0:
            self._plan(due)
        return cpu

    def _key(self, cpu: int) -> tuple[int, int, int]:
        """Return when the next event of a CPU is due: its time, what decides a tie, its number."""
        time_ns, tie, number = self._burst.due[:, cpu].tolist()
        return time_ns, tie, number

    def _plan(self, cpu: int) -> None:
        """Go on when the next event of a CPU is due, which is the first of all CPUs."""
        row = self._burst.run[cpu]
        at_ns, number = int(row[B_TIME]), int(row[B_NUMBER])
        if self._due is not None:
            if (self._due.at_ns, self._due.number) == (at_ns, number):
                return
            self._due.is_stale = True
            self._clock.note_stale()
        self._due = _Due(self, self._clock, at_ns, number)
        self._clock.put_back(at_ns, number, self._due)

    def _call(self, call: int, cpu: int) -> None:
        """Do what only the actors can, at the time of a CPU's event."""
        kernel, row = self._kernel, self._burst.run[cpu]
        zone = int(row[B_ZONE])
        if call == CALL_EXTFRAG:
            kernel.node_of(zone).trace_extfrag()
            return
        if call == CALL_BOOSTED:
            mem, current = kernel.mem, Current(kernel, self._tasks[cpu])
            mem.zone[zone, Z_BOOSTED_WATERMARK] = 0
            nid, zone_type = mem.zone[zone, [Z_NID, Z_TYPE_INDEX]].tolist()
            wakeup_kswapd(current, nid, zone_type, Gfp(0))
            return
        if call == CALL_FLUSH:
            row[B_FLUSH_NS] = self._flush(cpu)
            return
        assert call == CALL_QUEUE
        server, name = int(row[B_SERVER]), kernel.cpus[cpu].name
        work = partial(self._refill if server in self._zone_locks else self._move, cpu)
        answer = _Answer(self, cpu)
        self._locks[server].serve(work, name, lambda: answer)

    def _flush(self, cpu: int) -> int:
        """Have the TLB forget the page that is accessed; return how long it takes.

        No other CPU runs the address space now.

        Source: Linux 6.1 mm/memory.c:wp_page_copy, mm/pgtable-generic.c:ptep_clear_flush
        """
        tlb_state = self._kernel.cpus[cpu].tlb_state
        mm = tlb_state.loaded_mm
        assert mm is not None, f"cpu{cpu} runs a program without an address space"
        mm.tlb_gen += 1
        vpn, _ = next_access(self._burst, cpu)
        return tlb_state.flush(mm.ctx_id, vpn, 1, TLB_LOCAL_SHOOTDOWN)

    def _refill(self, cpu: int) -> tuple[None, int]:
        """Refill the list of a CPU that queued behind actors, whose turn has come."""
        kernel, row = self._kernel, self._burst.run[cpu]
        row[B_PHASE], row[B_TIME] = REFILL, self._clock.now_ns
        if kernel.is_observed:
            hold_ns = self._witness.refill(cpu)
        else:
            hold_ns = refill_in_turn(kernel.mem, self._burst, cpu)
        row[B_PHASE] = CLEAR
        node = kernel.node_of(int(row[B_ZONE]))
        node.bands.look()
        node.trace_extfrag()
        return None, hold_ns

    def _move(self, cpu: int) -> tuple[None, int]:
        """Empty the folio_batch of a CPU that queued behind actors, whose turn has come."""
        hold_ns = move_in_turn(self._kernel.mem, self._burst, cpu)
        self._burst.run[cpu, B_PHASE] = ADDED
        return None, hold_ns

    def answer(self, cpu: int, at_ns: int) -> None:
        """Let a CPU that queued behind actors go on when it gives the lock back."""
        burst, clock = self._burst, self._clock
        clock.number += 1
        row = burst.run[cpu]
        row[B_TIME], row[B_NUMBER] = at_ns, clock.number
        self._plan(next_due(burst))


class _Answer(Reply):
    """What a node answers to a CPU in a burst."""

    __slots__ = ("_bursts", "_cpu")

    def __init__(self, bursts: Bursts, cpu: int) -> None:
        self._bursts = bursts
        self._cpu = cpu

    def send(self, value: object, at_ns: int | None = None) -> None:
        """Let the CPU go on at a time."""
        assert value is None
        assert at_ns is not None
        self._bursts.answer(self._cpu, at_ns)


class _Due:
    """The next event of the bursts, in the clock's heap."""

    __slots__ = ("_bursts", "_clock", "at_ns", "is_stale", "number")

    def __init__(self, bursts: Bursts, clock: VirtualClock, at_ns: int, number: int) -> None:
        self._bursts = bursts
        self._clock = clock
        self.at_ns = at_ns
        self.number = number
        self.is_stale = False

    def __lt__(self, _other: object) -> bool:
        """Come in any order with one that has become stale; the heap knows no two alike else."""
        return False

    def fire(self) -> bool:
        """Go on; return whether a task goes on with the event."""
        clock = self._clock
        clock.running = clock.root
        try:
            return self._bursts.advance()
        except Exception as error:  # noqa: BLE001 - trio could not say whose it was
            clock.on_crash("the bursts of the CPUs", error)
        return False
