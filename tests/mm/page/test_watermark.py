"""Watermarks, reserves and list sizes: the mission's figures and the corners of the formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.config.era import CLASSIC
from kernelsim.config.zones import ZoneType, zone_types
from kernelsim.mm.page.watermark import (
    ZoneManaged,
    boost_watermark,
    calculate_min_free_kbytes,
    calculate_normal_threshold,
    nr_free_buffer_pages,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
    zone_batchsize,
    zone_highsize,
)


def zones_of(arch: str, *managed: int) -> list[ZoneManaged]:
    """Return the zones of a machine of one node."""
    return [
        ZoneManaged(nid=0, type=kind, managed_pages=pages)
        for kind, pages in zip(zone_types(arch), managed, strict=True)
    ]


@pytest.mark.mission("P15")
def test_lowmem_reserve_of_a_small_32_bit_machine() -> None:
    """DMA 8 MB, NORMAL 64 MB, HIGHMEM 256 MB, ratios 256/32/0 → 64, 320 and 2048 pages."""
    zones = zones_of("i386", 2048, 16384, 65536, 0)
    reserve = setup_per_zone_lowmem_reserve(zones, (256, 32, 0, 0))

    assert (0, 64, 320, 320) == reserve[0]
    assert (0, 0, 2048, 2048) == reserve[1]
    assert (0, 0, 0, 0) == reserve[2]


@pytest.mark.mission("P16")
def test_classic_watermarks() -> None:
    """min_free_kbytes 67584 in one zone: low = min * 5/4, high = min * 3/2."""
    zones = zones_of("x86_64", 0, 1 << 20, 0, 0, 0)
    marks = setup_per_zone_wmarks(zones, min_free_kbytes=67584, era=CLASSIC)[1]
    kbytes = [4 * pages for pages in (marks.wmark_min, marks.wmark_low, marks.wmark_high)]

    assert [67584, 67584 * 5 // 4, 67584 * 3 // 2] == kbytes


@pytest.mark.mission("P16")
def test_the_scale_factor_widens_the_step() -> None:
    """Rules of 6.1: the step is the larger of min / 4 and managed * factor / 10000."""
    zones = zones_of("x86_64", 0, 1_000_000, 0, 0, 0)
    narrow = setup_per_zone_wmarks(zones, min_free_kbytes=67584, watermark_scale_factor=10)[1]
    wide = setup_per_zone_wmarks(zones, min_free_kbytes=67584, watermark_scale_factor=1000)[1]

    assert (16896, 21120, 25344, 29568) == (
        narrow.wmark_min,
        narrow.wmark_low,
        narrow.wmark_high,
        narrow.wmark_promo,
    )
    assert (16896, 116896, 216896) == (wide.wmark_min, wide.wmark_low, wide.wmark_high)


@pytest.mark.mission("P16")
@pytest.mark.parametrize(
    ("lowmem_mib", "kbytes"),
    [(16, 512), (32, 724), (64, 1024), (512, 2896), (4096, 8192), (16384, 16384), (1, 128)],
)
def test_min_free_kbytes_grows_with_the_square_root(lowmem_mib: int, kbytes: int) -> None:
    """Documented values of the formula, clamped to 128 KiB below."""
    assert kbytes == calculate_min_free_kbytes(lowmem_mib << 8)


def test_min_free_kbytes_has_a_ceiling_and_obeys_the_user() -> None:
    """At most 256 MiB; a larger value written by the user stays in force."""
    assert 262144 == calculate_min_free_kbytes(1 << 40)
    assert 9999 == calculate_min_free_kbytes(1 << 17, current_kbytes=9999, user_kbytes=9999)
    assert 2896 == calculate_min_free_kbytes(1 << 17, current_kbytes=1000, user_kbytes=1000)


def test_buffer_pages_leave_out_high_memory_movable_and_high_watermarks() -> None:
    """Only zones kernel data may come from count, above their high watermark."""
    assert 100 + 900 == nr_free_buffer_pages(zones_of("i386", 100, 1000, 5000, 0), (0, 100, 7, 0))
    assert 100 == nr_free_buffer_pages(zones_of("x86_64", 100, 50, 0, 5000, 0), (0, 60, 0, 0, 0))


def test_movable_is_high_memory_only_where_there_is_high_memory() -> None:
    """64-bit: Movable gets its share like any zone; 32-bit: 32 to 128 pages."""
    wide = setup_per_zone_wmarks(zones_of("x86_64", 0, 1000, 0, 1000, 0), min_free_kbytes=4000)
    narrow = setup_per_zone_wmarks(
        zones_of(
            "i386",
            0,
            1000,
            9,
            200_000,
        ),
        min_free_kbytes=4000,
    )

    assert (500, 500) == (wide[1].wmark_min, wide[3].wmark_min)
    assert (1000, 32, 128) == (narrow[1].wmark_min, narrow[2].wmark_min, narrow[3].wmark_min)


@given(st.lists(st.integers(0, 1 << 30), min_size=5, max_size=5), st.integers(0, 1 << 20))
def test_min_watermarks_share_out_min_free(managed: list[int], kbytes: int) -> None:
    """The min watermarks of a 64-bit machine add up to min_free_kbytes, less a page a zone."""
    marks = setup_per_zone_wmarks(zones_of("x86_64", *managed), min_free_kbytes=kbytes)
    total = sum(mark.wmark_min for mark in marks)

    if any(managed):
        assert (kbytes >> 2) - 5 < total <= kbytes >> 2
    assert all(m.wmark_min <= m.wmark_low <= m.wmark_high <= m.wmark_promo for m in marks)


def test_an_empty_zone_reserves_nothing_but_counts_nothing() -> None:
    """The row of an empty zone is zero; the zones above it still add up."""
    reserve = setup_per_zone_lowmem_reserve(zones_of("x86_64", 256, 0, 512, 0, 0), (2, 2, 2, 0, 0))

    assert ((0, 0, 256, 256, 256), (0,) * 5) == reserve[:2]


@pytest.mark.parametrize(
    ("managed", "batch"), [(0, 1), (3840, 1), (37858, 7), (48989, 15), (113264, 31), (1 << 30, 63)]
)
def test_batch_sizes(managed: int, batch: int) -> None:
    """2^n - 1, from 1 to 63, as recorded."""
    assert batch == zone_batchsize(managed)


def test_pcp_high_is_shared_by_the_cpus_of_the_node() -> None:
    """Local CPUs share the low watermark; without any all online CPUs do; four batches at least."""
    local = zone_highsize(
        managed_pages=9, wmark_low=900, batch=7, nr_local_cpus=3, nr_online_cpus=9
    )
    headless = zone_highsize(
        managed_pages=9, wmark_low=900, batch=7, nr_local_cpus=0, nr_online_cpus=9
    )
    floor = zone_highsize(managed_pages=9, wmark_low=9, batch=7, nr_local_cpus=3, nr_online_cpus=9)
    fraction = zone_highsize(
        managed_pages=8000,
        wmark_low=9,
        batch=7,
        nr_local_cpus=2,
        nr_online_cpus=9,
        high_fraction=8,
    )

    assert [300, 100, 28, 500] == [local, headless, floor, fraction]


def test_boost_grows_by_pageblocks_up_to_its_ceiling() -> None:
    """512 pages at a time, up to 150 % of high; small zones and factor 0 are never boosted."""
    once = boost_watermark(boost=0, wmark_high=979, managed_pages=113264)
    full = boost_watermark(boost=1024, wmark_high=979, managed_pages=113264)
    tiny_high = boost_watermark(boost=0, wmark_high=32, managed_pages=3840)
    small = boost_watermark(boost=0, wmark_high=32, managed_pages=2047)
    off = boost_watermark(boost=0, wmark_high=979, managed_pages=113264, watermark_boost_factor=0)

    assert [512, 1468, 512, 0, 0] == [once, full, tiny_high, small, off]


def test_counter_drift() -> None:
    """Thresholds grow with CPUs and memory up to 125."""
    assert [2, 6, 125] == [
        calculate_normal_threshold(3840, nr_online_cpus=1),
        calculate_normal_threshold(113264, nr_online_cpus=1),
        calculate_normal_threshold(1 << 30, nr_online_cpus=64),
    ]


def test_zone_of_memory_that_is_all_high_does_not_divide_by_zero() -> None:
    """A machine described with high memory only still gets watermarks."""
    marks = setup_per_zone_wmarks(
        [ZoneManaged(nid=0, type=ZoneType.ZONE_HIGHMEM, managed_pages=4096)], min_free_kbytes=128
    )

    assert 32 == marks[0].wmark_min
