"""What a person sees of a machine at one moment: /proc, and besides it who waits for what.

Interface: `take_view` reads a machine between two events and changes nothing; the rest is frozen.
Units: ns of virtual time; pages.
"""

from collections.abc import Mapping
from typing import Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.mm.core.lruvec import LV_KSWAPD_FAILURES
from kernelsim.mm.reclaim.scan_control import MAX_RECLAIM_RETRIES
from kernelsim.procfs.capture import capture
from kernelsim.procfs.snapshot import ProcessSnapshot, Snapshot
from kernelsim.sim.wait import Seat

HANDLER: Final = "fault-{pid}"  # the kernel side of a process
ANSWER: Final = "answer of"
COMPUTES: Final = ("its accesses", "time")  # what a task waits for that only spends time
Seats = Mapping[str, Seat]


@attrs.frozen(kw_only=True)
class TaskView:
    """One process, and what it does now.

    Attributes:
        process: What /proc says of it.
        doing: running; asking (a node for pages: it spins on its lock, or they work under it);
            reclaiming; runnable; blocked (a fault or a call of its waits); sleeping; zombie.
        waits_for: Whom or what; empty if for nothing but time or a CPU.
        lock_ns: So far: asking nodes for pages,
        reclaim_ns: in direct reclaim,
        io_ns: and for its own reads.
    """

    process: ProcessSnapshot
    doing: str
    waits_for: str
    lock_ns: int
    reclaim_ns: int
    io_ns: int

    @property
    def cpu_ns(self) -> int:
        """CPU time so far."""
        return self.process.utime_ns + self.process.stime_ns


@attrs.frozen(kw_only=True)
class KswapdView:
    """The kswapd of a node.

    Attributes:
        doing: awake; asleep; gave up, for there is nothing to reclaim on its node.
        waits_for: As in `TaskView`, while it is awake.
    """

    nid: int
    doing: str
    waits_for: str


@attrs.frozen(kw_only=True)
class LockView:
    """A lock or server, and the waits for it so far."""

    name: str
    nr_holds: int
    nr_waits: int
    wait_ns: int
    wait_ns_max: int


@attrs.frozen(kw_only=True)
class View:
    """A machine at one moment.

    Attributes:
        t_ns: When.
        machine: What /proc and /sys show, but for what is found by walking page tables, and
            pressure: reading it is no mere look.
        tasks: Processes by pid.
        kswapds: By node.
        locks: Those that have been waited for, longest first.
    """

    t_ns: int
    machine: Snapshot
    tasks: tuple[TaskView, ...]
    kswapds: tuple[KswapdView, ...]
    locks: tuple[LockView, ...]


def take_view(kernel: Kernel) -> View:
    """Return what a machine looks like now."""
    machine = capture(kernel, usage=False, pressure=False)
    seats = {seat.name: seat for seat in kernel.engine.clock.seats}
    return View(
        t_ns=kernel.engine.now_ns,
        machine=machine,
        tasks=tuple(view_of_task(kernel, seats, process) for process in machine.processes),
        kswapds=tuple(view_of_kswapd(kernel, seats, node.nid) for node in machine.nodes),
        locks=views_of_locks(kernel),
    )


def view_of_task(kernel: Kernel, seats: Seats, shown: ProcessSnapshot) -> TaskView:
    """Return one process."""
    entry = kernel.processes.get(shown.pid) or kernel.zombies[shown.pid]
    waits_for = "" if entry.is_zombie else wait_of_process(seats, entry)
    waits = entry.task.waits
    return TaskView(
        process=shown,
        doing=doing_of(entry, shown.state, waits_for),
        waits_for=waits_for,
        lock_ns=waits.lock_ns,
        reclaim_ns=waits.reclaim_ns,
        io_ns=waits.io_ns,
    )


def doing_of(entry: ProcessEntry, state: str, waits_for: str) -> str:
    """Return the word for what a process does.

    Args:
        entry: The process.
        state: Its letter in /proc.
        waits_for: As in `TaskView`.
    """
    task = entry.task
    if state == "Z":
        return "zombie"
    if task.memalloc:
        return "reclaiming"
    if task.on_cpu:
        return "asking" if waits_for else "running"
    if state == "R":
        return "runnable"
    return "blocked" if state == "D" else "sleeping"


def wait_of_process(seats: Seats, entry: ProcessEntry) -> str:
    """Return what a process waits for, or its kernel side if it waits for that."""
    handler = HANDLER.format(pid=entry.pid)
    text = wait_of(seats.get(entry.task.name))
    return wait_of(seats.get(handler)) if text == handler else text


def wait_of(seat: Seat | None) -> str:
    """Return whom or what a task waits for; empty for nothing, time, or a CPU."""
    if seat is None or not seat.waiter.is_parked:
        return ""
    why = seat.waiter.why
    words = [str(word) for word in why] if isinstance(why, tuple) else [str(why)]
    if words[0] in COMPUTES:
        return ""
    if words[0] == ANSWER:
        return "" if words[1].startswith("cpu") else words[1]
    if words[0] == "message on":
        return "its workload"
    return " ".join(words).removeprefix("wait queue ")


def view_of_kswapd(kernel: Kernel, seats: Seats, nid: int) -> KswapdView:
    """Return the kswapd of one node."""
    if not kernel.kswapd_states[nid].asleep:
        return KswapdView(nid=nid, doing="awake", waits_for=wait_of(seats.get(f"kswapd{nid}")))
    has_given_up = kernel.lruvec[nid, LV_KSWAPD_FAILURES] >= MAX_RECLAIM_RETRIES
    return KswapdView(nid=nid, doing="gave up" if has_given_up else "asleep", waits_for="")


def views_of_locks(kernel: Kernel) -> tuple[LockView, ...]:
    """Return the locks and servers that have been waited for."""
    found = [
        LockView(
            name=name,
            nr_holds=account.nr_holds,
            nr_waits=account.nr_waits,
            wait_ns=account.wait_ns,
            wait_ns_max=account.wait_ns_max,
        )
        for name, account in kernel.engine.accounts.items()
        if account.wait_ns
    ]
    return tuple(sorted(found, key=lambda lock: (-lock.wait_ns, lock.name)))
