"""Tell from its zones what kernel printed a zoneinfo: its zone types, architecture and era.

Linux: include/linux/mmzone.h:zone_type and the Kconfig options behind it; which zones there are is
a matter of how a kernel was built.
Interface: `kernel_of` returns what the zones say, and in words what is taken for granted.
Units: pages; KiB in meminfo.

The zones are those of the file. Before 4.12 a kernel printed populated ones only, but the reserves
have a column a type, so that it is known how many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from kernelsim.config.era import CLASSIC, LINUX_6_1, Era
from kernelsim.config.zones import MAX_NR_ZONES, MAX_NUMNODES, ZONE_DMA_END_PFN, ZoneType
from kernelsim.errors import RecordingError
from kernelsim.units import GIB, KIB, PAGE_SIZE

if TYPE_CHECKING:
    from kernelsim.config.proc_zoneinfo import ZoneinfoZone

__all__ = ["KernelOf", "kernel_of", "refuse_other_page_sizes"]

NAMES: Final = {kind.value: kind for kind in ZoneType}
ORDER: Final = tuple(ZoneType)
LOWMEM_32_BIT_PAGES: Final = GIB // PAGE_SIZE  # a 32-bit kernel maps less than 1 GiB
OTHER_PAGE_SIZES: Final = (16 * KIB, 64 * KIB)  # of arm64 and ppc64


@attrs.frozen(kw_only=True)
class KernelOf:
    """What the zones of a recording say of the kernel."""

    arch: str
    """x86_64 or i386; of others the one that is nearest."""
    era: Era
    """classic for kernels before 4.8."""
    types: tuple[ZoneType, ...]
    """All zone types it was built with."""
    assumed: tuple[str, ...]
    """What is taken for granted, a sentence each."""


def kernel_of(zones: tuple[ZoneinfoZone, ...], *, file: str, arch: str | None) -> KernelOf:
    """Return what the zones say.

    Args:
        zones: of all nodes.
        file: name for errors.
        arch: the architecture where it is known.

    Raises RecordingError for zones that no kernel has.
    """
    found = {_type_of(zone, file) for zone in zones}
    places = [(zone.nid, zone.name) for zone in zones]
    for nid, name in places:
        if nid >= MAX_NUMNODES:
            raise RecordingError(file, None, f"node {nid} must be below {MAX_NUMNODES}")
        if places.count((nid, name)) > 1:
            raise RecordingError(file, None, f"zone {name} of node {nid} comes twice")
    assumed: list[str] = []
    if arch is None:
        arch, nearest = _guess_arch(zones, found)
        assumed += nearest
    is_old = any(zone.is_old for zone in zones)
    if is_old:
        assumed.append("the kernel is older than 4.8: the rules of 2.6.32 (classic) are taken")
    return KernelOf(
        arch=arch,
        era=CLASSIC if is_old else LINUX_6_1,
        types=_all_types(zones, found, arch, file),
        assumed=tuple(assumed),
    )


def _type_of(zone: ZoneinfoZone, file: str) -> ZoneType:
    """Return the type of a zone by its name."""
    if zone.name not in NAMES:
        rule = f"zone {zone.name} of node {zone.nid} is not known (known: {', '.join(NAMES)})"
        raise RecordingError(file, None, rule)
    return NAMES[zone.name]


def _guess_arch(
    zones: tuple[ZoneinfoZone, ...], found: set[ZoneType]
) -> tuple[str, tuple[str, ...]]:
    """Return the architecture, and a word when it is no PC.

    On a PC ZONE_DMA ends at 16 MiB, and only what is above 4 GiB is Normal without it.
    """
    full = [zone for zone in zones if zone.populated]
    ends = {zone.name: (zone.start_pfn or 0) + zone.pages["spanned"] for zone in full}
    lowest = min(full, key=lambda zone: zone.start_pfn or 0).name if full else "DMA"
    is_pc = lowest == "DMA" and ends["DMA"] <= ZONE_DMA_END_PFN if full else True
    is_pc = is_pc or lowest == "DMA32"
    normal = sum(zone.pages["present"] for zone in full if zone.name == "Normal")
    is_32_bit = ZoneType.ZONE_HIGHMEM in found or (
        ZoneType.ZONE_DMA32 not in found
        and normal < LOWMEM_32_BIT_PAGES
        and ends.get("DMA", 0) <= ZONE_DMA_END_PFN
    )
    arch = "i386" if is_32_bit else "x86_64"
    if is_pc:
        return arch, ()
    what = "32-bit ARM or the like" if is_32_bit else "arm64, ppc64 or the like"
    told = f"no PC ({what}): its zones hold, pages of 4 KiB and page tables are those of {arch}"
    return arch, (told,)


def _all_types(
    zones: tuple[ZoneinfoZone, ...], found: set[ZoneType], arch: str, file: str
) -> tuple[ZoneType, ...]:
    """Return all zone types of the kernel: those printed, and what the columns leave room for."""
    nr_types = max(len(zone.protection) for zone in zones)
    other = ZoneType.ZONE_DMA32 if arch == "x86_64" else ZoneType.ZONE_HIGHMEM
    types = set(found)
    for kind in (
        *(ZoneType.ZONE_MOVABLE, ZoneType.ZONE_NORMAL),
        *(other, ZoneType.ZONE_DMA, ZoneType.ZONE_DEVICE),
    ):
        if len(types) < nr_types:
            types.add(kind)
    # The simulated kernel has these two, empty or not.
    columns = len(types)
    types |= {ZoneType.ZONE_MOVABLE, ZoneType.ZONE_NORMAL}
    if columns != nr_types or len(types) > MAX_NR_ZONES:
        names = " ".join(kind.value for kind in ORDER if kind in found)
        rule = f"protection has {nr_types} columns, which does not fit the zones {names}"
        raise RecordingError(file, None, rule)
    return tuple(kind for kind in ORDER if kind in types)


def refuse_other_page_sizes(
    zones: tuple[ZoneinfoZone, ...], *, file: str, mem_total_kb: int, min_free_kbytes: int
) -> None:
    """Raise RecordingError when sizes in KiB show that a page is not 4 KiB.

    Args:
        zones: of all nodes.
        file: name for errors.
        mem_total_kb: MemTotal of meminfo, 0 when it is not recorded.
        min_free_kbytes: vm.min_free_kbytes, 0 when it is not recorded.
    """
    managed = sum(zone.pages["managed"] for zone in zones)
    minima = sum(zone.watermarks[0] for zone in zones if zone.populated)
    for kbytes, pages in ((mem_total_kb, managed), (min_free_kbytes, minima)):
        if not kbytes or not pages:
            continue
        for page_size in OTHER_PAGE_SIZES:
            ratio = kbytes * KIB / (pages * page_size)
            if 3 / 4 < ratio < 4 / 3:
                rule = f"its pages are of {page_size // KIB} KiB; only 4 KiB are simulated"
                raise RecordingError(file, None, rule)
