"""Tells the steps of a process's loads and stores, to the log and to the program that asked.

Interface: one `AccessTrace` a process; its accesses tell it what they do, while `is_wanted`. It
spends no time and decides nothing. Accesses are of pages, so the addresses it tells of data are
those where the page begins; those of table entries are exact.
Units: ns, virtual page numbers, addresses in bytes.
"""

from typing import NamedTuple

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.tracing import trace, wants
from kernelsim.hw.access_path import (
    LOAD,
    STORE,
    AccessStep,
    QueueWaits,
    fault_steps,
    memory_steps,
    walk_steps,
)
from kernelsim.mm.core.mem import nid_of
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.address_walk import walk_process
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from kernelsim.trace.ks import ks_mem_access
from kernelsim.units import PAGE_SHIFT


class AccessTrace:
    """The steps of one process's accesses.

    Args:
        kernel: The machine.
        entry: The process.

    Attributes:
        kept: Steps taken since the program asked for them; None while it does not.
    """

    def __init__(self, kernel: Kernel, entry: ProcessEntry) -> None:
        self._kernel = kernel
        self._entry = entry
        self._task = entry.task
        self.kept: list[AccessStep] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants to know of each access."""
        return self.kept is not None or wants(self._task, ks_mem_access)

    def begin(self, vpn: int, *, write: bool, is_hit: bool) -> "BegunAccess":
        """Note how an access to a page that is present begins; it is told when it ends.

        Args:
            vpn: The page.
            write: It is a store.
            is_hit: The TLB had the translation.
        """
        kernel, cpu = self._kernel, self._task.cpu
        pfn = pte_pfn(pte_at(*kernel.space, self._entry.mm.number, vpn))
        distance = kernel.distance(cpu, nid_of(kernel.mem, pfn))
        entries = [] if is_hit else self._entries(vpn)
        walk = walk_steps(kernel.spec.latency, entries, is_hit=is_hit)
        return BegunAccess(vpn, pfn << PAGE_SHIFT, distance, write, walk, kernel.engine.now_ns)

    def end(self, begun: "BegunAccess", waits: QueueWaits) -> None:
        """Tell of an access that has ended, and waited for others so long."""
        vpn, address, distance, write, walk, began_ns = begun
        latency = self._kernel.spec.latency
        steps = memory_steps(latency, address, distance, write=write, waits=waits)
        self._tell(vpn, walk + steps, began_ns, write=write)

    def walked(self, vpn: int) -> list[AccessStep]:
        """Return the steps up to a fault, which is about to be served."""
        return fault_steps(self._entries(vpn))

    def faulted(self, vpn: int, steps: list[AccessStep], began_ns: int, *, write: bool) -> None:
        """Tell of a fault that has been served just now, and of the steps before it."""
        fault_ns = self._kernel.engine.now_ns - began_ns
        steps = [*steps, AccessStep("fault", "served", 0, fault_ns)]
        self._tell(vpn, steps, began_ns, write=write)

    def _entries(self, vpn: int) -> list[tuple[str, int]]:
        """Return table and physical address of each entry that a walk reads, the top first."""
        kernel, address = self._kernel, vpn << PAGE_SHIFT
        mode = ADDRESS_LAYOUTS[kernel.spec.arch].paging
        entries = walk_process(*kernel.space, self._entry.mm.number, mode, address)
        return [(entry.table, entry.address or 0) for entry in entries]

    def _tell(self, vpn: int, steps: list[AccessStep], at_ns: int, *, write: bool) -> None:
        """Log steps, the first of which began at a time."""
        if self.kept is not None:
            self.kept += steps
        task, access = self._task, STORE if write else LOAD
        for step, what, address, latency_ns in steps:
            point = ks_mem_access(
                task.pid, access, vpn << PAGE_SHIFT, step, what, address, latency_ns
            )
            trace(task, point, at_ns=at_ns)
            at_ns += latency_ns


class BegunAccess(NamedTuple):
    """An access that is on its way to memory; addresses in bytes."""

    vpn: int
    address: int
    distance: int
    write: bool
    walk: list[AccessStep]
    began_ns: int
