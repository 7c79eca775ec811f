"""Describe a machine: nodes and their zones, CPUs, distances, disks, swap, costs and tunables.

Linux: what include/linux/mmzone.h (zone sizes), drivers/acpi/numa (distances) and mm/swapfile.c
hold of the hardware.
Nothing here changes in a run; hotplug works on the node actors' own state.
Interface: `MachineSpec` and its parts are values; `load_machine` (machine_file.py) makes one from
TOML, `machine_from_proc` (from_proc.py) from the text of a running kernel. Every node lists every
zone type of the kernel, in its order, empty ones with zero pages.
Units: pages of 4 KiB, pfn, bytes, ns: in the name.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from kernelsim.config.boot import BootState
from kernelsim.config.dimm_window import dimm_window, struct_page_ranges
from kernelsim.config.disks import (
    BlockDeviceSpec,
    FileSpec,
    SwapSpec,
    is_one_line,
    validate_disks,
    validate_files,
)
from kernelsim.config.era import LINUX_6_1, Era
from kernelsim.config.latency import LatencySpec
from kernelsim.config.memory_model import MemoryModel, default_model, memory_model
from kernelsim.config.sysctl import Sysctl
from kernelsim.config.sysctl_write import require_era
from kernelsim.config.validate_memory import validate_memory, validate_memory_model
from kernelsim.config.zones import (
    ARCHES,
    MAX_NR_ZONES,
    MAX_NUMNODES,
    ZoneType,
)
from kernelsim.errors import ConfigError
from kernelsim.units import PAGE_SIZE

__all__ = [
    "DEVICE_NAME",
    "DEVICE_NAME_MAX",
    "DEVICE_NAME_RULE",
    "LOCAL_DISTANCE",
    "NR_CPUS",
    "MachineSpec",
    "NodeSpec",
    "ZoneSpec",
    "validate_machine",
]

NR_CPUS: Final = 8192  # CPUs; CONFIG_NR_CPUS of Debian's x86_64 kernel
NO_NUMA_ARCHES: Final = ("i386", "i386pae")  # Debian builds their kernels without CONFIG_NUMA
HUGEPAGE_KB: Final = {"x86_64": 2048, "i386": 4096, "i386pae": 2048}
LOCAL_DISTANCE: Final = 10  # linux/topology.h; ACPI SLIT
DISTANCE_MAX: Final = 254  # ACPI SLIT: a byte, 255 means unreachable
DEVICE_NAME_MAX: Final = 31  # characters; linux/blkdev.h DISK_NAME_LEN, less the NUL
DEVICE_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._!-]{{0,{DEVICE_NAME_MAX - 1}}}")
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
    """Every zone type of the kernel, in its order."""
    memory_ranges: tuple[tuple[int, int], ...] = ()
    """RAM as (first pfn, pfn behind the last), holes left out; () when only the zones are known."""

    def zone(self, zone_type: ZoneType) -> ZoneSpec:
        """Return the zone of this type; KeyError if the kernel has none."""
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
    def struct_page_ranges(self) -> tuple[tuple[int, int], ...]:
        """Return the frames that need a struct page: RAM, and what ZONE_DEVICE holds."""
        zones = [zone for zone in self.zones if zone.spanned_pages]
        if self.memory_ranges:
            zones = [zone for zone in zones if zone.type is ZoneType.ZONE_DEVICE]
        return (*self.memory_ranges, *((zone.start_pfn, zone.end_pfn) for zone in zones))

    @property
    def managed_pages(self) -> int:
        """Return the pages the node's buddy system was given."""
        return sum(zone.managed_pages for zone in self.zones)


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
    files: tuple[FileSpec, ...] = ()
    """Files on the disks."""
    latency: LatencySpec = attrs.field(factory=LatencySpec)
    """Costs."""
    sysctl: Sysctl = attrs.field(factory=Sysctl)
    """Tunables in force when the workload starts."""
    memory_model: str = attrs.field(
        default=attrs.Factory(
            lambda self: default_model(self.arch, len(self.nodes)), takes_self=True
        )
    )
    """flatmem, discontigmem or sparsemem; what the kernel is built with."""
    maxmem_bytes: int = 0
    """RAM with all slots full, of DIMMs that come while it runs; 0 for no free slot."""
    init_pages: int = 0
    """Init sections, freed when the watermarks are computed; 0 for a kernel of unknown build."""
    initrd_pages: int = 0
    """The initramfs, freed when the watermarks are computed."""
    boot: BootState = attrs.field(factory=BootState)
    """What the kernel already uses."""

    def __attrs_post_init__(self) -> None:
        """Check the whole; see validate_machine."""
        validate_machine(self)

    @property
    def zone_types(self) -> tuple[ZoneType, ...]:
        """Return the zone types its kernel was built with, lowest first."""
        return tuple(zone.type for zone in self.nodes[0].zones)

    @property
    def nr_cpus(self) -> int:
        """Return the number of CPUs of all nodes."""
        return sum(len(node.cpus) for node in self.nodes)

    @property
    def is_numa(self) -> bool:
        """Return whether its kernel is built for NUMA, be it with one node."""
        return self.arch not in NO_NUMA_ARCHES

    @property
    def dimm_window(self) -> tuple[int, int]:
        """Return the frames where DIMMs may come: the first, and the one behind the last."""
        return dimm_window(self.nodes, self.maxmem_bytes)

    def mem_map(self, model: str, *, page_size: int = PAGE_SIZE) -> MemoryModel:
        """Return the maps of struct page that a memory model keeps for this machine.

        Args:
            model: one of MODELS; `memory_model` for its own.
            page_size: of the kernel, in bytes.
        """
        return memory_model(
            model,
            struct_page_ranges(self.nodes, model, self.maxmem_bytes),
            arch=self.arch,
            struct_page_bytes=self.era.struct_page_bytes,
            page_size=page_size,
        )

    @property
    def hugepage_kb(self) -> int:
        """Return the size of a huge page."""
        return self.boot.meminfo_kb.get("Hugepagesize", HUGEPAGE_KB[self.arch])


def validate_machine(machine: MachineSpec) -> None:
    """Check what no single field can know: that the parts fit together.

    Raises ConfigError for the first rule broken, in this order: names, CPUs, memory, memory model,
    distances, swap, files, tunables.
    """
    _validate_names(machine)
    if machine.arch not in ARCHES:
        raise ConfigError("arch", machine.arch, f"must be one of {', '.join(ARCHES)}")
    if not 1 <= len(machine.nodes) <= MAX_NUMNODES:
        raise ConfigError("node", len(machine.nodes), f"a machine has 1 to {MAX_NUMNODES} nodes")
    for index, node in enumerate(machine.nodes):
        if node.nid != index:
            raise ConfigError("nid", node.nid, f"nodes are numbered from 0 in order; want {index}")
        _validate_zone_types(machine, index)
    _validate_cpus(machine)
    validate_memory(machine)
    validate_memory_model(machine)
    _validate_distances(machine.distances, nr_nodes=len(machine.nodes))
    validate_disks(machine.devices, machine.swaps)
    validate_files(machine.devices, machine.swaps, machine.files)
    require_era(machine.sysctl, machine.era)


def _validate_zone_types(machine: MachineSpec, nid: int) -> None:
    """Check that a node has the zone types of node 0, and those a kernel can be built with."""
    types = tuple(zone.type for zone in machine.nodes[nid].zones)
    got = " ".join(kind.value for kind in types)
    if types != machine.zone_types:
        names = " ".join(kind.value for kind in machine.zone_types)
        raise ConfigError(f"nodes[{nid}].zones", got, f"must be those of node 0: {names}")
    if types != tuple(kind for kind in ZoneType if kind in types):
        raise ConfigError(f"nodes[{nid}].zones", got, "must stand in the kernel's order, each once")
    if not {ZoneType.ZONE_NORMAL, ZoneType.ZONE_MOVABLE} <= set(types):
        raise ConfigError(f"nodes[{nid}].zones", got, "must have Normal and Movable, be they empty")
    if len(types) > MAX_NR_ZONES:
        raise ConfigError(f"nodes[{nid}].zones", got, f"must be {MAX_NR_ZONES} at most")


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
