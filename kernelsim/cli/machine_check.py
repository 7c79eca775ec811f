"""Hold the watermarks and reserves of a recorded kernel against what our formulas give.

Interface: `check_machine` compares, `print_check` prints the table and what explains it.
Units: pages; KiB where the name says kbytes.

The kernel computes watermarks and reserves at boot, and again after a write to a sysctl or a
hotplug; each group is therefore held against both. "formula" takes the managed pages of now. "at
boot" takes those from before something was freed: the init sections and an initramfs of the one
size that gives all figures; else, with vm.min_free_kbytes as it is, what must have been held.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from rich.console import Console
from rich.table import Table

from kernelsim.config.machine import MachineSpec
from kernelsim.config.zones import ZONE_DMA32_END_PFN, ZoneType, zone_name
from kernelsim.mm.boot.boot_watermark import KERNEL_INIT_PAGES, BootWatermarks, fit_init_pages
from kernelsim.mm.boot.explain import held_for_marks, held_for_reserve
from kernelsim.mm.page.watermark import (
    ZoneManaged,
    inferred_min_free_kbytes,
    khugepaged_min_free_kbytes,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
)

KEYS: Final = ("min", "low", "high", "protection")
Figures = tuple[int, int, int, tuple[int, ...]]  # in the order of KEYS
Computed = Mapping[int, Figures]  # by index of the zone


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


@attrs.frozen
class Check:
    """All figures of a machine, and in words what they come from."""

    rows: tuple[CheckRow, ...]
    told: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Recorded:
    """What a machine's zones are like, and the figures its kernel printed for them."""

    spec: MachineSpec
    zones: tuple[ZoneManaged, ...]
    figures: Computed
    kbytes: int
    """vm.min_free_kbytes, inferred where it is not recorded."""
    kbytes_most: int
    """The most it can have been by what was recorded."""

    @classmethod
    def of(cls, spec: MachineSpec) -> "Recorded":
        """Return those of a machine."""
        zones = tuple(
            ZoneManaged(nid=node.nid, type=zone.type, managed_pages=zone.managed_pages)
            for node in spec.nodes
            for zone in node.zones
        )
        boot = {(zone.nid, zone.type): zone for zone in spec.boot.zones}
        figures = {
            index: (zone.watermark_min, zone.watermark_low, zone.watermark_high, zone.protection)
            for index, key in enumerate((zone.nid, zone.type) for zone in zones)
            if (zone := boot.get(key)) is not None
        }
        kbytes = spec.sysctl.vm_min_free_kbytes
        rounding = 0
        if kbytes is None:
            kbytes = inferred_min_free_kbytes(zones, {i: row[0] for i, row in figures.items()})
            rounding = 4 * len(figures)  # each zone's share is rounded down to a page
        return cls(
            spec=spec, zones=zones, figures=figures, kbytes=kbytes, kbytes_most=kbytes + rounding
        )

    def name(self, index: int) -> str:
        """Return what people call a zone."""
        return zone_name(self.zones[index].nid, self.zones[index].type)


def check_machine(spec: MachineSpec) -> Check:
    """Compare every populated zone's figures with the formulas and with what held at boot."""
    recorded = Recorded.of(spec)
    formula = by_formula(recorded)
    boot, told = at_boot(recorded, formula)
    rows = tuple(
        CheckRow(
            nid=recorded.zones[index].nid,
            zone=recorded.zones[index].type.value,
            key=key,
            kernel=str(figures[column]),
            formula=str(formula[index][column]),
            boot=str(boot[index][column]) if index in boot else "-",
            verdict=verdict(figures[column], formula[index][column], boot.get(index), column),
        )
        for index, figures in recorded.figures.items()
        for column, key in enumerate(KEYS)
    )
    return Check(rows, (*told_of_kbytes(recorded), *told))


def verdict(kernel: object, formula: object, boot: Figures | None, column: int) -> str:
    """Return what gives a figure."""
    if kernel == formula:
        return "formula"
    return "at boot" if boot is not None and boot[column] == kernel else "differs"


def told_of_kbytes(recorded: Recorded) -> tuple[str, ...]:
    """Return what is known of vm.min_free_kbytes."""
    kbytes = recorded.kbytes
    is_recommended = kbytes == khugepaged_min_free_kbytes(recorded.zones, [0] * len(recorded.zones))
    by_whom = "as khugepaged sets it: huge pages are on"
    if recorded.spec.sysctl.vm_min_free_kbytes is not None:
        return (f"vm.min_free_kbytes is {kbytes}, {by_whom}",) if is_recommended else ()
    told = f"vm.min_free_kbytes is not recorded: {kbytes} gives the minima of the zones"
    return (f"{told}, {by_whom}" if is_recommended else told,)


def by_formula(recorded: Recorded) -> Computed:
    """Return what the formulas give for the managed pages and tunables of now."""
    sysctl = recorded.spec.sysctl
    computed = BootWatermarks(
        min_free_kbytes=recorded.kbytes,
        watermarks=setup_per_zone_wmarks(
            recorded.zones,
            min_free_kbytes=recorded.kbytes,
            watermark_scale_factor=sysctl.vm_watermark_scale_factor,
            era=recorded.spec.era,
        ),
        lowmem_reserve=setup_per_zone_lowmem_reserve(
            recorded.zones, sysctl.vm_lowmem_reserve_ratio
        ),
    )
    return figures_of(computed, recorded.figures)


def figures_of(computed: BootWatermarks, indices: Sequence[int] | Computed) -> Computed:
    """Return the figures of some zones in the order of KEYS."""
    result: dict[int, Figures] = {}
    for index in indices:
        marks = computed.watermarks[index]
        reserve = computed.lowmem_reserve[index]
        result[index] = (marks.wmark_min, marks.wmark_low, marks.wmark_high, reserve)
    return result


def at_boot(recorded: Recorded, formula: Computed) -> tuple[Computed, tuple[str, ...]]:
    """Return figures from before something was freed, and what that was; {} when nothing fits."""
    kernel = recorded.figures
    marks_are_new = all(formula[i][:3] == row[:3] for i, row in kernel.items())
    reserve_is_new = all(formula[i][3] == row[3] for i, row in kernel.items())

    def matches(computed: BootWatermarks) -> bool:
        boot = figures_of(computed, kernel)
        same_kbytes = recorded.kbytes <= computed.min_free_kbytes <= recorded.kbytes_most
        marks = marks_are_new or (
            same_kbytes and all(boot[i][:3] == row[:3] for i, row in kernel.items())
        )
        return marks and (reserve_is_new or all(boot[i][3] == row[3] for i, row in kernel.items()))

    fitted = fit_init_pages(
        recorded.zones,
        matches,
        lowmem_reserve_ratio=recorded.spec.sysctl.vm_lowmem_reserve_ratio,
        kernel_init_pages=KERNEL_INIT_PAGES[recorded.spec.arch],
        initramfs_zone=initramfs_zone(recorded.spec),
    )
    if fitted is not None:
        by_boot = fitted.min_free_kbytes != recorded.kbytes and not marks_are_new
        told = (f"so does {fitted.min_free_kbytes}, as a kernel computes it at boot",) * by_boot
        return figures_of(fitted, kernel), told
    marks, told_of_marks = (formula, "") if marks_are_new else marks_at_boot(recorded)
    reserve, told_of_reserve = (formula, "") if reserve_is_new else reserve_at_boot(recorded)
    told = tuple(text for text in (told_of_marks, told_of_reserve) if text)
    if not told:
        return {}, ()
    marks, reserve = marks or formula, reserve or formula
    return {index: (*marks[index][:3], reserve[index][3]) for index in kernel}, told


def marks_at_boot(recorded: Recorded) -> tuple[Computed, str]:
    """Return watermarks computed while one zone had less, and how much less; {} if none fit."""
    zones, kernel = recorded.zones, recorded.figures
    lowmem = [i for i in kernel if zones[i].type is not ZoneType.ZONE_DMA]
    largest = max(lowmem, key=lambda i: zones[i].managed_pages, default=0)
    held = held_for_marks(
        zones,
        {index: row[:3] for index, row in kernel.items()},
        candidates=list(dict.fromkeys((initramfs_zone(recorded.spec), *lowmem[:1], largest))),
        min_free_kbytes=recorded.kbytes,
        watermark_scale_factor=recorded.spec.sysctl.vm_watermark_scale_factor,
        era=recorded.spec.era,
    )
    if held is None:
        return {}, ""
    marks = {
        index: (mark.wmark_min, mark.wmark_low, mark.wmark_high, ())
        for index, mark in enumerate(held.watermarks)
    }
    return marks, (
        f"min, low and high were computed while {held.least} to {held.most} pages of "
        f"{recorded.name(held.zone)} were still held"
    )


def reserve_at_boot(recorded: Recorded) -> tuple[Computed, str]:
    """Return reserves computed while zones had less, and how much less; {} if none fit."""
    kernel = recorded.figures
    ratio = recorded.spec.sysctl.vm_lowmem_reserve_ratio
    held = held_for_reserve(recorded.zones, {i: row[3] for i, row in kernel.items()}, ratio)
    if held is None:
        return {}, ""
    parts = [f"{pages} of {recorded.name(i)}" for i, pages in enumerate(held) if pages]
    text = f"protection was computed while pages were still held: at least {', '.join(parts)}"
    return {index: (0, 0, 0, row[3]) for index, row in kernel.items()}, text


def initramfs_zone(spec: MachineSpec) -> int:
    """Return the index of the zone with the highest directly mapped memory below 4 GiB."""
    candidates = [
        (zone.start_pfn, index)
        for index, zone in enumerate(zone for node in spec.nodes for zone in node.zones)
        if zone.present_pages
        and zone.type is not ZoneType.ZONE_HIGHMEM
        and zone.start_pfn < ZONE_DMA32_END_PFN
    ]
    return max(candidates, default=(0, 0))[1]


def print_check(check: Check) -> None:
    """Print the comparison, one line a figure, what explains it, and a summary."""
    table = Table("node", "zone", "figure", "kernel", "formula", "at boot", "", box=None)
    for row in check.rows:
        figures = (str(row.nid), row.zone, row.key, row.kernel, row.formula, row.boot, row.verdict)
        table.add_row(*figures)
    plain = Console(highlight=False)
    (plain if plain.is_terminal else Console(highlight=False, width=200)).print(table)
    for text in check.told:
        print(text)
    differ = sum(row.verdict == "differs" for row in check.rows)
    print(f"{len(check.rows) - differ} of {len(check.rows)} figures equal the kernel's to the page")
