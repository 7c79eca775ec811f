"""Small machines for tests of actors: a description in one line, a run, and what to look at.

Interface: `small_machine` describes one, `run` runs a workload on it and checks it afterwards.
Units: as in machine files.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.check.slab import slab_pages
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.machine import Machine
from kernelsim.mm.core.mem import Z_FREE, Mem
from kernelsim.mm.core.slab_cache import SC_CPU_MAX, SC_MIN_PARTIAL, SC_NR_INUSE, SC_ORDER
from kernelsim.mm.core.vmstat import VM_EVENT_NAMES
from kernelsim.sim.ending import Ended
from kernelsim.sim.engine import Engine
from kernelsim.units import PAGE_SIZE
from kernelsim.workload.machine import MachineHandle
from tests.memory_sink import MemorySink

PAGE = PAGE_SIZE


class OpenMachine(MachineHandle):
    """A machine as a workload has it, that a test may look into."""

    def __init__(self, spec: MachineSpec, *, on_snapshot: Any = None, **options: Any) -> None:
        rest = () if on_snapshot is None else (on_snapshot,)
        super().__init__(Machine(spec, **options), *rest)

    @property
    def machine(self) -> Machine:
        """The machine itself."""
        return self._machine

    @property
    def kernel(self) -> Kernel:
        """Its state."""
        return self._machine.kernel

    @property
    def mem(self) -> Mem:
        """The arrays of its memory."""
        return self._machine.kernel.mem

    @property
    def engine(self) -> Engine:
        """Its clock and actors."""
        return self._machine.engine

    @property
    def ended(self) -> Ended | None:
        """How its run ended; None before."""
        return self._machine.ended


def opened(main: Callable[[OpenMachine], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """Return a workload that may look into the machine it is given."""

    async def opened_main(handle: Any) -> Any:
        handle.__class__ = OpenMachine  # the same state, with a door
        return await main(handle)

    return opened_main


@attrs.frozen
class Run:
    """A run that ended: what the workload returned, the machine, its events."""

    result: Any
    machine: OpenMachine
    log: MemorySink

    @property
    def vm_events(self) -> dict[str, int]:
        """Event counters by their names in /proc/vmstat."""
        return dict(zip(VM_EVENT_NAMES, self.machine.mem.vm_event.tolist(), strict=True))


def small_machine(
    *,
    cpus: Sequence[str] = ("0",),
    memory: str = "16M",
    arch: str = "x86_64",
    swap: str | None = None,
    disk: dict[str, Any] | None = None,
    distances: Sequence[Sequence[int]] | None = None,
    latency: dict[str, int] | None = None,
    sysctl: dict[str, Any] | None = None,
    files: dict[str, str] | None = None,
) -> MachineSpec:
    """Describe a machine: one node for each of `cpus`, all of the same size.

    Its paths through the kernel take their mean time, so that tests can add them up.
    """
    table: dict[str, Any] = {
        "name": "small",
        "arch": arch,
        "node": [{"cpus": numbers, "memory": memory} for numbers in cpus],
        "latency": {"cache_line_spread_permille": 0} | (latency or {}),
        "sysctl": sysctl or {},
    }
    if distances is not None:
        table["distances"] = [list(row) for row in distances]
    if swap is not None:
        table["device"] = [{"name": "vda", **(disk or {})}]
        table["swap"] = [{"size": swap, "device": "vda"}]
    if files is not None:
        table.setdefault("device", [{"name": "vda", **(disk or {})}])
        table["files"] = [{"path": p, "size": s, "device": "vda"} for p, s in files.items()]
    return machine_from_toml(table)


def run(
    spec: MachineSpec,
    main: Callable[[OpenMachine], Awaitable[Any]],
    *,
    sound: bool = True,
    **options: Any,
) -> Run:
    """Run a workload, then look for broken invariants unless told that there may be some."""
    log = MemorySink()
    machine = OpenMachine(spec, sink=log, **options)
    if sound:
        observe(machine.kernel)

    async def checked(machine: OpenMachine) -> Any:
        result = await main(machine)
        if sound:
            found = check_machine(machine.kernel)
            assert found == [], found
        return result

    return Run(machine.run(lambda _: checked(machine)), machine, log)


def free_pages(machine: OpenMachine) -> int:
    """Return the free pages of all zones."""
    return int(machine.mem.zone[:, Z_FREE].sum())


def pages_of_slabs(machine: OpenMachine) -> int:
    """Return the pages that slabs have."""
    return len(slab_pages(machine.mem)[0])


def slab_pages_kept(machine: OpenMachine) -> int:
    """Return the most pages that slabs without an object keep."""
    cache = machine.mem.slabs.cache
    most = 1 + cache[:, SC_CPU_MAX] + cache[:, SC_MIN_PARTIAL]  # one is the current one
    return int((most << cache[:, SC_ORDER]).sum())


def objects_in_use(machine: OpenMachine) -> int:
    """Return the objects of all slab caches that are in use."""
    return int(machine.mem.slabs.cache[:, SC_NR_INUSE].sum())


def kept_for_stacks(machine: OpenMachine) -> int:
    """Return the pages of stacks that CPUs keep, and of tables of vmalloc."""
    kept = [stack for cpu in machine.kernel.thread_stacks.cached for stack in cpu]
    tables = machine.kernel.init_mm.tables.tables
    return sum(len(stack.pfns) for stack in kept) + len(tables)


def available(machine: OpenMachine) -> int:
    """Return the free pages, with those on per-cpu lists, in slabs and kept for stacks."""
    free = free_pages(machine) + int(machine.mem.pcp_count.sum())
    return free + pages_of_slabs(machine) + kept_for_stacks(machine)


def median(values: Sequence[int]) -> int:
    """Return the middle value."""
    return sorted(values)[len(values) // 2]
