"""Starting a process: its number, its task, its entry of the process table, its actor.

Linux: kernel/fork.c:kernel_clone, 6.1; what exec sets up is in space/address_space.py.
Interface: `start_process`; `start_entry` for what a process forks.
"""

from collections.abc import Sequence

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry, new_entry
from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.actors.process.process import Process
from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.space.binfmt_elf import ElfProgram
from kernelsim.mm.space.static_program import DEFAULT_PROGRAM, StaticProgram


def start_process(
    kernel: Kernel,
    comm: str,
    cpus: Sequence[Cpu],
    policy: Mempolicy | None,
    program: StaticProgram | ElfProgram = DEFAULT_PROGRAM,
) -> ProcessEntry:
    """Start a process; it runs, and stands in the table, when its first message is answered.

    Args:
        kernel: The machine.
        comm: Its name.
        cpus: CPUs it may run on; it begins on any of those that have least to do.
        policy: Memory policy it starts with; None for the node of the CPU it runs on.
        program: What it runs.
    """
    engine = kernel.engine
    pid, kernel.next_pid = kernel.next_pid, kernel.next_pid + 1
    first = engine.rng("first CPU").below(len(cpus))  # of several that are idle alike
    task = Task(engine, f"{comm}-{pid}", pid, [*cpus[first:], *cpus[:first]])
    task.set_mempolicy(policy)
    entry = new_entry(task, comm, program)
    start_entry(kernel, entry)
    return entry


def start_entry(kernel: Kernel, entry: ProcessEntry) -> None:
    """Start the actor of a process."""
    entry.ref = kernel.engine.spawn(Process(kernel, entry))
