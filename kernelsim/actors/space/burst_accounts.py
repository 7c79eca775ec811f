"""Enters what CPUs have done in compiled code in the accounts of the actors and of the tasks.

Traffic is entered whenever the bursts come back to the actors, holds of locks when somebody can see
the difference; what a task has done when its burst is over, or somebody asks before that.
Interface: one `BurstAccounts` for the bursts of a machine.
Units: ns.
"""

from collections.abc import Mapping
from operator import sub
from typing import Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.shared_server import NodeLock, SharedServer
from kernelsim.mm.burst.columns import (
    B_HITS,
    B_NR_FAULTS,
    B_UTIME,
    H_ASKED,
    H_BEGIN,
    H_CPU,
    H_HOLD,
    H_SERVER,
    H_WAITED,
    HOLDS_MAX,
    N_BAND,
    N_FREE,
    N_TIME,
    N_ZONE,
    NR_KINDS,
    O_HAS_NEWS,
    O_HITS,
    T_COUNT,
)
from kernelsim.mm.burst.lock_run import NR_HS_COLUMNS, sum_holds

# B_UTIME, B_STIME, B_LOCK_NS, B_HITS, B_LAST_HIT, B_NR_FAULTS…
ACCOUNTED: Final = slice(B_UTIME, B_NR_FAULTS + NR_KINDS)


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
        self._entered[number] = self._burst.run[number, ACCOUNTED].tolist()

    def ends(self, number: int) -> None:
        """Enter what the task of a CPU has done; its burst is over."""
        self._enter_task(number)
        del self._tasks[number], self._entered[number]

    def enter_tasks(self) -> None:
        """Enter what all tasks have done so far; a step that is not over counts whole."""
        for number in self._tasks:
            self._enter_task(number)

    def _enter_task(self, number: int) -> None:
        task, now = self._tasks[number], self._burst.run[number, ACCOUNTED].tolist()
        before, self._entered[number] = self._entered[number], now
        utime_ns, stime_ns, lock_ns, _, _, *nr_faults = map(sub, now, before)
        task.utime_ns += utime_ns
        task.cpu.state.user_ns += utime_ns
        task.stime_ns += stime_ns
        task.waits.lock_ns += lock_ns
        self._kernel.processes[task.pid].minflt += sum(nr_faults)

    def enter(self) -> None:
        """Enter traffic where the actors enter theirs, and what waits for an actor."""
        self.look_at_locks()
        burst = self._burst
        has_news, hits = burst.order[O_HAS_NEWS : O_HITS + 1].tolist()
        if hits and self._kernel.has_rotating_swap:  # the next window of any task depends on them
            self._kernel.cluster_readahead.hits += hits
            burst.run[:, B_HITS] = 0
        if not has_news:
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

    def look_at_locks(self) -> None:
        """Enter holds of locks if that tells anybody anything now.

        Those that nobody waited for make only sums, and stay where they are until an actor takes
        the lock, somebody reads its account, or there are many.
        """
        burst = self._burst
        nr_holds, has_waited = burst.holds[0, : H_WAITED + 1].tolist()
        if has_waited or nr_holds > HOLDS_MAX // 2 or burst.notes[0, 0]:
            self.enter_locks()

    def enter_locks(self) -> None:
        """Enter holds of locks, and watermarks crossed under them, in the order of time."""
        burst = self._burst
        nr_holds, has_waited = burst.holds[0, : H_WAITED + 1].tolist()
        nr_notes = int(burst.notes[0, 0])
        if not nr_holds and not nr_notes:
            return
        nr_sums = 0 if has_waited else sum_holds(burst, self._sums)
        burst.holds[0, : H_WAITED + 1] = burst.notes[0, 0] = 0
        notes = burst.notes[1 : 1 + nr_notes].tolist() if nr_notes else []
        if has_waited:
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
