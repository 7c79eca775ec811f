"""Forgetting evicted pages when too many nodes of page caches hold nothing else.

Linux: mm/workingset.c:count_shadow_nodes, :shadow_lru_isolate (6.1).
Differs: Of all shrinkers there is only that of shadow nodes, and it defers no work.

Interface: reclaim asks `nr_shadow_nodes_to_free` in each pass over a node, then has them freed.
Units: nodes of an xarray.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import Z_PRESENT, Mem
from kernelsim.mm.core.vmstat import SLABS_SCANNED, WORKINGSET_NODERECLAIM
from kernelsim.mm.core.xarray import (
    SN_COUNT,
    SN_HEAD,
    XA_CHUNK_SHIFT,
    XA_CHUNK_SIZE,
    XA_LEVELS_MAX,
    XN_OFFSET,
    XN_PARENT,
    XN_SHIFT,
    XN_TREE,
    XArray,
)
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.filemap import xa_store_counted

SHRINK_BATCH: Final = 128  # include/linux/shrinker.h


def nr_shadow_nodes_to_free(mem: Mem, files: FileMappings, nid: int) -> int:
    """Return how many nodes to free now: half of those beyond what remembers all of memory.

    One in eight slots is taken to be in use, as an evicted page is rarely alone. Shrinkers work in
    whole batches.

    Source: Linux 6.1 mm/workingset.c:count_shadow_nodes, mm/vmscan.c:do_shrink_slab
    """
    per_node = mem.lowmem_reserve.shape[1]
    present = int(mem.zone[nid * per_node : (nid + 1) * per_node, Z_PRESENT].sum())
    freeable = int(files.xa.shadow_nodes[nid, SN_COUNT]) - (present >> (XA_CHUNK_SHIFT - 3))
    nr = max(freeable, 0) // 2
    return nr - nr % SHRINK_BATCH


@leaf
def free_shadow_nodes(mem: Mem, files: FileMappings, nid: int, nr: int) -> None:
    """Forget what the oldest `nr` nodes with nothing but shadows remember.

    Source: Linux 6.1 mm/workingset.c:shadow_lru_isolate
    """
    for _ in range(nr):
        row = int(files.xa.shadow_nodes[nid, SN_HEAD])
        if row == 0:
            break
        number, first = int(files.xa.node[row, XN_TREE]), xa_first_index(files.xa, row)
        for slot in range(XA_CHUNK_SIZE):
            if files.xa.slots[row, slot] != 0:
                xa_store_counted(mem, files, number, first + slot, 0, nid)
        mem.node_stat[nid, WORKINGSET_NODERECLAIM] += 1
        mem.vm_event[SLABS_SCANNED] += 1


@leaf
def xa_first_index(xa: XArray, row: int) -> int:
    """Return the index of the first slot of a node."""
    first = 0
    for _ in range(XA_LEVELS_MAX):
        parent = int(xa.node[row, XN_PARENT])
        if parent == 0:
            break
        first += int(xa.node[row, XN_OFFSET]) << int(xa.node[parent, XN_SHIFT])
        row = parent
    return first
