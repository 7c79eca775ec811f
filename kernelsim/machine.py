"""The composition root: a machine's description and a seed become wired actors in one run.

    machine = Machine(load_machine("laptop-4g"), seed=1)
    machine.run(main)                   # main: async function of the machine

Inside `main`: `await machine.spawn(…)` starts a process, `machine.sysctl(…)` writes a tunable,
`await machine.snapshot(…)` keeps what /proc shows now, `machine.expect(…)` states what must hold,
`machine.rng("name")` is a stream of random integers of the seed.
Units: bytes, ns.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs
import numpy as np

from kernelsim.actors.alloc.oom_killer import OomKiller
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.sysctl import boot_sysctls, write_sysctl
from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.actors.parts.interconnect import Interconnect
from kernelsim.actors.parts.node import Node
from kernelsim.actors.process.process import Process
from kernelsim.actors.reclaim.kswapd import Kswapd
from kernelsim.config.machine import MachineSpec
from kernelsim.config.number_list import parse_number_list
from kernelsim.config.sysctl import SYSCTLS, SysctlValue
from kernelsim.config.sysctl_write import parse_value
from kernelsim.errors import ConfigError
from kernelsim.mm.boot.mm_init import build
from kernelsim.mm.core.lruvec import new_lruvec
from kernelsim.mm.core.mem import (
    MIGRATE_UNMOVABLE,
    Z_SPANNED,
    Z_START_PFN,
    Mem,
    PG_kernel,
    PG_reserved,
)
from kernelsim.mm.page.mempolicy import MPOL_BIND, MPOL_PREFERRED, Mempolicy
from kernelsim.mm.page.page_alloc import rmqueue
from kernelsim.mm.reclaim.vmscan_kswapd import KswapdState
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.mm_struct import MmRegistry
from kernelsim.mm.space.page_table_pool import PageTablePool
from kernelsim.mm.space.util import CommitAccount
from kernelsim.mm.swap.swap_readahead import ClusterReadahead
from kernelsim.mm.swap.swapfile import swapon
from kernelsim.sim.ending import Ended
from kernelsim.sim.engine import Engine, Sink
from kernelsim.sim.rng import Rng
from kernelsim.units import PAGE_SIZE, parse_duration
from kernelsim.workload.arguments import process_name, whole_number
from kernelsim.workload.expectations import Expectations
from kernelsim.workload.handle import ProcessHandle, Program
from kernelsim.workload.panic import until_panic

T = TypeVar("T")

DEFAULT_BURST_PAGES: Final = 512
BURST_PAGES_MAX: Final = 4096
OOM_SCORE_ADJ_MIN: Final = -1000  # include/uapi/linux/oom.h
OOM_SCORE_ADJ_MAX: Final = 1000
SCSI_DISK_MAJOR: Final = 8  # include/uapi/linux/major.h; sixteen minor numbers a disk


async def _ignore_snapshot(_machine: "Machine", _name: str) -> None:
    """Keep nothing; what a machine does with snapshots unless told otherwise."""


@attrs.define
class Hooks:
    """What the outside wants to do during a run; rooms above this one fill it in.

    Attributes:
        on_boot: Called when all actors have started.
        on_snapshot: Called for each snapshot the workload takes.
    """

    on_boot: Callable[["Machine"], None] = lambda _machine: None
    on_snapshot: Callable[["Machine", str], Awaitable[None]] = _ignore_snapshot


class Machine:
    """One simulated machine, from boot to the end of its run.

    Args:
        spec: What it is made of.
        seed: What a workload draws comes from it; nothing in the machine draws.
        schedule_seed: Permutes simultaneous events; None keeps their order.
        burst_pages: Most pages a task touches or faults in one go, 1 … 4096; 1 is exact.
        until_ns: The run ends at this virtual time; None for when the workload ends.
        max_events: The run ends with an error after so many events; None for no limit.
        sink: Where events are logged; None for nowhere.
        hooks: What the outside wants to do during the run.

    Raises:
        ConfigError: `burst_pages` is out of range.
    """

    def __init__(
        self,
        spec: MachineSpec,
        *,
        seed: int = 1,
        schedule_seed: int | None = None,
        burst_pages: int = DEFAULT_BURST_PAGES,
        until_ns: int | None = None,
        max_events: int | None = None,
        sink: Sink | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        if not 1 <= burst_pages <= BURST_PAGES_MAX:
            raise ConfigError("burst_pages", burst_pages, f"must be 1 to {BURST_PAGES_MAX}")
        self.spec = spec
        self.engine = Engine(
            seed=seed,
            schedule_seed=schedule_seed,
            until_ns=until_ns,
            max_events=max_events,
            sink=sink,
        )
        self.hooks = hooks or Hooks()
        self.kernel = make_kernel(self.engine, spec, burst_pages)
        self.processes: list[ProcessHandle] = []
        self.notes: list[str] = []
        self.expectations = Expectations()

    @property
    def mem(self) -> Mem:
        """The arrays of physical memory, to look at."""
        return self.kernel.mem

    @property
    def now_ns(self) -> int:
        """The virtual time."""
        return self.engine.now_ns

    @property
    def ended(self) -> Ended | None:
        """How the run ended; None before."""
        return self.engine.ended

    def run(self, main: Callable[["Machine"], Awaitable[T]]) -> T | None:
        """Boot, run the workload, stop; returns and raises as `Engine.run`.

        Raises:
            CheckFailedError: Expectations of the workload did not hold; the text names all.
        """
        result = self.run_to_end(main)
        self.expectations.require()
        return result

    def run_to_end(self, main: Callable[["Machine"], Awaitable[T]]) -> T | None:
        """Run as `run` does, and leave it to the caller to look at `expectations`."""

        async def boot_and_run(_engine: Engine) -> T:
            self._start_actors()
            await self.engine.sleep(0)
            self.hooks.on_boot(self)
            return await main(self)

        return self.engine.run(boot_and_run)

    async def spawn(
        self,
        name: str,
        program: Program | None = None,
        *,
        cpu: int | None = None,
        mempolicy: str | None = None,
        oom_score_adj: int = 0,
    ) -> ProcessHandle:
        """Start a process.

        Args:
            name: Its comm.
            program: What it does: an async function of the handle, run beside the workload; None
                for a process that does what the workload asks through the handle.
            cpu: The one CPU it may run on; None for all.
            mempolicy: "bind:NODES", "preferred:NODE" or "local" (the default); NODES as "0,2-3".
            oom_score_adj: -1000 … 1000.

        Returns:
            The handle, when the process runs.

        Raises:
            ConfigError: No such CPU, node or policy, or no name or score.
        """
        kernel = self.kernel
        process_name(name)
        whole_number("oom_score_adj", oom_score_adj, OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX)
        if cpu is not None and (type(cpu) is not int or not 0 <= cpu < len(kernel.cpus)):
            raise ConfigError("cpu", cpu, f"the machine has CPUs 0 to {len(kernel.cpus) - 1}")
        pid, kernel.next_pid = kernel.next_pid, kernel.next_pid + 1
        cpus = kernel.cpus if cpu is None else [kernel.cpus[cpu]]
        task = Task(self.engine, f"{name}-{pid}", pid, cpus)
        entry = ProcessEntry(
            comm=name,
            tasks=(task,),
            policy=parse_mempolicy(kernel, mempolicy),
            exited=self.engine.wait_queue(f"exit of {task.name}", waker=task.name),
            signals=self.engine.wait_queue(f"signals of {task.name}"),
            mempolicy=mempolicy or "default",
            oom_score_adj=oom_score_adj,
        )
        handle = ProcessHandle(kernel, entry, self.engine.spawn(Process(kernel, entry)))
        self.processes.append(handle)
        await handle.start(program)
        return handle

    async def sleep(self, duration: int | str) -> None:
        """Let virtual time pass: ns, or text such as "1s"."""
        with until_panic(self.kernel):
            await self.engine.sleep(parse_duration(duration))

    def rng(self, name: str) -> Rng:
        """Return the workload's own stream of random integers of that name, from the run's seed.

        The same seed and name draw the same numbers, whatever else draws: see sim/rng.py for
        `bits`, `below`, `between`, `chance`, `choice` and `shuffle`. No stream of the machine is
        shared.

        Raises:
            ConfigError: The name is no text.
        """
        if not isinstance(name, str):
            raise ConfigError("rng", name, 'must be a name such as "arrivals"')
        return self.engine.rng(f"workload/{name}")

    def sysctl(self, name: str, value: SysctlValue | None = None) -> SysctlValue:
        """Write a tunable if a value is given; return what is in force."""
        if not isinstance(name, str):
            raise ConfigError("sysctl", name, 'must be a name such as "vm.swappiness"')
        if value is not None:
            write_sysctl(self.kernel, name, value)
            if SYSCTLS[name].idle:
                self.note_idle(name)
        elif name not in SYSCTLS:
            parse_value(name, None)  # says what is wrong with it
        in_force: SysctlValue = getattr(self.kernel.sysctl, SYSCTLS[name].attribute)
        return in_force

    def note_idle(self, name: str) -> None:
        """Say in the summary that a tunable the user writes changes nothing yet."""
        text = f"{name} is accepted and changes nothing yet: {SYSCTLS[name].idle}"
        if text not in self.notes:
            self.note(text)

    async def snapshot(self, name: str) -> None:
        """Keep what /proc and /sys show at this moment, under a name."""
        await self.hooks.on_snapshot(self, name)

    def expect(self, condition: object, text: str = "") -> bool:
        """State that something holds; if it does not, the run goes on and ends with exit status 1.

        Returns:
            Whether it holds.

        Raises:
            WorkloadError: The condition is none, such as a text, or the text is none.
        """
        return self.expectations.state(condition, text, self.now_ns)

    def note(self, text: str) -> None:
        """Keep a line for the summary of the run."""
        self.notes.append(text)

    def _start_actors(self) -> None:
        kernel = self.kernel
        engine = self.engine
        for node in kernel.nodes:
            engine.spawn(node)
            node.wire()
        for actor in (*kernel.cpus, kernel.interconnect, *kernel.devices.values()):
            engine.spawn(actor)
        kernel.oom_killer = engine.spawn(OomKiller(kernel))
        for described in self.spec.nodes:
            nid, cpus = described.nid, [kernel.cpus[number] for number in described.cpus]
            task = Task(engine, f"kswapd{nid}", 50 + nid, cpus or kernel.cpus)
            kernel.kswapds.append(engine.spawn(Kswapd(kernel, nid, task)))


def make_kernel(engine: Engine, spec: MachineSpec, burst_pages: int) -> Kernel:
    """Build the state of a machine and its actors; none of them runs yet."""
    phys = build(spec)
    swap_pages = [swap.size_bytes // PAGE_SIZE for swap in spec.swaps]
    disks = {device.name: device for device in spec.devices}
    rotational = [disks[area.device].rotational for area in spec.swaps]
    swap = swapon(swap_pages, [area.prio for area in spec.swaps], spec.nr_cpus, rotational)
    commit = CommitAccount(
        totalram_pages=phys.totalram_pages,
        tunables=phys.tunables,
        total_swap_pages=sum(a.nr_slots for a in spec.swaps),
    )
    layout = ADDRESS_LAYOUTS[spec.arch]
    kernel = Kernel(
        engine=engine,
        spec=spec,
        phys=phys,
        pool=PageTablePool(bits=layout.table_bits, levels=layout.table_levels),
        mms=MmRegistry(commit, task_size=layout.task_size),
        swap=swap,
        lruvec=new_lruvec(len(spec.nodes)),
        burst_pages=burst_pages,
        cluster_readahead=ClusterReadahead() if any(rotational) else None,
    )
    for node in spec.nodes:
        towards = tuple(row[node.nid] for row in spec.distances)
        kernel.nodes.append(Node(node.nid, kernel, spec.zone_types, towards, spec.latency))
        kernel.kswapd_states.append(KswapdState())
    for number, nid in enumerate(phys.cpu_nid):
        kernel.cpus.append(Cpu(number, nid, spec.distances[nid], spec.latency, spec.nr_cpus))
    kernel.interconnect = Interconnect(spec.latency)
    for index, device in enumerate(spec.devices):
        kernel.devices[device.name] = BlockDevice(device, SCSI_DISK_MAJOR << 20 | index << 4)
    kernel.zero_pfn = _find_zero_page(kernel)
    boot_sysctls(kernel)
    return kernel


def _find_zero_page(kernel: Kernel) -> int:
    # The zero page is part of the kernel image, which boot has reserved.
    flags = kernel.mem.pages.flags
    for zone in kernel.phys.zonelists[0]:
        start = int(kernel.mem.zone[zone, Z_START_PFN])
        part = flags[start : start + int(kernel.mem.zone[zone, Z_SPANNED])]
        kept = np.flatnonzero(part & np.uint32(PG_reserved | PG_kernel))
        if len(kept):
            return start + int(kept[0])
    for zone in kernel.phys.zonelists[0]:  # nothing reserved: it takes a page as the kernel would
        pfn = rmqueue(kernel.mem, zone, 0, MIGRATE_UNMOVABLE)
        if pfn:
            flags[pfn] |= np.uint32(PG_kernel)
            return int(pfn)
    raise ConfigError("memory", 0, "the machine has not one free page")


def parse_mempolicy(kernel: Kernel, text: str | None) -> Mempolicy | None:
    """Return the memory policy a text names; None for the local node.

    Raises:
        ConfigError: The text is no policy, or names a node without memory.
    """
    if text is None or text == "local":
        return None
    mode, _, listed = text.partition(":") if isinstance(text, str) else ("", "", "")
    rule = 'must be "local", "bind:NODES" or "preferred:NODE", of nodes with memory'
    try:
        nodes = parse_number_list(listed)
    except ValueError:
        nodes = ()
    nr_types = len(kernel.phys.zone_types)
    with_memory = {zone // nr_types for zone in kernel.phys.zonelists[0]}
    if mode not in (MPOL_BIND, MPOL_PREFERRED) or not nodes or not with_memory.issuperset(nodes):
        raise ConfigError("mempolicy", text, rule)
    return Mempolicy(mode, nodes)
