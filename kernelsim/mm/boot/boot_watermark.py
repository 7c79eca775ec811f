"""Reproduce the watermarks a 6.1 kernel computes while it boots, and find what it freed afterwards.

Linux: mm/page_alloc.c:init_per_zone_wmark_min, mm/huge_memory.c:hugepage_init,
mm/khugepaged.c:set_recommended_min_free_kbytes, mm/memblock.c.
Differs: The first watermarks are computed as if huge pages were switched off; the figures of all
recorded machines are equal.
Interface: `boot_watermarks` computes; `fit_init_pages` finds the size of the initramfs from the
recorded figures.
Units: pages of 4 KiB; KiB where the name says kbytes.

Why the figures of a fresh boot differ from the formulas over the managed pages one sees later:
  1. The watermarks and reserves are computed while the kernel's init sections and the initramfs
     still hold their memory. Init sections lie in the zone of the kernel image (16 MiB up), the
     initramfs at the top of the memory below 4 GiB. Both are freed later and nothing is recomputed.
  2. With 512 MiB or more, the start of khugepaged (also with huge pages off) computes
     min_free_kbytes and the watermarks, not the reserves, a second time. Now the high watermarks
     of the first pass are subtracted, so the result is smaller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from kernelsim.config.zones import ZoneType
from kernelsim.mm.page.watermark import (
    ZoneManaged,
    ZoneWatermarks,
    calculate_min_free_kbytes,
    nr_free_buffer_pages,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "KERNEL_INIT_PAGES",
    "BootWatermarks",
    "boot_watermarks",
    "fit_init_pages",
]

HUGEPAGE_PAGES_MIN: Final = 512 << 8  # pages; 512 MiB; mm/huge_memory.c:hugepage_init
KERNEL_INIT_PAGES: Final = {"x86_64": 2004, "i386": 955, "i386pae": 955}  # pages; fit, Debian 6.1
INITRAMFS_PAGES_MAX: Final = 16_384  # pages; how far fit_init_pages searches
INITRAMFS_STEP: Final = 4  # pages; the narrowest recorded machine leaves a window of 16


@attrs.frozen(kw_only=True)
class BootWatermarks:
    """What a kernel has computed when user space starts."""

    min_free_kbytes: int
    """vm.min_free_kbytes."""
    watermarks: tuple[ZoneWatermarks, ...]
    """Watermarks, one a zone."""
    lowmem_reserve: tuple[tuple[int, ...], ...]
    """Reserves, one row a zone."""


def boot_watermarks(
    zones: Sequence[ZoneManaged],
    *,
    lowmem_reserve_ratio: Sequence[int],
    kernel_init_pages: int,
    initramfs_pages: int,
    initramfs_zone: int,
) -> BootWatermarks:
    """Return what the kernel computes at boot.

    Args:
        zones: all zones with the managed pages seen after boot.
        lowmem_reserve_ratio: built-in vm.lowmem_reserve_ratio.
        kernel_init_pages: pages freed after the computation in the first zone above DMA.
        initramfs_pages: pages freed after the computation in the zone `initramfs_zone`.
        initramfs_zone: index in `zones`.

    Source: Linux 6.1 mm/page_alloc.c:init_per_zone_wmark_min, mm/huge_memory.c:hugepage_init
    """
    early = list(zones)
    populated = [index for index, zone in enumerate(early) if zone.managed_pages]
    above_dma = (index for index in populated if early[index].type is not ZoneType.ZONE_DMA)
    kernel_zone = next(above_dma, populated[0])  # ppc64 may have ZONE_DMA only
    for index, pages in ((kernel_zone, kernel_init_pages), (initramfs_zone, initramfs_pages)):
        left = max(early[index].managed_pages - pages, 0)
        early[index] = attrs.evolve(early[index], managed_pages=left)
    kbytes = calculate_min_free_kbytes(nr_free_buffer_pages(early, [0] * len(early)))
    marks = setup_per_zone_wmarks(early, min_free_kbytes=kbytes)
    if sum(zone.managed_pages for zone in early) >= HUGEPAGE_PAGES_MIN:
        free = nr_free_buffer_pages(early, [mark.wmark_high for mark in marks])
        kbytes = calculate_min_free_kbytes(free)
        marks = setup_per_zone_wmarks(early, min_free_kbytes=kbytes)
    return BootWatermarks(
        min_free_kbytes=kbytes,
        watermarks=marks,
        lowmem_reserve=setup_per_zone_lowmem_reserve(early, lowmem_reserve_ratio),
    )


def fit_init_pages(
    zones: Sequence[ZoneManaged],
    matches: Callable[[BootWatermarks], bool],
    *,
    lowmem_reserve_ratio: Sequence[int],
    kernel_init_pages: int,
    initramfs_zone: int,
) -> BootWatermarks | None:
    """Return the boot figures of the smallest initramfs that matches, None if none does.

    Args:
        zones: all zones with the managed pages seen after boot.
        matches: says whether computed figures are the recorded ones.
        lowmem_reserve_ratio: built-in vm.lowmem_reserve_ratio.
        kernel_init_pages: size of the init sections.
        initramfs_zone: index in `zones`.
    """
    for pages in range(0, INITRAMFS_PAGES_MAX, INITRAMFS_STEP):
        computed = boot_watermarks(
            zones,
            lowmem_reserve_ratio=lowmem_reserve_ratio,
            kernel_init_pages=kernel_init_pages,
            initramfs_pages=pages,
            initramfs_zone=initramfs_zone,
        )
        if matches(computed):
            return computed
    return None
