"""Areas of vmalloc: addresses that follow each other, for pages that do not.

Linux: mm/vmalloc.c (alloc_vmap_area, free_vmap_area_noflush, __purge_vmap_area_lazy), 6.1.
Interface: `VmapAreas` gives addresses out; `KernelTables` has the entries; a `VmStruct` is what a
caller got.
# Differs from Linux: The page tables of vmalloc are kept apart from those of processes; no counter
# of Linux includes them either.
Units: bytes for addresses; pages.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

import attrs

from kernelsim.mm.core.mem import I64
from kernelsim.units import MIB, PAGE_SHIFT, PAGE_SIZE

LAZY_STEP_PAGES: Final = 32 * MIB // PAGE_SIZE  # freed addresses kept, times log2 of the CPUs


def lazy_max_pages(nr_cpus: int) -> int:
    """Return how many pages of freed addresses may wait for their TLB flush.

    Source: Linux 6.1 mm/vmalloc.c:lazy_max_pages
    """
    return nr_cpus.bit_length() * LAZY_STEP_PAGES


@attrs.frozen(eq=False)
class VmStruct:
    """An area with its pages.

    Attributes:
        address: First address.
        size: Bytes, the guard page behind it included.
        caller: Who asked.
        pfns: Frames, in the order of the addresses.
        array: Area that the kernel keeps the list of pages in, when that needs more than a page;
            0 for none.
    """

    address: int
    size: int
    caller: str
    pfns: I64
    array: int = 0


class VmapAreas:
    """Addresses between two bounds, each handed out once until its TLB flush.

    Args:
        start: First address.
        end: Behind the last.
        lazy_max: Pages of freed addresses from which on they should be purged.
        from_boot: Bytes at the beginning that areas have which were made at boot.

    Attributes:
        nr_lazy: Pages of freed addresses that wait for a TLB flush.
    """

    def __init__(self, start: int, end: int, lazy_max: int, from_boot: int = 0) -> None:
        self._start, self._end = start + from_boot, end
        self._lazy_max = lazy_max
        self._areas: list[tuple[int, int]] = []  # start, end; rising; freed ones, too
        self._lazy: list[tuple[int, int]] = []
        self.nr_lazy = 0

    def alloc(self, size: int, align: int = PAGE_SIZE) -> int:
        """Take the lowest addresses that fit, in whole pages; return the first, 0 if none do.

        Args:
            size: Bytes.
            align: A power of two; the first address is a multiple of it.

        Source: Linux 6.1 mm/vmalloc.c:alloc_vmap_area
        """
        at = self._start + align - 1 & -align
        for start, end in self._areas:
            if at + size <= start:
                break
            at = max(at, end + align - 1 & -align)
        if at + size > self._end:
            return 0
        insort(self._areas, (at, at + size))
        return at

    def adopt(self, address: int, size: int) -> None:
        """Know an area that was made at boot, which may be freed."""
        insort(self._areas, (address, address + size))

    def free(self, address: int) -> bool:
        """Let go of an area, which others get after a TLB flush; return whether that is due.

        Source: Linux 6.1 mm/vmalloc.c:free_vmap_area_noflush
        """
        area = self._areas[bisect_left(self._areas, (address, 0))]
        assert area[0] == address, f"no area begins at {address:#x}"
        self._lazy.append(area)
        self.nr_lazy += area[1] - area[0] >> PAGE_SHIFT
        return self.nr_lazy > self._lazy_max

    def purge(self) -> int:
        """Give the addresses of freed areas out again; return the pages a TLB flush must cover.

        Source: Linux 6.1 mm/vmalloc.c:__purge_vmap_area_lazy
        """
        if not self._lazy:
            return 0
        span = max(end for _, end in self._lazy) - min(start for start, _ in self._lazy)
        freed = set(self._lazy)
        self._areas = [area for area in self._areas if area not in freed]
        self._lazy.clear()
        self.nr_lazy = 0
        return span >> PAGE_SHIFT

    def unpurged(self) -> tuple[tuple[int, int], ...]:
        """Return freed areas that wait, in the order they were freed."""
        return tuple(self._lazy)


class KernelTables:
    """Page tables of one region of the kernel: entries of pages, and the tables they need.

    Args:
        bits: Address bits a level translates.
        levels: Levels of tables.
        nr_from_boot: Upper levels whose tables are there from boot on.
        boot_vpns: First page, and the one behind the last, that boot has mapped, with all tables.
    """

    def __init__(
        self, bits: int, levels: int, nr_from_boot: int, boot_vpns: tuple[int, int] = (0, 0)
    ) -> None:
        self.bits, self.levels = bits, levels
        self._lowest_from_boot = levels - nr_from_boot
        self._boot_vpns = boot_vpns
        self.tables: dict[tuple[int, int], int] = {}  # level (1 has PTEs) and number: frame
        self.ptes: dict[int, int] = {}  # page number: frame

    def missing(self, vpn: int, nr: int) -> Iterator[tuple[int, int]]:
        """Yield the tables that some pages need and that are not there, the upper ones first."""
        boot_start, boot_end = self._boot_vpns
        for level in range(self._lowest_from_boot, 0, -1):
            shift = self.bits * level
            of_boot = range(boot_start >> shift, (boot_end - 1 >> shift) + 1)
            for number in range(vpn >> shift, (vpn + nr - 1 >> shift) + 1):
                if (level, number) not in self.tables and number not in of_boot:
                    yield level, number

    def map(self, vpn: int, pfns: I64) -> None:
        """Set the entries of pages.

        Source: Linux 6.1 mm/vmalloc.c:vmap_pages_pte_range
        """
        assert not any(self.missing(vpn, len(pfns))), "the tables come first"
        for page, pfn in enumerate(pfns.tolist(), start=vpn):
            assert page not in self.ptes, f"page {page:#x} is mapped already"
            self.ptes[page] = pfn

    def unmap(self, vpn: int, nr: int) -> None:
        """Clear the entries of pages; the tables stay.

        Source: Linux 6.1 mm/vmalloc.c:vunmap_range_noflush
        """
        for page in range(vpn, vpn + nr):
            del self.ptes[page]
