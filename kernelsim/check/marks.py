"""Whether zones have the marks, reserves and page lists that the tunables in force give them.

Worked out apart from the allocator. A recorded machine has the marks of its recording until a
tunable is written, and is not judged.
Linux: mm/page_alloc.c: __setup_per_zone_wmarks, setup_per_zone_lowmem_reserve, nr_pcp_high, 6.1.
Interface: `check_marks` and `check_lists` at a look; `longest_lists` whenever pages are freed.
Units: pages.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import (
    I64,
    Z_MANAGED,
    Z_NID,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_TYPE_INDEX,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
)


def check_marks(kernel: Kernel) -> Iterator[str]:
    """Compare each zone with what the tunables say."""
    if kernel.spec.boot.recorded:
        return
    yield from check_watermarks(kernel)
    yield from check_reserves(kernel)


def longest_lists(mem: Mem) -> I64:
    """Return how many pages of each zone a CPU may have on its lists."""
    most: I64 = np.maximum(mem.zone[:, Z_PCP_HIGH], mem.zone[:, Z_PCP_BATCH])
    return most


def check_lists(kernel: Kernel, most: I64) -> Iterator[str]:
    """Find CPUs that keep more pages than they ever might, by zone; lists shrink at a free.

    Those of a zone whose lists are switched off since some of its memory goes offline are drained.
    """
    mem = kernel.mem
    most = np.maximum(most, longest_lists(mem))  # of a zone that just came online, too
    is_off = (mem.zone[:, Z_PCP_HIGH] == 0) & kernel.device_hotplug.is_held
    for zone, cpu in np.argwhere((mem.pcp_count > most[:, None]) & ~is_off[:, None]).tolist():
        yield (
            f"zone {zone}: cpu {cpu} keeps {mem.pcp_count[zone, cpu]} pages on its lists, which is "
            f"more than {most[zone]}"
        )


def check_watermarks(kernel: Kernel) -> Iterator[str]:
    """Compare the watermarks with min_free_kbytes and watermark_scale_factor."""
    zones, now = kernel.mem.zone, kernel.phys.tunables.now
    managed = zones[:, Z_MANAGED]
    is_high = high_zones(kernel)
    low_pages = max(int(managed[~is_high].sum()), 1)
    assert now.vm_min_free_kbytes is not None, "computed at boot"
    share = (now.vm_min_free_kbytes // 4) * managed // low_pages
    least = np.where(is_high, np.clip(managed // 1024, 32, 128), share)
    step = share // 4
    if kernel.spec.era.watermark_scale:
        step = np.maximum(step, managed * now.vm_watermark_scale_factor // 10_000)
        to_high = 2 * step
    else:
        to_high = share // 2
    for name, column, marks in (
        ("min", Z_WMARK_MIN, least),
        ("low", Z_WMARK_LOW, least + step),
        ("high", Z_WMARK_HIGH, least + to_high),
    ):
        for zone in np.flatnonzero(zones[:, column] != marks).tolist():
            yield f"zone {zone}: {name} is {zones[zone, column]}, by the tunables {marks[zone]}"


def high_zones(kernel: Kernel) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which zones are high memory: ZONE_MOVABLE is, where its pages come from there."""
    zones, types = kernel.mem.zone, kernel.phys.zone_types
    if ZoneType.ZONE_HIGHMEM not in types:
        return np.zeros(len(zones), np.bool_)
    highmem, movable = types.index(ZoneType.ZONE_HIGHMEM), types.index(ZoneType.ZONE_MOVABLE)
    has_high = bool(zones[zones[:, Z_TYPE_INDEX] == highmem, Z_MANAGED].any())
    is_high: np.ndarray[tuple[int], np.dtype[np.bool_]] = zones[:, Z_TYPE_INDEX] == highmem
    return is_high | (zones[:, Z_TYPE_INDEX] == movable) if has_high else is_high


def check_reserves(kernel: Kernel) -> Iterator[str]:
    """Compare lowmem_reserve with lowmem_reserve_ratio."""
    mem, ratios = kernel.mem, kernel.phys.tunables.now.vm_lowmem_reserve_ratio
    zones = mem.zone
    for zone, row in enumerate(zones.tolist()):
        index = row[Z_TYPE_INDEX]
        ratio = ratios[index] if index < len(ratios) else 0
        above = np.zeros(mem.lowmem_reserve.shape[1], np.int64)
        on_node: I64 = zones[zones[:, Z_NID] == row[Z_NID]]
        np.add.at(above, on_node[:, Z_TYPE_INDEX], on_node[:, Z_MANAGED])
        above[: index + 1] = 0
        wanted = np.cumsum(above) // ratio if ratio and row[Z_MANAGED] else np.zeros_like(above)
        if (mem.lowmem_reserve[zone] != wanted).any():
            yield (
                f"zone {zone}: lowmem_reserve is {mem.lowmem_reserve[zone].tolist()}, by the "
                f"tunables {wanted.tolist()}"
            )
