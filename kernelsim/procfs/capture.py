"""Take a snapshot of a running machine: what /proc and /sys show at the present virtual time.

Linux: mm/vmstat.c, fs/proc/meminfo.c, 6.1.
Differs: What the kernel itself uses (stacks, most of slab, vmalloc, per-CPU areas) stays what it
was when the machine was recorded; a machine written by hand has none of it. To stacks and vmalloc
comes what the threads have that were born since; slabs: capture_slab.py.

Interface: `capture` reads the machine and changes nothing.
Units: as in snapshot.py.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.config.boot import BootState
from kernelsim.config.sysctl import SYSCTLS
from kernelsim.config.sysctl_write import sysctl_text
from kernelsim.config.zones import MIGRATE_TYPES, ZoneType
from kernelsim.mm.core.lru_gen import (
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LG_TIMESTAMPS,
    LRU_GEN_ANON,
    LRU_GEN_FILE,
)
from kernelsim.mm.core.lruvec import LV_KSWAPD_FAILURES
from kernelsim.mm.core.mem import (
    ANON_AND_FILE,
    I64,
    MAX_NR_GENS,
    PAGEBLOCK_ORDER,
    Z_FREE,
    Z_MANAGED,
    Z_NID,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_PRESENT,
    Z_SPANNED,
    Z_START_PFN,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.core.vmstat import (
    ALLOCSTALL_DMA,
    NODE_STAT_NAMES,
    NUMA_STAT_NAMES,
    PGALLOC_DMA,
    PGSKIP_DMA,
    VM_EVENT_NAMES,
    ZONE_STAT_NAMES,
)
from kernelsim.mm.file.dirty_limits import global_dirty_limits
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.page.memory_hotplug import valid_zones
from kernelsim.mm.page.page_zone import pageblock_types
from kernelsim.mm.page.phys_mem import BOOT_GENERATION, PgData
from kernelsim.mm.page.watermark import calculate_normal_threshold
from kernelsim.mm.reclaim.lru_gen_aging import gen_size
from kernelsim.mm.reclaim.scan_control import MAX_RECLAIM_RETRIES
from kernelsim.mm.swap.swap_area import SA_INUSE, SA_MAX, SA_PRIO, SA_USED
from kernelsim.mm.swap.swapon import si_swapinfo
from kernelsim.procfs.capture_process import capture_processes
from kernelsim.procfs.capture_slab import capture_slabs
from kernelsim.procfs.capture_vmalloc import capture_vmallocinfo, vmalloc_total_kb
from kernelsim.procfs.snapshot import (
    PAGE_KB,
    CpuSnapshot,
    DiskSnapshot,
    GenerationSnapshot,
    MemoryBlock,
    NodeSnapshot,
    PcpSnapshot,
    Snapshot,
    SwapArea,
    ZoneSnapshot,
)
from kernelsim.procfs.vmstat import ZONE_SUFFIXES
from kernelsim.sched.psi import (
    PSI_CPU_FULL,
    PSI_CPU_SOME,
    PSI_IO_FULL,
    PSI_IO_SOME,
    PSI_MEM_FULL,
    PSI_MEM_SOME,
    Pressure,
)

FIRST_PID: Final = 100
MINOR_BITS: Final = 20  # of a device number; MINORBITS in include/linux/kdev_t.h
PRESSURE_STATES: Final = {
    "cpu": {"some": PSI_CPU_SOME, "full": PSI_CPU_FULL},
    "io": {"some": PSI_IO_SOME, "full": PSI_IO_FULL},
    "memory": {"some": PSI_MEM_SOME, "full": PSI_MEM_FULL},
}


def capture(kernel: Kernel, *, usage: bool = True, pressure: bool = True) -> Snapshot:
    """Return what the machine looks like now.

    Args:
        kernel: It.
        usage: Whether to walk the page tables for what smaps says of each mapping.
        pressure: Whether to read /proc/pressure, which makes the kernel add up what it prints.
    """
    spec, boot = kernel.spec, kernel.spec.boot
    swap_total, swap_free = si_swapinfo(kernel.swap)
    boot_kb = boot.meminfo_kb
    nodes = tuple(capture_node(kernel, node) for node in kernel.phys.online_nodes)
    now_ns = kernel.engine.now_ns
    cpus = tuple(capture_cpus(kernel))
    dirty = global_dirty_limits(kernel.phys)
    blocks = kernel.phys.memory_blocks
    commit = kernel.mms.commit
    return Snapshot(
        nodes=nodes,
        possible_nodes=tuple(node.nid for node in kernel.phys.nodes),
        arch=spec.arch,
        cpu_frequency_hz=spec.latency.cpu_frequency_hz,
        numa=spec.is_numa,
        pageblock_order=PAGEBLOCK_ORDER,
        vm_events=vm_events(kernel),
        dirty_threshold=dirty.thresh,
        dirty_background_threshold=dirty.bg_thresh,
        totalreserve_pages=kernel.phys.totalreserve_pages,
        swap_total=swap_total,
        swap_free=swap_free,
        commit_limit=commit.commit_limit(),
        committed_as=commit.committed_pages + boot_kb.get("Committed_AS", 0) // PAGE_KB,
        buffers=boot_kb.get("Buffers", 0) // PAGE_KB,
        vmalloc_total_kb=boot_kb.get("VmallocTotal", vmalloc_total_kb(kernel)),
        vmalloc_used=kernel.init_mm.nr_vmalloc_pages,
        vmallocinfo=capture_vmallocinfo(kernel),
        percpu=boot_kb.get("Percpu", 0) // PAGE_KB,
        hugepage_kb=spec.hugepage_kb,
        direct_map_kb=direct_map_kb(boot, kernel.phys.totalram_pages),
        swaps=tuple(capture_swaps(kernel)),
        slabs=tuple(capture_slabs(kernel.mem, kernel.spec.era)),
        sysctls=sysctl_texts(kernel),
        block_size_bytes=blocks.size_bytes,
        auto_online_blocks=blocks.auto_online,
        memory_blocks=tuple(
            MemoryBlock(
                index=block.index,
                state=block.state,
                valid_zones=valid_zones(kernel.phys, block),
                removable=block.is_removable,
            )
            for block in blocks.blocks
        ),
        pressure=capture_pressure(kernel) if pressure else {},
        uptime_ns=boot.uptime_ns + now_ns,
        idle_ns=sum(cpu.idle_ns for cpu in cpus),
        cpus=cpus,
        disks=tuple(capture_disks(kernel)),
        interrupts=sum(cpu.state.nr_ipis for cpu in kernel.cpus),
        context_switches=sum(cpu.state.nr_switches for cpu in kernel.cpus),
        nr_iowait=sum(cpu.state.nr_iowait for cpu in kernel.cpus),
        processes_created=kernel.next_pid - FIRST_PID,
        processes=tuple(capture_processes(kernel, usage=usage)),
    )


def direct_map_kb(boot: BootState, totalram_pages: int) -> dict[str, int]:
    """Return the kernel's map of all memory by page size, of 2 MiB pages unless recorded."""
    kb = boot.meminfo_kb
    prefix = "DirectMap"
    recorded = {n.removeprefix(prefix): size for n, size in kb.items() if n.startswith(prefix)}
    return recorded or {"4k": 0, "2M": totalram_pages * PAGE_KB}


def capture_node(kernel: Kernel, node: PgData) -> NodeSnapshot:
    """Return one node with its zones; it has distances to nodes in use only."""
    nid = node.nid
    distances = kernel.phys.numa_distance[nid]
    nr_types = len(kernel.phys.zone_types)
    return NodeSnapshot(
        nid=nid,
        zones=tuple(
            capture_zone(kernel, nid * nr_types + index, zone_type)
            for index, zone_type in enumerate(kernel.phys.zone_types)
        ),
        stats=named(NODE_STAT_NAMES, kernel.mem.node_stat[nid]),
        unreclaimable=bool(kernel.lruvec[nid, LV_KSWAPD_FAILURES] >= MAX_RECLAIM_RETRIES),
        cpus=node.cpus,
        distances=tuple(distances[other.nid] for other in kernel.phys.online_nodes),
        generations=tuple(capture_generations(kernel, nid)),
    )


def capture_generations(kernel: Kernel, nid: int) -> Iterator[GenerationSnapshot]:
    """Return the generations of a node from the oldest of any type on, none if it has no memory."""
    state, now_ns = kernel.mem.lru_gen[nid], kernel.engine.now_ns
    rows = kernel.mem.zone[kernel.mem.zone[:, Z_NID] == nid]
    first = int(state[LG_MIN_SEQ : LG_MIN_SEQ + ANON_AND_FILE].min())
    for seq in range(first, int(state[LG_MAX_SEQ]) + 1) if rows[:, Z_MANAGED].any() else ():
        gen = seq % MAX_NR_GENS
        yield GenerationSnapshot(
            seq=seq,
            age_ns=now_ns - int(state[LG_TIMESTAMPS + gen]),
            anon=gen_size(state, gen, LRU_GEN_ANON),
            file=gen_size(state, gen, LRU_GEN_FILE),
        )


def capture_zone(kernel: Kernel, zone: int, zone_type: ZoneType) -> ZoneSnapshot:
    """Return one zone; an empty one has its protection and nothing else."""
    mem = kernel.mem
    row = [int(value) for value in mem.zone[zone]]
    protection = tuple(int(pages) for pages in mem.lowmem_reserve[zone])
    numa_stat = mem.numa_stat[zone]
    if not row[Z_PRESENT]:
        return ZoneSnapshot(
            name=zone_type.value,
            min=row[Z_WMARK_MIN],
            low=row[Z_WMARK_LOW],
            high=row[Z_WMARK_HIGH],
            protection=protection,
            # Of a zone that has lost its memory; zoneinfo prints none, sums have them.
            numa_stats=named(NUMA_STAT_NAMES, numa_stat) if numa_stat.any() else {},
        )
    counts = free_area_counts(mem, zone)
    blocks = np.bincount(pageblock_types(mem, zone), minlength=len(MIGRATE_TYPES))
    stats = named(ZONE_STAT_NAMES, mem.zone_stat[zone])
    return ZoneSnapshot(
        name=zone_type.value,
        boost=row[Z_WATERMARK_BOOST],
        min=row[Z_WMARK_MIN],
        low=row[Z_WMARK_LOW],
        high=row[Z_WMARK_HIGH],
        spanned=row[Z_SPANNED],
        present=row[Z_PRESENT],
        managed=row[Z_MANAGED],
        protection=protection,
        stats=stats | {"nr_free_pages": row[Z_FREE]},
        numa_stats=named(NUMA_STAT_NAMES, numa_stat),
        pcp=tuple(capture_pcp(kernel, zone, zone_type)),
        start_pfn=row[Z_START_PFN],
        nr_free=tuple(int(count) for count in counts.sum(axis=1)),
        free_lists={
            name: tuple(int(count) for count in counts[:, number])
            for number, name in enumerate(MIGRATE_TYPES)
        },
        pageblocks={name: int(blocks[number]) for number, name in enumerate(MIGRATE_TYPES)},
    )


def capture_pcp(kernel: Kernel, zone: int, zone_type: ZoneType) -> list[PcpSnapshot]:
    """Return the per-cpu lists of a zone; recorded thresholds hold until memory or CPUs change."""
    row = kernel.mem.zone[zone]
    nid = zone // len(kernel.phys.zone_types)
    managed = int(row[Z_MANAGED])
    computed = calculate_normal_threshold(managed, nr_online_cpus=kernel.phys.nr_cpus)
    recorded = {
        pcp.cpu: pcp.vm_stats_threshold
        for boot in kernel.spec.boot.zones
        if kernel.phys.generation == BOOT_GENERATION and (boot.nid, boot.type) == (nid, zone_type)
        for pcp in boot.pcp
    }
    return [
        PcpSnapshot(
            cpu=cpu,
            count=int(count),
            high=int(row[Z_PCP_HIGH]),
            batch=int(row[Z_PCP_BATCH]),
            vm_stats_threshold=recorded.get(cpu, computed),
        )
        for cpu, count in enumerate(kernel.mem.pcp_count[zone])
    ]


def vm_events(kernel: Kernel) -> dict[str, int]:
    """Return the event counters by the names this architecture's zones give them."""
    counts = kernel.mem.vm_event
    events = named(VM_EVENT_NAMES, counts)
    for index, zone_type in enumerate(kernel.phys.zone_types):
        suffix = ZONE_SUFFIXES[zone_type.value]
        events[f"pgalloc_{suffix}"] = int(counts[PGALLOC_DMA + index])
        events[f"allocstall_{suffix}"] = int(counts[ALLOCSTALL_DMA + index])
        events[f"pgskip_{suffix}"] = int(counts[PGSKIP_DMA + index])
    return events


def named(names: tuple[str, ...], row: I64) -> dict[str, int]:
    """Return counters by name."""
    return dict(zip(names, (int(value) for value in row), strict=True))


def capture_pressure(kernel: Kernel) -> dict[str, dict[str, Pressure]]:
    """Return what /proc/pressure says."""
    now_ns = kernel.engine.now_ns
    return {
        resource: {kind: kernel.psi.read(state, now_ns) for kind, state in states.items()}
        for resource, states in PRESSURE_STATES.items()
    }


def capture_swaps(kernel: Kernel) -> list[SwapArea]:
    """Return the swap areas."""
    return [
        SwapArea(
            path=spec.name,
            type="partition",
            size_kb=int(area[SA_MAX] - 1) * PAGE_KB,
            used_kb=int(area[SA_INUSE]) * PAGE_KB,
            prio=int(area[SA_PRIO]),
        )
        for spec, area in zip(kernel.spec.swaps, kernel.swap.area, strict=True)
        if area[SA_USED]
    ]


def capture_disks(kernel: Kernel) -> list[DiskSnapshot]:
    """Return what the disks have done."""
    disks: list[DiskSnapshot] = []
    for device in kernel.devices.values():
        done, zram = device.statistics, kernel.zrams.get(device.name)
        disks.append(
            DiskSnapshot(
                name=device.name,
                major=device.dev >> MINOR_BITS,
                minor=device.dev & ((1 << MINOR_BITS) - 1),
                nr_reads=done.nr_reads,
                nr_writes=done.nr_writes,
                nr_read_merges=done.nr_read_merges,
                nr_write_merges=done.nr_write_merges,
                pages_read=done.pages_read,
                pages_written=done.pages_written,
                read_ns=done.read_ns,
                write_ns=done.write_ns,
                nr_in_flight=device.nr_in_flight,
                active_ns=device.active_ns,
                mm_stat=zram.mm_stat() if zram is not None else (),
            )
        )
    return disks


COMPACTION_SYSCTLS: Final = (  # of kernels that compact memory
    "vm.extfrag_threshold",
    "vm.compaction_proactiveness",
    "vm.compact_unevictable_allowed",
)


def sysctl_texts(kernel: Kernel) -> dict[str, str]:
    """Return the tunables in force that a kernel of this architecture has."""
    sysctl = kernel.sysctl
    texts = {name: sysctl_text(e, getattr(sysctl, e.attribute)) for name, e in SYSCTLS.items()}
    if ZoneType.ZONE_HIGHMEM not in kernel.phys.zone_types:
        del texts["vm.highmem_is_dirtyable"]  # only kernels with high memory have it
    for name, most in kernel.spec.era.sysctl_maximum.items():
        if not most:  # it can only be 0: that kernel does not know it
            del texts[name]
    if not kernel.spec.era.compaction:
        for name in COMPACTION_SYSCTLS:
            del texts[name]
    return texts


def capture_cpus(kernel: Kernel) -> list[CpuSnapshot]:
    """Return how the CPUs spent their time since the machine was started here."""
    if kernel.processes:
        kernel.bursts.enter_tasks()
    now_ns = kernel.engine.now_ns
    cpus: list[CpuSnapshot] = []
    for cpu in kernel.cpus:
        busy_ns = cpu.busy_total_ns() if now_ns else 0
        user_ns = min(cpu.state.user_ns, busy_ns)
        iowait_ns = cpu.iowait_total_ns()
        cpus.append(
            CpuSnapshot(
                cpu=cpu.number,
                user_ns=user_ns,
                system_ns=busy_ns - user_ns,
                iowait_ns=iowait_ns,
                idle_ns=now_ns - busy_ns - iowait_ns,
            )
        )
    return cpus
