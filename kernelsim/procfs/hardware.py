"""Render what describes CPUs and disks: cpuinfo, sys/devices/system/cpu, diskstats, loose links.

Linux: arch/x86/kernel/cpu/proc.c, drivers/base/cpu.c, drivers/base/topology.c,
block/genhd.c:diskstats_show, drivers/base/node.c, 6.1.
Differs: A CPU has no maker, family or caches, so cpuinfo names none; its flags are what is
simulated. Each CPU is a core of its own, and the CPUs of a node are one package. Requests to disks
are not merged, discarded or flushed, which shows as 0.

Interface: `render_*` return whole files, `cpu_tree` yields files below sys/devices/system/cpu,
`tree_links` the symbolic links below sys.
Units: MHz, sectors of 512 bytes, ms.
"""

from collections.abc import Iterator
from typing import Final

from kernelsim.config.machine import NR_CPUS
from kernelsim.config.number_list import format_number_list
from kernelsim.procfs.process import bit_mask
from kernelsim.procfs.snapshot import DiskSnapshot, NodeSnapshot, Snapshot, ZoneSnapshot
from kernelsim.units import NS_PER_MS, PAGE_SIZE, SECTORS_PER_PAGE

HZ_PER_KHZ: Final = 1000
CACHE_LINE_BYTES: Final = 64  # what Linux assumes before it has asked the CPU
# Per architecture: flags in the kernel's order, bits of a physical and of a virtual address.
CPU_FLAGS: Final = {
    "x86_64": ("fpu pse tsc pae pge nx lm pcid", 52, 48),
    "i386": ("fpu pse tsc pge", 32, 32),
    "i386pae": ("fpu pse tsc pae pge nx", 36, 32),
}


def render_cpuinfo(snapshot: Snapshot) -> str:
    """Render /proc/cpuinfo, a paragraph a CPU.

    Source: Linux 6.1 arch/x86/kernel/cpu/proc.c:show_cpuinfo
    """
    return "".join(
        _cpu_paragraph(snapshot, node, core, cpu)
        for cpu, (node, core) in sorted(_places(snapshot).items())
    )


def _places(snapshot: Snapshot) -> dict[int, tuple[NodeSnapshot, int]]:
    """Return the node of each CPU and its number there."""
    return {cpu: (node, core) for node in snapshot.nodes for core, cpu in enumerate(node.cpus)}


def _cpu_paragraph(snapshot: Snapshot, node: NodeSnapshot, core: int, cpu: int) -> str:
    """Return the lines of one CPU and the empty line behind them."""
    flags, physical_bits, virtual_bits = CPU_FLAGS[snapshot.arch]
    khz = snapshot.cpu_frequency_hz // HZ_PER_KHZ
    is_32_bit = snapshot.arch != "x86_64"
    lines = [
        f"processor\t: {cpu}",
        "vendor_id\t: unknown",
        "cpu family\t: 0",
        "model\t\t: 0",
        "model name\t: unknown",
        "stepping\t: 0",
        f"cpu MHz\t\t: {khz // 1000}.{khz % 1000:03d}",
        f"physical id\t: {node.nid}",
        f"siblings\t: {len(node.cpus)}",
        f"core id\t\t: {core}",
        f"cpu cores\t: {len(node.cpus)}",
        f"apicid\t\t: {cpu}",
        f"initial apicid\t: {cpu}",
        *(("fdiv_bug\t: no", "f00f_bug\t: no", "coma_bug\t: no") if is_32_bit else ()),
        "fpu\t\t: yes",
        "fpu_exception\t: yes",
        "cpuid level\t: 0",
        "wp\t\t: yes",
        f"flags\t\t: {flags}",
        "bugs\t\t:",
        # The clock's counter is the timer; bogomips then is twice its frequency.
        f"bogomips\t: {2 * khz // 1000}.{2 * khz % 1000 // 10:02d}",
        f"clflush size\t: {CACHE_LINE_BYTES}",
        f"cache_alignment\t: {CACHE_LINE_BYTES}",
        f"address sizes\t: {physical_bits} bits physical, {virtual_bits} bits virtual",
        "power management:",
    ]
    return "\n".join(lines) + "\n\n"


def cpu_tree(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield the files below sys/devices/system/cpu; all CPUs are online.

    Source: Linux 6.1 drivers/base/cpu.c:cpu_root_attrs, drivers/base/topology.c:default_attrs
    """
    places = _places(snapshot)
    every = format_number_list(sorted(places))
    lists = {"possible": every, "present": every, "online": every, "offline": "", "isolated": ""}
    for name, numbers in {**lists, "kernel_max": str(NR_CPUS - 1)}.items():
        yield name, f"{numbers}\n"
    for cpu, (node, core) in sorted(places.items()):
        if cpu:  # the first CPU cannot be taken offline
            yield f"cpu{cpu}/online", "1\n"
        place = {"physical_package_id": node.nid, "die_id": 0, "core_id": core}
        for name, number in place.items():
            yield f"cpu{cpu}/topology/{name}", f"{number}\n"
        alone, together = (cpu,), node.cpus
        sets = {"thread_siblings": alone, "core_cpus": alone, "core_siblings": together}
        for name, cpus in {**sets, "die_cpus": together, "package_cpus": together}.items():
            yield f"cpu{cpu}/topology/{name}", f"{bit_mask(cpus, max(places) + 1)}\n"
            yield f"cpu{cpu}/topology/{name}_list", f"{format_number_list(cpus)}\n"


def render_diskstats(snapshot: Snapshot) -> str:
    """Render /proc/diskstats.

    Source: Linux 6.1 block/genhd.c:diskstats_show
    """
    return "".join(f"{_disk_line(disk)}\n" for disk in snapshot.disks)


def _disk_line(disk: DiskSnapshot) -> str:
    """Return the line of one disk: 17 counts behind its name."""
    read, written = disk.pages_read * SECTORS_PER_PAGE, disk.pages_written * SECTORS_PER_PAGE
    reads = (disk.nr_reads, disk.nr_read_merges, read, disk.read_ns // NS_PER_MS)
    writes = (disk.nr_writes, disk.nr_write_merges, written, disk.write_ns // NS_PER_MS)
    queue_ns = disk.read_ns + disk.write_ns
    queue = (disk.nr_in_flight, disk.active_ns // NS_PER_MS, queue_ns // NS_PER_MS)
    discards_and_flushes = (0,) * 6
    fields = (*reads, *writes, *queue, *discards_and_flushes)
    return f"{disk.major:4d} {disk.minor:7d} {disk.name} " + " ".join(map(str, fields))


def render_mm_stat(disk: DiskSnapshot) -> str:
    """Render /sys/block/zram0/mm_stat.

    Source: Linux 6.1 drivers/block/zram/zram_drv.c:mm_stat_show
    """
    return " ".join(f"{figure:8d}" for figure in disk.mm_stat) + "\n"


def tree_links(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield (path, target) of the links from CPUs and memory blocks to their nodes.

    Source: Linux 6.1 drivers/base/node.c:register_cpu_under_node, :link_mem_sections
    """
    # Differs from Linux: A node in sysfs has no links back to its CPUs and blocks; no reader asks
    # for them.
    for node in snapshot.nodes if snapshot.numa else ():
        members = [f"cpu/cpu{cpu}" for cpu in node.cpus]
        members += [f"memory/memory{index}" for index in _blocks_of(snapshot, node)]
        for member in members:
            yield f"sys/devices/system/{member}/node{node.nid}", f"../../node/node{node.nid}"


def _blocks_of(snapshot: Snapshot, node: NodeSnapshot) -> list[int]:
    """Return the memory blocks that a zone of the node reaches into."""
    if not snapshot.block_size_bytes:
        return []
    nr_pages = snapshot.block_size_bytes // PAGE_SIZE
    zones = [zone for zone in node.zones if zone.populated]
    return [
        block.index
        for block in snapshot.memory_blocks
        if any(_reaches(zone, block.index * nr_pages, nr_pages) for zone in zones)
    ]


def _reaches(zone: ZoneSnapshot, start_pfn: int, nr_pages: int) -> bool:
    """Whether a zone has page frames in a range."""
    return zone.start_pfn < start_pfn + nr_pages and start_pfn < zone.start_pfn + zone.spanned
