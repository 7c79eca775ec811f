"""`kernelsim machine`: list machines, show one, or make one from the text of a running kernel.

Interface: `machine` is the command; `check_rows` compares a recording's
watermarks and reserves with what our formulas give for the same zones.
Exit status: 0; from-proc and from-host: 1 when a recorded figure equals neither the formulas over
the zones nor what the kernel computes while it boots.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import attrs
from rich.console import Console
from rich.table import Table

from kernelsim.cli.machine_memory import page_size_of, print_memory
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_example import example_text
from kernelsim.config.machine_file import load_machine, machine_text, preset_names
from kernelsim.config.number_list import format_number_list
from kernelsim.config.sysctl import SYSCTLS, Sysctl
from kernelsim.config.zones import ZONE_DMA32_END_PFN, ZoneType
from kernelsim.errors import ConfigError, UserError
from kernelsim.mm.boot.boot_watermark import KERNEL_INIT_PAGES, BootWatermarks, fit_init_pages
from kernelsim.mm.page.watermark import (
    ZoneManaged,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
)
from kernelsim.report.whole import write_whole
from kernelsim.units import PAGE_SIZE, format_duration, format_size

EXIT_DIFFERS: Final = 1
PROC: Final = Path("/proc")
KEYS: Final = ("min", "low", "high", "protection")
Figures = tuple[int, int, int, tuple[int, ...]]  # in the order of KEYS
Action = Literal["list", "show", "new", "from-proc", "from-host"]


@attrs.frozen(kw_only=True)
class CheckRow:
    """One figure of one zone: as the kernel printed it and as we compute it."""

    nid: int
    zone: str
    key: str
    kernel: str
    formula: str
    boot: str
    verdict: str


def machine(
    action: Action,
    target: str = "",
    /,
    *,
    out: Path | None = None,
    toml: bool = False,
    page_size: str = "",
) -> int:
    """List machines, show one, or make one from a running kernel.

    list: the machines that come with the package. show NAME: a preset or a TOML file.
    new: a machine file with every key, its meaning, rule and default, to be changed and run.
    from-proc DIR: a snapshot of /proc, its figures checked against our formulas.
    from-host: the same for the kernel this runs on.

    Args:
        action: What to do.
        target: A preset or TOML file for show, a directory with zoneinfo for from-proc.
        out: Also write the machine as this TOML file (from-proc and from-host).
        toml: Print the whole machine as a file that `run --machine` takes (show).
        page_size: What the memory models would spend with pages of this size, such as 16K (show).
    """
    wants_target = action in ("show", "from-proc")
    if wants_target != bool(target):
        rule = "needs a name or a directory" if wants_target else "takes no name"
        raise UserError(f"machine {action} {rule} (see --help)")
    if out is not None and action in ("list", "show", "new"):
        raise UserError(f"machine {action} takes no --out (see --help)")
    if toml and action != "show":
        raise UserError(f"machine {action} takes no --toml (see --help)")
    if page_size and (toml or action != "show"):
        raise UserError(
            f"machine {action} takes no --page-size{' with --toml' * toml} (see --help)"
        )
    if action == "new":
        print(example_text(), end="")
        return 0
    if action == "list":
        list_machines()
        return 0
    if action == "show":
        spec = load_machine(target)
        if toml:
            print(machine_text(spec), end="")
        else:
            print_machine(spec, page_size=page_size_of(page_size or PAGE_SIZE))
        return 0
    return from_proc(Path(target) if target else PROC, out=out)


def list_machines() -> None:
    """Print the machines that come with the package."""
    table = Table("name", "CPUs", "nodes", "memory", "swap", box=None, pad_edge=False)
    for name in preset_names():
        spec = load_machine(name)
        memory = sum(node.present_pages for node in spec.nodes) * PAGE_SIZE
        swap = sum(area.size_bytes for area in spec.swaps)
        row = (name, spec.nr_cpus, len(spec.nodes), format_size(memory), format_size(swap))
        table.add_row(*map(str, row))
    console().print(table)


def from_proc(directory: Path, *, out: Path | None) -> int:
    """Print the machine of a snapshot and the check of its figures; return the exit status."""
    spec = machine_from_proc(directory)
    print_machine(spec)
    rows = check_rows(spec)
    print_rows(rows)
    if out is not None:
        write_machine(spec, out)
    return EXIT_DIFFERS if any(row.verdict == "differs" for row in rows) else 0


def console() -> Console:
    """Return a console that never breaks or cuts what it prints to a file or pipe."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=200)


def write_machine(spec: MachineSpec, path: Path) -> None:
    """Write the machine under a temporary name, then rename: no half-written file is left."""
    if path.is_dir():
        raise ConfigError("--out", str(path), "must be a file, not a directory")
    write_whole(path, lambda temporary: temporary.write_bytes(machine_text(spec).encode()))


def print_machine(spec: MachineSpec, *, page_size: int = PAGE_SIZE) -> None:
    """Print nodes, zones, the map of memory, distances, disks, swap and tunables that were set."""
    cpus = "1 CPU" if spec.nr_cpus == 1 else f"{spec.nr_cpus} CPUs"
    managed = format_size(sum(node.managed_pages for node in spec.nodes) * PAGE_SIZE)
    print(f"{spec.name}: {spec.arch}, rules of {spec.era.name}, {cpus}, {managed} for use")
    zones = Table("node", "CPUs", "zone", "start_pfn", "spanned", "present", "managed", box=None)
    for node in spec.nodes:
        for zone in node.zones:
            if zone.spanned_pages:
                sizes = (zone.start_pfn, zone.spanned_pages, zone.present_pages, zone.managed_pages)
                cpus = format_number_list(node.cpus) or "none"
                zones.add_row(str(node.nid), cpus, zone.type.value, *map(str, sizes))
    console().print(zones)
    print_memory(spec, page_size=page_size)
    print("distances")
    for row in spec.distances:
        print("  " + " ".join(f"{distance:3}" for distance in row))
    for device in spec.devices:
        print(
            f"device {device.name}: queue {device.queue_depth}, "
            f"read {format_duration(device.read_latency_ns)}, "
            f"write {format_duration(device.write_latency_ns)}, "
            f"{format_size(device.bandwidth_bytes_per_s)}/s, scheduler {device.scheduler}"
            + (f", seek {format_duration(device.average_seek_ns)}" * bool(device.average_seek_ns))
        )
    for swap in spec.swaps:
        print(f"swap {swap.name}: {format_size(swap.size_bytes)}, priority {swap.prio}")
    for field in attrs.fields(Sysctl):
        value = getattr(spec.sysctl, field.name)
        if value != field.default:
            name = field.metadata["name"]
            idle = SYSCTLS[name].idle
            print(f"sysctl {name} = {value}" + (f" (changes nothing yet: {idle})" if idle else ""))


def print_rows(rows: Sequence[CheckRow]) -> None:
    """Print the comparison, one line a figure, and a summary."""
    table = Table("node", "zone", "figure", "kernel", "formula", "at boot", "", box=None)
    for row in rows:
        figures = (str(row.nid), row.zone, row.key, row.kernel, row.formula, row.boot, row.verdict)
        table.add_row(*figures)
    console().print(table)
    differ = sum(row.verdict == "differs" for row in rows)
    print(f"{len(rows) - differ} of {len(rows)} figures equal the kernel's to the page")


def check_rows(spec: MachineSpec) -> tuple[CheckRow, ...]:
    """Compare every populated zone's figures with the formulas and with the boot computation.

    The kernel computes watermarks and reserves at boot, and again after a write to a sysctl or a
    hotplug; each group is therefore held against both. "formula" takes the managed pages of now;
    "at boot" those before the init sections and the initramfs were freed, the initramfs being the
    one size that gives all recorded figures; "-" when no size does.
    """
    zones = [
        ZoneManaged(nid=node.nid, type=zone.type, managed_pages=zone.managed_pages)
        for node in spec.nodes
        for zone in node.zones
    ]
    recorded = {(zone.nid, zone.type): zone for zone in spec.boot.zones}
    kernel = {
        index: (zone.watermark_min, zone.watermark_low, zone.watermark_high, zone.protection)
        for index, key in enumerate((zone.nid, zone.type) for zone in zones)
        if (zone := recorded.get(key)) is not None
    }
    formula = by_formula(spec, zones)
    boot = at_boot(spec, zones, kernel, formula)
    rows: list[CheckRow] = []
    for index, figures in kernel.items():
        ours = figures_of(formula, index)
        early = figures_of(boot, index) if boot is not None else ("-",) * len(KEYS)
        for column, key in enumerate(KEYS):
            value = figures[column]
            equal = "formula" if ours[column] == value else "differs"
            if equal == "differs" and early[column] == value:
                equal = "at boot"
            rows.append(
                CheckRow(
                    nid=zones[index].nid,
                    zone=zones[index].type.value,
                    key=key,
                    kernel=str(value),
                    formula=str(ours[column]),
                    boot=str(early[column]),
                    verdict=equal,
                )
            )
    return tuple(rows)


def by_formula(spec: MachineSpec, zones: Sequence[ZoneManaged]) -> BootWatermarks:
    """Return what the formulas give for the managed pages and tunables of now."""
    kbytes = spec.sysctl.vm_min_free_kbytes or 0
    return BootWatermarks(
        min_free_kbytes=kbytes,
        watermarks=setup_per_zone_wmarks(
            zones,
            min_free_kbytes=kbytes,
            watermark_scale_factor=spec.sysctl.vm_watermark_scale_factor,
            era=spec.era,
        ),
        lowmem_reserve=setup_per_zone_lowmem_reserve(zones, spec.sysctl.vm_lowmem_reserve_ratio),
    )


def at_boot(
    spec: MachineSpec,
    zones: Sequence[ZoneManaged],
    kernel: Mapping[int, Figures],
    formula: BootWatermarks,
) -> BootWatermarks | None:
    """Return the boot computation that gives what the formulas of now leave unexplained."""

    def marks_match(computed: BootWatermarks) -> bool:
        return all(figures_of(computed, i)[:3] == row[:3] for i, row in kernel.items())

    def reserve_matches(computed: BootWatermarks) -> bool:
        return all(figures_of(computed, i)[3] == row[3] for i, row in kernel.items())

    marks_are_new, reserve_is_new = marks_match(formula), reserve_matches(formula)

    def matches(computed: BootWatermarks) -> bool:
        same_kbytes = computed.min_free_kbytes == formula.min_free_kbytes
        marks = marks_are_new or (same_kbytes and marks_match(computed))
        return marks and (reserve_is_new or reserve_matches(computed))

    return fit_init_pages(
        zones,
        matches,
        lowmem_reserve_ratio=spec.sysctl.vm_lowmem_reserve_ratio,
        kernel_init_pages=KERNEL_INIT_PAGES[spec.arch],
        initramfs_zone=initramfs_zone(spec),
    )


def figures_of(computed: BootWatermarks, index: int) -> Figures:
    """Return one zone's figures in the order of KEYS."""
    marks = computed.watermarks[index]
    reserve = computed.lowmem_reserve[index]
    return marks.wmark_min, marks.wmark_low, marks.wmark_high, reserve


def initramfs_zone(spec: MachineSpec) -> int:
    """Return the index of the zone with the highest directly mapped memory below 4 GiB."""
    candidates = [
        (zone.start_pfn, index)
        for index, zone in enumerate(zone for node in spec.nodes for zone in node.zones)
        if zone.present_pages
        and zone.type is not ZoneType.ZONE_HIGHMEM
        and zone.start_pfn < ZONE_DMA32_END_PFN
    ]
    return max(candidates)[1]
