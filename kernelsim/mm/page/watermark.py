"""Compute watermarks, lowmem reserves and per-cpu list sizes of every zone.

Linux: mm/page_alloc.c of 6.1 (calculate_min_free_kbytes, setup_per_zone_wmarks,
setup_per_zone_lowmem_reserve, zone_batchsize, zone_highsize, boost_watermark), mm/vmstat.c:
calculate_normal_threshold.
Interface: functions over `ZoneManaged` values, one a zone of the machine, all zone types of every
node in the kernel's order; results stand in the same order.
Units: pages of 4 KiB; KiB where the name says kbytes.

The watermarks of one zone, `share` being its part of min_free_kbytes by managed pages:
    min  = share                     (high memory: managed / 1024, but 32 to 128)
    step = max(share / 4, managed * watermark_scale_factor / 10000)
    low  = min + step,  high = min + 2 * step
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Final

import attrs

from kernelsim.config.era import LINUX_6_1, Era
from kernelsim.config.zones import ZoneType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ZoneManaged",
    "ZoneWatermarks",
    "boost_watermark",
    "calculate_min_free_kbytes",
    "calculate_normal_threshold",
    "inferred_min_free_kbytes",
    "khugepaged_min_free_kbytes",
    "nr_free_buffer_pages",
    "setup_per_zone_lowmem_reserve",
    "setup_per_zone_wmarks",
    "zone_batchsize",
    "zone_highsize",
]

MIN_FREE_KBYTES_MIN: Final = 128  # KiB; mm/page_alloc.c
MIN_FREE_KBYTES_MAX: Final = 262_144  # KiB; mm/page_alloc.c
HIGHMEM_MIN_PAGES: Final = 32  # pages; SWAP_CLUSTER_MAX
HIGHMEM_MIN_PAGES_MAX: Final = 128  # pages; mm/page_alloc.c
STAT_THRESHOLD_MAX: Final = 125  # pages; per-cpu counters are signed bytes
STAT_THRESHOLD_SHIFT: Final = 15  # log2 pages; 128 MiB steps of calculate_normal_threshold
KIB_PAGE_SHIFT: Final = 2  # log2; 4 KiB a page
PAGE_BYTES: Final = 4096  # bytes
PAGEBLOCK_NR_PAGES: Final = 512  # pages; a huge page of x86_64
ROUND_KBYTES: Final = 1024  # KiB; what people write into vm.min_free_kbytes
MIGRATE_PCPTYPES: Final = 3  # migratetypes with per-cpu lists; linux/mmzone.h


@attrs.frozen(kw_only=True)
class ZoneManaged:
    """What the formulas need to know of a zone."""

    nid: int
    """Node number."""
    type: ZoneType
    """Zone type."""
    managed_pages: int
    """Pages the buddy system has; 0 for an empty zone."""


@attrs.frozen(kw_only=True)
class ZoneWatermarks:
    """The watermarks of one zone in pages, without boost."""

    wmark_min: int
    """Below it only reclaim itself and high-priority requests get pages."""
    wmark_low: int
    """Below it kswapd is woken."""
    wmark_high: int
    """kswapd sleeps when free pages have reached it."""
    wmark_promo: int
    """Target for promotion between memory tiers."""


def is_highmem(zones: Sequence[ZoneManaged], zone: ZoneManaged) -> bool:
    """Return whether a zone is high memory: HighMem, and Movable when it was cut from HighMem.

    Source: Linux 6.1 include/linux/mmzone.h:is_highmem_idx
    """
    if zone.type is ZoneType.ZONE_MOVABLE:
        return any(z.type is ZoneType.ZONE_HIGHMEM and z.managed_pages for z in zones)
    return zone.type is ZoneType.ZONE_HIGHMEM


def nr_free_buffer_pages(zones: Sequence[ZoneManaged], wmark_high: Sequence[int]) -> int:
    """Return the pages beyond the high watermark in the zones kernel data may come from.

    Args:
        zones: all zones.
        wmark_high: WMARK_HIGH in force, one a zone; zeros before the first computation.

    Source: Linux 6.1 mm/page_alloc.c:nr_free_zone_pages, gfp_zone(GFP_USER) is ZONE_NORMAL
    """
    kernel_zones = (ZoneType.ZONE_DMA, ZoneType.ZONE_DMA32, ZoneType.ZONE_NORMAL)
    return sum(
        max(zone.managed_pages - high, 0)
        for zone, high in zip(zones, wmark_high, strict=True)
        if zone.type in kernel_zones
    )


def calculate_min_free_kbytes(
    free_buffer_pages: int, *, current_kbytes: int = 1024, user_kbytes: int = -1
) -> int:
    """Return min_free_kbytes by the formula: the square root of 16 times lowmem in KiB.

    Args:
        free_buffer_pages: result of nr_free_buffer_pages.
        current_kbytes: value in force; 1024 before the first computation.
        user_kbytes: what the user wrote last, -1 for never: a larger one stays in force.

    Source: Linux 6.1 mm/page_alloc.c:calculate_min_free_kbytes
    """
    computed = math.isqrt(free_buffer_pages * (PAGE_BYTES // 1024) * 16)
    if computed <= user_kbytes:
        return current_kbytes
    return min(max(computed, MIN_FREE_KBYTES_MIN), MIN_FREE_KBYTES_MAX)


def khugepaged_min_free_kbytes(zones: Sequence[ZoneManaged], wmark_high: Sequence[int]) -> int:
    """Return the min_free_kbytes that khugepaged recommends: two free pageblocks a zone, and more.

    Args:
        zones: all zones.
        wmark_high: WMARK_HIGH in force, one a zone.

    Source: Linux 6.1 mm/khugepaged.c:set_recommended_min_free_kbytes
    """
    high = (ZoneType.ZONE_HIGHMEM, ZoneType.ZONE_MOVABLE, ZoneType.ZONE_DEVICE)
    nr_zones = sum(zone.managed_pages > 0 and zone.type not in high for zone in zones)
    pages = PAGEBLOCK_NR_PAGES * nr_zones * (2 + MIGRATE_PCPTYPES * MIGRATE_PCPTYPES)
    return min(pages, nr_free_buffer_pages(zones, wmark_high) // 20) << KIB_PAGE_SHIFT


def inferred_min_free_kbytes(zones: Sequence[ZoneManaged], minima: Mapping[int, int]) -> int:
    """Return the vm.min_free_kbytes that recorded minima come from.

    Each zone's minimum is its share, rounded down, so that they add up to a page a zone less at
    most. Among what is left stands what khugepaged recommends, else a round number, else the least.

    Args:
        zones: all zones.
        minima: WMARK_MIN of the populated zones, by index.
    """
    low = [
        minima[index]
        for index, zone in enumerate(zones)
        if index in minima and not is_highmem(zones, zone)
    ]
    least = sum(low) * 4
    most = least + 4 * max(len(low) - 1, 0) + 3
    recommended = khugepaged_min_free_kbytes(zones, [0] * len(zones))
    if least <= recommended <= most:
        return recommended
    rounded = -(-least // ROUND_KBYTES) * ROUND_KBYTES
    return rounded if rounded <= most else least


def setup_per_zone_wmarks(
    zones: Sequence[ZoneManaged],
    *,
    min_free_kbytes: int,
    watermark_scale_factor: int = 10,
    era: Era = LINUX_6_1,
) -> tuple[ZoneWatermarks, ...]:
    """Return the watermarks of all zones.

    Args:
        zones: all zones of the machine.
        min_free_kbytes: vm.min_free_kbytes in force.
        watermark_scale_factor: vm.watermark_scale_factor, 1/10000; "classic" does not use it.
        era: says whether the scale factor counts; else low = min * 5/4 and high = min * 3/2.

    Source: Linux 6.1 mm/page_alloc.c:__setup_per_zone_wmarks
    """
    pages_min = min_free_kbytes >> KIB_PAGE_SHIFT
    highmem = [is_highmem(zones, zone) for zone in zones]
    lowmem_pages = sum(z.managed_pages for z, high in zip(zones, highmem, strict=True) if not high)
    result: list[ZoneWatermarks] = []
    for zone, high in zip(zones, highmem, strict=True):
        # All memory high: Linux divides by 1 then (div64 by zero is never reached in practice).
        share = pages_min * zone.managed_pages // max(lowmem_pages, 1)
        wmark_min = share
        if high:
            capped = min(zone.managed_pages // 1024, HIGHMEM_MIN_PAGES_MAX)
            wmark_min = max(capped, HIGHMEM_MIN_PAGES)
        if not era.watermark_scale:
            result.append(_watermarks(wmark_min, share >> 2, share >> 1))
            continue
        step = max(share >> 2, zone.managed_pages * watermark_scale_factor // 10_000)
        result.append(_watermarks(wmark_min, step, 2 * step))
    return tuple(result)


def _watermarks(wmark_min: int, to_low: int, to_high: int) -> ZoneWatermarks:
    """Return watermarks from min and the distances above it."""
    return ZoneWatermarks(
        wmark_min=wmark_min,
        wmark_low=wmark_min + to_low,
        wmark_high=wmark_min + to_high,
        wmark_promo=wmark_min + to_high + to_low,
    )


def setup_per_zone_lowmem_reserve(
    zones: Sequence[ZoneManaged], ratio: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Return lowmem_reserve of every zone: [zone][zone type of the request], pages.

    A request that may use a higher zone j leaves 1/ratio of all pages of the zones above this one,
    up to j, untouched. Ratio 0, or an empty zone, reserves nothing.

    Args:
        zones: all zones of the machine, every node with all types in order.
        ratio: vm.lowmem_reserve_ratio, by zone type; missing ones count as 0.

    Source: Linux 6.1 mm/page_alloc.c:setup_per_zone_lowmem_reserve
    """
    rows: list[tuple[int, ...]] = []
    for _, group in groupby(zones, key=lambda zone: zone.nid):
        node = list(group)
        for i, zone in enumerate(node):
            divisor = ratio[i] if i < len(ratio) and zone.managed_pages else 0
            above = 0
            row = [0] * len(node)
            for j in range(i + 1, len(node)):
                above += node[j].managed_pages
                row[j] = above // divisor if divisor else 0
            rows.append(tuple(row))
    return tuple(rows)


def zone_batchsize(managed_pages: int, era: Era = LINUX_6_1) -> int:
    """Return pcp->batch of a zone: 0.1 % of it, at most 1 MiB, a quarter, as 2^n - 1; 1 at least.

    The most is the era's.

    Source: Linux 6.1 mm/page_alloc.c:zone_batchsize, zone_set_pageset_high_and_batch
    """
    batch = max(min(managed_pages >> 10, era.pcp_batch_bytes_max // PAGE_BYTES) // 4, 1)
    rounded: int = 1 << ((batch + batch // 2).bit_length() - 1)
    return max(rounded - 1, 1)


def zone_highsize(
    *,
    managed_pages: int,
    wmark_low: int,
    batch: int,
    nr_local_cpus: int,
    nr_online_cpus: int,
    high_fraction: int = 0,
) -> int:
    """Return pcp->high of a zone: its low watermark shared by the node's CPUs, 4 batches or more.

    Args:
        managed_pages: of the zone.
        wmark_low: WMARK_LOW; with a momentary boost the kernel adds it here too.
        batch: pcp->batch.
        nr_local_cpus: CPUs of the zone's node; 0 makes all online CPUs share.
        nr_online_cpus: CPUs of the machine.
        high_fraction: vm.percpu_pagelist_high_fraction; not 0 takes that part of the zone instead.

    Source: Linux 6.1 mm/page_alloc.c:zone_highsize
    """
    total = managed_pages // high_fraction if high_fraction else wmark_low
    return max(total // (nr_local_cpus or nr_online_cpus), batch << 2)


def boost_watermark(
    *,
    boost: int,
    wmark_high: int,
    managed_pages: int,
    watermark_boost_factor: int = 15_000,
    pageblock_nr_pages: int = 512,
) -> int:
    """Return the zone's boost after one more mixing of migratetypes in a pageblock.

    It grows by a pageblock, up to factor/10000 of the high watermark (one pageblock at least).
    A zone of fewer than four pageblocks, or factor 0, is never boosted.

    Source: Linux 6.1 mm/page_alloc.c:boost_watermark
    """
    if not watermark_boost_factor or pageblock_nr_pages * 4 > managed_pages:
        return boost
    boost_max = wmark_high * watermark_boost_factor // 10_000
    if not boost_max:
        return boost
    return min(boost + pageblock_nr_pages, max(pageblock_nr_pages, boost_max))


def calculate_normal_threshold(managed_pages: int, *, nr_online_cpus: int) -> int:
    """Return the drift a per-cpu zone counter may have before it is folded in.

    Source: Linux 6.1 mm/vmstat.c:calculate_normal_threshold
    """
    steps = (managed_pages >> STAT_THRESHOLD_SHIFT).bit_length()
    return min(2 * nr_online_cpus.bit_length() * (1 + steps), STAT_THRESHOLD_MAX)
