"""What a CPU runs: the thread of control of a process or a kernel thread.

Linux: struct task_struct. Not an actor itself: the actors that act for a task (a process and its
fault handler, or a kswapd) share one `Task` and charge their time through it.
Interface: `compute` lets time pass on the CPU, giving way when the CPU wants; `off_cpu` is a
`with`-block for waiting: the CPU is free for others inside it.
Units: ns.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs

from kernelsim.actors.messages.cpu import Deschedule, Schedule
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.mm.core.kernel_objects import KernelObjects
from kernelsim.mm.file.page_writeback import DirtyState
from kernelsim.mm.page.mempolicy import MAX_NUMNODES, Mempolicy, next_node_in
from kernelsim.mm.space.rss_stat import TaskRssStat
from kernelsim.mm.space.thread_stack import ThreadStack
from kernelsim.sched.fair import SchedEntity
from kernelsim.sim.engine import Engine


@attrs.define
class Waits:
    """Time a task lost, by cause.

    Attributes:
        lock_ns: Asking nodes for pages: the lock, and the work under it.
        reclaim_ns: In direct reclaim or node reclaim, whatever it waited for there.
        io_ns: For its own reads.
    """

    lock_ns: int = 0
    reclaim_ns: int = 0
    io_ns: int = 0


class Task:
    """A schedulable entity.

    Args:
        engine: Of the run.
        name: As in logs, `comm-pid`.
        pid: Process number.
        cpus: CPUs it may run on, in the order it prefers them.

    Attributes:
        cpu: Where it runs, or ran last.
        entity: The scheduler's account of its CPU time.
        on_cpu: Whether it runs now.
        utime_ns: CPU time in user mode.
        stime_ns: CPU time in the kernel; up to date when it leaves the CPU.
        run_delay_ns: Time spent in run queues.
        nvcsw: Context switches away from it because it had to wait.
        nivcsw: Context switches away from it because another one had its turn.
        waits: Time lost, by cause.
        rss_stat: How far what /proc shows of its resident set is behind.
        dirty: What it dirtied lately, which may make it wait.
        mempolicy: Memory policy of what it allocates; None for the node of the CPU it runs on.
        il_prev: Node that its interleaved policy chose last.
        memalloc: PF_MEMALLOC: it is reclaiming, and may use the reserves.
        in_lru_fault: It serves a page fault whose page is used now, not read in passing.
        is_running: It has a CPU or waits for one, and sleeps for nothing (TASK_RUNNING).
        killed: A fatal signal is pending.
        in_interrupt: It is no task, but what runs in an interrupt of its CPU, and takes its time.
        got_cpu_ns: Since when it runs.
        charged_ns: CPU time it had been charged by then.
        oom_victim: The OOM killer counts on its memory, and lets it use the reserves.
        stack: Its kernel stack; None before and after its life, and if it runs since boot.
        objects: What the kernel has of it in slabs; None likewise.
    """

    def __init__(self, engine: Engine, name: str, pid: int, cpus: Sequence[Cpu]) -> None:
        self.engine = engine
        self.name = name
        self.pid = pid
        self.entity = SchedEntity()
        self.cpus = tuple(cpus)
        self.cpu = self.cpus[0]
        self.on_cpu = False
        self.is_running = False
        self.utime_ns = 0
        self.stime_ns = 0
        self.run_delay_ns = 0
        self.nvcsw = 0
        self.nivcsw = 0
        self.waits = Waits()
        self.rss_stat = TaskRssStat()
        self.dirty = DirtyState()
        self.mempolicy: Mempolicy | None = None
        self.il_prev = MAX_NUMNODES - 1
        self.memalloc = False
        self.in_lru_fault = False
        self.killed = False
        self.oom_victim = False
        self.in_interrupt = False
        self.stack: ThreadStack | None = None
        self.objects: KernelObjects | None = None
        self.got_cpu_ns = 0
        self.charged_ns = 0

    @property
    def cpus(self) -> tuple[Cpu, ...]:
        """CPUs it may run on, in the order it prefers them."""
        return self._cpus

    @cpus.setter
    def cpus(self, cpus: tuple[Cpu, ...]) -> None:
        self._cpus = cpus
        self.entity.allowed = frozenset(cpu.number for cpu in cpus)

    async def get_cpu(self, *, wakeup: bool = False) -> None:
        """Wait for a CPU and run on it."""
        self.is_running = True
        await self._queue(self._select_cpu(), wakeup=wakeup)

    async def _queue(self, cpu: Cpu, *, wakeup: bool) -> None:
        began_ns = self.engine.now_ns
        before, self.cpu = self.cpu, cpu
        if self.entity.in_memstall:
            before.memstall(-1, nr_running=0)
            cpu.memstall(1, nr_running=1)
        schedule = Schedule(self.name, wakeup, self.entity)
        self.cpu, goes_on = await cpu.ref.ask(schedule)
        if goes_on:
            self.nvcsw -= 1  # it never stopped
        self.on_cpu = True
        self.got_cpu_ns = self.engine.now_ns
        self.charged_ns = self.utime_ns + self.stime_ns
        self.run_delay_ns += self.got_cpu_ns - began_ns

    async def put_cpu(self, *, in_iowait: bool = False) -> None:
        """Leave the CPU to wait, perhaps for I/O."""
        self.is_running = False
        self.nvcsw += 1
        await self._leave(in_iowait=in_iowait)

    async def compute(self, ns: int, *, user: bool = False, resched: bool = True) -> None:
        """Use the CPU for a time, then let others have it if it is their turn.

        Args:
            ns: How long.
            user: In user mode.
            resched: Whether it ends where the kernel may switch: in user mode, at a cond_resched,
                when a system call or a fault returns; PREEMPT_VOLUNTARY switches nowhere else.
                What interrupts took meanwhile is made up for there, too.
        """
        state = self.cpu.state
        stolen_ns = self.cpu.take_stolen_ns() if resched else 0
        if ns + stolen_ns:
            await self.engine.sleep(ns + stolen_ns)
        if user:
            self.utime_ns += ns
            state.user_ns += ns
        else:
            self.stime_ns += ns
        if resched and state.run_queue and self.cpu.must_give_way():
            await self.give_way()

    async def give_way(self) -> None:
        """Let the next in the run queue run, and queue for the CPU."""
        self.nivcsw += 1
        await self._leave()
        cpu = self.cpu if self.cpu in self.cpus else self._select_cpu()
        await self._queue(cpu, wakeup=False)

    async def _leave(self, *, in_iowait: bool = False) -> None:
        self._charge_rest()
        self.on_cpu = False
        if self.entity.in_memstall:
            self.cpu.memstall(0, nr_running=-1)
        await self.cpu.ref.ask(Deschedule(self.name, in_iowait))

    def _charge_rest(self) -> None:
        """Charge what was not charged step by step: locks it spun on, interrupts.

        Source: Linux 6.1 kernel/sched/cputime.c:cputime_adjust
        """
        ran_ns = self.engine.now_ns - self.got_cpu_ns
        charged_ns = self.utime_ns + self.stime_ns - self.charged_ns
        assert charged_ns <= ran_ns, f"{self.name} ran {ran_ns} ns and is charged {charged_ns}"
        self.stime_ns += ran_ns - charged_ns

    def set_mempolicy(self, policy: Mempolicy | None) -> None:
        """Have a memory policy from now on.

        Source: Linux 6.1 mm/mempolicy.c:do_set_mempolicy
        """
        self.mempolicy = policy
        if policy is not None and policy.is_interleaved:
            self.il_prev = MAX_NUMNODES - 1

    def interleave_nodes(self, policy: Mempolicy) -> int:
        """Return the node that is next when requests without a mapping are interleaved.

        Source: Linux 6.1 mm/mempolicy.c:interleave_nodes
        """
        self.il_prev = next_node_in(self.il_prev, policy.nodes)
        return self.il_prev

    @contextmanager
    def memstall(self) -> Iterator[None]:
        """Stall for want of memory inside the block: reclaim, or wait for a page just evicted.

        Source: Linux 6.1 kernel/sched/psi.c:psi_memstall_enter, :psi_memstall_leave
        """
        if self.entity.in_memstall:
            yield
            return
        self.entity.in_memstall = True
        self.cpu.memstall(1, nr_running=1)
        yield
        self.entity.in_memstall = False
        self.cpu.memstall(-1, nr_running=-1)

    async def cond_resched(self) -> None:
        """Let others run if it is their turn; a task that loops without computing calls this."""
        if self.cpu.must_give_way():
            await self.give_way()

    def off_cpu(self, *, in_iowait: bool = False) -> "_OffCpu":
        """Sleep inside the block: the CPU is free for others, and asked for again behind it.

        Args:
            in_iowait: It waits for I/O where Linux calls io_schedule.
        """
        return _OffCpu(self, in_iowait)

    def _select_cpu(self) -> Cpu:
        # The last CPU if it is idle, else an idle one, else the shortest queue. Linux also reads
        # other CPUs' queues without their locks here (select_task_rq).
        def load(cpu: Cpu) -> tuple[int, bool]:
            return cpu.nr_running(), cpu is not self.cpu

        return min(self.cpus, key=load) if len(self.cpus) > 1 else self.cpus[0]


class _OffCpu:
    """A block in which a task is off its CPU; a generator would take longer than most waits."""

    __slots__ = ("_in_iowait", "_task")

    def __init__(self, task: Task, in_iowait: bool) -> None:
        self._task = task
        self._in_iowait = in_iowait

    async def __aenter__(self) -> None:
        await self._task.put_cpu(in_iowait=self._in_iowait)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # a cancellation: the run ends, the CPU may have
            return
        if self._in_iowait:
            self._task.cpu.io_done()
        await self._task.get_cpu(wakeup=True)
