"""The OOM reaper: takes the memory of a victim that does not get to die.

Linux: mm/oom_kill.c: oom_reaper, oom_reap_task, oom_reap_task_mm, wake_oom_reaper, 6.1.
A victim may hang where no signal reaches it, in a read from a slow disk, and the memory everybody
waits for with it. Two seconds after the kill this thread is woken. It unmaps the victim's private
memory in its own time, on a CPU it must be scheduled on, and hides what is left from the OOM
killer, which may then choose another.
# Differs from Linux: The OOM reaper always gets the mmap_lock of its victim: a call that changes
# mappings does so in one step, and Linux unmaps their pages under the lock for reading, too.
Owns: the victims it is to look at.
Interface: tell it `ReapLater`.
Units: pages, ns.
"""

from contextlib import nullcontext

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import KERN_INFO, Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.oom_reaper import ReapLater
from kernelsim.actors.space.mmu_gather import unmap_vmas
from kernelsim.actors.tracing import trace
from kernelsim.mm.reclaim.oom_kill import reaped_line
from kernelsim.mm.space.pgtable import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.sim.actor import Actor
from kernelsim.trace.oom import (
    finish_task_reaping,
    skip_task_reaping,
    start_task_reaping,
    wake_reaper,
)


class OomReaper(Actor):
    """The actor of the kernel thread oom_reaper.

    Args:
        kernel: The machine.
        task: Its thread; may run on all CPUs.
    """

    def __init__(self, kernel: Kernel, task: Task) -> None:
        super().__init__("oom_reaper")
        self._kernel = kernel
        self._task = task
        self._timers: list[ReapLater] = []  # by rising time
        self._victims: list[ProcessEntry] = []  # the last one woken for is served first

    async def run(self) -> None:
        """Sleep until a victim's time is over, reap it, sleep again."""
        while True:
            self._wake_for_those_due()
            if not self._victims:
                await self._sleep()
                continue
            await self._task.get_cpu(wakeup=True)
            while self._victims:
                await self._oom_reap_task(self._victims.pop())
                self._wake_for_those_due()
            await self._task.put_cpu()

    async def _sleep(self) -> None:
        """Sleep until the next victim's time is over, or another victim is told of."""
        due_ns = self._timers[0].due_ns if self._timers else None
        timeout = (
            nullcontext()
            if due_ns is None
            else self.engine.move_on_after(due_ns - self.engine.now_ns)
        )
        with timeout:
            self._timers.append((await self.mailbox.receive())[0])

    def _wake_for_those_due(self) -> None:
        """Put those whose time is over on the list, unless they managed to end.

        Source: Linux 6.1 mm/oom_kill.c:wake_oom_reaper
        """
        while self.mailbox.arrived:
            self._timers.append(self.mailbox.receive_nowait()[0])
        while self._timers and self._timers[0].due_ns <= self.engine.now_ns:
            victim = self._kernel.processes.get(self._timers.pop(0).pid)
            if victim is not None and not victim.mm.oom_skip:
                trace(self, wake_reaper(victim.pid))
                self._victims.append(victim)

    async def _oom_reap_task(self, victim: ProcessEntry) -> None:
        """Take the private memory of a victim.

        Source: Linux 6.1 mm/oom_kill.c:oom_reap_task, :oom_reap_task_mm
        """
        kernel, mm = self._kernel, victim.mm
        if mm.oom_skip:
            trace(self, skip_task_reaping(victim.pid))
            return
        trace(self, start_task_reaping(victim.pid))
        released = self.engine.wait_queue(f"mmap_lock of {victim.task.name}", waker=self.name)
        kernel.reaped_mms[mm.number] = released
        mm.unstable = True
        for vma in list(mm.map):
            if not vma.flags & VmFlag.VM_SHARED:
                await unmap_vmas(Current(kernel, self._task), mm, [vma])
        mm.image_rss_pages = 0  # its program is a private mapping, too
        rss = victim.rss(kernel.mms)
        kernel.printk(
            KERN_INFO,
            reaped_line(
                victim.pid,
                victim.comm,
                anon=rss[MM_ANONPAGES],
                file=rss[MM_FILEPAGES],
                shmem=rss[MM_SHMEMPAGES],
            ),
        )
        trace(self, finish_task_reaping(victim.pid))
        mm.oom_skip = True
        del kernel.reaped_mms[mm.number]
        released.wake_all()
