"""What the actors of one machine share: its state, and the actors that serve requests.

No actor: a value wired once by `kernelsim.machine`. Each part has its writers. Zones and their
lists: see parts/node.py. TLBs and run queues: the actor of their CPU. Page tables: the process
they belong to and any task that reclaims its pages, as under the page-table lock. Swap slots and
the swap cache: the running task, since the functions of mm run to completion. `KswapdState`: the
tasks that want pages, and kswapd, without a lock.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from typing import Final

import attrs

from kernelsim.actors.core.backing_dev import BackingDev
from kernelsim.actors.core.bio_pool import BioPool
from kernelsim.actors.core.burst_runner import BurstRunner
from kernelsim.actors.core.compaction import Compaction
from kernelsim.actors.core.device_hotplug import DeviceHotplugLock
from kernelsim.actors.core.mmap_lock import MmapLock
from kernelsim.actors.core.pdflush_pool import Job, PdflushPool
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.core.ratelimit import RateLimit
from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.actors.parts.cpu import Cpu
from kernelsim.actors.parts.interconnect import Interconnect
from kernelsim.actors.parts.node import Node
from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.parts.page_read import PageRead
from kernelsim.block.zram import ZramStore
from kernelsim.config.machine import MachineSpec
from kernelsim.config.sysctl import Sysctl
from kernelsim.fs.fs_writeback import WbReason
from kernelsim.fs.inode import Inode
from kernelsim.fs.namespace import Namespace
from kernelsim.mm.burst.columns import Burst
from kernelsim.mm.burst.servers import drawn_ns
from kernelsim.mm.core.kernel_objects import ObjectSets
from kernelsim.mm.core.mem import I64, Mem
from kernelsim.mm.core.xarray_pool import XArrayPool
from kernelsim.mm.file.address_space import AddressSpaces
from kernelsim.mm.file.page_writeback import Writeback
from kernelsim.mm.page.alloc_context import AllocContexts
from kernelsim.mm.page.memory_hotplug import memory_changed
from kernelsim.mm.page.phys_mem import PhysMem
from kernelsim.mm.reclaim.lru_gen_mm_list import MmListState
from kernelsim.mm.reclaim.throttle_reason import ThrottleReason
from kernelsim.mm.reclaim.vmscan_kswapd import KswapdState
from kernelsim.mm.space.init_mm import InitMm, init_mm_of
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.page_table_pool import PageTablePool, Space
from kernelsim.mm.space.thread_stack import ThreadStacks
from kernelsim.mm.swap.swap_area import SA_ROTATIONAL, SA_START, SA_USED, SS_TOTAL, SwapArea
from kernelsim.mm.swap.swap_readahead import ClusterReadahead
from kernelsim.sched.psi import PsiGroup
from kernelsim.sim.actor import ActorRef
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import WaitQueue
from kernelsim.units import NS_PER_S, PAGE_SIZE

KERN_EMERG: Final = 0  # levels of the kernel log; include/linux/kern_levels.h
KERN_ALERT: Final = 1
KERN_ERR: Final = 3  # the least that a console shows with "quiet" (CONSOLE_LOGLEVEL_QUIET)
KERN_WARNING: Final = 4
KERN_INFO: Final = 6
PANIC: Final = "panic"  # state of the end of a run whose simulated kernel panicked


@attrs.define
class Kernel:
    """One running machine.

    Attributes:
        engine: Clock, seeds, log.
        spec: The machine as configured.
        phys: Physical memory as it stands now, and the tunables in force.
        pool: Page tables.
        mms: Address spaces.
        swap: Swap slots; an empty area without swap.
        lruvec: What reclaim remembers of each node, shape [nid, LV_*].
        aging: How far the walks are that age the pages of each node.
        burst_pages: Most pages touched before the log gets its events; 1: by messages only.
        psi: Pressure of the whole machine.
        cpus: Actors by CPU number.
        nodes: Actors by node number.
        interconnect: Actor of the links.
        devices: Disks by name.
        kswapds: The actor to wake, by node.
        kswapd_states: What each is asked for, by node.
        oom_killer: Where to ask for a victim.
        oom_reaper: Where to tell of one.
        kernel_space: Where to ask for addresses of the kernel.
        thread_stacks: Kernel stacks in use, and those that CPUs keep.
        object_sets: What the kernel has of processes in slabs.
        memory_hotplug: Where to bring memory online and offline.
        acpi_hotplug: Where to put DIMMs in, and take them out.
        compaction: Who compacts, and how far that is, by zone.
        device_hotplug: What both are asked under.
        kworkers: Who does what each CPU must do itself, once there was any.
        reaped_mms: Numbers of the address spaces whose pages the OOM reaper is taking, with the
            queue of those that wait until it is done, as for mmap_lock.
        mmap_locks: Locks of the address spaces that several tasks share, by number.
        reclaimed_nodes: Nodes that a task does node reclaim on (PGDAT_RECLAIM_LOCKED).
        processes: Living processes by pid, in the order they started.
        kthreads: Tasks of the kernel threads that workloads started, those that have ended too.
        kthread_pages: Frames those threads have allocated for a workload, and not freed.
        zombies: Processes that have ended, and whose parents have not heard of it yet, by pid.
        bio_pool: Who waits for bios of swap to come back.
        page_reads: Pages being read, with the queues of the tasks that wait; by `page_key`.
        migrations: Frames of pages that are being moved, with the queue of the tasks that wait.
        inode_waits: Where tasks wait for the lock of a file, by its number.
        zrams: What zram disks hold, by name of the disk.
        swap_writes: Pages whose writing to swap tasks wait for, with their queue.
        files: Files, by path and by number.
        spaces: Their cached pages.
        writeback: Limits and rates of dirty pages.
        pdflush: The threads that write files back, in the classic era.
        backing_devs: What of each disk's files is dirty, and what its flusher is asked for.
        cluster_readahead: Of shared memory in swap; of all swap when a swap disk rotates, else each
            process looks after its own.
        has_rotating_swap: A swap disk rotates.
        dmesg: Lines of the kernel log, with their virtual time in ns.
        signal_messages: How often it tells of segfaults.
        alloc_messages: How often it tells of allocations that failed.
        console: Those of them that a console shows: errors and worse.
        alloc_contexts: What requests are served by.
        zero_pfn: The shared zero page.
        next_pid: Pid of the next process.
        burst: What the CPUs do in compiled code, and when each lock is free.
        bursts: Lets them go on with it.
        start_process: Starts the actor of a process that another one has forked.
        settle_slabs: Gets pages for slabs, and gives them back; see alloc/slab.py.
        mempool_alloc: Waits for bios that there was no memory for; see alloc/mempool.py.
        is_panic_told: The workload has heard of the panic.
        observer: What listens to stores and decisions; it does nothing unless checking is on.
        is_observed: Whether checking is on.
    """

    engine: Engine
    spec: MachineSpec
    phys: PhysMem
    pool: PageTablePool
    mms: MmRegistry
    swap: SwapArea
    lruvec: I64
    burst_pages: int
    burst: Burst
    bursts: BurstRunner = attrs.field(init=False)
    start_process: Callable[[ProcessEntry], None] = attrs.field(init=False)
    settle_slabs: Callable[[Task], Awaitable[None]] = attrs.field(init=False)
    mempool_alloc: Callable[[Task], Awaitable[None]] = attrs.field(init=False)
    psi: PsiGroup = attrs.field(factory=PsiGroup)
    cpus: list[Cpu] = attrs.field(factory=list)
    nodes: list[Node] = attrs.field(factory=list)
    interconnect: Interconnect = attrs.field(init=False)
    devices: dict[str, BlockDevice] = attrs.field(factory=dict)
    kswapds: list[ActorRef] = attrs.field(factory=list)
    kswapd_states: list[KswapdState] = attrs.field(factory=list)
    oom_killer: ActorRef = attrs.field(init=False)
    oom_reaper: ActorRef = attrs.field(init=False)
    kernel_space: ActorRef = attrs.field(init=False)
    thread_stacks: ThreadStacks = attrs.field(init=False)
    object_sets: ObjectSets = attrs.field(
        default=attrs.Factory(lambda self: ObjectSets(self.phys.mem.slabs), takes_self=True)
    )
    memory_hotplug: ActorRef = attrs.field(init=False)
    acpi_hotplug: ActorRef = attrs.field(init=False)
    compaction: Compaction = attrs.field(factory=Compaction)
    device_hotplug: DeviceHotplugLock = attrs.field(
        default=attrs.Factory(lambda self: DeviceHotplugLock(self.engine), takes_self=True)
    )
    kworkers: list[ActorRef] = attrs.field(factory=list)
    reaped_mms: dict[int, WaitQueue] = attrs.field(factory=dict)
    mmap_locks: dict[int, MmapLock] = attrs.field(factory=dict)
    reclaimed_nodes: set[int] = attrs.field(factory=set)
    processes: dict[int, ProcessEntry] = attrs.field(factory=dict)
    kthreads: list[Task] = attrs.field(factory=list)
    kthread_pages: set[int] = attrs.field(factory=set)
    zombies: dict[int, ProcessEntry] = attrs.field(factory=dict)
    bio_pool: BioPool = attrs.field(init=False)
    page_reads: dict[int, PageRead] = attrs.field(factory=dict)
    migrations: dict[int, WaitQueue] = attrs.field(factory=dict)
    inode_waits: dict[int, WaitQueue] = attrs.field(factory=dict)
    zrams: dict[str, ZramStore] = attrs.field(factory=dict)
    swap_writes: dict[int, WaitQueue] = attrs.field(factory=dict)
    files: Namespace = attrs.field(factory=Namespace)
    spaces: AddressSpaces = attrs.field(
        default=attrs.Factory(
            lambda self: AddressSpaces(XArrayPool(len(self.phys.nodes), self.phys.mem.slabs)),
            takes_self=True,
        )
    )
    cluster_readahead: ClusterReadahead = attrs.field(factory=ClusterReadahead)
    has_rotating_swap: bool = False
    aging: list[MmListState] = attrs.field(
        default=attrs.Factory(
            lambda self: [MmListState(nid) for nid in range(len(self.lruvec))], takes_self=True
        )
    )
    dmesg: list[tuple[int, str]] = attrs.field(factory=list)
    console: list[tuple[int, str]] = attrs.field(factory=list)
    signal_messages: RateLimit = attrs.field(factory=RateLimit)
    alloc_messages: RateLimit = attrs.field(factory=partial(RateLimit, 10 * NS_PER_S, 1))
    alloc_contexts: AllocContexts = attrs.field(
        default=attrs.Factory(lambda self: AllocContexts(self.phys), takes_self=True), init=False
    )
    zero_pfn: int = 0
    next_pid: int = 100
    writeback: Writeback = attrs.field(
        default=attrs.Factory(lambda self: Writeback(self.phys), takes_self=True), init=False
    )
    backing_devs: dict[str, BackingDev] = attrs.field(factory=dict)
    pdflush: PdflushPool | None = None
    is_panic_told: bool = False
    observer: Observer = attrs.field(factory=Observer)
    is_observed: bool = False
    _space: Space | None = attrs.field(default=None, init=False)
    _ratelimits: dict[str, RateLimit] = attrs.field(factory=dict, init=False)
    _throttle_queues: dict[tuple[int, ThrottleReason], WaitQueue] = attrs.field(
        factory=dict, init=False
    )

    @cached_property
    def init_mm(self) -> InitMm:
        """The kernel's own address space."""
        return init_mm_of(self.spec, self.phys, len(self.cpus))

    @cached_property
    def mem(self) -> Mem:
        """The arrays of physical memory."""
        return self.phys.mem

    @property
    def sysctl(self) -> Sysctl:
        """The tunables in force."""
        return self.phys.tunables.now

    @property
    def space(self) -> Space:
        """What walks through page tables go over, as it is now."""
        kept, pt, mms = self._space, self.pool.pt, self.mms.mms
        if kept is None or kept.pt is not pt or kept.mms is not mms:  # they have grown
            kept = self._space = Space(self.phys.mem, pt, mms)
        return kept

    @property
    def nr_swap_pages(self) -> int:
        """Slots of all swap areas together."""
        return int(self.swap.state[SS_TOTAL])

    @property
    def nr_in_flight(self) -> int:
        """Pages some task holds: granted and not in use yet, or out of use and not back.

        Code that moves pages between nodes and their places says so with `placed` and `taken`, in
        the step that moves them; a checker counts the pages that are nowhere and compares.
        """
        return sum(node.nr_granted for node in self.nodes) - self.nr_placed

    @property
    def nr_placed(self) -> int:
        """Pages put into use since the start, less those taken out of it."""
        return int(self.burst.placed[0])

    @cached_property
    def cpu_numbers(self) -> dict[str, int]:
        """Numbers of the CPUs by name."""
        return {cpu.name: cpu.number for cpu in self.cpus}

    def drawn_ns(self, cpu: Cpu, mean_ns: int) -> int:
        """Return how long a path of a mean takes a CPU this time."""
        return drawn_ns(self.burst, cpu.number, mean_ns)

    def placed(self, nr_pages: int) -> int:
        """Note that granted pages came into use: mapped, a page table, in the swap cache."""
        self.burst.placed[0] += nr_pages
        return nr_pages

    def taken(self, nr_pages: int) -> int:
        """Note that pages went out of use and are on their way back to their node."""
        self.burst.placed[0] -= nr_pages
        return nr_pages

    def printk(self, level: int, *lines: str) -> None:
        """Write lines to the kernel log, all at this moment; errors go to the console as well."""
        entries = [(self.engine.now_ns, line) for line in lines]
        self.dmesg += entries
        if level <= KERN_ERR:
            self.console += entries

    def observe(self, observer: Observer) -> None:
        """Let an observer listen from now on to stores of processes and decisions of the kernel."""
        self.observer = observer
        self.is_observed = True
        for node in self.nodes:
            node.observe(observer)
        for cpu in self.cpus:
            cpu.observer = observer

    def memory_changed(self, zone: int) -> None:
        """Have all follow that is derived from the memory there is, in the step it changes in."""
        memory_changed(self.phys, zone)
        self.bursts.zonelists_changed()
        self.mms.commit.totalram_pages = self.phys.totalram_pages
        self.writeback.set_ratelimit()

    def swap_location(self, slot: int) -> tuple[BlockDevice, int]:
        """Return the disk a slot lies on, and its page number there."""
        starts, places = self._swap_places
        device, first = places[bisect_right(starts, slot) - 1]
        return device, first + slot

    @cached_property
    def _swap_places(self) -> tuple[list[int], list[tuple[BlockDevice, int]]]:
        """The first slot of each area; its disk, and the page there of slot 0 if that were its.

        The areas of a disk lie behind each other.
        """
        swaps, places = self.spec.swaps, []
        starts: list[int] = self.swap.area[: len(swaps), SA_START].tolist()
        for area, swap in enumerate(swaps):
            before = sum(one.size_bytes for one in swaps[:area] if one.device == swap.device)
            places.append((self.devices[swap.device], before // PAGE_SIZE - starts[area]))
        return starts, places

    @cached_property
    def swap_segments_max(self) -> int:
        """Pages that a request to a swap disk may have; 0 if disks differ, or there are none."""
        most = {self.devices[swap.device].spec.max_segments for swap in self.spec.swaps}
        return most.pop() if len(most) == 1 else 0

    def zram_of(self, slot: int) -> ZramStore:
        """Return what the zram disk of a slot holds."""
        return self.zrams[self.swap_location(slot)[0].name]

    def choose_swap_readahead(self) -> None:
        """Read ahead by cluster when a swap area in use lies on a rotating disk, else by VMA.

        Source: Linux 6.1 mm/swap_state.c:swap_use_vma_readahead
        """
        area = self.swap.area
        self.has_rotating_swap = bool((area[:, SA_USED] & area[:, SA_ROTATIONAL]).any())

    def printk_ratelimited(self, place: str, line: str) -> None:
        """Print a line to the kernel log, of a place, a function of Linux, that may have too many.

        Source: Linux 6.1 include/linux/printk.h:printk_ratelimited
        """
        now_ns = self.engine.now_ns
        is_admitted, missed = self._ratelimits.setdefault(place, RateLimit()).allows(now_ns)
        if missed:
            self.printk(KERN_WARNING, f"{place}: {missed} callbacks suppressed")
        if is_admitted:
            self.printk(KERN_ALERT, line)

    def throttle_queue(self, nid: int, reason: ThrottleReason) -> WaitQueue:
        """Return where tasks throttled on a node for a reason sleep."""
        queue = self._throttle_queues.get((nid, reason))
        if queue is None:
            queue = self.engine.wait_queue(f"node {nid} {reason.name}")
            self._throttle_queues[nid, reason] = queue
        return queue

    def wake_throttled(self) -> None:
        """Wake all throttled tasks; those that still must wait find out themselves."""
        for queue in self._throttle_queues.values():
            queue.wake_all()

    def written(self, inode: Inode, nr_pages: int, *, is_last: bool) -> None:
        """Note that pages of a file have been written; the last ones of it that were to be."""
        self.backing_devs[inode.device].written(inode, nr_pages, is_last=is_last)

    def node_of(self, zone: int) -> Node:
        """Return the node actor that owns a zone row."""
        return self.nodes[zone // len(self.phys.zone_types)]

    def distance(self, cpu: Cpu, nid: int) -> int:
        """Return the distance from a CPU to a node's memory, 10 is local."""
        return self.phys.numa_distance[cpu.nid][nid]


def wakeup_flusher_threads(kernel: Kernel, reason: WbReason) -> None:
    """Have all that is dirty written, on all disks.

    Source: Linux 6.1 fs/fs-writeback.c:wakeup_flusher_threads;
    2.6.31 mm/page-writeback.c:wakeup_pdflush
    """
    if kernel.pdflush is not None:  # one of its threads goes through all disks
        kernel.pdflush.operation(Job.BACKGROUND_WRITEOUT, kernel.writeback.nr_dirty)
        return
    for bdi in kernel.backing_devs.values():
        bdi.start_writeback(reason)
