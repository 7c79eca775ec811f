"""Signals: all of them are sent to end a process here.

Linux: kernel/signal.c:complete_signal, 6.1. A signal whose default action ends the process kills
all its threads; what it waits for is cut short where Linux waits killably.
# Differs from Linux: No process has a handler for a signal or ignores one, and none is stopped.
Interface: `send_signal`; `FATAL_SIGNALS` lists those that can be sent.
"""

import signal
from typing import Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.messages.process import TakeSignal
from kernelsim.mm.burst.columns import B_KILLED

SIGKILL: Final = 9
SIGSEGV: Final = 11
HARMLESS: Final = frozenset(  # their default action stops a process, lets it go on, or is nothing
    {"SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH"}
)
FATAL_SIGNALS: Final = {
    int(each): each.name for each in signal.Signals if each.name not in HARMLESS
}


def send_signal(kernel: Kernel, process: ProcessEntry, number: int) -> None:
    """Send a signal that ends a process, at the next boundary of what it does.

    The first of several is the one it ends by; one that has ended gets none.

    Source: Linux 6.1 kernel/signal.c:complete_signal, :__fatal_signal_pending
    """
    if process.has_ended():
        return
    process.group_exit_code = process.group_exit_code or number
    for task in process.tasks:
        task.killed = True
        if task.on_cpu:
            task.cpu.row[B_KILLED] = 1
    process.signals.wake_all()
    kernel.wake_throttled()
    lock = kernel.mmap_locks.get(process.mm.number)
    if lock is not None:
        lock.wake_killed()
    if not kernel.engine.actors[process.ref.name].is_serving:
        process.ref.tell(TakeSignal())
