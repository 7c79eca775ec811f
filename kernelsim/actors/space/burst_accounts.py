"""Enters what CPUs have done in compiled code in the accounts of the actors and of the tasks.

Holds of locks and traffic are entered whenever the bursts come back to the actors; what a task has
done when its burst is over, or somebody asks before that.
Interface: one `BurstAccounts` for the bursts of a machine.
Units: ns.
"""

from collections.abc import Mapping

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.shared_server import NodeLock, SharedServer
from kernelsim.mm.burst.columns import (
    B_LOCK_NS,
    B_NR_FAULTS,
    B_STIME,
    B_UTIME,
    H_ASKED,
    H_BEGIN,
    H_CPU,
    H_HOLD,
    H_SERVER,
    N_BAND,
    N_FREE,
    N_TIME,
    N_ZONE,
    NR_KINDS,
    T_COUNT,
)
from kernelsim.mm.burst.lock_run import NR_HS_COLUMNS, sum_holds
from kernelsim.mm.burst.run import has_news, take_hits


class BurstAccounts:
    """The accounts of the bursts of one machine.

    Args:
        kernel: The machine.
        locks: Its locks, by number of the server.
    """

    def __init__(self, kernel: Kernel, locks: Mapping[int, NodeLock]) -> None:
        self._kernel = kernel
        self._burst = kernel.burst
        self._locks = locks
        self._sums = np.zeros((len(locks), NR_HS_COLUMNS), np.int64)
        self._tasks: dict[int, Task] = {}  # in a burst, by CPU
        self._entered: dict[int, list[int]] = {}  # columns of their CPUs when last entered

    def begins(self, task: Task) -> None:
        """Note where a task begins a burst."""
        number = task.cpu.number
        self._tasks[number] = task
        self._entered[number] = self._burst.run[number].tolist()

    def ends(self, number: int) -> None:
        """Enter what the task of a CPU has done; its burst is over."""
        self._enter_task(number)
        del self._tasks[number], self._entered[number]

    def enter_tasks(self) -> None:
        """Enter what all tasks have done so far; a step that is not over counts whole."""
        for number in self._tasks:
            self._enter_task(number)

    def _enter_task(self, number: int) -> None:
        task, now = self._tasks[number], self._burst.run[number].tolist()
        before, self._entered[number] = self._entered[number], now
        task.utime_ns += now[B_UTIME] - before[B_UTIME]
        task.cpu.state.user_ns += now[B_UTIME] - before[B_UTIME]
        task.stime_ns += now[B_STIME] - before[B_STIME]
        task.waits.lock_ns += now[B_LOCK_NS] - before[B_LOCK_NS]
        kinds = slice(B_NR_FAULTS, B_NR_FAULTS + NR_KINDS)
        self._kernel.processes[task.pid].minflt += sum(now[kinds]) - sum(before[kinds])

    def enter(self) -> None:
        """Enter holds and traffic where the actors enter theirs, and what waits for an actor."""
        self.enter_locks()
        burst = self._burst
        if self._kernel.has_rotating_swap:  # the next window of any task depends on them
            self._kernel.cluster_readahead.hits += take_hits(burst)
        if not has_news(burst):
            return
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

    def enter_locks(self) -> None:
        """Enter holds of locks, and watermarks crossed under them, in the order of time."""
        burst = self._burst
        nr_holds, nr_notes = int(burst.holds[0, 0]), int(burst.notes[0, 0])
        if not nr_holds and not nr_notes:
            return
        nr_sums = sum_holds(burst, self._sums) if nr_holds else 0
        burst.holds[0, 0] = burst.notes[0, 0] = 0
        notes = burst.notes[1 : 1 + nr_notes].tolist() if nr_notes else []
        if nr_sums < 0:
            self._enter_in_turn(burst.holds[1 : 1 + nr_holds].tolist(), notes)
            return
        for server, asked_ns, begin_ns, hold_ns, cpu, *others in self._sums[:nr_sums].tolist():
            lock = self._locks[server]
            lock.server.record_free(*others)
            lock.note(asked_ns, begin_ns, hold_ns, self._kernel.cpus[cpu].name)
        for note in notes:
            self._note_band(note)

    def _enter_in_turn(self, holds: list[list[int]], notes: list[list[int]]) -> None:
        """Enter holds some of which were waited for, and notes, in the order of time."""
        for row in holds:
            while notes and notes[0][N_TIME] < row[H_BEGIN]:
                self._note_band(notes.pop(0))
            user = self._kernel.cpus[row[H_CPU]].name
            lock = self._locks[row[H_SERVER]]
            lock.note(row[H_ASKED], row[H_BEGIN], row[H_HOLD], user)
        for note in notes:
            self._note_band(note)

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
