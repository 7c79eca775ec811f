"""Describe a machine: nodes and their zones, CPUs, distances, disks, swap, costs and tunables.

Linux: what include/linux/mmzone.h (zone sizes), drivers/acpi/numa (distances) and mm/swapfile.c
hold of the hardware.
Nothing here changes in a run; hotplug works on the node actors' own state.
Interface: `MachineSpec` and its parts are values; `load_machine` (machine_file.py) makes one from
TOML, `machine_from_proc` (from_proc.py) from the text of a running kernel. Every node lists every
zone type of the architecture, in the kernel's order, empty ones with zero pages.
Units: pages of 4 KiB, pfn, bytes, ns: in the name.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

import attrs

from kernelsim.config.boot import BootState
from kernelsim.config.era import LINUX_6_1, Era
from kernelsim.config.latency import LatencySpec
from kernelsim.config.sysctl import Sysctl
from kernelsim.config.sysctl_write import require_era
from kernelsim.config.zones import ARCHES, ZoneType, zone_types
from kernelsim.errors import ConfigError

__all__ = [
    "DEVICE_NAME",
    "DEVICE_NAME_MAX",
    "DEVICE_NAME_RULE",
    "LOCAL_DISTANCE",
    "NR_CPUS",
    "BlockDeviceSpec",
    "MachineSpec",
    "NodeSpec",
    "SwapSpec",
    "ZoneSpec",
    "is_one_line",
    "validate_machine",
]

NR_CPUS: Final = 8192  # CPUs; CONFIG_NR_CPUS of Debian's x86_64 kernel
MAX_NUMNODES: Final = 1024  # nodes; CONFIG_NODES_SHIFT=10 of Debian's x86_64 kernel
NO_NUMA_ARCHES: Final = ("i386", "i386pae")  # Debian builds their kernels without CONFIG_NUMA
HUGEPAGE_KB: Final = {"x86_64": 2048, "i386": 4096, "i386pae": 2048}
MAX_PFN: Final = 1 << 34  # 64 TiB; MAX_PHYSMEM_BITS of x86_64 without 5-level page tables
LOCAL_DISTANCE: Final = 10  # linux/topology.h; ACPI SLIT
DISTANCE_MAX: Final = 254  # ACPI SLIT: a byte, 255 means unreachable
SCHEDULERS: Final = ("none", "mq-deadline")  # block/elevator.c; the others are not simulated
DEVICE_NAME_MAX: Final = 31  # characters; linux/blkdev.h DISK_NAME_LEN, less the NUL
DEVICE_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._!-]{{0,{DEVICE_NAME_MAX - 1}}}")
LATENCY_SPREAD_MAX: Final = 1000  # with more, some requests would take no time
DEVICE_NAME_RULE: Final = (
    f"a device's name, up to {DEVICE_NAME_MAX} letters, digits and . _ - ! such as sda"
)


@attrs.frozen(kw_only=True)
class ZoneSpec:
    """One zone of a node. present = spanned - holes; managed = present - reserved at boot.

    Source: Linux 6.1 include/linux/mmzone.h:zone
    """

    type: ZoneType
    """Zone type."""
    start_pfn: int = 0
    """First page frame; 0 for an empty zone."""
    spanned_pages: int = 0
    """Page frames from first to last, holes included."""
    present_pages: int = 0
    """Page frames that are memory."""
    managed_pages: int = 0
    """Pages the buddy system was given."""

    @property
    def end_pfn(self) -> int:
        """Return the first pfn behind the zone."""
        return self.start_pfn + self.spanned_pages

    @property
    def hole_pages(self) -> int:
        """Return the page frames inside the zone that are no memory."""
        return self.spanned_pages - self.present_pages


@attrs.frozen(kw_only=True)
class NodeSpec:
    """One NUMA node."""

    nid: int
    """Node number."""
    cpus: tuple[int, ...]
    """CPU numbers; empty for a node without CPUs."""
    zones: tuple[ZoneSpec, ...]
    """Every zone type of the architecture, in the kernel's order."""
    memory_ranges: tuple[tuple[int, int], ...] = ()
    """RAM as (first pfn, pfn behind the last), holes left out; () when only the zones are known."""

    def zone(self, zone_type: ZoneType) -> ZoneSpec:
        """Return the zone of this type; KeyError if the architecture has none."""
        for zone in self.zones:
            if zone.type is zone_type:
                return zone
        raise KeyError(zone_type)

    @property
    def start_pfn(self) -> int:
        """Return node_start_pfn: the lowest pfn of the node; 0 for a node without memory."""
        return min((zone.start_pfn for zone in self.zones if zone.spanned_pages), default=0)

    @property
    def end_pfn(self) -> int:
        """Return the first pfn behind the node; 0 for a node without memory."""
        return max((zone.end_pfn for zone in self.zones if zone.spanned_pages), default=0)

    @property
    def spanned_pages(self) -> int:
        """Return node_spanned_pages: first to last page, holes included."""
        return self.end_pfn - self.start_pfn

    @property
    def present_pages(self) -> int:
        """Return node_present_pages: pages that are memory."""
        return sum(zone.present_pages for zone in self.zones)

    @property
    def managed_pages(self) -> int:
        """Return the pages the node's buddy system was given."""
        return sum(zone.managed_pages for zone in self.zones)


@attrs.frozen(kw_only=True)
class BlockDeviceSpec:
    """A disk: requests are served from a queue."""

    name: str
    """Device name, `vda`."""
    queue_depth: int = 32
    """Requests served at a time."""
    read_latency_ns: int = 90_000
    """One random 4 KiB read on an idle device; SATA SSD 80-100 us."""
    write_latency_ns: int = 50_000
    """One random 4 KiB write on an idle device, into the device's cache."""
    latency_spread_permille: int = 0
    """Standard deviation of these two over their mean, in 1/1000; 0: not known, all alike."""
    bandwidth_bytes_per_s: int = 500_000_000
    """Sustained transfer rate; SATA 3: 550 MB/s."""
    max_segments: int = 168
    """Pieces of memory, pages here, that one request may have; AHCI_MAX_SG of SATA controllers."""
    rotational: bool = False
    """Whether position matters (a hard disk)."""
    scheduler: str = "none"
    """Who orders the requests that wait: none, or mq-deadline, which also merges them."""
    request_ns: int = 0
    """What each request costs the pipe beside its data."""
    average_seek_ns: int = 0
    """How long its arm moves over a third of the disk; 0 for a disk without an arm."""
    track_to_track_ns: int = 0
    """How long its arm moves to the next track."""
    rotation_ns: int = 1
    """How long its platter takes to turn once."""
    capacity_bytes: int = 1_000_000_000_000
    """Size of the disk, over which its arm moves."""
    compressed_permille: int = 0
    """Size of a page that zram holds, of its own; 0 for a disk that is none."""
    compress_ns: int = 0
    """CPU time of compressing a page."""
    decompress_ns: int = 0
    """CPU time of expanding a page."""


@attrs.frozen(kw_only=True)
class SwapSpec:
    """A swap partition; its first page is the header, the rest holds pages."""

    name: str
    """Name in /proc/swaps, where what would part its columns is escaped."""
    size_bytes: int
    """Size of the partition, header page included."""
    prio: int = -2
    """Priority; the first one switched on without a priority gets -2."""
    device: str
    """Name of the BlockDeviceSpec it lies on."""
    on: bool = True
    """Whether it is switched on when the machine has booted."""

    @property
    def nr_slots(self) -> int:
        """Return the pages it can hold."""
        return self.size_bytes // 4096 - 1


@attrs.frozen(kw_only=True)
class MachineSpec:
    """A whole machine, checked: an instance that exists is consistent.

    Raises ConfigError on construction, naming key, value and rule.
    """

    name: str
    """Name for people."""
    arch: str = "x86_64"
    """x86_64, i386 (no PAE) or i386pae."""
    era: Era = LINUX_6_1
    """Rules of the kernel's generation; a file has its name."""
    nodes: tuple[NodeSpec, ...]
    """Nodes by number."""
    distances: tuple[tuple[int, ...], ...]
    """distances[from][to] as in the ACPI SLIT; may be asymmetric."""
    swaps: tuple[SwapSpec, ...] = ()
    """Swap areas in the order they are switched on."""
    devices: tuple[BlockDeviceSpec, ...] = ()
    """Disks."""
    latency: LatencySpec = attrs.field(factory=LatencySpec)
    """Costs."""
    sysctl: Sysctl = attrs.field(factory=Sysctl)
    """Tunables in force when the workload starts."""
    boot: BootState = attrs.field(factory=BootState)
    """What the kernel already uses."""

    def __attrs_post_init__(self) -> None:
        """Check the whole; see validate_machine."""
        validate_machine(self)

    @property
    def zone_types(self) -> tuple[ZoneType, ...]:
        """Return the zone types of the architecture, lowest first."""
        return zone_types(self.arch)

    @property
    def nr_cpus(self) -> int:
        """Return the number of CPUs of all nodes."""
        return sum(len(node.cpus) for node in self.nodes)

    @property
    def is_numa(self) -> bool:
        """Return whether its kernel is built for NUMA, be it with one node."""
        return self.arch not in NO_NUMA_ARCHES

    @property
    def hugepage_kb(self) -> int:
        """Return the size of a huge page."""
        return self.boot.meminfo_kb.get("Hugepagesize", HUGEPAGE_KB[self.arch])


def validate_machine(machine: MachineSpec) -> None:
    """Check what no single field can know: that the parts fit together.

    Raises ConfigError for the first rule broken, in this order: names, CPUs, memory, distances,
    swap, tunables.
    """
    _validate_names(machine)
    if machine.arch not in ARCHES:
        raise ConfigError("arch", machine.arch, f"must be one of {', '.join(ARCHES)}")
    if not 1 <= len(machine.nodes) <= MAX_NUMNODES:
        raise ConfigError("node", len(machine.nodes), f"a machine has 1 to {MAX_NUMNODES} nodes")
    for index, node in enumerate(machine.nodes):
        if node.nid != index:
            raise ConfigError("nid", node.nid, f"nodes are numbered from 0 in order; want {index}")
        if tuple(zone.type for zone in node.zones) != machine.zone_types:
            names = " ".join(zone.value for zone in machine.zone_types)
            got = " ".join(zone.type.value for zone in node.zones)
            raise ConfigError(f"nodes[{index}].zones", got, f"{machine.arch} has {names}")
    _validate_cpus(machine)
    _validate_memory(machine)
    _validate_distances(machine.distances, nr_nodes=len(machine.nodes))
    _validate_swap(machine)
    require_era(machine.sysctl, machine.era)


def _validate_names(machine: MachineSpec) -> None:
    """Check that names fit where they are printed: one line, a disk's in columns and as a file."""
    if not is_one_line(machine.name):
        raise ConfigError("name", machine.name, "must be a text that prints in one line")
    for index, device in enumerate(machine.devices):
        if not DEVICE_NAME.fullmatch(device.name):
            raise ConfigError(f"device[{index}].name", device.name, f"must be {DEVICE_NAME_RULE}")
    for index, swap in enumerate(machine.swaps):
        if not is_one_line(swap.name):
            rule = "must be a text that prints in one line, such as /dev/sda2"
            raise ConfigError(f"swap[{index}].name", swap.name, rule)


def is_one_line(text: str) -> bool:
    """Return whether a text shows something and fits on a line."""
    return bool(text.strip()) and text.isprintable()


def _validate_cpus(machine: MachineSpec) -> None:
    """Check that CPUs exist, fit and belong to one node each."""
    owner: dict[int, int] = {}
    for node in machine.nodes:
        for cpu in node.cpus:
            if not 0 <= cpu < NR_CPUS:
                raise ConfigError(f"node[{node.nid}].cpus", cpu, f"must be below {NR_CPUS}")
            if cpu in owner:
                rule = f"the CPU is already in node {owner[cpu]}"
                raise ConfigError(f"node[{node.nid}].cpus", cpu, rule)
            owner[cpu] = node.nid
    if not owner:
        raise ConfigError("cpus", "", "at least one node needs a CPU")
    if sorted(owner) != list(range(len(owner))):
        missing = next(cpu for cpu in range(NR_CPUS) if cpu not in owner)
        raise ConfigError("cpus", max(owner), f"CPUs are numbered from 0; CPU {missing} is missing")


def _validate_memory(machine: MachineSpec) -> None:
    """Check zone sizes, and that no page frame belongs to two zones."""
    for node in machine.nodes:
        for zone in node.zones:
            sizes = (zone.managed_pages, zone.present_pages, zone.spanned_pages)
            if sorted(sizes) != list(sizes) or zone.managed_pages < 0 or zone.start_pfn < 0:
                where = f"nodes[{node.nid}].zones.{zone.type.value}"
                text = "managed/present/spanned " + "/".join(map(str, sizes))
                raise ConfigError(where, text, "must be 0 <= managed <= present <= spanned")
            if zone.end_pfn > MAX_PFN:
                where = f"nodes[{node.nid}].zones.{zone.type.value}"
                rule = "memory must end below 64 TiB, as page tables of 4 levels need it"
                raise ConfigError(where, f"pfn {zone.end_pfn}", rule)
    if not any(node.managed_pages for node in machine.nodes):
        raise ConfigError("memory", 0, "at least one node needs memory")
    high = (ZoneType.ZONE_HIGHMEM, ZoneType.ZONE_MOVABLE, ZoneType.ZONE_DEVICE)
    zones = [zone for node in machine.nodes for zone in node.zones]
    if not any(zone.managed_pages for zone in zones if zone.type not in high):
        raise ConfigError("memory", 0, "the kernel itself needs pages that are not high or movable")
    ranges = sorted(
        (start, end, node.nid)
        for node in machine.nodes
        for start, end in (
            node.memory_ranges
            or tuple((zone.start_pfn, zone.end_pfn) for zone in node.zones if zone.spanned_pages)
        )
    )
    for (_, end, first), (start, _, second) in pairwise(ranges):
        if start < end:
            rule = f"the memory of nodes {first} and {second} overlaps"
            raise ConfigError(f"node[{second}].start", f"pfn {start}", rule)


def _validate_distances(distances: tuple[tuple[int, ...], ...], *, nr_nodes: int) -> None:
    """Check the table: square, 10 on the diagonal, more than that elsewhere; asymmetry is legal."""
    if len(distances) != nr_nodes:
        rule = f"needs one row a node: {nr_nodes} rows"
        raise ConfigError("distances", f"{len(distances)} rows", rule)
    for i, row in enumerate(distances):
        if len(row) != nr_nodes:
            rule = f"the table must be square: {nr_nodes} numbers a row"
            raise ConfigError(f"distances[{i}]", f"{len(row)} numbers", rule)
        for j, value in enumerate(row):
            if i == j and value != LOCAL_DISTANCE:
                rule = f"the distance of a node to itself is {LOCAL_DISTANCE}"
                raise ConfigError(f"distances[{i}][{j}]", value, rule)
            if not LOCAL_DISTANCE <= value <= DISTANCE_MAX:
                rule = f"must be {LOCAL_DISTANCE} to {DISTANCE_MAX}"
                raise ConfigError(f"distances[{i}][{j}]", value, rule)


def _validate_swap(machine: MachineSpec) -> None:
    """Check disks and that each swap area lies on one of them."""
    names = [device.name for device in machine.devices]
    for index, device in enumerate(machine.devices):
        if device.name in names[:index]:
            raise ConfigError(f"device[{index}].name", device.name, "the name is already taken")
        for key in ("queue_depth", "bandwidth_bytes_per_s", "rotation_ns", "capacity_bytes"):
            if getattr(device, key) < 1:
                value = getattr(device, key)
                raise ConfigError(f"device[{index}].{key}", value, "must be 1 or more")
        if not 0 <= device.latency_spread_permille <= LATENCY_SPREAD_MAX:
            key, value = f"device[{index}].latency_spread_permille", device.latency_spread_permille
            raise ConfigError(key, value, f"must be 0 to {LATENCY_SPREAD_MAX}")
        for key in (
            "read_latency_ns",
            "write_latency_ns",
            "request_ns",
            "average_seek_ns",
            "track_to_track_ns",
            "compressed_permille",
            "compress_ns",
            "decompress_ns",
        ):
            if getattr(device, key) < 0:
                value = getattr(device, key)
                raise ConfigError(f"device[{index}].{key}", value, "must be 0 or more")
        if device.scheduler not in SCHEDULERS:
            rule = f"must be one of {', '.join(SCHEDULERS)}"
            raise ConfigError(f"device[{index}].scheduler", device.scheduler, rule)
    for index, swap in enumerate(machine.swaps):
        if swap.device not in names:
            known = ", ".join(names) or "none is defined"
            raise ConfigError(f"swap[{index}].device", swap.device, f"no such device ({known})")
        if swap.nr_slots < 1:
            rule = "must hold at least a header page and one more page"
            raise ConfigError(f"swap[{index}].size", swap.size_bytes, rule)
        if swap.nr_slots >= MAX_PFN:
            raise ConfigError(f"swap[{index}].size", swap.size_bytes, "must be less than 64 TiB")
