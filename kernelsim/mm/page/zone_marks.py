"""Put watermarks, reserves and sizes of per-cpu lists into force.

Linux: mm/page_alloc.c, 6.1: setup_per_zone_wmarks and its neighbours.
Interface: called when the machine boots, and again when a tunable or a zone changes.
Units: pages. The formulas are in watermark.py.
"""

import numpy as np

from kernelsim.config.sysctl import Sysctl
from kernelsim.mm.core.mem import (
    I64,
    Z_MANAGED,
    Z_NID,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_WATERMARK_BOOST,
    Z_WATERMARK_BOOST_FACTOR,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Z_WMARK_PROMO,
)
from kernelsim.mm.page import watermark
from kernelsim.mm.page.phys_mem import PhysMem


def setup_per_zone_wmarks(phys: PhysMem, sysctl: Sysctl) -> None:
    """Compute watermarks, boosts and per-cpu list sizes from the tunables.

    Call it when vm.min_free_kbytes, vm.watermark_scale_factor, vm.watermark_boost_factor or
    vm.percpu_pagelist_high_fraction changes.

    Source: Linux 6.1 mm/page_alloc.c:setup_per_zone_wmarks
    """
    zones = phys.zones_managed()
    if sysctl.vm_min_free_kbytes is not None:
        phys.min_free_kbytes = sysctl.vm_min_free_kbytes
    elif not phys.min_free_kbytes:
        buffer_pages = watermark.nr_free_buffer_pages(zones, [0] * len(zones))
        phys.min_free_kbytes = watermark.calculate_min_free_kbytes(buffer_pages)
    marks = watermark.setup_per_zone_wmarks(
        zones,
        min_free_kbytes=phys.min_free_kbytes,
        watermark_scale_factor=sysctl.vm_watermark_scale_factor,
        era=phys.era,
    )
    for row, mark in zip(phys.mem.zone, marks, strict=True):
        row[Z_WMARK_MIN] = mark.wmark_min
        row[Z_WMARK_LOW] = mark.wmark_low
        row[Z_WMARK_HIGH] = mark.wmark_high
        row[Z_WMARK_PROMO] = mark.wmark_promo
        row[Z_WATERMARK_BOOST] = 0
        row[Z_WATERMARK_BOOST_FACTOR] = sysctl.vm_watermark_boost_factor
        set_pcp_sizes(phys, row, sysctl)
    update_totalreserve(phys)


def set_pcp_sizes(phys: PhysMem, row: I64, sysctl: Sysctl) -> None:
    """Set batch and high of the per-cpu lists of a zone; an empty zone keeps 0.

    Source: Linux 6.1 mm/page_alloc.c:zone_set_pageset_high_and_batch
    """
    managed = int(row[Z_MANAGED])
    if not managed:
        return
    row[Z_PCP_BATCH] = watermark.zone_batchsize(managed)
    row[Z_PCP_HIGH] = watermark.zone_highsize(
        managed_pages=managed,
        wmark_low=int(row[Z_WMARK_LOW]),
        batch=int(row[Z_PCP_BATCH]),
        nr_local_cpus=len(phys.nodes[int(row[Z_NID])].cpus),
        nr_online_cpus=phys.nr_cpus,
        high_fraction=sysctl.vm_percpu_pagelist_high_fraction,
    )


def setup_per_zone_lowmem_reserve(phys: PhysMem, sysctl: Sysctl) -> None:
    """Compute the pages each zone keeps from requests that may use higher zones.

    Call it when vm.lowmem_reserve_ratio changes.

    Source: Linux 6.1 mm/page_alloc.c:setup_per_zone_lowmem_reserve
    """
    rows = watermark.setup_per_zone_lowmem_reserve(
        phys.zones_managed(), sysctl.vm_lowmem_reserve_ratio
    )
    phys.mem.lowmem_reserve[:] = np.array(rows, np.int64)
    update_totalreserve(phys)


def update_totalreserve(phys: PhysMem) -> None:
    """Recompute totalreserve_pages from the marks and reserves in force.

    Source: Linux 6.1 mm/page_alloc.c:calculate_totalreserve_pages
    """
    zone = phys.mem.zone
    reserved = phys.mem.lowmem_reserve.max(axis=1) + zone[:, Z_WMARK_HIGH]
    phys.totalreserve_pages = int(np.minimum(reserved, zone[:, Z_MANAGED]).sum())
