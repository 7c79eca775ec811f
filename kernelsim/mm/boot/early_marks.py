"""Watermarks as a kernel computes them: while memory is still held that is free when it has booted.

Linux: mm/page_alloc.c: init_per_zone_wmark_min, a postcore_initcall; mm/khugepaged.c:
set_recommended_min_free_kbytes, called as khugepaged starts, 6.1. The init sections and the
initramfs are freed later, and nothing is computed again.
Interface: `early_marks`, for machines whose kernel is known; boot_watermark.py explains recordings.
Units: pages.
"""

import attrs

from kernelsim.config.machine import MachineSpec
from kernelsim.config.zones import ZONE_DMA32_END_PFN, ZoneType
from kernelsim.mm.boot.boot_watermark import HUGEPAGE_PAGES_MIN
from kernelsim.mm.core.mem import Z_MANAGED, Z_WMARK_HIGH
from kernelsim.mm.page import watermark
from kernelsim.mm.page.phys_mem import PhysMem
from kernelsim.mm.page.zone_marks import (
    init_min_free_kbytes,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
    update_totalreserve,
)


def early_marks(phys: PhysMem, spec: MachineSpec) -> None:
    """Compute marks, reserves and sizes of per-cpu lists before the last of boot's memory is freed.

    A value of vm.min_free_kbytes that the machine has is written when it has booted.

    Args:
        phys: The memory, all of it free but for what stays.
        spec: The machine.
    """
    rows, asked = phys.mem.zone, phys.tunables.now.vm_min_free_kbytes
    managed = rows[:, Z_MANAGED].copy()
    kernel_zone, initramfs_zone = early_zones(spec)
    rows[kernel_zone, Z_MANAGED] -= min(spec.init_pages, int(managed[kernel_zone]))
    rows[initramfs_zone, Z_MANAGED] -= min(spec.initrd_pages, int(rows[initramfs_zone, Z_MANAGED]))
    phys.tunables.now = attrs.evolve(phys.tunables.now, vm_min_free_kbytes=None)
    init_min_free_kbytes(phys, {})
    setup_per_zone_lowmem_reserve(phys)
    setup_per_zone_wmarks(phys)
    if rows[:, Z_MANAGED].sum() >= HUGEPAGE_PAGES_MIN:  # mm/huge_memory.c:hugepage_init
        high = rows[:, Z_WMARK_HIGH].tolist()
        kbytes = watermark.calculate_min_free_kbytes(
            watermark.nr_free_buffer_pages(phys.zones_managed(), high)
        )
        phys.tunables.now = attrs.evolve(phys.tunables.now, vm_min_free_kbytes=kbytes)
        setup_per_zone_wmarks(phys)
    rows[:, Z_MANAGED] = managed
    if asked is not None:
        phys.tunables.now = attrs.evolve(phys.tunables.now, vm_min_free_kbytes=asked)
        setup_per_zone_wmarks(phys)
    update_totalreserve(phys)


def early_zones(spec: MachineSpec) -> tuple[int, int]:
    """Return the rows of the zones that the init sections and the initramfs lie in.

    The image is in the first zone above ZONE_DMA, the initramfs at the top of what lies below
    4 GiB.
    """
    zones = [zone for node in spec.nodes for zone in node.zones]
    rows = [
        row
        for row, zone in enumerate(zones)
        if zone.present_pages and zone.type not in (ZoneType.ZONE_DMA, ZoneType.ZONE_DEVICE)
    ]
    low = [row for row in rows if zones[row].start_pfn < ZONE_DMA32_END_PFN]
    return rows[0], max(low, key=lambda row: zones[row].start_pfn)
