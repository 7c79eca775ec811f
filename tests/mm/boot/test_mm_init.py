"""Physical memory as it stands at boot, for machines written by hand and for recorded ones."""

import resource
from pathlib import Path

import attrs
import numpy as np
import pytest

from kernelsim.check.pages import check_pages
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine import MachineSpec, NodeSpec, ZoneSpec
from kernelsim.config.machine_file import load_machine, preset_names
from kernelsim.config.sysctl import Sysctl
from kernelsim.config.zones import ZoneType, zone_types
from kernelsim.mm.boot.mm_init import build
from kernelsim.mm.core.mem import (
    MIGRATE_MOVABLE,
    Z_FREE,
    Z_FRESH_END,
    Z_FRESH_START,
    Z_MANAGED,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_PRESENT,
    Z_SPANNED,
    Z_START_PFN,
    Z_WATERMARK_BOOST,
    Z_WATERMARK_BOOST_FACTOR,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Z_WMARK_PROMO,
    PG_kernel,
    PG_reserved,
)
from kernelsim.mm.core.vmstat import (
    NODE_STAT_NAMES,
    NR_ANON_PAGES,
    NUMA_HIT,
    PGALLOC_DMA,
    PGFAULT,
    PGFREE,
)
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.page.page_zone import pageblock_types
from kernelsim.mm.page.pcp import alloc_pages_bulk
from kernelsim.mm.page.phys_mem import PhysMem
from kernelsim.mm.page.watermark import khugepaged_min_free_kbytes
from kernelsim.mm.page.zone_marks import setup_per_zone_lowmem_reserve, setup_per_zone_wmarks

CASES = Path(__file__).parents[2] / "oracle" / "cases"
RECORDED = sorted(path.parent for path in CASES.glob("*/before/pagetypeinfo"))
BIG_BLOCKS = {"s05", "d13_malloc", "d13_squeeze1g"}  # pageblocks of 4 MiB, ours have 2 MiB


def case_id(path: Path) -> str:
    """Name a case by its folder."""
    return path.parent.name


def zone_row(phys: PhysMem, nid: int, zone_type: ZoneType) -> int:
    """Return the row of a zone."""
    return nid * len(phys.zone_types) + phys.zone_types.index(zone_type)


@pytest.mark.mission("P17")
@pytest.mark.parametrize("directory", RECORDED, ids=case_id)
def test_a_recorded_machine_has_the_free_blocks_it_had(directory: Path) -> None:
    """Blocks of each order and type, pageblocks and per-cpu lists are as recorded."""
    spec = machine_from_proc(directory)
    phys = build(spec)
    assert len(spec.boot.zones) > 0
    for boot in spec.boot.zones:
        zone = zone_row(phys, boot.nid, boot.type)
        assert free_area_counts(phys.mem, zone).T.tolist() == [list(row) for row in boot.free]
        assert phys.mem.pcp_count[zone].tolist() == [pcp.count for pcp in boot.pcp]
        if directory.parent.name not in BIG_BLOCKS:
            mine = pageblock_types(phys.mem, zone)
            assert np.bincount(mine, minlength=5).tolist() == list(boot.pageblocks)
    assert check_pages(phys.mem, in_flight=0) == []


@pytest.mark.mission("P16")
@pytest.mark.parametrize("directory", RECORDED, ids=case_id)
def test_a_recorded_machine_has_the_marks_it_had(directory: Path) -> None:
    """Watermarks, protections and per-cpu list sizes are the recorded ones."""
    spec = machine_from_proc(directory)
    phys = build(spec)
    for boot in spec.boot.zones:
        zone = zone_row(phys, boot.nid, boot.type)
        row = phys.mem.zone[zone]
        marks = row[[Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH, Z_WATERMARK_BOOST]].tolist()
        recorded = (boot.watermark_min, boot.watermark_low, boot.watermark_high)
        assert marks == [*recorded, boot.watermark_boost]
        assert phys.mem.lowmem_reserve[zone].tolist() == list(boot.protection)
        assert row[[Z_PCP_BATCH, Z_PCP_HIGH]].tolist() == [boot.pcp[0].batch, boot.pcp[0].high]


def test_a_recorded_machine_goes_on_counting_where_it_was() -> None:
    """Events, node, zone and NUMA counters start at the recorded figures."""
    spec = machine_from_proc(CASES / "d02" / "before")
    mem = build(spec).mem
    vmstat = spec.boot.vmstat
    assert mem.vm_event[PGFAULT] == vmstat["pgfault"] > 0
    assert mem.vm_event[PGFREE] == vmstat["pgfree"] > 0
    assert mem.vm_event[PGALLOC_DMA + 1] == vmstat["pgalloc_dma32"] > 0
    assert mem.numa_stat[1, NUMA_HIT] == 8391
    assert mem.node_stat[0, NR_ANON_PAGES] == 31
    assert NODE_STAT_NAMES[NR_ANON_PAGES] == "nr_anon_pages"


def test_a_32_bit_machine_counts_high_memory() -> None:
    """pgalloc_high of i386 is the counter of zone index 2, where HighMem stands."""
    spec = machine_from_proc(CASES / "s05" / "before")
    mem = build(spec).mem
    assert spec.zone_types[2] is ZoneType.ZONE_HIGHMEM
    assert mem.vm_event[PGALLOC_DMA + 2] == spec.boot.vmstat["pgalloc_high"]
    assert mem.vm_event[PGALLOC_DMA + 1] == spec.boot.vmstat["pgalloc_normal"] > 0


def test_without_block_counts_the_free_pages_lie_at_the_top() -> None:
    """A snapshot with zoneinfo alone still gives as many free pages as it says."""
    spec = machine_from_proc(CASES / "d04_sw60_r2" / "before")
    phys = build(spec)
    for boot in spec.boot.zones:
        zone = zone_row(phys, boot.nid, boot.type)
        assert not boot.free
        assert phys.mem.zone[zone, Z_FREE] == boot.stats["nr_free_pages"]
    assert check_pages(phys.mem, in_flight=0) == []


def test_figures_of_different_moments_are_made_to_fit() -> None:
    """More blocks of an order than can lie apart are split; no free page is lost."""
    spec = machine_from_proc(CASES / "d02" / "before")
    zones = list(spec.boot.zones)
    rows = [list(row) for row in zones[0].free]
    rows[1] = [0] * 9 + [7, 0]  # zone DMA has four chunks: at most four lone pageblocks
    zones[0] = attrs.evolve(zones[0], free=tuple(map(tuple, rows)))
    phys = build(attrs.evolve(spec, boot=attrs.evolve(spec.boot, zones=tuple(zones))))
    counts = free_area_counts(phys.mem, 0)
    assert counts[9, MIGRATE_MOVABLE] <= 4
    assert phys.mem.zone[0, Z_FREE] <= 3840
    assert check_pages(phys.mem, in_flight=0) == []


@pytest.mark.mission("P10")
@pytest.mark.parametrize("name", [name for name in preset_names() if "big" not in name])
def test_a_machine_written_by_hand_is_free_but_for_the_boot_pages(name: str) -> None:
    """Free pages are the managed ones; reserved ones lie at the bottom of each zone."""
    machine = load_machine(name)
    phys = build(machine)
    zone = phys.mem.zone
    assert zone[:, Z_FREE].tolist() == zone[:, Z_MANAGED].tolist()
    for node in machine.nodes:
        for spec in node.zones:
            row = zone[zone_row(phys, node.nid, spec.type)]
            assert row[[Z_START_PFN, Z_SPANNED, Z_PRESENT, Z_MANAGED]].tolist() == [
                spec.start_pfn,
                spec.spanned_pages,
                spec.present_pages,
                spec.managed_pages,
            ]
    assert phys.totalram_pages == int(zone[:, Z_MANAGED].sum())
    assert not (phys.mem.pages.flags & PG_kernel).any()
    assert (phys.mem.pages.flags[:1] & PG_reserved == 0).all()
    if phys.mem.pages.flags.size < 1 << 21:
        assert check_pages(phys.mem, in_flight=0) == []


def test_page_frame_zero_is_in_no_zone() -> None:
    """ZONE_DMA starts at frame 1, and frame 0 is on no list."""
    phys = build(load_machine("tiny-64m"))
    assert phys.mem.zone[0, Z_START_PFN] == 1
    out = np.zeros(4096, np.int64)
    got, _ = alloc_pages_bulk(phys.mem, 0, 0, 0, 0, MIGRATE_MOVABLE, -1, 4096, out, 0)
    assert got == phys.mem.zone[0, Z_MANAGED]
    assert 1 <= out[:got].min() < out[:got].max() < 4096


@pytest.mark.slow
def test_a_tebibyte_costs_little_until_it_is_used() -> None:
    """1 TiB in 8 nodes: less than 300 MB of this process, and a page of each node to be had."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    phys = build(load_machine("big-8x128g"))
    used_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert used_kib < 200 * 1024
    assert phys.totalram_pages * 4096 > 0.97 * (1 << 40)
    assert sum(column.itemsize for column in phys.mem.pages) <= 41
    normal = [zone_row(phys, nid, ZoneType.ZONE_NORMAL) for nid in range(8)]
    untouched = phys.mem.zone[normal, Z_FRESH_END] - phys.mem.zone[normal, Z_FRESH_START]
    assert (untouched > 0.9 * phys.mem.zone[normal, Z_MANAGED]).all()
    out = np.zeros(8, np.int64)
    for zone in normal:
        assert alloc_pages_bulk(phys.mem, zone, 0, 0, 0, MIGRATE_MOVABLE, -1, 1, out, 0)[0] == 1


def two_nodes() -> MachineSpec:
    """Describe two nodes of 1 GiB, the first of them with a DMA zone, 3 CPUs and 1 CPU."""
    empty = {kind: ZoneSpec(type=kind) for kind in zone_types("x86_64")}

    def zone(kind: ZoneType, start: int, end: int) -> ZoneSpec:
        size = end - start
        return ZoneSpec(
            type=kind,
            start_pfn=start,
            spanned_pages=size,
            present_pages=size,
            managed_pages=size,
        )

    first = {
        ZoneType.ZONE_DMA: zone(ZoneType.ZONE_DMA, 1, 4096),
        ZoneType.ZONE_DMA32: zone(ZoneType.ZONE_DMA32, 4096, 1 << 18),
    }
    second = {ZoneType.ZONE_DMA32: zone(ZoneType.ZONE_DMA32, 1 << 18, 1 << 19)}
    return MachineSpec(
        name="two-nodes",
        nodes=(
            NodeSpec(nid=0, cpus=(0, 1, 3), zones=tuple({**empty, **first}.values())),
            NodeSpec(nid=1, cpus=(2,), zones=tuple({**empty, **second}.values())),
        ),
        distances=((10, 20), (20, 10)),
    )


@pytest.mark.mission("P15")
def test_zonelists_go_from_high_to_low_and_from_near_to_far() -> None:
    """Node 0 tries DMA32 and DMA of its own, then node 1; node 1 the other way round."""
    phys = build(two_nodes())
    assert phys.zonelists == ((1, 0, 6), (6, 1, 0))
    assert phys.cpu_nid == (0, 0, 1, 0)
    assert phys.nr_cpus == 4


@pytest.mark.mission("P16")
def test_watermarks_follow_the_tunables() -> None:
    """min_free_kbytes 67584 is 16896 pages, shared by managed pages; high = min * 3/2."""
    phys = build(attrs.evolve(two_nodes(), sysctl=Sysctl(vm_min_free_kbytes=67584)))
    managed = 4095 + (1 << 19) - 4096
    share = 16896 * (1 << 18) // managed
    columns = [Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH, Z_WMARK_PROMO]
    step = share // 4
    expected = [share, share + step, share + 2 * step, share + 3 * step]
    assert phys.mem.zone[6, columns].tolist() == expected
    assert phys.mem.zone[6, [Z_PCP_BATCH, Z_PCP_HIGH]].tolist() == [63, expected[1]]
    # Node 0 has three CPUs to share the low mark of its zone.
    low = int(phys.mem.zone[1, Z_WMARK_LOW])
    assert phys.mem.zone[1, [Z_PCP_BATCH, Z_PCP_HIGH]].tolist() == [63, low // 3]
    assert phys.mem.zone[2:5, columns].tolist() == [[0] * 4] * 3


def test_writing_a_tunable_recomputes_marks_and_drops_the_boost() -> None:
    """A new scale factor moves low and high but not min; what was boosted is forgotten."""
    phys = build(two_nodes())
    before = phys.mem.zone.copy()
    booted = phys.tunables.now
    phys.mem.zone[6, Z_WATERMARK_BOOST] = 512
    reserve = phys.totalreserve_pages
    phys.tunables.now = attrs.evolve(
        booted, vm_watermark_scale_factor=1000, vm_watermark_boost_factor=0
    )
    setup_per_zone_wmarks(phys)
    assert booted.vm_min_free_kbytes == phys.tunables.now.vm_min_free_kbytes != 0
    assert phys.mem.zone[6, Z_WMARK_MIN] == before[6, Z_WMARK_MIN]
    distance = phys.mem.zone[6, Z_WMARK_LOW] - phys.mem.zone[6, Z_WMARK_MIN]
    assert distance == (1 << 18) * 1000 // 10000
    assert phys.mem.zone[6, [Z_WATERMARK_BOOST, Z_WATERMARK_BOOST_FACTOR]].tolist() == [0, 0]
    assert phys.totalreserve_pages > reserve


@pytest.mark.mission("P15")
def test_lower_zones_keep_pages_from_requests_for_higher_ones() -> None:
    """With ratio 64 zone DMA keeps 1/64 of DMA32 from those who could use that instead."""
    phys = build(two_nodes())
    dma32 = (1 << 18) - 4096
    assert phys.mem.lowmem_reserve[0].tolist() == [0, *[dma32 // 256] * 4]
    phys.tunables.now = Sysctl(vm_lowmem_reserve_ratio=(64, 256, 32, 0, 0))
    setup_per_zone_lowmem_reserve(phys)
    assert phys.mem.lowmem_reserve[0].tolist() == [0, *[dma32 // 64] * 4]
    assert phys.mem.lowmem_reserve[1].tolist() == [0] * 5


@pytest.mark.mission("P16")
@pytest.mark.parametrize("name", ["desktop-16g", "laptop-4g", "numa-4x8g"])
def test_presets_reserve_what_distributions_do(name: str) -> None:
    """vm.min_free_kbytes is what khugepaged recommends for the preset's zones, to the KiB."""
    phys = build(load_machine(name))
    zones = phys.zones_managed()
    recommended = khugepaged_min_free_kbytes(zones, [0] * len(zones))
    assert recommended == phys.tunables.now.vm_min_free_kbytes
    assert abs(int(phys.mem.zone[:, Z_WMARK_MIN].sum()) * 4 - recommended) <= 4 * len(zones)
