"""The kernel's part of the address space: which region lies where.

Linux: arch/x86/include/asm/{page_32_types,pgtable_32_areas,fixmap,pgtable_64_types}.h,
Documentation/x86/x86_64/mm.rst, 6.1.
# Differs from Linux: The kernel's regions lie where they do without randomisation; on 32 bits the
# direct map has 896 MB, as before 4.15, though the areas of the CPUs' entry code take of the rest.
Interface: `kernel_layout`; a `KernelLayout` translates addresses of the direct map, and names all.
Units: bytes for addresses.
"""

from typing import Final

import attrs

from kernelsim.config.memory_model import PAGE_OFFSET, VMEMMAP_START
from kernelsim.units import MIB, PAGE_SHIFT, PAGE_SIZE

TIB: Final = 1 << 40
VMALLOC_OFFSET: Final = 8 * MIB  # hole behind the direct map
FIXADDR_TOP: Final = {"i386": 0xFFFF_F000, "i386pae": 0xFFFF_F000, "x86_64": 0xFFFF_FFFF_FF7F_F000}
KM_MAX_IDX: Final = 16  # kmap_atomic slots of a CPU; asm-generic/kmap_size.h
NR_CPUS_32: Final = 32  # CONFIG_NR_CPUS of Debian's i386 kernels
CPU_ENTRY_AREA_PAGES: Final = 43  # of each CPU; arch/x86/include/asm/pgtable_32_areas.h
FIX_KMAP_BEGIN: Final = 68  # behind hole, console, debug port, local APIC and 64 I/O APICs
END_OF_FIXED_ADDRESSES: Final = 1537  # with the temporary mappings of early boot
LAST_PKMAP: Final = {"i386": 1024, "i386pae": 512}
PMD_SIZE: Final = {"i386": 4 * MIB, "i386pae": 2 * MIB}


@attrs.frozen
class Region:
    """A region of addresses.

    Attributes:
        name: What it is for.
        start: First address.
        end: Address behind the last.
    """

    name: str
    start: int
    end: int


@attrs.frozen(kw_only=True)
class KernelLayout:
    """Where the kernel of a machine has what.

    Attributes:
        task_size: First address behind those of user space; a canonical hole may follow.
        page_offset: Where the direct map begins.
        high_memory: Behind the last address of the direct map.
        vmalloc_start: First address of vmalloc.
        vmalloc_end: Behind the last.
        pkmap_base: First slot of permanent kmaps; 0 where there is no high memory.
        last_pkmap: Their number.
        fixaddr_top: The fixmap grows down from here.
        regions: All regions, rising; what lies between them is unused.
    """

    task_size: int
    page_offset: int
    high_memory: int
    vmalloc_start: int
    vmalloc_end: int
    pkmap_base: int = 0
    last_pkmap: int = 0
    fixaddr_top: int
    regions: tuple[Region, ...] = ()

    def is_lowmem(self, pfn: int) -> bool:
        """Tell whether a frame has an address in the direct map."""
        return pfn << PAGE_SHIFT < self.high_memory - self.page_offset

    def virt(self, pfn: int) -> int:
        """Return the address of a frame in the direct map."""
        assert self.is_lowmem(pfn), f"frame {pfn} is high memory"
        return self.page_offset + (pfn << PAGE_SHIFT)

    def fix_to_virt(self, index: int) -> int:
        """Return the address of a slot of the fixmap.

        Source: Linux 6.1 include/asm-generic/fixmap.h:__fix_to_virt
        """
        return self.fixaddr_top - (index << PAGE_SHIFT)

    def pkmap_addr(self, slot: int) -> int:
        """Return the address of a slot of permanent kmaps."""
        return self.pkmap_base + (slot << PAGE_SHIFT)

    def kmap_atomic_addr(self, cpu: int, index: int) -> int:
        """Return the address of a slot of a CPU's temporary kmaps.

        Source: Linux 6.1 mm/highmem.c:__kmap_local_pfn_prot
        """
        return self.fix_to_virt(FIX_KMAP_BEGIN + index + KM_MAX_IDX * cpu)

    def region_of(self, address: int) -> Region | None:
        """Return the region of the kernel that an address lies in; None for none."""
        for region in self.regions:
            if region.start <= address < region.end:
                return region
        return None


def kernel_layout(arch: str, max_low_pfn: int) -> KernelLayout:
    """Return the layout of a machine.

    Args:
        arch: Its architecture.
        max_low_pfn: Frame behind the last one that the direct map reaches.
    """
    high_memory = PAGE_OFFSET[arch] + (max_low_pfn << PAGE_SHIFT)
    return _layout_64(high_memory) if arch == "x86_64" else _layout_32(arch, high_memory)


def _layout_64(high_memory: int) -> KernelLayout:
    offset, vmalloc = PAGE_OFFSET["x86_64"], 0xFFFF_C900_0000_0000
    text, modules = 0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_A000_0000
    top = FIXADDR_TOP["x86_64"]
    return KernelLayout(
        task_size=0x7FFF_FFFF_F000,
        page_offset=offset,
        high_memory=high_memory,
        vmalloc_start=vmalloc,
        vmalloc_end=vmalloc + 32 * TIB - 1,
        fixaddr_top=top,
        regions=(
            Region("guard hole", 0xFFFF_8000_0000_0000, 0xFFFF_8800_0000_0000),
            Region("LDT remap", 0xFFFF_8800_0000_0000, offset),
            Region("direct map", offset, high_memory),
            Region("vmalloc", vmalloc, vmalloc + 32 * TIB),
            Region("vmemmap", VMEMMAP_START, VMEMMAP_START + TIB),
            Region("cpu_entry_area", 0xFFFF_FE00_0000_0000, 0xFFFF_FE80_0000_0000),
            Region("kernel text", text, modules),
            Region("modules", modules, 0xFFFF_FFFF_FF00_0000),
            Region("fixmap", 0xFFFF_FFFF_FF57_9000, 0xFFFF_FFFF_FF60_0000),
            Region("vsyscall", 0xFFFF_FFFF_FF60_0000, 0xFFFF_FFFF_FF60_1000),
        ),
    )


def _layout_32(arch: str, high_memory: int) -> KernelLayout:
    """Return the layout of 32 bits: 3 GB for processes, 1 GB for the kernel.

    Source: Linux 6.1 arch/x86/include/asm/pgtable_32_areas.h
    """
    mask, top = -PMD_SIZE[arch], FIXADDR_TOP[arch]
    fixaddr = top - END_OF_FIXED_ADDRESSES * PAGE_SIZE
    entry_bytes = PAGE_SIZE * (NR_CPUS_32 * CPU_ENTRY_AREA_PAGES + 1)  # and the IDT
    entry = fixaddr - entry_bytes & mask
    ldt = entry - PAGE_SIZE & mask
    pkmap = ldt - PAGE_SIZE & mask
    vmalloc_start, vmalloc_end = high_memory + VMALLOC_OFFSET, pkmap - 2 * PAGE_SIZE
    nr_slots = LAST_PKMAP[arch]
    return KernelLayout(
        task_size=PAGE_OFFSET[arch],
        page_offset=PAGE_OFFSET[arch],
        high_memory=high_memory,
        vmalloc_start=vmalloc_start,
        vmalloc_end=vmalloc_end,
        pkmap_base=pkmap,
        last_pkmap=nr_slots,
        fixaddr_top=top,
        regions=(
            Region("direct map", PAGE_OFFSET[arch], high_memory),
            Region("vmalloc", vmalloc_start, vmalloc_end),
            Region("pkmap", pkmap, pkmap + nr_slots * PAGE_SIZE),
            Region("LDT remap", ldt, ldt + PMD_SIZE[arch]),
            Region("cpu_entry_area", entry, entry + entry_bytes),
            Region("fixmap", fixaddr, top),
        ),
    )
