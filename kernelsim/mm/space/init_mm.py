"""The kernel's own address space: its layout, areas, page tables and slots.

Linux: init_mm of mm/init-mm.c, 6.1.
Interface: `InitMm`, one a machine.
"""

from typing import Final

import attrs

from kernelsim.config.machine import MachineSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import Z_SPANNED
from kernelsim.mm.page.phys_mem import PhysMem, zone_span
from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.highmem import Pkmap
from kernelsim.mm.space.kernel_layout import KernelLayout, kernel_layout
from kernelsim.mm.space.vmalloc import KernelTables, VmapAreas, VmStruct, lazy_max_pages
from kernelsim.units import KIB, PAGE_SHIFT, PAGE_SIZE

LOW_ZONES: Final = (ZoneType.ZONE_DMA, ZoneType.ZONE_DMA32, ZoneType.ZONE_NORMAL)


@attrs.define
class InitMm:
    """What the kernel has mapped for itself.

    Attributes:
        layout: Which region lies where.
        areas: Addresses of vmalloc.
        tables: Entries of vmalloc's pages.
        vms: Areas in use, by their first address.
        pkmap: Slots of permanent kmaps.
        nr_boot_pages: Pages of areas that were made at boot and stay.
    """

    layout: KernelLayout
    areas: VmapAreas
    tables: KernelTables
    pkmap: Pkmap
    nr_boot_pages: int = 0
    vms: dict[int, VmStruct] = attrs.field(factory=dict)

    @property
    def nr_vmalloc_pages(self) -> int:
        """Pages in areas of vmalloc."""
        return self.nr_boot_pages + sum(len(vm.pfns) for vm in self.vms.values())

    def frame_of(self, address: int) -> int | None:
        """Return the frame that an address of the kernel is translated to; None for none."""
        layout, vpn = self.layout, address >> PAGE_SHIFT
        if layout.page_offset <= address < layout.high_memory:
            return address - layout.page_offset >> PAGE_SHIFT
        slot = vpn - (layout.pkmap_base >> PAGE_SHIFT)
        if layout.last_pkmap and 0 <= slot < layout.last_pkmap:
            return self.pkmap.pfn[slot] if self.pkmap.count[slot] else None
        return self.tables.ptes.get(vpn)


def init_mm_of(spec: MachineSpec, phys: PhysMem, nr_cpus: int) -> InitMm:
    """Return the kernel's address space of a machine that has booted."""
    zone, nr_types = phys.mem.zone, len(phys.zone_types)
    low = [
        zone_span(phys.mem, number)[1]
        for number in range(len(zone))
        if zone[number, Z_SPANNED] and phys.zone_types[number % nr_types] in LOW_ZONES
    ]
    if spec.arch == "x86_64":  # all memory is
        low = [zone_span(phys.mem, number)[1] for number in range(len(zone))]
        low.append(spec.dimm_window[1] * bool(spec.maxmem_bytes))  # what comes, too
    boot_pages = spec.boot.meminfo_kb.get("VmallocUsed", 0) * KIB // PAGE_SIZE
    return make_init_mm(spec.arch, max(low), nr_cpus, boot_pages)


def make_init_mm(arch: str, max_low_pfn: int, nr_cpus: int, boot_vmalloc_pages: int = 0) -> InitMm:
    """Return the kernel's address space as it is after boot.

    Args:
        arch: Of the machine.
        max_low_pfn: Frame behind the last one that the direct map reaches.
        nr_cpus: Of the machine.
        boot_vmalloc_pages: What areas of vmalloc had when the machine was recorded.
    """
    layout, shape = kernel_layout(arch, max_low_pfn), ADDRESS_LAYOUTS[arch]
    # The tables below the top one are made at boot: preallocate_vmalloc_pages of init_64.c; with
    # PAE the kernel's PMDs are part of swapper_pg_dir.
    nr_from_boot = min(shape.table_levels - 1, 2)
    # Differs from Linux: The areas that a recorded machine had lie at the beginning, without gaps.
    first, start = layout.vmalloc_start >> PAGE_SHIFT, layout.vmalloc_start
    boot_vpns, from_boot = (first, first + boot_vmalloc_pages), boot_vmalloc_pages << PAGE_SHIFT
    return InitMm(
        layout=layout,
        areas=VmapAreas(start, layout.vmalloc_end, lazy_max_pages(nr_cpus), from_boot),
        tables=KernelTables(shape.table_bits, shape.table_levels, nr_from_boot, boot_vpns),
        pkmap=Pkmap(layout.last_pkmap),
        nr_boot_pages=boot_vmalloc_pages,
    )
