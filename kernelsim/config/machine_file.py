"""Read machines from TOML files and presets, and write them back.

There are two forms: what a person writes says `[[node]] memory = "4G"` and leaves the zones to
`layout.py`; what `from-proc --out` writes has every zone and the state after boot (`[[nodes]]`).
Interface: `load_machine(name_or_path)`, `machine_from_toml(table)`, `machine_text(machine)`,
`preset_names()`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import attrs

from kernelsim.config.boot_reserve import KERNELS, KernelImage
from kernelsim.config.disks import BlockDeviceSpec, FileSpec, SwapSpec
from kernelsim.config.era import ERAS
from kernelsim.config.layout import NodeMemory, lay_out_nodes
from kernelsim.config.machine import (
    MachineSpec,
)
from kernelsim.config.machine_form import (
    DEVICE_KINDS,
    DeviceToml,
    FileToml,
    MachineToml,
    NodeToml,
    SwapToml,
    default_distances,
)
from kernelsim.config.memory_model import MODELS, default_model
from kernelsim.config.number_list import parse_number_list
from kernelsim.config.structure import flat_settings, structure, unstructure
from kernelsim.config.toml_text import read_toml, toml_text
from kernelsim.config.zones import ARCHES, LOWMEM_RESERVE_RATIO, zone_types
from kernelsim.errors import ConfigError
from kernelsim.units import PAGE_SIZE, format_size, parse_duration, parse_size

__all__ = ["load_machine", "machine_from_toml", "machine_text", "preset_names"]


def preset_names() -> tuple[str, ...]:
    """Return the names of the machines that come with the package, sorted."""
    folder = resources.files("kernelsim.config") / "presets"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_machine(name_or_path: str | Path) -> MachineSpec:
    """Return a machine by preset name or from a TOML file.

    Args:
        name_or_path: a preset's name, or a path (anything with a `/` or ending in `.toml`).

    Raises ConfigError in one line: what, where, the rule.
    """
    text = str(name_or_path)
    path = Path(text)
    if not (isinstance(name_or_path, Path) or "/" in text or text.endswith(".toml")):
        names = preset_names()
        if text not in names:
            near = difflib.get_close_matches(text, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"presets are {', '.join(names)}"
            raise ConfigError("machine", text, f"no such preset; {hint} (a file ends in .toml)")
        with resources.as_file(resources.files("kernelsim.config") / "presets") as folder:
            path = folder / f"{text}.toml"
            return _load(path)
    return _load(path)


def _load(path: Path) -> MachineSpec:
    """Return the machine of a file, errors with the file's name."""
    table = read_toml(path)
    try:
        return machine_from_toml(table)
    except ConfigError as error:
        raise ConfigError(error.key, error.value, error.rule, path) from None


def machine_from_toml(table: dict[str, Any]) -> MachineSpec:
    """Return the machine of a TOML table in either form.

    Raises ConfigError for the first fault.
    """
    if "nodes" in table:
        return structure(table, MachineSpec)
    plain = structure(table, MachineToml)
    model = (
        default_model(plain.arch, len(plain.node))
        if plain.memory_model is None
        else plain.memory_model
    )
    choices = (
        ("arch", plain.arch, ARCHES),
        ("era", plain.era, ERAS),
        ("memory_model", model, MODELS),
    )
    for key, value, allowed in choices:
        if value not in allowed:
            raise ConfigError(key, value, f"must be one of {', '.join(allowed)}")
    era = ERAS[plain.era]
    if not plain.node:
        raise ConfigError("node", [], "a machine has at least one node")
    nodes = [_node_memory(node, nid) for nid, node in enumerate(plain.node)]
    maxmem_bytes = _pages(plain.maxmem, key="maxmem", zero=True) * PAGE_SIZE
    _check_slots(plain, nodes, maxmem_bytes)
    movable = parse_size(plain.movablecore, key="movablecore") // PAGE_SIZE
    sysctl = plain.sysctl
    given = flat_settings(table.get("sysctl", {}))
    if plain.arch != "x86_64" and "vm.lowmem_reserve_ratio" not in given:
        ratio = tuple(LOWMEM_RESERVE_RATIO[kind] for kind in zone_types(plain.arch))
        sysctl = attrs.evolve(sysctl, vm_lowmem_reserve_ratio=ratio)
    image = _image(plain, model)
    devices = tuple(_device(device, index) for index, device in enumerate(plain.device))
    return MachineSpec(
        name=plain.name,
        arch=plain.arch,
        era=era,
        nodes=lay_out_nodes(
            nodes,
            arch=plain.arch,
            era=era,
            model=model,
            movable_pages=movable,
            kernelcore_pages=parse_size(plain.kernelcore, key="kernelcore") // PAGE_SIZE,
            holes=tuple(_hole(text, index) for index, text in enumerate(plain.holes)),
            maxmem_bytes=maxmem_bytes,
            image=image,
        ),
        distances=default_distances(len(nodes)) if plain.distances is None else plain.distances,
        swaps=tuple(_swap(swap, index) for index, swap in enumerate(plain.swap)),
        devices=devices,
        files=tuple(_file(file, index) for index, file in enumerate(plain.files)),
        latency=plain.latency,
        sysctl=sysctl,
        memory_model=model,
        maxmem_bytes=maxmem_bytes,
        init_pages=0 if image is None else image.init_pages,
        initrd_pages=_pages(plain.initrd, key="initrd", zero=True),
    )


def _check_slots(plain: MachineToml, nodes: Sequence[NodeMemory], maxmem_bytes: int) -> None:
    """Check that the slots for DIMMs fit what is there, and that a node without all else has some.

    Raises ConfigError for the first fault.
    """
    memory_bytes = sum(node.nr_pages for node in nodes) * PAGE_SIZE
    if 0 < maxmem_bytes < memory_bytes:
        rule = f"must be at least the RAM there is, {format_size(memory_bytes)}"
        raise ConfigError("maxmem", plain.maxmem, rule)
    for nid, node in enumerate(nodes):
        if not (node.cpus or node.nr_pages or node.device_pages or maxmem_bytes):
            rule = "a node without CPUs and memory is one that DIMMs can come to, by maxmem"
            raise ConfigError(f"node[{nid}].memory", 0, rule)


def _image(plain: MachineToml, model: str) -> KernelImage | None:
    """Return the kernel a machine file names, None for one of unknown build.

    Raises ConfigError when there is none of that name for the machine.
    """
    if plain.kernel == "unknown":
        if plain.initrd:
            raise ConfigError("initrd", plain.initrd, "is for a machine whose kernel is known")
        return None
    if plain.kernel not in KERNELS:
        raise ConfigError("kernel", plain.kernel, f"must be one of unknown, {', '.join(KERNELS)}")
    if (plain.arch, plain.era, model) != ("x86_64", "6.1", "sparsemem"):
        rule = "is known for arch x86_64, era 6.1 and memory_model sparsemem only"
        raise ConfigError("kernel", plain.kernel, rule)
    return KERNELS[plain.kernel]


def _hole(text: str, index: int) -> tuple[int, int]:
    """Return a hole as (first pfn, pfn behind it)."""
    first, dash, end = text.partition("-")
    key = f"holes[{index}]"
    if not (first and dash and end):
        raise ConfigError(key, text, "must be a range such as 1G-2G")
    low, high = (_pages(part, key=key, zero=True) for part in (first, end))
    if low >= high:
        raise ConfigError(key, text, "must end behind its start")
    return low, high


def _pages(value: object, *, key: str, zero: bool) -> int:
    """Return a size as pages; it must be whole pages, and 0 only where that means something."""
    size_bytes = parse_size(value, key=key)  # type: ignore[arg-type]  # checks the type itself
    if size_bytes == 0 and not zero:
        raise ConfigError(key, value, "must be more than 0")
    if size_bytes % PAGE_SIZE:
        raise ConfigError(key, value, f"must be a multiple of the page size, {PAGE_SIZE} bytes")
    return size_bytes // PAGE_SIZE


def _node_memory(node: NodeToml, nid: int) -> NodeMemory:
    """Return what a node asks for; a node without `memory` has CPUs only."""
    try:
        cpus = parse_number_list(node.cpus)
    except ValueError as error:
        raise ConfigError(f"node[{nid}].cpus", node.cpus, str(error)) from None
    for key in ("memory", "start", "device_memory"):
        value = getattr(node, key)
        if value is not None and not (type(value) is int or isinstance(value, str)):
            raise ConfigError(f"node[{nid}].{key}", value, "must be a size such as 4G")
    return NodeMemory(
        cpus=cpus,
        nr_pages=0
        if node.memory is None
        else _pages(node.memory, key=f"node[{nid}].memory", zero=False),
        start_pfn=None
        if node.start is None
        else _pages(node.start, key=f"node[{nid}].start", zero=True),
        device_pages=_pages(node.device_memory, key=f"node[{nid}].device_memory", zero=True),
    )


def _device(device: DeviceToml, index: int) -> BlockDeviceSpec:
    """Return a disk: its kind's figures with what the person set."""
    where = f"device[{index}]"
    if device.kind not in DEVICE_KINDS:
        rule = f"must be one of {', '.join(DEVICE_KINDS)}"
        raise ConfigError(f"{where}.kind", device.kind, rule)
    changes: dict[str, Any] = {"name": device.name}
    for key in (
        "queue_depth",
        "nr_requests",
        "latency_spread_permille",
        "rotational",
        "scheduler",
        "compressed_permille",
    ):
        if getattr(device, key) is not None:
            changes[key] = getattr(device, key)
    for key in ("read_latency", "write_latency"):
        value = getattr(device, key)
        if value is not None:
            changes[f"{key}_ns"] = parse_duration(value, key=f"{where}.{key}")
    for key in ("bandwidth", "write_bandwidth"):
        value = getattr(device, key)
        if value is not None:
            changes[f"{key}_bytes_per_s"] = parse_size(value, key=f"{where}.{key}")
    if device.size is not None:
        changes["size_bytes"] = parse_size(device.size, key=f"{where}.size")
    return attrs.evolve(DEVICE_KINDS[device.kind], **changes)


def _swap(swap: SwapToml, index: int) -> SwapSpec:
    """Return a swap area; priorities run -2, -3 … in the order they are switched on."""
    size_bytes = _pages(swap.size, key=f"swap[{index}].size", zero=False) * PAGE_SIZE
    return SwapSpec(
        name=swap.name or f"/dev/{swap.device}",
        size_bytes=size_bytes,
        prio=-2 - index if swap.prio is None else swap.prio,
        device=swap.device,
        on=swap.on,
    )


def _file(file: FileToml, index: int) -> FileSpec:
    size_bytes = parse_size(file.size, key=f"files[{index}].size")
    return FileSpec(path=file.path, size_bytes=size_bytes, device=file.device)


def machine_text(machine: MachineSpec) -> str:
    """Return a machine as TOML in the full form; `load_machine` reads the same machine back."""
    return toml_text(unstructure(machine))
