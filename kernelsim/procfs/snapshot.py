"""What a machine looks like at one moment: the values every renderer of this room reads.

A snapshot is taken by the machine (or read back from files, see recorded.py) and never changes.
Linux prints some figures from several places; here each has one home: counters of zones and nodes
in the dicts under their printed names, everything else as an attribute.

Interface: frozen values only.
Units: pages of 4 KiB unless the name says `_bytes`, `_kb` or `_ns`; counters of kernel stacks are
kB, as in Linux. A counter a dict does not hold is printed as 0.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from kernelsim.config.zones import NR_PAGE_ORDERS
from kernelsim.sched.psi import Pressure

PAGE_KB: Final = 4


@attrs.frozen(kw_only=True)
class PcpSnapshot:
    """The per-cpu page list of one CPU in one zone."""

    cpu: int
    count: int
    high: int
    """Pages at which the list is given back."""
    batch: int
    """Pages moved at once."""
    vm_stats_threshold: int
    """Drift of the per-cpu counters before they are summed."""


@attrs.frozen(kw_only=True)
class ZoneSnapshot:
    """One zone of a node; an empty zone has sizes 0 and no lists."""

    name: str
    """As printed: DMA DMA32 Normal HighMem Movable Device."""
    boost: int = 0
    """Momentary watermark boost; the kernel prints the watermarks with it added."""
    min: int = 0  # without the boost, as the next two
    low: int = 0
    high: int = 0
    spanned: int = 0
    present: int = 0
    managed: int = 0
    cma: int = 0
    protection: tuple[int, ...] = ()
    """lowmem_reserve, one entry a zone type."""
    stats: Mapping[str, int] = attrs.field(factory=dict)
    """Zone counters, nr_free_pages first among them."""
    numa_stats: Mapping[str, int] = attrs.field(factory=dict)
    """numa_hit, numa_miss, numa_foreign, numa_interleave, numa_local, numa_other."""
    pcp: tuple[PcpSnapshot, ...] = ()
    """Per-cpu lists of the online CPUs, by CPU."""
    start_pfn: int = 0
    nr_free: tuple[int, ...] = (0,) * NR_PAGE_ORDERS
    """Free blocks by order."""
    free_lists: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)
    """The same blocks by migrate type, then order; a missing type has none."""
    pageblocks: Mapping[str, int] = attrs.field(factory=dict)
    """Pageblocks by migrate type."""

    @property
    def populated(self) -> bool:
        """Whether the zone has memory."""
        return self.present > 0


@attrs.frozen(kw_only=True)
class GenerationSnapshot:
    """One generation of a node's pages."""

    seq: int
    age_ns: int
    anon: int
    """Pages, as those of files."""
    file: int


@attrs.frozen(kw_only=True)
class NodeSnapshot:
    """One node with all its zone types, empty ones included."""

    nid: int
    zones: tuple[ZoneSnapshot, ...]
    stats: Mapping[str, int] = attrs.field(factory=dict)
    """Node counters."""
    unreclaimable: bool = False
    """Whether kswapd gave the node up."""
    cpus: tuple[int, ...] = ()
    distances: tuple[int, ...] = (10,)
    """Row of the distance table, by node."""
    generations: tuple[GenerationSnapshot, ...] = ()
    """Oldest first; of a node with memory."""


@attrs.frozen(kw_only=True)
class SwapArea:
    """One active swap area."""

    path: str
    type: str
    """partition or file."""
    size_kb: int
    used_kb: int
    prio: int


@attrs.frozen(kw_only=True)
class MemoryBlock:
    """One block of hotpluggable memory."""

    index: int
    state: str
    """online, offline or going-offline."""
    valid_zones: str
    """Zone it is in, zones it could go online in, or none."""
    removable: bool = True


@attrs.frozen(kw_only=True)
class MemoryUsage:
    """What smaps says of one area; rollup is the sum over the areas. All in bytes."""

    rss: int = 0
    pss: int = 0
    """Resident, each shared page divided by its users; the next four are parts of it."""
    pss_dirty: int = 0
    pss_anon: int = 0
    pss_file: int = 0
    pss_shmem: int = 0
    shared_clean: int = 0
    shared_dirty: int = 0
    private_clean: int = 0
    private_dirty: int = 0
    referenced: int = 0
    anonymous: int = 0
    lazyfree: int = 0
    swap: int = 0
    swap_pss: int = 0
    locked: int = 0


@attrs.frozen(kw_only=True)
class NumaUsage:
    """What numa_maps says of one area, in pages that are present; the zero page does not count."""

    pages_by_node: tuple[int, ...] = ()
    """By node number."""
    anon: int = 0
    dirty: int = 0
    mapcount_max: int = 0
    """Mappings of the page that has most."""
    swapcache: int = 0
    active: int = 0
    """On an active list, or unevictable."""
    writeback: int = 0


@attrs.frozen(kw_only=True)
class VmaSnapshot:
    """One mapping of a process."""

    start: int
    """First address, in bytes; `end` is the first behind it."""
    end: int
    flags: str
    """As maps prints them: `rw-p`."""
    offset: int = 0
    """Bytes into the file."""
    dev: str = "00:00"
    """`major:minor` in hex."""
    inode: int = 0
    name: str = ""
    """File, `[heap]`, `[stack]` or nothing."""
    usage: MemoryUsage = MemoryUsage()
    vm_flags: tuple[str, ...] = ()
    """Two-letter flags of smaps: rd wr mr mw me ac …"""
    policy: str = "default"
    """Memory policy as numa_maps prints it: default, bind:0-1, prefer:1."""
    numa: NumaUsage = NumaUsage()


@attrs.frozen(kw_only=True)
class ProcessSnapshot:
    """One process with one thread."""

    pid: int
    comm: str
    ppid: int = 1
    uid: int = 0
    state: str = "S"
    """R running, S sleeping, D waiting for I/O, Z zombie, T stopped."""
    word_bytes: int = 8
    """Size of a pointer; maps of a 32-bit kernel (4) are padded less."""
    vmas: tuple[VmaSnapshot, ...] = ()
    """Mappings by address."""
    rss_anon: int = 0
    rss_file: int = 0
    rss_shmem: int = 0
    swap: int = 0
    hiwater_rss: int = 0
    """Most resident pages so far; never printed below the present figure."""
    total_vm: int = 0
    hiwater_vm: int = 0
    locked_vm: int = 0
    pinned_vm: int = 0
    data_vm: int = 0
    """Private writable pages; the next four are the other lines of status."""
    stack_vm: int = 0
    exec_vm: int = 0
    """Executable pages; `text_bytes` of them are the program's own."""
    text_bytes: int = 0
    start_code: int = 0
    """Address where the program's code begins; the next five are the layout's other addresses."""
    end_code: int = 0
    start_data: int = 0
    end_data: int = 0
    start_brk: int = 0
    start_stack: int = 0
    pgtables_bytes: int = 0
    minflt: int = 0
    majflt: int = 0
    utime_ns: int = 0
    stime_ns: int = 0
    start_ns: int = 0
    """Virtual time of its start."""
    cpu: int = 0
    cpus_allowed: tuple[int, ...] = (0,)
    mems_allowed: tuple[int, ...] = (0,)
    voluntary_switches: int = 0
    """Context switches away from it because it had to wait; else because others had their turn."""
    nonvoluntary_switches: int = 0
    oom_score: int = 0
    oom_score_adj: int = 0
    exit_code: int = 0
    """Of a zombie, as wait4 gives it: its signal, or its status times 256."""

    @property
    def rss(self) -> int:
        """Resident pages of all kinds."""
        return self.rss_anon + self.rss_file + self.rss_shmem


@attrs.frozen(kw_only=True)
class DiskSnapshot:
    """What a disk has done since boot; requests count when they are complete."""

    name: str
    major: int
    minor: int
    nr_reads: int = 0
    nr_writes: int = 0
    nr_read_merges: int = 0
    nr_write_merges: int = 0
    pages_read: int = 0
    pages_written: int = 0
    read_ns: int = 0
    """Sum over the read requests of the time from acceptance to completion."""
    write_ns: int = 0
    nr_in_flight: int = 0
    active_ns: int = 0
    """Time with a request or more under way."""
    mm_stat: tuple[int, ...] = ()
    """Of a zram disk, the figures of its file of that name; bytes and pages."""


@attrs.frozen(kw_only=True)
class CpuSnapshot:
    """How one CPU spent its time."""

    cpu: int
    user_ns: int = 0
    system_ns: int = 0
    iowait_ns: int = 0
    """Idle while a task that ran here last waited for I/O; no part of `idle_ns`."""
    idle_ns: int = 0


@attrs.frozen(kw_only=True)
class VmallocArea:
    """An area of vmalloc.

    Attributes:
        start: First address.
        end: Behind the last.
        caller: Who asked for it; "" for one that is freed and waits for a TLB flush.
        nr_pages: Its pages.
        has_vpages: The list of its pages lies in vmalloc itself.
        pages_of_node: Its pages, by node; empty where the kernel knows none.
    """

    start: int
    end: int
    caller: str = ""
    nr_pages: int = 0
    has_vpages: bool = False
    pages_of_node: Mapping[int, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class SlabSnapshot:
    """One slab cache, as /proc/slabinfo has it."""

    name: str
    size: int
    """Of an object, bytes."""
    objects: int
    """Of a slab of the usual order."""
    order: int
    nr_slabs: int
    nr_objects: int
    """That there is room for."""
    nr_active: int
    """Of them, all but the free ones of partial slabs."""


@attrs.frozen(kw_only=True)
class Snapshot:
    """A whole machine at one moment."""

    nodes: tuple[NodeSnapshot, ...]
    arch: str = "x86_64"
    """x86_64, i386 or i386pae."""
    cpu_frequency_hz: int = 0
    """Clock of the CPUs; 0 where no recording says it."""
    numa: bool = True
    """Whether the kernel knows nodes (the recorded 32-bit kernels do not)."""
    pageblock_order: int = 9
    vm_events: Mapping[str, int] = attrs.field(factory=dict)
    """Event counters of /proc/vmstat."""
    dirty_threshold: int = 0
    dirty_background_threshold: int = 0
    totalreserve_pages: int = 0
    """What user space cannot get: protections and high watermarks, as last computed."""
    buffers: int = 0
    """Page cache of block devices; part of nr_file_pages."""
    swap_total: int = 0
    swap_free: int = 0
    commit_limit: int = 0
    committed_as: int = 0
    vmalloc_total_kb: int = 34359738367
    vmalloc_used: int = 0
    vmallocinfo: tuple[VmallocArea, ...] = ()
    """Areas of vmalloc in use, then freed ones, rising."""
    percpu: int = 0
    hugepage_kb: int = 2048
    direct_map_kb: Mapping[str, int] = attrs.field(factory=dict)
    """kB of the kernel's direct map by page size: 4k, 2M (or 4M), 1G."""
    swaps: tuple[SwapArea, ...] = ()
    slabs: tuple[SlabSnapshot, ...] = ()
    sysctls: Mapping[str, str] = attrs.field(factory=dict)
    """Full name (vm.swappiness) to text, in the order they are listed."""
    block_size_bytes: int = 0
    """Size of a memory block; 0 where the kernel has no memory hotplug."""
    auto_online_blocks: str = "offline"
    memory_blocks: tuple[MemoryBlock, ...] = ()
    possible_nodes: tuple[int, ...] = ()
    """Nodes that may ever come online; empty: the present ones."""
    pressure: Mapping[str, Mapping[str, Pressure]] = attrs.field(factory=dict)
    """By resource (memory, io, cpu), then some and full."""
    uptime_ns: int = 0
    idle_ns: int = 0
    """Sum of the idle times of all CPUs."""
    cpus: tuple[CpuSnapshot, ...] = ()
    disks: tuple[DiskSnapshot, ...] = ()
    interrupts: int = 0
    """Interrupts taken; the simulator has those between CPUs only."""
    context_switches: int = 0
    nr_iowait: int = 0
    """Tasks that wait for I/O."""
    processes_created: int = 0
    processes: tuple[ProcessSnapshot, ...] = ()

    def zones(self) -> Iterator[tuple[NodeSnapshot, ZoneSnapshot]]:
        """Yield every zone with its node, in printing order."""
        for node in self.nodes:
            for zone in node.zones:
                yield node, zone

    def zone_sum(self, value: Callable[[ZoneSnapshot], int]) -> int:
        """Sum a figure over all zones."""
        return sum(value(zone) for _, zone in self.zones())

    def zone_stat(self, name: str) -> int:
        """Sum a zone counter over the machine."""
        return self.zone_sum(lambda zone: zone.stats.get(name, 0))

    def node_stat(self, name: str) -> int:
        """Sum a node counter over the machine."""
        return sum(node.stats.get(name, 0) for node in self.nodes)

    def of_node(self, nid: int) -> "Snapshot":
        """Return the part of one node, for its own files."""
        return attrs.evolve(self, nodes=tuple(node for node in self.nodes if node.nid == nid))
