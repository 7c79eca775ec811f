"""Tests of copies and sums of counters: the same as NumPy's."""

import numpy as np

from kernelsim.mm.core.mem import NR_ZONE_FIELDS, Z_FREE, Z_WATERMARK_BOOST, Z_WMARK_LOW
from kernelsim.mm.core.sample import available_sums, copy_counters
from kernelsim.mm.core.vmstat import (
    NODE_STAT_NAMES,
    NR_ACTIVE_FILE,
    NR_INACTIVE_FILE,
    NR_KERNEL_MISC_RECLAIMABLE,
    NR_SLAB_RECLAIMABLE,
    VM_EVENT_NAMES,
)


def test_copies_and_sums_are_those_of_the_arrays():
    """Chosen zones' columns, nodes and events follow each other; sums are over all zones, nodes."""
    rng = np.random.default_rng(1)
    zone = rng.integers(0, 1000, (8, NR_ZONE_FIELDS))
    node_stat = rng.integers(0, 1000, (2, len(NODE_STAT_NAMES)))
    vm_event = rng.integers(0, 1000, len(VM_EVENT_NAMES))
    zones, fields = np.array([1, 2, 6]), np.array([Z_FREE, Z_WMARK_LOW])
    parts = (zone[np.ix_(zones, fields)].ravel(), node_stat.ravel(), vm_event)
    wanted = np.concatenate(parts)
    row = np.full(len(wanted) + 3, -1)
    assert copy_counters(zone, node_stat, vm_event, zones, fields, row) == len(wanted) + 1
    assert row.tolist() == [-1, *wanted.tolist(), -1, -1]

    sums = node_stat.sum(axis=0)
    assert available_sums(zone, node_stat) == (
        zone[:, Z_FREE].sum(),
        zone[:, [Z_WMARK_LOW, Z_WATERMARK_BOOST]].sum(),
        sums[NR_ACTIVE_FILE] + sums[NR_INACTIVE_FILE],
        sums[NR_SLAB_RECLAIMABLE] + sums[NR_KERNEL_MISC_RECLAIMABLE],
    )
