"""Put into force what zones derive from tunables: watermarks, reserves, sizes of per-cpu lists.

Linux: mm/page_alloc.c, 6.1: setup_per_zone_wmarks and its neighbours.
Interface: called when the machine boots, and again when a zone changes; `ON_WRITE` names what is
called when a tunable is written.
Units: pages. The formulas are in watermark.py.
"""

from collections.abc import Callable, Mapping
from typing import Final

import attrs
import numpy as np

from kernelsim.mm.core.mem import (
    Z_MANAGED,
    Z_NID,
    Z_NUMA_STAT_OFF,
    Z_PCP_BATCH,
    Z_PCP_FREES_BATCH,
    Z_PCP_HIGH,
    Z_WATERMARK_BOOST,
    Z_WATERMARK_BOOST_FACTOR,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Z_WMARK_PROMO,
)
from kernelsim.mm.page import watermark
from kernelsim.mm.page.node_reclaim import set_node_reclaim
from kernelsim.mm.page.phys_mem import PhysMem


def init_min_free_kbytes(phys: PhysMem, minima: Mapping[int, int]) -> None:
    """Compute vm.min_free_kbytes from the memory, unless the machine boots with a value.

    Args:
        phys: The memory.
        minima: WMARK_MIN of a recorded machine by zone row, which tell the value it had; {} when
            the machine is written by hand.

    Source: Linux 6.1 mm/page_alloc.c:init_per_zone_wmark_min
    """
    if phys.tunables.now.vm_min_free_kbytes is not None:
        return
    zones = phys.zones_managed()
    if minima:
        kbytes = watermark.inferred_min_free_kbytes(zones, minima)
    else:
        buffer_pages = watermark.nr_free_buffer_pages(zones, [0] * len(zones))
        kbytes = watermark.calculate_min_free_kbytes(buffer_pages)
    phys.tunables.now = attrs.evolve(phys.tunables.now, vm_min_free_kbytes=kbytes)


def setup_per_zone_wmarks(phys: PhysMem) -> None:
    """Compute watermarks and sizes of per-cpu lists; what was boosted is forgotten.

    Source: Linux 6.1 mm/page_alloc.c:setup_per_zone_wmarks
    """
    sysctl = phys.tunables.now
    assert sysctl.vm_min_free_kbytes is not None, "computed at boot"
    marks = watermark.setup_per_zone_wmarks(
        phys.zones_managed(),
        min_free_kbytes=sysctl.vm_min_free_kbytes,
        watermark_scale_factor=sysctl.vm_watermark_scale_factor,
        era=phys.era,
    )
    for row, mark in zip(phys.mem.zone, marks, strict=True):
        row[Z_WMARK_MIN] = mark.wmark_min
        row[Z_WMARK_LOW] = mark.wmark_low
        row[Z_WMARK_HIGH] = mark.wmark_high
        row[Z_WMARK_PROMO] = mark.wmark_promo
        row[Z_WATERMARK_BOOST] = 0
    set_boost_factor(phys)
    set_pcp_sizes(phys)
    update_totalreserve(phys)


def set_boost_factor(phys: PhysMem) -> None:
    """Let zones be boosted by a new factor from now on; a boost there is stays."""
    phys.mem.zone[:, Z_WATERMARK_BOOST_FACTOR] = phys.tunables.now.vm_watermark_boost_factor


PCP_HIGH_BATCHES: Final = 6  # until 5.13; mm/page_alloc.c:pageset_set_batch


def set_pcp_sizes(phys: PhysMem) -> None:
    """Set batch and high of the per-cpu lists of all zones; an empty zone keeps 0.

    Source: Linux 6.1 mm/page_alloc.c:percpu_pagelist_high_fraction_sysctl_handler
    """
    for zone in range(len(phys.mem.zone)):
        zone_set_pageset_high_and_batch(phys, zone)


def zone_set_pageset_high_and_batch(phys: PhysMem, zone: int) -> None:
    """Set batch and high of the per-cpu lists of one zone; an empty one keeps 0.

    Source: Linux 6.1 mm/page_alloc.c:zone_set_pageset_high_and_batch
    """
    row = phys.mem.zone[zone]
    managed = int(row[Z_MANAGED])
    if not managed:
        return
    row[Z_PCP_BATCH] = watermark.zone_batchsize(managed, phys.era)
    if not phys.era.pcp_scales:
        row[Z_PCP_HIGH] = PCP_HIGH_BATCHES * row[Z_PCP_BATCH]
        row[Z_PCP_FREES_BATCH] = 1
        return
    row[Z_PCP_HIGH] = watermark.zone_highsize(
        managed_pages=managed,
        wmark_low=int(row[Z_WMARK_LOW]),
        batch=int(row[Z_PCP_BATCH]),
        nr_local_cpus=len(phys.nodes[int(row[Z_NID])].cpus),
        nr_online_cpus=phys.nr_cpus,
        high_fraction=phys.tunables.now.vm_percpu_pagelist_high_fraction,
    )


def setup_per_zone_lowmem_reserve(phys: PhysMem) -> None:
    """Compute the pages each zone keeps from requests that may use higher zones.

    Source: Linux 6.1 mm/page_alloc.c:setup_per_zone_lowmem_reserve
    """
    ratio = phys.tunables.now.vm_lowmem_reserve_ratio
    rows = watermark.setup_per_zone_lowmem_reserve(phys.zones_managed(), ratio)
    phys.mem.lowmem_reserve[:] = np.array(rows, np.int64)
    update_totalreserve(phys)


def update_totalreserve(phys: PhysMem) -> None:
    """Recompute totalreserve_pages from the marks and reserves in force.

    Source: Linux 6.1 mm/page_alloc.c:calculate_totalreserve_pages
    """
    zone = phys.mem.zone
    reserved = phys.mem.lowmem_reserve.max(axis=1) + zone[:, Z_WMARK_HIGH]
    phys.totalreserve_pages = int(np.minimum(reserved, zone[:, Z_MANAGED]).sum())


def set_numa_stat(phys: PhysMem) -> None:
    """Stop counting where requests were served, and forget what was counted; or count again.

    Source: Linux 6.1 mm/vmstat.c:sysctl_vm_numa_stat_handler
    """
    off = not phys.tunables.now.vm_numa_stat
    phys.mem.zone[:, Z_NUMA_STAT_OFF] = np.int64(off)
    if off:
        phys.mem.numa_stat[:] = 0


ON_WRITE: Final[dict[str, Callable[[PhysMem], None]]] = {
    "vm.min_free_kbytes": setup_per_zone_wmarks,
    "vm.watermark_scale_factor": setup_per_zone_wmarks,
    "vm.watermark_boost_factor": set_boost_factor,
    "vm.percpu_pagelist_high_fraction": set_pcp_sizes,
    "vm.lowmem_reserve_ratio": setup_per_zone_lowmem_reserve,
    "vm.numa_stat": set_numa_stat,
    "vm.zone_reclaim_mode": set_node_reclaim,
    "vm.min_unmapped_ratio": set_node_reclaim,
    "vm.min_slab_ratio": set_node_reclaim,
}
"""Key -> what a write makes the kernel compute afresh."""
