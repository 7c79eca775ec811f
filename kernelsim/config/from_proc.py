"""Make a machine from the text of a running kernel: a recorded snapshot, a paste, or /proc itself.

Linux: what /proc/zoneinfo and its neighbours print.
Differs: The kernel does not print where memory lies inside a zone with holes, so that is estimated.
It does not describe disks either: they get the figures of a SATA SSD, in a recorded case those of
its emulated machine.
Interface: `machine_from_proc(path)` and `machine_from_recording`. What the zones say of the kernel
is in proc_zones.py, CPUs and distances in proc_topology.py, the state in boot_from_proc.py.
Units: pages; KiB in meminfo.

Only zoneinfo is needed. A recorded case has case.toml beside the snapshot; it says the
architecture and the disks. Nodes come from nodes.txt, else from a sys tree (inside the directory
or beside it), else from case.toml: the kernel numbers nodes and CPUs in its own way, so what it
printed counts more than what was asked for. What is not recorded and taken for granted is told.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import attrs

from kernelsim.config.boot_from_proc import boot_state_from_proc
from kernelsim.config.disks import BlockDeviceSpec, FileSpec, SwapSpec
from kernelsim.config.emulated import DATA_DISK, EMULATED_CPU, emulated_disk
from kernelsim.config.latency import LatencySpec
from kernelsim.config.layout import LEGACY_HOLE
from kernelsim.config.machine import (
    DEVICE_NAME,
    DEVICE_NAME_MAX,
    MachineSpec,
    NodeSpec,
    ZoneSpec,
)
from kernelsim.config.machine_form import DEVICE_KINDS
from kernelsim.config.number_list import format_number_list
from kernelsim.config.proc_text import (
    CaseFile,
    ZoneinfoZone,
    parse_case,
    parse_swaps,
    parse_sysctl,
    parse_zoneinfo,
)
from kernelsim.config.proc_topology import sys_node_tree, topology_of
from kernelsim.config.proc_zones import KernelOf, kernel_of, refuse_other_page_sizes
from kernelsim.config.recording import Recording
from kernelsim.config.sysctl import SYSCTLS, Sysctl
from kernelsim.config.sysctl_write import sysctl_from_text
from kernelsim.config.zones import LOWMEM_RESERVE_RATIO, ZoneType
from kernelsim.errors import ConfigError, RecordingError
from kernelsim.units import KIB, NS_PER_S, PAGE_SIZE, parse_size

__all__ = ["machine_from_proc", "machine_from_recording", "node_of"]

ZRAM_NAME: Final = re.compile(r"zram[0-9]+")


def machine_from_proc(source: Path | str) -> MachineSpec:
    """Return the machine a snapshot was taken on, with the state it was in.

    Args:
        source: a recorded snapshot (`before/`), a rendered proc tree, /proc, or a saved zoneinfo.

    Raises RecordingError with file and line when a file is missing or not the kernel's text;
    ConfigError when the parts contradict each other.
    """
    return machine_from_recording(Recording.of(Path(source)))


def machine_from_recording(recording: Recording) -> MachineSpec:
    """Return the machine of a recording; see machine_from_proc."""
    file = recording.where("zoneinfo")
    zones = parse_zoneinfo(recording.zoneinfo())
    case = next((parse_case(path) for path in _case_files(recording) if path.is_file()), None)
    kernel = kernel_of(zones, file=file, arch=None if case is None else case.arch)
    nids = list(range(max(zone.nid for zone in zones) + 1))  # without memory they may be left out
    topology = topology_of(recording, case, zones, nids=nids)
    zones, cpus, renumbered = _numbered_from_0(zones, topology.cpus)
    swaps, devices = _swaps_and_devices(recording, case)
    sysctl, uptime_ns = _sysctl(recording, kernel)
    boot = boot_state_from_proc(
        recording, zones, nids=nids, node_roots=_node_roots(recording), uptime_ns=uptime_ns
    )
    refuse_other_page_sizes(
        zones,
        file=file,
        mem_total_kb=boot.meminfo_kb.get("MemTotal", 0),
        min_free_kbytes=sysctl.vm_min_free_kbytes or 0,
    )
    try:
        return MachineSpec(
            name=case.id if case is not None else _machine_name(recording),
            arch=kernel.arch,
            era=kernel.era,
            nodes=tuple(node_of(nid, zones, cpus.get(nid, ()), kernel.types) for nid in nids),
            distances=tuple(topology.distances[nid] for nid in nids),
            swaps=swaps,
            devices=devices,
            files=_files(case),
            latency=EMULATED_CPU if case is not None else LatencySpec(),
            sysctl=sysctl,
            boot=attrs.evolve(boot, assumed=kernel.assumed + topology.assumed + renumbered),
        )
    except ConfigError as error:
        raise ConfigError(error.key, error.value, error.rule, recording.file) from None


def _case_files(recording: Recording) -> tuple[Path, ...]:
    """Return where case.toml may lie: beside the snapshot, or in it."""
    return tuple(root / "case.toml" for root in reversed(recording.roots()))


def _numbered_from_0(
    zones: tuple[ZoneinfoZone, ...], cpus: dict[int, tuple[int, ...]]
) -> tuple[tuple[ZoneinfoZone, ...], dict[int, tuple[int, ...]], tuple[str, ...]]:
    """Return zones and CPUs with those numbers closed up that CPUs out of use have left."""
    numbers = sorted(cpu for row in cpus.values() for cpu in row)
    if numbers == list(range(len(numbers))):
        return zones, cpus, ()
    place = {cpu: index for index, cpu in enumerate(numbers)}
    zones = tuple(
        attrs.evolve(
            zone,
            pagesets=tuple(attrs.evolve(each, cpu=place[each.cpu]) for each in zone.pagesets),
        )
        for zone in zones
    )
    closed = {nid: tuple(place[cpu] for cpu in row) for nid, row in cpus.items()}
    told = f"CPUs {format_number_list(numbers)} are in use: they are numbered from 0"
    return zones, closed, (told,)


def node_of(
    nid: int,
    zones: tuple[ZoneinfoZone, ...],
    cpus: tuple[int, ...],
    types: tuple[ZoneType, ...],
) -> NodeSpec:
    """Return a node with its zones, empty where none was printed."""
    printed = {zone.name: _zone_spec(zone) for zone in zones if zone.nid == nid}
    specs = tuple(printed.get(kind.value, ZoneSpec(type=kind)) for kind in types)
    ranges = tuple(part for spec in specs for part in _memory_ranges(spec))
    return NodeSpec(nid=nid, cpus=cpus, zones=specs, memory_ranges=ranges)


def _zone_spec(zone: ZoneinfoZone) -> ZoneSpec:
    """Return a zone without frame 0, which a machine that is no PC may have: it ends lists here."""
    start_pfn = (zone.start_pfn or 0) if zone.populated else 0
    frame_0 = int(zone.populated and not start_pfn)
    present = zone.pages["present"] - frame_0
    return ZoneSpec(
        type=ZoneType(zone.name),
        start_pfn=start_pfn + frame_0,
        spanned_pages=zone.pages["spanned"] - frame_0,
        present_pages=present,
        managed_pages=min(zone.pages["managed"], present) if frame_0 else zone.pages["managed"],
    )


def _memory_ranges(zone: ZoneSpec) -> tuple[tuple[int, int], ...]:
    """Return where the memory of a zone lies.

    The holes of a PC are known: the video and BIOS area in ZONE_DMA, and the window below 4 GiB,
    which is the end of the zone before it. Other holes are taken to lie at the end too.
    """
    if not zone.present_pages:
        return ()
    low, high = LEGACY_HOLE
    if zone.start_pfn < low < zone.end_pfn and zone.hole_pages >= high - low:
        rest = zone.present_pages - (low - zone.start_pfn)
        return ((zone.start_pfn, low), (high, high + rest))
    return ((zone.start_pfn, zone.start_pfn + zone.present_pages),)


def _node_roots(recording: Recording) -> tuple[Path, ...]:
    """Return the directories that may hold nodeN/meminfo and nodeN/numastat."""
    tree = sys_node_tree(recording)
    return recording.roots()[:1] if tree is None else (*recording.roots()[:1], tree)


def _swaps_and_devices(
    recording: Recording, case: CaseFile | None
) -> tuple[tuple[SwapSpec, ...], tuple[BlockDeviceSpec, ...]]:
    """Return swap areas as the kernel prints them, and the disks they and the files lie on."""
    devices: dict[str, BlockDeviceSpec] = {}
    make_disk = BlockDeviceSpec if case is None else emulated_disk
    table: dict[str, Any] = case.table if case is not None else {}
    if "disk" in table:
        changes = {"bandwidth_bytes_per_s": table["disk_bps"]} if "disk_bps" in table else {}
        if any(type(value) is not int for value in changes.values()):
            raise RecordingError("case.toml", None, "disk_bps must be a whole number")
        if table["disk"] != "data":
            changes["size_bytes"] = parse_size(table["disk"], key="disk")
        devices["vda"] = make_disk(name="vda", **changes)
    swaps: list[SwapSpec] = []
    text = recording.get("swaps")
    for line in parse_swaps(text) if text is not None else ():
        device = disk_of(line.filename)
        if ZRAM_NAME.fullmatch(device):
            zram = attrs.evolve(DEVICE_KINDS["zram"], name=device)
            devices.setdefault(device, zram)
        devices.setdefault(device, make_disk(name=device))
        size_bytes = line.size_kb * KIB + PAGE_SIZE  # the kernel prints it without the header
        swaps.append(
            SwapSpec(name=line.filename, size_bytes=size_bytes, prio=line.prio, device=device)
        )
    for name, disk in devices.items():  # a recording does not say how large a disk is
        nr_bytes = sum(swap.size_bytes for swap in swaps if swap.device == name)
        devices[name] = attrs.evolve(disk, size_bytes=max(disk.size_bytes, nr_bytes))
    return tuple(swaps), tuple(devices.values())


def _files(case: CaseFile | None) -> tuple[FileSpec, ...]:
    """Return the files of a recorded case: those of the disk "data"."""
    if case is None or case.table.get("disk") != "data":
        return ()
    return tuple(
        FileSpec(path=path, size_bytes=size_bytes, device="vda")
        for path, size_bytes in DATA_DISK.items()
    )


def disk_of(swap: str) -> str:
    """Return the name of the disk for a swap area: that of its file, made one of a device."""
    name = re.sub(r"[^A-Za-z0-9._!-]", "_", swap.rpartition("/")[2])[:DEVICE_NAME_MAX]
    return name if DEVICE_NAME.fullmatch(name) else "disk"


def _machine_name(recording: Recording) -> str:
    """Return the name of what was read, what does not print replaced."""
    path = Path(recording.file) if recording.folder is None else recording.folder.resolve()
    name = "".join(char if char.isprintable() else "?" for char in path.name)
    return name.strip() or "machine"


def _sysctl(recording: Recording, kernel: KernelOf) -> tuple[Sysctl, int]:
    """Return the tunables in force and the uptime in ns."""
    text = recording.get("sysctl_vm.txt")
    values = parse_sysctl(text) if text is not None else {}
    for name in SYSCTLS:
        file = recording.get(f"sys/{name.replace('.', '/')}")
        if name not in values and isinstance(file, Path):
            values[name] = file.read_text(encoding="utf-8", errors="replace").strip()
    # A host may have switched on what is not simulated (huge pages, MGLRU): left out.
    known = {
        name: text.strip()
        for name, text in values.items()
        if name in SYSCTLS and (not SYSCTLS[name].words or text.strip() in SYSCTLS[name].words)
    }
    seconds, _, rest = values.get("uptime", "0").split(" ")[0].partition(".")
    fraction = rest.ljust(9, "0")[:9]
    if not (seconds + fraction).isdigit():
        raise recording.error("sysctl_vm.txt", "uptime must be seconds such as 3.34")
    try:
        sysctl = sysctl_from_text(known)
    except ConfigError as error:
        raise ConfigError(error.key, error.value, error.rule, recording.file) from None
    if "vm.lowmem_reserve_ratio" not in known:
        ratio = tuple(LOWMEM_RESERVE_RATIO[kind] for kind in kernel.types)
        sysctl = attrs.evolve(sysctl, vm_lowmem_reserve_ratio=ratio)
    return sysctl, int(seconds) * NS_PER_S + int(fraction)
