"""Zones, watermarks, reserves, per-cpu lists and fallback orders against recorded kernels."""

import re
from pathlib import Path

import pytest

from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.config.proc_text import parse_case
from kernelsim.config.zones import ZONE_DMA32_END_PFN, ZoneType
from kernelsim.mm.boot.boot_watermark import (
    KERNEL_INIT_PAGES,
    BootWatermarks,
    boot_watermarks,
)
from kernelsim.mm.boot.mm_init import build
from kernelsim.mm.core.mem import Z_MANAGED, Z_PRESENT, Z_WMARK_HIGH, Z_WMARK_LOW, Z_WMARK_MIN
from kernelsim.mm.page.watermark import (
    ZoneManaged,
    calculate_normal_threshold,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
    zone_batchsize,
    zone_highsize,
)
from kernelsim.mm.page.zonelist import build_all_zonelists

CASES = Path(__file__).parent / "cases"
BOOTED = ("s01", "s02", "s03", "s04", "s04c", "s04e", "s05", "s05p", "s07", "s08", "s09")
SWEEP = sorted(
    path.parent.name for path in CASES.glob("s09/*/zoneinfo") if "before" not in str(path)
)
SNAPSHOTS = sorted(path.parent for path in CASES.glob("*/*/sysctl_vm.txt"))
INITRAMFS_PAGES = {"x86_64": 688, "i386": 0, "i386pae": 0}  # of the recorded boots
ACPI_PAGES = 32  # tables the firmware of the recorded machines keeps at the end of memory
NUMA = ("s03", "s04", "s04c", "s04e", "s07")
AWAKE = {("d12_zrm0/filled", 0), ("d15/mid", 0), ("d18_pref3/holding", 1)}  # kswapds at work

Figures = dict[tuple[int, str], tuple[int, int, int, tuple[int, ...]]]


def label(folder: Path) -> str:
    """Return a short name of a snapshot for the test's id."""
    return f"{folder.parent.name}/{folder.name}"


def zones_of(machine: MachineSpec) -> list[ZoneManaged]:
    """Return what the formulas need, of every zone."""
    return [
        ZoneManaged(nid=node.nid, type=zone.type, managed_pages=zone.managed_pages)
        for node in machine.nodes
        for zone in node.zones
    ]


def recorded(machine: MachineSpec) -> Figures:
    """Return the figures the kernel printed for its populated zones."""
    return {
        (zone.nid, zone.type.value): (
            zone.watermark_min,
            zone.watermark_low,
            zone.watermark_high,
            zone.protection,
        )
        for zone in machine.boot.zones
    }


def computed(machine: MachineSpec, result: BootWatermarks) -> Figures:
    """Return the figures we compute for the same zones."""
    zones = zones_of(machine)
    wanted = recorded(machine)
    return {
        (zone.nid, zone.type.value): (mark.wmark_min, mark.wmark_low, mark.wmark_high, reserve)
        for zone, mark, reserve in zip(zones, result.watermarks, result.lowmem_reserve, strict=True)
        if (zone.nid, zone.type.value) in wanted
    }


@pytest.mark.mission("P16")
@pytest.mark.mission("P15")
@pytest.mark.parametrize("snapshot", SWEEP)
def test_figures_after_a_sysctl_equal_the_formulas(snapshot: str) -> None:
    """Every setting of the sweep: min, low, high and protection to the page."""
    machine = machine_from_proc(CASES / "s09" / snapshot)
    zones = zones_of(machine)
    sysctl = machine.sysctl
    assert sysctl.vm_min_free_kbytes is not None
    result = BootWatermarks(
        min_free_kbytes=sysctl.vm_min_free_kbytes,
        watermarks=setup_per_zone_wmarks(
            zones,
            min_free_kbytes=sysctl.vm_min_free_kbytes,
            watermark_scale_factor=sysctl.vm_watermark_scale_factor,
        ),
        lowmem_reserve=setup_per_zone_lowmem_reserve(zones, sysctl.vm_lowmem_reserve_ratio),
    )

    assert recorded(machine) == computed(machine, result)


@pytest.mark.mission("P16")
@pytest.mark.mission("P15")
@pytest.mark.parametrize("case", BOOTED)
def test_figures_of_a_fresh_boot_are_reproduced(case: str) -> None:
    """One size of init sections and initramfs gives all figures of all boots."""
    machine = machine_from_proc(CASES / case / "before")
    zones = zones_of(machine)
    result = boot_watermarks(
        zones,
        lowmem_reserve_ratio=machine.sysctl.vm_lowmem_reserve_ratio,
        kernel_init_pages=KERNEL_INIT_PAGES[machine.arch],
        initramfs_pages=INITRAMFS_PAGES[machine.arch],
        initramfs_zone=top_zone(machine),
    )

    assert machine.sysctl.vm_min_free_kbytes == result.min_free_kbytes
    assert recorded(machine) == computed(machine, result)


@pytest.mark.mission("P16")
@pytest.mark.parametrize(
    ("case", "memory"), [("s01", ("512M",)), ("s09", ("2G",)), ("s03", ("1G", "1G"))]
)
def test_a_machine_written_by_hand_is_close_to_a_real_one(
    case: str, memory: tuple[str, ...]
) -> None:
    """Of the same memory: zones to the ACPI tables at their end, managed to 0.2 %, marks to 2 %."""
    real = build(machine_from_proc(CASES / case / "before")).mem.zone
    nodes = [{"cpus": str(nid), "memory": size} for nid, size in enumerate(memory)]
    ours = build(machine_from_toml({"name": "m", "node": nodes})).mem.zone

    for real_row, our_row in zip(real, ours, strict=True):
        assert 0 <= our_row[Z_PRESENT] - real_row[Z_PRESENT] <= ACPI_PAGES
        assert abs(our_row[Z_MANAGED] - real_row[Z_MANAGED]) <= real_row[Z_MANAGED] * 0.002
        for mark in (Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH):
            assert 0 <= our_row[mark] - real_row[mark] <= real_row[mark] * 0.02


def top_zone(machine: MachineSpec) -> int:
    """Return the index of the highest directly mapped zone that begins below 4 GiB."""
    zones = [zone for node in machine.nodes for zone in node.zones]
    return max(
        (zone.start_pfn, index)
        for index, zone in enumerate(zones)
        if zone.present_pages
        and zone.type is not ZoneType.ZONE_HIGHMEM
        and zone.start_pfn < ZONE_DMA32_END_PFN
    )[1]


@pytest.mark.parametrize("folder", SNAPSHOTS, ids=label)
def test_per_cpu_lists_and_drift(folder: Path) -> None:
    """batch, high and threshold of every CPU's list in every zone follow from the watermarks.

    While a node's kswapd works the threshold is that of pressure.
    """
    machine = machine_from_proc(folder)
    for boot in machine.boot.zones:
        managed = machine.nodes[boot.nid].zone(boot.type).managed_pages
        batch = zone_batchsize(managed)
        high = zone_highsize(
            managed_pages=managed,
            wmark_low=boot.watermark_low,
            batch=batch,
            nr_local_cpus=len(machine.nodes[boot.nid].cpus),
            nr_online_cpus=machine.nr_cpus,
        )
        drift = calculate_normal_threshold(managed, nr_online_cpus=machine.nr_cpus)
        if (label(folder), boot.nid) in AWAKE:  # calculate_pressure_threshold
            distance = boot.watermark_low - boot.watermark_min
            drift = min(125, max(1, distance // machine.nr_cpus))
        for pcp in boot.pcp:
            assert (batch, high, drift) == (pcp.batch, pcp.high, pcp.vm_stats_threshold)


@pytest.mark.parametrize("case", NUMA)
def test_fallback_orders_equal_the_kernel_log(case: str) -> None:
    """The logged line of every node, to the letter."""
    machine = machine_from_proc(CASES / case / "before")
    log = (CASES / case / "dmesg.txt").read_text()
    lists = build_all_zonelists(
        distances=machine.distances,
        populated=[[zone.present_pages > 0 for zone in node.zones] for node in machine.nodes],
    )

    texts = [
        f"Fallback order for Node {item.nid}: {''.join(f'{node} ' for node in item.node_order)}"
        for item in lists
    ]
    assert re.findall(r"Fallback order for Node .*", log) == texts


@pytest.mark.mission("P11")
@pytest.mark.mission("P10")
@pytest.mark.parametrize("case", ["s01", "s03", "s04", "s04e", "s07", "s08", "s09"])
def test_the_layout_of_a_written_machine_is_that_of_the_recorded_one(case: str) -> None:
    """From memory sizes alone: start, spanned and present pages; managed pages within 2 %.

    The last zone below 4 GiB may lack a few pages: the firmware keeps tables at the end of RAM.
    """
    real = machine_from_proc(CASES / case / "before")
    table = parse_case(CASES / case / "case.toml").table
    nodes = [
        {"memory": node["mem"]} | ({"cpus": node["cpus"]} if "cpus" in node else {})
        for node in table.get("numa", [{"mem": table["memory"], "cpus": "0"}])
    ]
    movable = table.get("cmdline", "").removeprefix("movablecore=") or 0
    ours = machine_from_toml({"name": case, "node": nodes, "movablecore": movable})

    for left, right in zip(real.nodes, ours.nodes, strict=True):
        for a, b in zip(left.zones, right.zones, strict=True):
            assert (a.type, a.start_pfn) == (b.type, b.start_pfn)
            assert 0 <= b.spanned_pages - a.spanned_pages <= 32
            assert 0 <= b.present_pages - a.present_pages <= 32
        assert left.managed_pages == pytest.approx(right.managed_pages, rel=0.02)


@pytest.mark.mission("P11")
@pytest.mark.parametrize("case", BOOTED)
def test_zone_ranges_equal_the_kernel_log(case: str) -> None:
    """The zone ranges of the boot log are those of the zones we hold."""
    machine = machine_from_proc(CASES / case / "before")
    log = (CASES / case / "dmesg.txt").read_text()
    ranges = re.findall(r"\]   (\w+) +\[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]", log)
    assert ranges

    for name, start, last in ranges:
        zones = [zone for node in machine.nodes for zone in node.zones if zone.spanned_pages]
        inside = [z for z in zones if int(start, 16) <= z.start_pfn << 12 <= int(last, 16)]
        assert int(start, 16) == min(zone.start_pfn for zone in inside) << 12
        assert int(last, 16) + 1 == max(zone.end_pfn for zone in inside) << 12, name
