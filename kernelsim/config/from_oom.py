"""Make a machine from a kernel's OOM report.

Linux: what lib/show_mem.c and mm/oom_kill.c print.
Differs: A report does not say where zones begin, how many CPUs there are or what the swap lies on:
zones are laid out as on a PC, there are as many CPUs as the report names, and swap is on an SSD.
All memory is free when the machine boots; the processes of the report take it.
Interface: `machine_from_oom`.
Units: pages; kB in the report.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from kernelsim.config.boot import BootState, ZoneBoot
from kernelsim.config.disks import BlockDeviceSpec, SwapSpec
from kernelsim.config.from_proc import node_of
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_form import default_distances
from kernelsim.config.memory_model import PAGES_PER_SECTION
from kernelsim.config.oom_report import OomReport, OomZone
from kernelsim.config.proc_zoneinfo import ZoneinfoZone
from kernelsim.config.proc_zones import kernel_of
from kernelsim.config.sysctl import Sysctl
from kernelsim.config.zones import (
    LOWMEM_RESERVE_RATIO,
    ZONE_DMA32_END_PFN,
    ZONE_DMA_END_PFN,
    ZoneType,
)
from kernelsim.units import KIB, PAGE_SIZE

__all__ = ["machine_from_oom"]

SWAP_DEVICE: Final = "sda"


def machine_from_oom(report: OomReport) -> MachineSpec:
    """Return the machine a report comes from, its watermarks and reserves in force.

    Raises RecordingError for zones that no kernel has, ConfigError when they contradict each other.
    """
    zones = _placed(report)
    kernel = kernel_of(zones, file=report.file, arch=None)
    nids = range(max(zone.nid for zone in zones) + 1)
    cpus = {nid: tuple(range(nid, report.nr_cpus, len(nids))) for nid in nids}
    total_kb = report.swap_kb.get("Total", 0)
    swap = SwapSpec(
        name=f"/dev/{SWAP_DEVICE}",
        size_bytes=total_kb * KIB + PAGE_SIZE,  # the kernel prints it without the header
        prio=-2,
        device=SWAP_DEVICE,
    )
    disk = BlockDeviceSpec(name=SWAP_DEVICE)
    size_bytes = max(disk.size_bytes, swap.size_bytes)
    return MachineSpec(
        name=Path(report.file).name.split(".")[0] or "oom",
        arch=kernel.arch,
        era=kernel.era,
        nodes=tuple(node_of(nid, zones, cpus[nid], kernel.types) for nid in nids),
        distances=default_distances(len(nids)),
        swaps=(swap,) if total_kb else (),
        devices=(attrs.evolve(disk, size_bytes=size_bytes),) if total_kb else (),
        sysctl=Sysctl(
            vm_lowmem_reserve_ratio=tuple(LOWMEM_RESERVE_RATIO[kind] for kind in kernel.types),
            vm_overcommit_memory=1,  # what was mapped once was allowed then
        ),
        boot=BootState(
            zones=tuple(_zone_boot(zone) for zone in report.zones),
            assumed=(*kernel.assumed, *_assumed(report)),
        ),
    )


def _assumed(report: OomReport) -> tuple[str, ...]:
    """Return what the report does not say."""
    told = [f"a report names CPUs in passing: {report.nr_cpus} are taken, zones lie as on a PC"]
    if report.order:
        told.append(
            f"it was out of blocks of order {report.order}; here single pages are asked for"
        )
    if report.constraint:
        told.append(f"only some nodes were out of memory ({report.constraint}); here all are")
    return tuple(told)


def _placed(report: OomReport) -> tuple[ZoneinfoZone, ...]:
    """Return the zones as zoneinfo would have them, at the addresses of a PC."""
    has_dma32 = any(zone.name == ZoneType.ZONE_DMA32.value for zone in report.zones)
    placed: list[ZoneinfoZone] = []
    cursor = 1  # frame 0 is never used
    nid = 0
    for index, zone in enumerate(report.zones):
        present = zone.sizes["present"]
        if zone.nid != nid:
            nid, cursor = zone.nid, -(-cursor // PAGES_PER_SECTION) * PAGES_PER_SECTION
        start, end = cursor, cursor + present
        is_last = index + 1 == len(report.zones)
        if zone.name == ZoneType.ZONE_DMA.value and end <= ZONE_DMA_END_PFN:
            end = ZONE_DMA_END_PFN
        elif zone.name == ZoneType.ZONE_DMA32.value and end <= ZONE_DMA32_END_PFN and not is_last:
            end = ZONE_DMA32_END_PFN
        elif zone.name == ZoneType.ZONE_NORMAL.value and has_dma32:
            start = max(cursor, ZONE_DMA32_END_PFN)
            end = start + present
        placed.append(_as_zoneinfo(zone, start, end, is_old=report.is_old))
        cursor = end
    return tuple(placed)


def _as_zoneinfo(zone: OomZone, start: int, end: int, *, is_old: bool) -> ZoneinfoZone:
    return ZoneinfoZone(
        nid=zone.nid,
        name=zone.name,
        node_stats=None,
        pages={**zone.sizes, "spanned": end - start},
        protection=zone.protection,
        stats={},
        pagesets=(),
        node_unreclaimable=0,
        start_pfn=start,
        is_old=is_old,
    )


def _zone_boot(zone: OomZone) -> ZoneBoot:
    """Return a zone at boot: its marks as reported, and all of it free."""
    return ZoneBoot(
        nid=zone.nid,
        type=ZoneType(zone.name),
        watermark_min=zone.sizes["min"],
        watermark_low=zone.sizes["low"],
        watermark_high=zone.sizes["high"],
        watermark_boost=0,
        protection=zone.protection,
        free=(),
        stats={"nr_free_pages": zone.sizes["managed"]},
    )
