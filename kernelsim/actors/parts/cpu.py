"""One CPU: runs tasks in time slices, owns a TLB, answers interrupts.

Linux: kernel/sched/core.c (__schedule, ttwu), arch/x86/mm/tlb.c, 6.1.
Who is next, and whether it takes the CPU at once, is decided in fair.py.
# Differs from Linux: A running task gives way at the next boundary of what it does.
Owns: its TLB, its run queue, its account of time.
Interface: a task asks to `Schedule` and is answered when it may run; it asks to `Deschedule` when
it blocks or its slice is over. Other CPUs ask to `FlushTlb` and wait for the answer, as senders
of an inter-processor interrupt do. The task that runs here may read `must_give_way`.
Units: ns.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import attrs
import numpy as np

from kernelsim.actors.messages.cpu import Deschedule, FlushKernelTlb, FlushTlb, Schedule
from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.parts.tlb_state import TLB_REMOTE_SHOOTDOWN, TlbState
from kernelsim.actors.tracing import trace
from kernelsim.config.latency import LatencySpec
from kernelsim.hw.tlb import AccessCost, Tlb
from kernelsim.mm.burst.columns import B_SLICE_END, B_STOLEN, Burst
from kernelsim.sched.fair import FairQueue, SchedEntity
from kernelsim.sched.psi import PsiCpu, PsiGroup
from kernelsim.sim.actor import DEFERRED, Actor, At
from kernelsim.sim.event import FOREVER_NS
from kernelsim.sim.reply import Reply
from kernelsim.trace.ks import ks_sched_switch

TUNABLE_SCALING_CPUS: Final = 8  # more make periods no longer; SCHED_TUNABLESCALING_LOG


class Balancer(Protocol):
    """Moves waiting tasks between the queues of CPUs."""

    def task_waits(self) -> None:
        """Hear that a task has to wait for a CPU."""
        ...

    def newidle(self, cpu: "Cpu") -> None:
        """Find tasks for a CPU that has none left."""
        ...


class Queued(NamedTuple):
    """A task that waits for a CPU."""

    task: str
    reply: Reply
    since_ns: int


@attrs.define
class CpuState:
    """What a CPU knows.

    Attributes:
        current: Name of the running task.
        last: Name of the task that ran last, to tell a switch from a return.
        slice_end_ns: When the running task should look whether it is to give way: the next tick.
        need_resched: It is to give way to a task that woke up.
        run_queue: Waiting tasks with the way to answer them.
        nr_switches: Context switches, as Linux counts them: to and from the idle task, too.
        nr_ipis: Interrupts received.
        nr_iowait: Tasks that left this CPU to wait for I/O and have not been woken.
        busy_since_ns: When the CPU last became busy, or idle if it is.
        busy_ns: Time it was busy before that.
        iowait_since_ns: Up to when `iowait_ns` is counted, if the CPU is idle in wait for I/O.
        iowait_ns: Time it was idle while such a task waited.
        user_ns: Part of the busy time that was in user mode.
        wait_ns: Time tasks waited in the run queue.
    """

    current: str | None = None
    last: str = ""
    slice_end_ns: int = 0
    need_resched: bool = False
    run_queue: deque[Queued] = attrs.field(factory=deque)
    nr_switches: int = 0
    nr_ipis: int = 0
    nr_iowait: int = 0
    busy_since_ns: int = 0
    busy_ns: int = 0
    iowait_since_ns: int = 0
    iowait_ns: int = 0
    user_ns: int = 0
    wait_ns: int = 0


class Cpu(Actor):
    """The actor of one CPU.

    Args:
        number: CPU number.
        nid: Node it belongs to.
        distances: From its node to each node, 10 is local.
        latency: Costs of a switch, an interrupt, a flush, an access.
        burst: Where its TLB is, and its part in what CPUs do in compiled code.
        psi: Pressure of the machine, which it is part of.
        nr_cpus: CPUs of the machine; the more there are, the longer the scheduler's periods.
    """

    def __init__(
        self,
        number: int,
        nid: int,
        distances: tuple[int, ...],
        latency: LatencySpec,
        burst: Burst,
        psi: PsiGroup,
        nr_cpus: int = 1,
    ) -> None:
        super().__init__(f"cpu{number}")
        self.number = number
        self.nid = nid
        self.state = CpuState()
        self.psi = PsiCpu()
        self._psi_group = psi
        psi.cpus.append(self.psi)
        self.observer = Observer()
        self.balancer: Balancer | None = None
        # kernel/sched/fair.c:get_update_sysctl_factor
        factor = min(nr_cpus, TUNABLE_SCALING_CPUS).bit_length()
        self.fair = FairQueue(latency_ns=2 * latency.time_slice_ns * factor)
        self.tick_ns = latency.timer_tick_ns
        self.tick_phase_ns = 0  # of all CPUs alike: Linux's skew_tick is off by default
        self.row = burst.run[number]
        self.tlb = Tlb(burst.tlb_tag[number], burst.tlb_entry[number], burst.tlb_victim[number])
        self.tlb_state = TlbState(self, number, self.tlb, latency)
        self.row[B_SLICE_END] = FOREVER_NS
        self.access_cost = AccessCost(
            latency.tlb_hit_ns,
            latency.page_walk_step_ns,
            np.array([latency.memory_access_ns(distance) for distance in distances], np.int64),
        )
        self._latency = latency
        self.irq_end_ns = 0
        self._handlers: dict[type, Callable[[Any], Any]] = {
            Schedule: self.on_schedule,
            Deschedule: self.on_deschedule,
            FlushTlb: self.on_flush_tlb,
            FlushKernelTlb: self.on_flush_kernel_tlb,
        }

    def receive(self, message: Any) -> Any:  # noqa: ANN401 - one of the messages above
        """Serve a message."""
        return self._handlers[type(message)](message)

    def on_schedule(self, message: Schedule) -> Any:  # noqa: ANN401 - an answer, now or later
        """Run the task now if the CPU is idle, else queue it."""
        state, fair, entity = self.state, self.fair, message.entity
        now_ns = self.engine.now_ns
        self.observer.wants_cpu(message.task)
        fair.charge(now_ns)
        fair.place(entity, wakeup=message.wakeup)
        if state.current is None:
            self._account_iowait()
            goes_on = state.last == message.task and state.busy_since_ns == now_ns
            state.nr_switches += -1 if goes_on else 1  # leaving it was counted as one
            state.busy_since_ns = now_ns
            switched_ns = now_ns + self._switch_to(message.task, entity, now_ns)
            self._record_psi()
            return At(switched_ns, (self, goes_on))
        state.run_queue.append(Queued(message.task, self.defer(), now_ns))
        fair.waiting.append(entity)
        if message.wakeup:
            self._check_preempt(entity)
        self._note_slice_end()
        self._record_psi()
        self.observer.queued(self.number, entity, wakeup=message.wakeup)
        if self.balancer is not None:
            self.balancer.task_waits()
        return DEFERRED

    def on_deschedule(self, message: Deschedule) -> None:
        """Take the running task off the CPU and start the next."""
        state, fair = self.state, self.fair
        assert state.current == message.task, f"{message.task} is not running on {self.name}"
        self.observer.leaves_cpu(message.task)
        now_ns = self.engine.now_ns
        state.current = None
        state.busy_ns += now_ns - state.busy_since_ns
        state.busy_since_ns = state.iowait_since_ns = now_ns
        state.nr_switches += 1  # to the next one, or to the idle task
        state.nr_iowait += message.in_iowait
        fair.leave(now_ns)
        if not state.run_queue and self.balancer is not None:
            self.balancer.newidle(self)
        if state.run_queue:
            self._run_next()
        self._record_psi()

    def leave_idle(self) -> None:
        """Run one of the tasks taken over, if the CPU is idle."""
        if self.state.current is None and self.state.run_queue:
            self._account_iowait()
            self.state.busy_since_ns = self.engine.now_ns
            self.state.nr_switches += 1
            self._run_next()
            self._record_psi()

    def _run_next(self) -> None:
        state, fair, now_ns = self.state, self.fair, self.engine.now_ns
        place = fair.leftmost()
        self.observer.picked(self.number, fair.waiting[place])
        queued = state.run_queue[place]
        del state.run_queue[place]
        state.wait_ns += now_ns - queued.since_ns
        switched_ns = now_ns + self._switch_to(queued.task, fair.waiting.pop(place), now_ns)
        queued.reply.send((self, False), switched_ns)

    def detach(self, place: int) -> tuple[Queued, SchedEntity]:
        """Give up a waiting task; who takes it holds the locks of both run queues.

        Source: Linux 6.1 kernel/sched/fair.c:detach_task
        """
        self.fair.charge(self.engine.now_ns)
        queued = self.state.run_queue[place]
        del self.state.run_queue[place]
        self._note_slice_end()
        entity = self.fair.waiting.pop(place)
        nr_memstall = int(entity.in_memstall)
        self.memstall(-nr_memstall, nr_running=-nr_memstall)
        return queued, entity

    def attach(self, queued: Queued, entity: SchedEntity) -> None:
        """Take over a task that waited for another CPU.

        Source: Linux 6.1 kernel/sched/fair.c:attach_task
        """
        self.fair.charge(self.engine.now_ns)
        self.fair.place(entity, wakeup=False)
        queued.reply.pass_on(self)
        self.state.run_queue.append(queued)
        self.fair.waiting.append(entity)
        if self.state.current is not None:
            self._check_preempt(entity)
        self._note_slice_end()
        nr_memstall = int(entity.in_memstall)
        self.memstall(nr_memstall, nr_running=nr_memstall)

    def _check_preempt(self, entity: SchedEntity) -> None:
        now_ns = self.engine.now_ns
        if self.fair.preempts(entity, now_ns):
            self.state.need_resched = True
            self.state.slice_end_ns = min(self.state.slice_end_ns, now_ns)

    def nr_running(self) -> int:
        """Return how many tasks run or wait here."""
        return len(self.state.run_queue) + (self.state.current is not None)

    def on_flush_tlb(self, message: FlushTlb) -> At:
        """Take the interrupt, flush, acknowledge; a lazy CPU leaves the address space instead.

        Source: Linux 6.1 arch/x86/mm/tlb.c:flush_tlb_func
        """
        state, tlb_state = self.state, self.tlb_state
        state.nr_ipis += message.times
        cost_ns = 0
        if self.is_lazy():
            tlb_state.leave_mm()
        else:
            cost_ns = tlb_state.flush(
                message.asid, message.vpn, message.nr_pages, TLB_REMOTE_SHOOTDOWN
            )
        if state.current is not None:
            self.row[B_STOLEN] += cost_ns * message.times
        waits_ns = (self._latency.ipi_ns + cost_ns) * message.times
        return At(self.engine.now_ns + waits_ns, None)

    def on_flush_kernel_tlb(self, message: FlushKernelTlb) -> At:
        """Take the interrupt, flush what the kernel had mapped, acknowledge."""
        self.state.nr_ipis += 1
        cost_ns = self.tlb_state.flush_kernel(message.nr_pages)
        self.steal(cost_ns)
        return At(self.engine.now_ns + self._latency.ipi_ns + cost_ns, None)

    def interrupt(self, ns: int) -> int:
        """Run the handler of a device, behind the one that runs; return when it is done.

        Source: Linux 6.1 arch/x86/kernel/irq.c:common_interrupt
        """
        self.irq_end_ns = max(self.engine.now_ns, self.irq_end_ns) + ns
        self.steal(ns)
        return self.irq_end_ns

    def steal(self, ns: int) -> None:
        """Note that a handler takes of the running task's time."""
        if self.state.current is not None:
            self.row[B_STOLEN] += ns

    def is_lazy(self) -> bool:
        """Return whether it keeps an address space loaded that the running task does not use.

        Source: Linux 6.1 arch/x86/mm/tlb.c:tlb_is_not_lazy
        """
        return self.state.current != self.tlb_state.user

    def must_give_way(self) -> bool:
        """Return whether the running task should let another one run."""
        state = self.state
        now_ns = self.engine.now_ns
        if not state.run_queue or now_ns < state.slice_end_ns:
            return False
        if state.need_resched or self.fair.check_preempt_tick(now_ns):
            return True
        state.slice_end_ns = self.next_tick_ns(now_ns)
        self._note_slice_end()
        return False

    def busy_total_ns(self) -> int:
        """Return how long the CPU has been busy since the start."""
        state = self.state
        running_ns = self.engine.now_ns - state.busy_since_ns if state.current is not None else 0
        return state.busy_ns + running_ns

    def io_done(self) -> None:
        """Note that a task that left this CPU to wait for I/O is woken, on whatever CPU.

        Source: Linux 6.1 kernel/sched/core.c:try_to_wake_up
        """
        self._account_iowait()
        self.state.nr_iowait -= 1
        self._record_psi()

    def memstall(self, nr_tasks: int, *, nr_running: int) -> None:
        """Note tasks of this CPU that begin to stall on memory (positive) or do so no more.

        Source: Linux 6.1 kernel/sched/psi.c:psi_memstall_enter, :psi_memstall_leave
        """
        self.psi.nr_memstall += nr_tasks
        self.psi.nr_memstall_running += nr_running
        self._record_psi()

    def _record_psi(self) -> None:
        """Count pressure up to now, and note what the tasks do from now on."""
        state, now_ns = self.state, self.engine.now_ns
        self._psi_group.catch_up(now_ns)
        self.psi.record(now_ns, nr_running=self.nr_running(), nr_iowait=state.nr_iowait)

    def iowait_total_ns(self) -> int:
        """Return how long the CPU has been idle while a task that ran here waited for I/O.

        Source: Linux 6.1 kernel/sched/cputime.c:account_idle_time
        """
        self._account_iowait()
        return self.state.iowait_ns

    def _account_iowait(self) -> None:
        """Count idle time up to now; called before what it depends on changes.

        More tasks wait only when one leaves, which is when `iowait_since_ns` is set.
        """
        state = self.state
        if state.current is None and state.nr_iowait:
            now_ns = self.engine.now_ns
            state.iowait_ns += now_ns - state.iowait_since_ns
            state.iowait_since_ns = now_ns

    def _switch_to(self, task: str, entity: SchedEntity, now_ns: int) -> int:
        state = self.state
        state.current = task
        self.tlb_state.is_switched = True
        cost_ns = 0
        if state.last != task:
            cost_ns = self._latency.context_switch_ns
            trace(self, ks_sched_switch(state.last, task))
        state.last = task
        state.need_resched = False
        state.slice_end_ns = self.next_tick_ns(now_ns + cost_ns)
        self.fair.run(entity, now_ns + cost_ns)
        self.observer.has_cpu(task, now_ns + cost_ns)
        self._note_slice_end()
        return cost_ns

    def take_stolen_ns(self) -> int:
        """Return what interrupts took of the running task's time since it was last charged."""
        stolen_ns = int(self.row[B_STOLEN])
        if stolen_ns:
            self.row[B_STOLEN] = 0
        return stolen_ns

    def _note_slice_end(self) -> None:
        """Tell the burst when the running task has to look up: never while nobody else waits."""
        self.row[B_SLICE_END] = self.state.slice_end_ns if self.state.run_queue else FOREVER_NS

    def next_tick_ns(self, now_ns: int) -> int:
        """Return when the first timer interrupt after a time comes."""
        tick_ns, phase_ns = self.tick_ns, self.tick_phase_ns
        return ((now_ns - phase_ns) // tick_ns + 1) * tick_ns + phase_ns
