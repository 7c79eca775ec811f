"""The composition root: a machine's description and a seed become wired actors in one run.

    machine = Machine(load_machine("laptop-4g"), seed=1)
    machine.run(main)                   # main: async function of the machine

It builds and runs. What a workload may do with a machine is in workload/machine.py, which lies
above; here `machine.kernel` is everything.
Units: bytes, ns.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import numpy as np

from kernelsim.actors.alloc.mempool import mempool_alloc
from kernelsim.actors.alloc.oom_killer import OomKiller
from kernelsim.actors.alloc.slab import settle_slabs_of
from kernelsim.actors.core.backing_dev import BackingDev
from kernelsim.actors.core.bio_pool import BioPool
from kernelsim.actors.core.compaction import KcompactdState
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.pdflush_pool import PdflushPool
from kernelsim.actors.core.sysctl import boot_sysctls
from kernelsim.actors.core.task import Task
from kernelsim.actors.file.flusher import Flusher
from kernelsim.actors.file.pdflush import Pdflush
from kernelsim.actors.hotplug.acpi import WORKER, AcpiHotplug
from kernelsim.actors.hotplug.memory_hotplug import MemoryHotplug
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.actors.parts.dma import NID, Dma
from kernelsim.actors.parts.interconnect import Interconnect
from kernelsim.actors.parts.load_balancer import LoadBalancer
from kernelsim.actors.parts.node import Node
from kernelsim.actors.process.start import start_entry
from kernelsim.actors.reclaim.kcompactd import Kcompactd
from kernelsim.actors.reclaim.kswapd import Kswapd
from kernelsim.actors.space.bursts import Bursts
from kernelsim.actors.space.kernel_space import KernelSpace
from kernelsim.actors.space.oom_reaper import OomReaper
from kernelsim.block.zram import ZramStore
from kernelsim.config.machine import MachineSpec
from kernelsim.errors import ConfigError
from kernelsim.fs.filesystem import Filesystem
from kernelsim.fs.inode import first_tokens
from kernelsim.mm.boot.mm_init import build
from kernelsim.mm.burst.columns import (
    C_CACHE_MISS,
    C_HAS_BUS,
    C_SEED,
    C_SPREAD,
    C_ZERO_PFN,
    C_ZONE_HOLD,
    Burst,
    new_burst,
)
from kernelsim.mm.core.kernel_objects import PROCESS_OBJECTS
from kernelsim.mm.core.lruvec import new_lruvec
from kernelsim.mm.core.mem import (
    MAX_ORDER_NR_PAGES,
    MIGRATE_UNMOVABLE,
    Z_SPANNED,
    Z_START_PFN,
    Mem,
    PG_kernel,
    PG_reserved,
)
from kernelsim.mm.core.slab_cache import MAPLE_NODE, MM_STRUCT, VM_AREA_STRUCT
from kernelsim.mm.file.backing_dev import BdiWriteback
from kernelsim.mm.file.boot_cache import place_boot_cache
from kernelsim.mm.file.classic_writeback import MIN_PDFLUSH_THREADS
from kernelsim.mm.page.page_alloc import rmqueue
from kernelsim.mm.reclaim.vmscan_kswapd import KswapdState
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.page_table_pool import PageTablePool
from kernelsim.mm.space.thread_stack import ThreadStacks, keep_stacks_of_boot
from kernelsim.mm.space.util import CommitAccount
from kernelsim.mm.swap.swap_area import SS_TOTAL, swapon
from kernelsim.sim.ending import Ended
from kernelsim.sim.engine import Engine
from kernelsim.sim.sink import Sink
from kernelsim.trace.show import MINOR_BITS
from kernelsim.units import CACHE_LINE_SIZE, NS_PER_S, PAGE_SIZE

T = TypeVar("T")

DEFAULT_BURST_PAGES: Final = 512
BURST_PAGES_MAX: Final = 4096
ACPI_HOTPLUG_PID: Final = 48
OOM_REAPER_PID: Final = 49  # any number below those of processes
KCOMPACTD_PID: Final = 30  # of the first node
KSWAPD_PID: Final = 50  # of the first node
FLUSHER_PID: Final = 70  # of the first flusher; below all processes
SCSI_DISK_MAJOR: Final = 8  # include/uapi/linux/major.h; sixteen minor numbers a disk


class Machine:
    """One simulated machine, from boot to the end of its run.

    Args:
        spec: What it is made of.
        seed: What is random on a real machine comes from it, and what a workload draws.
        schedule_seed: Permutes simultaneous events; None keeps their order.
        burst_pages: Most pages a task touches before the log gets its events, 1 … 4096; 1 takes
            every step by messages.
        until_ns: The run ends at this virtual time; None for when the workload ends.
        max_events: The run ends with an error after so many events; None for no limit.
        sink: Where events are logged; None for nowhere.
        on_boot: Called when all actors have started.

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
        on_boot: "Callable[[Machine], None] | None" = None,
    ) -> None:
        require_burst_pages(burst_pages)
        self.spec = spec
        self.engine = Engine(
            seed=seed,
            schedule_seed=schedule_seed,
            until_ns=until_ns,
            max_events=max_events,
            sink=sink,
        )
        self.kernel = make_kernel(self.engine, spec, burst_pages)
        self.on_boot = on_boot

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
        """Boot, run the workload, stop; returns and raises as `Engine.run`."""

        async def boot_and_run(_engine: Engine) -> T:
            self._start_actors()
            await self.engine.sleep(0)
            if self.on_boot is not None:
                self.on_boot(self)
            return await main(self)

        return self.engine.run(boot_and_run)

    def _start_actors(self) -> None:
        kernel = self.kernel
        engine = self.engine
        for node in kernel.nodes:
            engine.spawn(node)
            node.wire()
        kernel.bursts = Bursts(kernel)
        kernel.start_process = partial(start_entry, kernel)
        kernel.settle_slabs = partial(settle_slabs_of, kernel)
        kernel.mempool_alloc = partial(mempool_alloc, kernel)
        kernel.bio_pool = BioPool(engine)
        for actor in (*kernel.cpus, kernel.interconnect, *kernel.devices.values()):
            engine.spawn(actor)
        if self.spec.latency.has_bus:
            for device in kernel.devices.values():
                dma = Dma(device.ref, kernel.interconnect.ref, kernel.nodes[NID].ref)
                device.dma = engine.spawn(dma)
        kernel.kernel_space = engine.spawn(KernelSpace(kernel))
        kernel.oom_killer = engine.spawn(OomKiller(kernel))
        reaper = Task(engine, "oom_reaper", OOM_REAPER_PID, kernel.cpus)
        kernel.oom_reaper = engine.spawn(OomReaper(kernel, reaper))
        kernel.memory_hotplug = engine.spawn(MemoryHotplug(kernel))
        acpi = Task(engine, WORKER, ACPI_HOTPLUG_PID, kernel.cpus)
        kernel.acpi_hotplug = engine.spawn(AcpiHotplug(kernel, acpi))
        for described in self.spec.nodes:
            nid, cpus = described.nid, [kernel.cpus[number] for number in described.cpus]
            task = Task(engine, f"kswapd{nid}", KSWAPD_PID + nid, cpus or kernel.cpus)
            kernel.compaction.kswapds.append(task)
            kernel.kswapds.append(engine.spawn(Kswapd(kernel, nid, task)))
        start_kcompactds(kernel)
        start_flushers(kernel)


def require_burst_pages(burst_pages: int) -> None:
    """Check how many pages a task may touch before the log gets its events.

    Raises:
        ConfigError: Fewer than 1, or too many.
    """
    if not 1 <= burst_pages <= BURST_PAGES_MAX:
        raise ConfigError("burst_pages", burst_pages, f"must be 1 to {BURST_PAGES_MAX}")


def make_kernel(engine: Engine, spec: MachineSpec, burst_pages: int) -> Kernel:
    """Build the state of a machine and its actors; none of them runs yet."""
    phys = build(spec)
    swap_pages = [swap.size_bytes // PAGE_SIZE for swap in spec.swaps]
    disks = {device.name: device for device in spec.devices}
    rotational = [disks[area.device].rotational for area in spec.swaps]
    priorities, on = [area.prio for area in spec.swaps], [area.on for area in spec.swaps]
    swap = swapon(swap_pages, priorities, spec.nr_cpus, rotational, on, phys.mem.slabs)
    commit = CommitAccount(
        totalram_pages=phys.totalram_pages,
        tunables=phys.tunables,
        total_swap_pages=int(swap.state[SS_TOTAL]),
        nr_cpus=spec.nr_cpus,
    )
    layout = ADDRESS_LAYOUTS[spec.arch]
    burst = make_burst(spec)
    kernel = Kernel(
        engine=engine,
        spec=spec,
        phys=phys,
        pool=PageTablePool(bits=layout.table_bits, levels=layout.table_levels),
        mms=MmRegistry(commit, task_size=layout.task_size, slabs=phys.mem.slabs),
        swap=swap,
        lruvec=new_lruvec(len(spec.nodes)),
        burst_pages=burst_pages,
        burst=burst,
    )
    kernel.choose_swap_readahead()
    for node in spec.nodes:
        towards = tuple(row[node.nid] for row in spec.distances)
        kernel.nodes.append(Node(node.nid, kernel, spec.zone_types, towards, spec.latency))
        kernel.kswapd_states.append(
            KswapdState(asleep=burst.kswapd_asleep[node.nid : node.nid + 1])
        )
    for number, nid in enumerate(phys.cpu_nid):
        distances = spec.distances[nid]
        cpu = Cpu(number, nid, distances, spec.latency, burst, kernel.psi, spec.nr_cpus)
        kernel.cpus.append(cpu)
    phase_ns = engine.rng("timer phase").below(spec.latency.timer_tick_ns)
    for cpu in kernel.cpus:
        cpu.tick_phase_ns = phase_ns
    LoadBalancer(engine, kernel.cpus, spec.distances)
    kernel.interconnect = Interconnect(spec.latency, burst)
    for index, device in enumerate(spec.devices):
        dev = SCSI_DISK_MAJOR << 20 | index << 4
        kernel.devices[device.name] = BlockDevice(device, dev, kernel.cpus, spec.latency)
        if device.compressed_permille:
            kernel.zrams[device.name] = ZramStore(device.compressed_permille)
    make_files(kernel)
    kernel.thread_stacks = ThreadStacks(len(kernel.cpus))
    if spec.arch == "x86_64" and spec.era.vmap_stack:
        keep_stacks_of_boot(kernel.thread_stacks, kernel.mem, kernel.init_mm, phys.cpu_nid)
    kernel.mms.has_maple_trees = spec.era.maple_tree
    _leave_objects_of_boot(kernel, phys.cpu_nid)
    kernel.zero_pfn = _find_zero_page(kernel)
    burst.cost[C_ZERO_PFN] = kernel.zero_pfn
    burst.cost[C_SEED] = engine.rng("cache misses").bits(62)
    boot_sysctls(kernel)
    return kernel


def start_kcompactds(kernel: Kernel) -> None:
    """Start what compacts memory in the background, one a node, in kernels that have it."""
    if not kernel.spec.era.compaction:
        return
    for described in kernel.spec.nodes:
        nid, cpus = described.nid, [kernel.cpus[number] for number in described.cpus]
        task = Task(kernel.engine, f"kcompactd{nid}", KCOMPACTD_PID + nid, cpus or kernel.cpus)
        kernel.compaction.states.append(KcompactdState())
        kernel.compaction.kcompactds.append(kernel.engine.spawn(Kcompactd(kernel, nid, task)))


def start_flushers(kernel: Kernel) -> None:
    """Start what writes files back: a flusher a disk, or the first threads of pdflush."""
    engine, pool = kernel.engine, kernel.pdflush
    if pool is None:
        for number, bdi in enumerate(kernel.backing_devs.values()):
            task = Task(engine, f"flush-{bdi.wb.name}", FLUSHER_PID + number, kernel.cpus)
            engine.spawn(Flusher(kernel, bdi, task))
        return

    def start_one(*, is_of_boot: bool = False) -> None:
        number = pool.nr_started
        pool.nr_started += 1
        pool.threads.nr += 1
        task = Task(engine, f"pdflush{number}", FLUSHER_PID + number, kernel.cpus)
        engine.spawn(Pdflush(kernel, pool, task, is_of_boot=is_of_boot))

    pool.start = start_one
    for _ in range(MIN_PDFLUSH_THREADS):
        start_one(is_of_boot=True)


def make_files(kernel: Kernel) -> None:
    """Give each disk a file system behind its swap areas, and make the files; zram has none."""
    spec, files = kernel.spec, kernel.files
    disks = [device for device in spec.devices if not device.compressed_permille]
    if spec.era.pdflush and disks:
        kernel.pdflush = PdflushPool(kernel.engine, kernel.writeback)
    for device in disks:
        swap_pages = sum(a.nr_slots + 1 for a in spec.swaps if a.device == device.name)
        pages = device.size_bytes // PAGE_SIZE
        files.filesystems[device.name] = Filesystem(device.name, swap_pages, pages)
        disk = kernel.devices[device.name]
        wb = BdiWriteback(f"{disk.dev >> MINOR_BITS}:{disk.dev & ((1 << MINOR_BITS) - 1)}")
        queue = kernel.engine.wait_queue(f"flusher of {device.name}", is_for_work=True)
        kernel.backing_devs[device.name] = BackingDev(
            kernel.engine, kernel.writeback, disk, wb, queue, pool=kernel.pdflush
        )
    for file in spec.files:
        made = files.create_full(file.path, file.size_bytes, file.device)
        assert not isinstance(made, int), "checked with the description"
        kernel.spaces.add(made.number)
    if spec.boot.recorded:
        cached = files.create_nameless()
        kernel.spaces.add(cached.number)
        first_token = int(first_tokens(cached.number, 1)[0])
        nr_pages = place_boot_cache(kernel.mem, kernel.spaces, cached.number, first_token)
        cached.size = nr_pages * PAGE_SIZE
        cached.disk = first_tokens(cached.number, nr_pages)


def make_burst(spec: MachineSpec) -> Burst:
    """Return the burst of a machine, with its costs; nothing runs in it yet."""
    latency, nr_nodes = spec.latency, len(spec.nodes)
    burst = new_burst(
        nr_cpus=spec.nr_cpus, nr_nodes=nr_nodes, nr_zones=nr_nodes * len(spec.zone_types)
    )
    page_ns = PAGE_SIZE * NS_PER_S
    burst.cost[:C_SEED] = (
        latency.fault_entry_ns, latency.pte_set_ns, latency.zone_lock_hold_page_ns,
        latency.lru_lock_hold_page_ns, latency.page_zeroing_ns,
        page_ns // latency.memory_bandwidth_bytes_per_s,
        page_ns // latency.interconnect_bandwidth_bytes_per_s,
        latency.tlb_hit_ns, latency.page_walk_step_ns, latency.cache_line_ns,
    )  # fmt: skip
    burst.cost[C_ZONE_HOLD] = latency.zone_lock_hold_ns
    burst.cost[C_SPREAD] = latency.cache_line_spread_permille
    if latency.has_bus:
        burst.cost[C_HAS_BUS : C_CACHE_MISS + 1] = (
            1,
            latency.passing_ns(PAGE_SIZE, is_near=True)[0],
            *latency.passing_ns(CACHE_LINE_SIZE, is_near=True),
            latency.passing_ns(CACHE_LINE_SIZE, is_near=False)[0],
            latency.cache_miss_ns,
        )
    burst.distance[:] = spec.distances
    for nid, row in enumerate(spec.distances):
        burst.memory_ns[nid] = [latency.memory_access_ns(distance) for distance in row]
    return burst


def _leave_objects_of_boot(kernel: Kernel, cpu_nids: tuple[int, ...]) -> None:
    """Let CPUs of a recorded machine keep free objects of the processes that it had had by then.

    Args:
        kernel: The machine.
        cpu_nids: Node of each CPU.
    """
    if kernel.spec.boot.recorded:
        trees = (MAPLE_NODE,) if kernel.spec.era.maple_tree else ()
        caches = (*PROCESS_OBJECTS, MM_STRUCT, VM_AREA_STRUCT, *trees)
        for nid in cpu_nids:
            kernel.object_sets.leave_from_boot(caches, nid)


def _find_zero_page(kernel: Kernel) -> int:
    # The zero page is part of the kernel image, which boot has reserved.
    flags = kernel.mem.pages.flags
    for zone in kernel.phys.zonelists[0]:
        start = int(kernel.mem.zone[zone, Z_START_PFN])
        end = start + int(kernel.mem.zone[zone, Z_SPANNED])
        # It lies near the start: to look at the column of all of a large zone would map it all.
        for first in range(start, end, MAX_ORDER_NR_PAGES):
            part = flags[first : min(first + MAX_ORDER_NR_PAGES, end)]
            kept = np.flatnonzero(part & np.uint32(PG_reserved | PG_kernel))
            if len(kept):
                return first + int(kept[0])
    for zone in kernel.phys.zonelists[0]:  # nothing reserved: it takes a page as the kernel would
        pfn = rmqueue(kernel.mem, zone, 0, MIGRATE_UNMOVABLE)
        if pfn:
            flags[pfn] |= np.uint32(PG_kernel)
            return int(pfn)
    raise ConfigError("memory", 0, "the machine has not one free page")
