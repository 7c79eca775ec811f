"""Which tasks may hold pages that are in no place: those in the middle of an operation.

A page that was granted and is not in use yet, or out of use and not given back yet, is in the
hands of a task. A task that is idle, asleep or ended holds none, and each other one no more than
its operation handles at once. So pages that fell between two owners show, however well they are
counted.
Interface: `check_flight` at a look.
Units: pages.
"""

from collections.abc import Iterator
from typing import Final

from kernelsim.actors.alloc.net_device import NetDevice
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.hotplug.acpi import AcpiHotplug
from kernelsim.actors.process.process import Process
from kernelsim.actors.reclaim.kcompactd import Kcompactd
from kernelsim.actors.reclaim.kswapd import Kswapd
from kernelsim.actors.space.fault_handler import FaultHandler
from kernelsim.actors.space.kernel_thread import KernelThread
from kernelsim.check.waits import is_idle
from kernelsim.mm.burst.columns import ADDED, B_PHASE, CLEAR, FLUSHED, OUT
from kernelsim.sim.actor import Actor

BATCH_MAX: Final = 64  # of reclaim with what a folio_batch gives back, or of a readahead window
FAULT_MAX: Final = 2 * BATCH_MAX  # a window of readahead, and reclaim to get it
CALL_MAX: Final = 1024 + FAULT_MAX  # pages unmapped at once, and slots given up with them


def check_flight(kernel: Kernel) -> Iterator[str]:
    """Say whether more pages are in flight than tasks can hold."""
    in_flight = kernel.nr_in_flight
    if not in_flight:
        return
    entries = {entry.ref.name: entry for entry in kernel.processes.values()}
    actors = kernel.engine.actors
    most = sum(most_held(kernel, actors[name], entries.get(name)) for name in actors)
    most += BATCH_MAX * int(kernel.burst.queued.sum())  # told to a node, which waits for a lock
    most += BATCH_MAX * sum(
        len(node.mailbox.arrived) + (not is_idle(node)) for node in kernel.nodes
    )
    if in_flight > most:
        yield f"{in_flight} pages are in flight, and tasks can hold {most}"


def most_held(kernel: Kernel, actor: Actor, entry: ProcessEntry | None) -> int:
    """Return how many pages an actor can have in its hands now; `entry` if it is a process."""
    if isinstance(actor, Kswapd):
        return 0 if actor.state.asleep else BATCH_MAX
    if isinstance(actor, Kcompactd):
        return 0 if actor.state.asleep else CALL_MAX
    if isinstance(actor, KernelThread | NetDevice | AcpiHotplug):
        return 0 if is_idle(actor) else CALL_MAX
    if isinstance(actor, FaultHandler):
        return 0 if is_idle(actor) else FAULT_MAX
    if not isinstance(actor, Process) or is_idle(actor):
        return 0
    if entry is None:  # it is being born, or gives its memory back
        return CALL_MAX
    if entry.signals.nr_waiting:
        return 0
    return most_held_on_cpu(kernel, entry.task.cpu.number, on_cpu=entry.task.on_cpu)


def most_held_on_cpu(kernel: Kernel, cpu: int, *, on_cpu: bool) -> int:
    """Return how many pages a process in the middle of a call can hold."""
    phase = int(kernel.burst.run[cpu, B_PHASE])
    if not on_cpu or phase == OUT:
        return CALL_MAX
    if phase == ADDED:  # a folio_batch may have had the last reference of its pages
        return int(kernel.burst.freed[cpu, 0])
    return int(CLEAR <= phase <= FLUSHED)
