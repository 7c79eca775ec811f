"""Load balancing: waiting tasks move to CPUs that have less to do.

Linux: kernel/sched/fair.c (newidle_balance, run_rebalance_domains, load_balance), 6.1.
What is decided is in sched/balance.py. No actor: it is what each CPU does under the locks of two
run queues, when it becomes idle and, while any task waits, at timer interrupts.
Interface: `LoadBalancer`, the `Balancer` of all CPUs of a machine.
Units: ns.
"""

from collections.abc import Iterator, Sequence

from kernelsim.actors.parts.cpu import Cpu
from kernelsim.sched.balance import DomainState, is_cache_hot, make_domains
from kernelsim.sim.engine import Engine


class LoadBalancer:
    """Balances the run queues of a machine.

    Args:
        engine: Of the run.
        cpus: All CPUs, by number.
        distances: Between the nodes, 10 is local.
    """

    def __init__(
        self, engine: Engine, cpus: Sequence[Cpu], distances: Sequence[Sequence[int]]
    ) -> None:
        self._engine = engine
        self._cpus = cpus
        cpu_nid = [cpu.nid for cpu in cpus]
        self._domains = [
            [DomainState(domain) for domain in make_domains(cpu.number, cpu_nid, distances)]
            for cpu in cpus
        ]
        self._is_armed = False
        self._rng = engine.rng("balance out of step")
        for cpu in cpus:
            cpu.balancer = self

    def task_waits(self) -> None:
        """Begin to look at timer interrupts; with nobody waiting there is nothing to find."""
        if not self._is_armed and len(self._cpus) > 1:
            self._arm()

    def newidle(self, cpu: Cpu) -> None:
        """Look for tasks behind all that is due at this instant.

        A task that comes back by then has not stopped at all: it only began its next system call.
        """
        if any(other.state.run_queue for other in self._cpus):
            self._engine.clock.schedule(self._engine.now_ns + 1, self._newidle, cpu)

    def _newidle(self, cpu: Cpu) -> None:
        """Take over tasks from the nearest CPU that can give some.

        Source: Linux 6.1 kernel/sched/fair.c:newidle_balance
        """
        if self._engine.ended is not None or cpu.state.current is not None:
            return
        for state in self._domains[cpu.number]:
            if self._balance(cpu, state, newidle=True)[1]:
                cpu.leave_idle()
                return

    def _arm(self) -> None:
        now_ns = self._engine.now_ns
        due_ns = min(self._due_ns(cpu, state) for cpu, state in self._all())
        self._is_armed = True
        at_ns = self._cpus[0].next_tick_ns(max(now_ns, due_ns - 1))
        self._engine.clock.schedule(at_ns, self._tick, None)

    def _tick(self, _nothing: object) -> None:
        """Look around from each CPU whose time has come.

        Source: Linux 6.1 kernel/sched/fair.c:rebalance_domains
        """
        now_ns = self._engine.now_ns
        self._is_armed = False
        if self._engine.ended is not None:
            return
        for cpu, state in self._all():
            if self._due_ns(cpu, state) <= now_ns:
                imbalance, nr_moved = self._balance(cpu, state)
                state.note(now_ns, imbalance=imbalance, nr_moved=nr_moved)
                cpu.leave_idle()
        # Where nothing else is to come no task runs on, and ticks would hide that for ever.
        if self._engine.clock.has_more() and any(cpu.state.run_queue for cpu in self._cpus):
            self._arm()

    def _balance(self, cpu: Cpu, state: DomainState, *, newidle: bool = False) -> tuple[int, int]:
        """Take over what is too much on the busiest CPU of a domain.

        Returns:
            The imbalance, 0 if there is none that may be changed, and the tasks moved.

        Source: Linux 6.1 kernel/sched/fair.c:load_balance
        """
        loads = [other.nr_running() for other in self._cpus]
        imbalance = state.imbalance(cpu.number, loads, newidle=newidle)
        group = [self._cpus[number] for number in state.busiest_group(loads)]
        giver = max(group, key=lambda other: len(other.state.run_queue))
        allowed = [each for each in giver.fair.waiting if cpu.number in each.allowed]
        if not imbalance or not allowed:
            return 0, 0
        now_ns = self._engine.now_ns
        if state.nr_failed <= state.domain.cache_nice_tries:
            allowed = [each for each in allowed if not is_cache_hot(each.left_ns, now_ns)]
        if loads[cpu.number]:
            # Half a difference of one task is half a task, or just less and takes one more try;
            # else tasks would change CPUs in step with their turns, and the same one always stay.
            imbalance -= self._rng.below(2)
        chosen = sorted(allowed, key=lambda each: each.left_ns)[: state.nr_tasks(imbalance)]
        for entity in chosen:
            cpu.attach(*giver.detach(giver.fair.waiting.index(entity)))
        return imbalance, len(chosen)

    def _due_ns(self, cpu: Cpu, state: DomainState) -> int:
        is_busy = cpu.state.current is not None
        return state.due_ns(len(self._cpus), cpu.tick_ns, busy=is_busy)

    def _all(self) -> Iterator[tuple[Cpu, DomainState]]:
        for cpu, states in zip(self._cpus, self._domains, strict=True):
            for state in states:
                yield cpu, state
