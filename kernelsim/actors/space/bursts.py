"""Lets the CPUs go on in compiled code until an event outside it can see the difference.

A program's accesses and simple faults are events in virtual time like any others; there are only
too many of them for messages. So those of all CPUs are kept by one compiled loop (mm/burst), which
does what is due before the next event of any other task and then waits in the clock's heap for its
turn. It is no actor and decides nothing: it takes the steps the fault handler takes, in the order
of virtual time, and its waits for locks and controllers are entered in the same accounts.

Interface: `Bursts.run` lets a task's CPU go on with what its columns say and returns why it
stopped, at the virtual time it stopped.
Units: ns.
"""

from typing import Final

from kernelsim.actors.alloc.free_pages import by_node
from kernelsim.actors.alloc.wakeup_kswapd import wakeup_kswapd
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.node import FreePages
from kernelsim.actors.parts.shared_server import NodeLock, SharedServer
from kernelsim.actors.space.burst_witness import BurstWitness
from kernelsim.mm.burst.columns import (
    B_KILLED,
    B_PHASE,
    B_STOP,
    B_TIME,
    B_ZONE,
    CALL_BOOSTED,
    CALL_EXTFRAG,
    CALL_FREE,
    H_ASKED,
    H_BEGIN,
    H_CPU,
    H_HOLD,
    H_SERVER,
    N_BAND,
    N_FREE,
    N_TIME,
    N_ZONE,
    OUT,
    STOPPED,
    T_COUNT,
    USER,
)
from kernelsim.mm.burst.run import run_burst
from kernelsim.mm.core.mem import Z_BOOSTED_WATERMARK, Z_NID, Z_TYPE_INDEX
from kernelsim.mm.page.gfp import Gfp
from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.event import FOREVER_NS
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
        for node in kernel.nodes:
            for lock in (*node.zone_locks.values(), node.lru_lock):
                self._locks[lock.server.index] = lock
        self._waiters: dict[int, Waiter] = {}
        self._tasks: dict[int, Task] = {}
        self._due: _Due | None = None

    async def run(self, task: Task) -> int:
        """Let the CPU of a task go on from now; return STOP_* when it stops."""
        clock, number = self._clock, task.cpu.number
        row = self._burst.run[number]
        row[B_TIME] = clock.now_ns
        row[B_KILLED] = task.killed
        row[B_PHASE] = USER
        self._tasks[number] = task
        try:
            if (
                not self._waiters
                and clock.now_ns < clock.horizon_ns
                and (clock.number + 1 < clock.look_number)
            ):
                self._go_on(clock.horizon_ns)
                at_ns = int(row[B_TIME])
                if row[B_PHASE] == STOPPED and at_ns < clock.horizon_ns:
                    clock.now_ns = at_ns
                    return int(row[B_STOP])
            waiter = clock.open_wait(WHY)
            self._waiters[number] = waiter
            at_ns = int(row[B_TIME])
            if row[B_PHASE] == STOPPED:
                clock.wake(waiter, at_ns)
            else:
                self._plan(at_ns)
            await clock.wait(waiter)
            return int(row[B_STOP])
        finally:
            row[B_PHASE] = OUT
            self._waiters.pop(number, None)

    def advance(self) -> None:
        """Do what is due now and before the next event of any other task."""
        self._due = None
        self._go_on(max(self._clock.horizon_ns, self._clock.now_ns + 1))

    def _go_on(self, before_ns: int) -> None:
        """Do what is due before a time, until a CPU stops or the actors have to act."""
        kernel, burst, clock = self._kernel, self._burst, self._clock
        witness = BurstWitness(kernel) if kernel.is_observed else None
        while True:
            if witness is not None:
                witness.look()
            kernel.pool.reserve(1)
            nr_max = EVENTS_AT_ONCE if witness is None else 1
            nr_done, cpu, call, next_ns = run_burst(
                *kernel.space, kernel.swap, burst, before_ns, nr_max
            )
            clock.number += nr_done
            self._enter_accounts()
            has_stopped = bool(nr_done) and burst.run[cpu, B_PHASE] == STOPPED
            if witness is not None and nr_done:
                witness.tell(self._tasks[cpu])
            if call:
                self._call(call, cpu)
            if has_stopped and cpu in self._waiters:
                clock.wake(self._waiters[cpu], max(int(burst.run[cpu, B_TIME]), clock.now_ns))
            if witness is None or has_stopped or call or not nr_done or next_ns >= before_ns:
                break
            if clock.number > clock.tick_number:  # a check is due
                break
        if next_ns < FOREVER_NS:
            self._plan(next_ns)

    def _plan(self, at_ns: int) -> None:
        """Go on at a time, if nothing is planned before."""
        if self._due is not None:
            if self._due.at_ns <= at_ns:
                return
            self._due.is_stale = True
            self._clock.note_stale()
        at_ns = max(at_ns, self._clock.now_ns)
        self._due = _Due(self, self._clock, at_ns)
        self._clock.push(at_ns, self._due)

    def _enter_accounts(self) -> None:
        """Enter holds and traffic where the actors enter theirs, in the order of time."""
        burst = self._burst
        nr_holds, nr_notes = int(burst.holds[0, 0]), int(burst.notes[0, 0])
        if nr_holds:
            burst.holds[0, 0] = 0
        if nr_notes:
            burst.notes[0, 0] = 0
        notes = burst.notes[1 : 1 + nr_notes].tolist()
        for row in burst.holds[1 : 1 + nr_holds].tolist():
            while notes and notes[0][N_TIME] < row[H_BEGIN]:
                self._note_band(notes.pop(0))
            user = self._kernel.cpus[row[H_CPU]].name
            lock = self._locks[row[H_SERVER]]
            lock.note(row[H_ASKED], row[H_BEGIN], row[H_HOLD], user)
        for note in notes:
            self._note_band(note)
        for nid in burst.kswapd_wanted.nonzero()[0].tolist():
            self._kernel.kswapd_states[nid].wants(int(burst.kswapd_wanted[nid]) - 1)
            burst.kswapd_wanted[nid] = 0
        traffic = burst.traffic
        for server in traffic[:, T_COUNT].nonzero()[0].tolist():
            account = self._pipe(server).account
            nr_holds, nr_waits, hold_ns, wait_ns, wait_ns_max = traffic[server].tolist()
            traffic[server] = 0
            account.nr_holds += nr_holds
            account.nr_waits += nr_waits
            account.hold_ns += hold_ns
            account.wait_ns += wait_ns
            account.wait_ns_max = max(account.wait_ns_max, wait_ns_max)

    def _pipe(self, server: int) -> SharedServer:
        kernel = self._kernel
        nr_nodes = len(kernel.nodes)
        number = server - len(kernel.mem.zone) - nr_nodes
        if number < nr_nodes:
            return kernel.nodes[number].controller
        return kernel.interconnect.server(*divmod(number - nr_nodes, nr_nodes))

    def _note_band(self, note: list[int]) -> None:
        zone = note[N_ZONE]
        bands = self._kernel.node_of(zone).bands
        bands.note(zone, note[N_BAND], note[N_FREE], note[N_TIME])

    def _call(self, call: int, cpu: int) -> None:
        """Do what only the actors can, for a CPU that goes on meanwhile."""
        kernel, burst = self._kernel, self._burst
        zone = int(burst.run[cpu, B_ZONE])
        if call == CALL_FREE:
            nr = kernel.taken(int(burst.spare[0]))
            pfns = burst.spare[1 : 1 + nr].copy()
            for nid, part in by_node(kernel, pfns, nr):
                name = kernel.cpus[cpu].name
                kernel.nodes[nid].ref.tell(FreePages(cpu, part, len(part), name))
            return
        kernel.node_of(zone).trace_extfrag()
        if call == CALL_BOOSTED:
            at_ns = max(self._clock.now_ns, int(burst.run[cpu, B_TIME]))
            self._clock.schedule(at_ns, self._boosted, (self._tasks[cpu], zone))
        assert call in (CALL_BOOSTED, CALL_EXTFRAG, CALL_FREE)

    def _boosted(self, item: tuple[Task, int]) -> None:
        task, zone = item
        row = self._kernel.mem.zone[zone]
        if row[Z_BOOSTED_WATERMARK]:
            row[Z_BOOSTED_WATERMARK] = 0
            wakeup_kswapd(
                Current(self._kernel, task), int(row[Z_NID]), int(row[Z_TYPE_INDEX]), Gfp(0)
            )


class _Due:
    """The next event of the bursts, in the clock's heap."""

    __slots__ = ("_bursts", "_clock", "at_ns", "is_stale")

    def __init__(self, bursts: Bursts, clock: VirtualClock, at_ns: int) -> None:
        self._bursts = bursts
        self._clock = clock
        self.at_ns = at_ns
        self.is_stale = False

    def fire(self) -> bool:
        """Go on; a task that this stops is made runnable by an event of its own."""
        clock = self._clock
        clock.running = clock.root
        try:
            self._bursts.advance()
        except Exception as error:  # noqa: BLE001 - trio could not say whose it was
            clock.on_crash("the bursts of the CPUs", error)
        return False
