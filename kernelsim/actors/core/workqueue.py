"""Work that every CPU must do itself: its kernel worker gets the CPU, and who wants it done sleeps.

Linux: kernel/workqueue.c: schedule_on_each_cpu, worker_thread, 6.1.
Owns: nothing of its own; a worker runs what it is asked to on its CPU.
Interface: `schedule_on_each_cpu`; workers start when they are first needed.
Units: ns.
"""

from typing import Final

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.workqueue import Work
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.sim.actor import DEFERRED, Actor, Deferred
from kernelsim.sim.gather import Gather

# Of the first CPU's.
# Differs from Linux: From CPU 94 on the worker of a CPU has a number that a process has too.
KWORKER_PID: Final = 6


class Kworker(Actor):
    """The actor of a CPU's worker thread.

    Args:
        kernel: The machine.
        cpu: Where it runs.
    """

    def __init__(self, kernel: Kernel, cpu: Cpu) -> None:
        name = f"kworker/{cpu.number}:1"
        super().__init__(name)
        self._task = Task(kernel.engine, name, KWORKER_PID + cpu.number, (cpu,))
        self._task.entity.queue = cpu.fair  # it ran before, long ago: the CPU's first worker

    async def receive(self, message: Work) -> Deferred:
        """Run a piece of work; who waits for it is awake before the worker leaves the CPU.

        Source: Linux 6.1 kernel/workqueue.c:process_one_work
        """
        task, done = self._task, self.defer()
        await task.get_cpu(wakeup=True)
        await task.compute(message.cost_ns, resched=False)
        done.send(None)
        await task.compute(message.wake_ns, resched=False)
        await task.put_cpu()
        return DEFERRED


async def schedule_on_each_cpu(current: Current, nr_lines: int) -> None:
    """Have all CPUs do a piece of work, and sleep until the last is done.

    Args:
        current: Who wants it.
        nr_lines: Cache lines that the work touches.

    Source: Linux 6.1 kernel/workqueue.c:schedule_on_each_cpu
    """
    kernel, task = current
    if not kernel.kworkers:
        kernel.kworkers += [kernel.engine.spawn(Kworker(kernel, cpu)) for cpu in kernel.cpus]
    line_ns = kernel.spec.latency.cache_line_ns
    answers = Gather(kernel.engine.clock)
    for worker in kernel.kworkers:
        answers.ask(worker, Work(cost_ns=line_ns * nr_lines, wake_ns=line_ns))
    # Each is on its run queue when the task has put its work on the last pool's list.
    await task.compute(line_ns * len(kernel.kworkers), resched=False)
    async with task.off_cpu():
        await answers.wait()
