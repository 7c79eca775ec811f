"""Make a machine from the text of a running kernel: a recorded snapshot, or /proc itself.

Linux: what /proc/zoneinfo and its neighbours print.
Differs: The kernel does not print where memory lies inside a zone with holes, so that is estimated.
It does not describe disks either: they get the figures of a SATA SSD, in a recorded case those of
its emulated machine.
Interface: `machine_from_proc(directory)`. The state of its memory is read by boot_from_proc.py.
Units: pages; KiB in meminfo.

Only zoneinfo is needed. A recorded case has case.toml beside the snapshot; it says the
architecture and the disks. Nodes come from nodes.txt, else from a sys tree (inside the directory
or beside it), else from case.toml: the kernel numbers nodes and CPUs in its own way, so what it
printed counts more than what was asked for.
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
from kernelsim.config.machine import (
    DEVICE_NAME,
    DEVICE_NAME_MAX,
    LOCAL_DISTANCE,
    MachineSpec,
    NodeSpec,
    ZoneSpec,
)
from kernelsim.config.machine_form import DEVICE_KINDS
from kernelsim.config.number_list import parse_number_list
from kernelsim.config.proc_text import (
    CaseFile,
    NodesText,
    ZoneinfoZone,
    parse_case,
    parse_nodes,
    parse_swaps,
    parse_sysctl,
    parse_zoneinfo,
)
from kernelsim.config.sysctl import SYSCTLS, Sysctl
from kernelsim.config.sysctl_write import sysctl_from_text
from kernelsim.config.zones import ZoneType, zone_types
from kernelsim.errors import ConfigError, RecordingError
from kernelsim.units import KIB, NS_PER_S, PAGE_SIZE, parse_size

__all__ = ["machine_from_proc"]

REMOTE_DISTANCE: Final = 20  # linux/topology.h; when the recording does not say
LEGACY_HOLE: Final = (0x9F, 0x100)  # pfn; video and BIOS area of a PC

ZRAM_NAME: Final = re.compile(r"zram[0-9]+")


def machine_from_proc(directory: Path | str) -> MachineSpec:
    """Return the machine a snapshot was taken on, with the state it was in.

    Args:
        directory: a recorded snapshot (`before/`), a rendered proc tree, or /proc.

    Raises RecordingError with file and line when a file is missing or not the kernel's text;
    ConfigError when the parts contradict each other.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise RecordingError(str(folder), None, "must be a directory with the file zoneinfo")
    zones = parse_zoneinfo(folder / "zoneinfo")
    case = next((parse_case(p) for p in _case_files(folder) if p.is_file()), None)
    nids = sorted({zone.nid for zone in zones})
    arch = case.arch if case is not None else _guess_arch(zones)
    _check_zones(folder, zones, nids=nids, arch=arch)
    topology = _topology(folder, case, zones, nids=nids)
    _check_pagesets(folder, zones, topology)
    swaps, devices = _swaps_and_devices(folder, case)
    sysctl, uptime_ns = _sysctl(folder)
    try:
        return MachineSpec(
            name=case.id if case is not None else _machine_name(folder),
            arch=arch,
            nodes=tuple(_node(nid, zones, topology.cpus.get(nid, ())) for nid in nids),
            distances=tuple(topology.distances[nid] for nid in nids),
            swaps=swaps,
            devices=devices,
            files=_files(case),
            latency=EMULATED_CPU if case is not None else LatencySpec(),
            sysctl=sysctl,
            boot=boot_state_from_proc(
                folder, zones, nids=nids, node_roots=_node_roots(folder), uptime_ns=uptime_ns
            ),
        )
    except ConfigError as error:
        raise ConfigError(error.key, error.value, error.rule, folder) from None


def _case_files(folder: Path) -> tuple[Path, ...]:
    """Return where case.toml may lie: beside the snapshot, or in it."""
    return (folder.resolve().parent / "case.toml", folder / "case.toml")


def _guess_arch(zones: tuple[ZoneinfoZone, ...]) -> str:
    """Return the architecture by its zone names; PAE cannot be told apart."""
    return "i386" if any(zone.name == "HighMem" for zone in zones) else "x86_64"


def _check_zones(
    folder: Path, zones: tuple[ZoneinfoZone, ...], *, nids: list[int], arch: str
) -> None:
    """Raise RecordingError unless every node prints every zone type of the architecture."""
    file = str(folder / "zoneinfo")
    try:
        names = [kind.value for kind in zone_types(arch)]
    except KeyError:
        raise RecordingError(file, None, f"arch {arch!r} is not known") from None
    for nid in nids:
        got = [zone.name for zone in zones if zone.nid == nid]
        if got != names:
            rule = f"node {nid} must have the zones {' '.join(names)}, not {' '.join(got)}"
            raise RecordingError(file, None, rule)


def _check_pagesets(folder: Path, zones: tuple[ZoneinfoZone, ...], topology: NodesText) -> None:
    """Raise RecordingError unless every CPU with a page list belongs to a node."""
    known = {cpu for cpus in topology.cpus.values() for cpu in cpus}
    for zone in zones:
        for pageset in zone.pagesets:
            if pageset.cpu not in known:
                rule = f"cpu {pageset.cpu} has page lists, but no node has that CPU"
                raise RecordingError(str(folder / "zoneinfo"), None, rule)


def _node(nid: int, zones: tuple[ZoneinfoZone, ...], cpus: tuple[int, ...]) -> NodeSpec:
    """Return a node with its zones."""
    specs = tuple(
        ZoneSpec(
            type=ZoneType(zone.name),
            start_pfn=(zone.start_pfn or 0) if zone.populated else 0,
            spanned_pages=zone.pages["spanned"],
            present_pages=zone.pages["present"],
            managed_pages=zone.pages["managed"],
        )
        for zone in zones
        if zone.nid == nid
    )
    ranges = tuple(part for spec in specs for part in _memory_ranges(spec))
    return NodeSpec(nid=nid, cpus=cpus, zones=specs, memory_ranges=ranges)


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


def _topology(
    folder: Path, case: CaseFile | None, zones: tuple[ZoneinfoZone, ...], *, nids: list[int]
) -> NodesText:
    """Return CPUs and distances of the nodes from the best source there is."""
    distances: dict[int, tuple[int, ...]] = {}
    cpus: dict[int, tuple[int, ...]] = {}
    if (folder / "nodes.txt").is_file():
        text = parse_nodes(folder / "nodes.txt")
        distances, cpus = dict(text.distances), dict(text.cpus)
    elif (tree := _sys_node_tree(folder)) is not None:
        distances, cpus = _read_sys_nodes(tree, nids=nids)
    elif case is not None:
        try:
            rows = case.table.get("distances", [])
            distances = {nid: tuple(map(int, row)) for nid, row in enumerate(rows)}
            cpus = _case_cpus(case)
        except (AttributeError, TypeError, ValueError):
            rule = "numa, smp and distances must be as in a recorded case"
            raise RecordingError("case.toml", None, rule) from None
    if not any(cpus.values()):
        numbers = sorted({pageset.cpu for zone in zones for pageset in zone.pagesets})
        cpus = {nids[0]: tuple(numbers)}
    for nid in nids:
        plain = tuple(LOCAL_DISTANCE if other == nid else REMOTE_DISTANCE for other in nids)
        distances.setdefault(nid, plain)
    return NodesText(states={}, distances=distances, cpus=cpus)


def _case_cpus(case: CaseFile) -> dict[int, tuple[int, ...]]:
    """Return the CPUs of the nodes as case.toml asks for them."""
    nodes = case.table.get("numa", [])
    cpus = {nid: parse_number_list(node.get("cpus", "")) for nid, node in enumerate(nodes)}
    if not nodes:
        cpus[0] = tuple(range(int(case.table.get("smp", 1))))
    return cpus


def _sys_node_tree(folder: Path) -> Path | None:
    """Return devices/system/node of a sys tree in the directory or beside it."""
    for root in (folder / "sys", folder.resolve().parent / "sys"):
        tree = root / "devices" / "system" / "node"
        if tree.is_dir():
            return tree
    return None


def _node_roots(folder: Path) -> tuple[Path, ...]:
    """Return the directories that may hold nodeN/meminfo and nodeN/numastat."""
    tree = _sys_node_tree(folder)
    return (folder,) if tree is None else (folder, tree)


def _read_sys_nodes(
    tree: Path, *, nids: list[int]
) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, ...]]]:
    """Return distances and CPUs of a sys tree."""
    lines: list[str] = []
    for nid in nids:
        for key in ("distance", "cpulist"):
            path = tree / f"node{nid}" / key
            if path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace")
                lines.append(f"node{nid}/{key} = {text.strip()}")
    nodes = parse_nodes("\n".join(lines))
    return dict(nodes.distances), dict(nodes.cpus)


def _swaps_and_devices(
    folder: Path, case: CaseFile | None
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
    path = folder / "swaps"
    for line in parse_swaps(path) if path.is_file() else ():
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


def _machine_name(folder: Path) -> str:
    """Return the name of a snapshot's directory, what does not print replaced."""
    name = "".join(char if char.isprintable() else "?" for char in folder.resolve().name)
    return name.strip() or "machine"


def _sysctl(folder: Path) -> tuple[Sysctl, int]:
    """Return the tunables in force and the uptime in ns."""
    path = folder / "sysctl_vm.txt"
    values: dict[str, str] = {}
    if path.is_file():
        values = parse_sysctl(path)
    for name in SYSCTLS:
        file = folder / "sys" / name.replace(".", "/")
        if name not in values and file.is_file():
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
        raise RecordingError(str(path), None, "uptime must be seconds such as 3.34")
    try:
        return sysctl_from_text(known), int(seconds) * NS_PER_S + int(fraction)
    except ConfigError as error:
        raise ConfigError(error.key, error.value, error.rule, folder) from None
