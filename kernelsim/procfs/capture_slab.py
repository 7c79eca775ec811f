"""Take what /proc/slabinfo shows from a running machine.

Linux: mm/slub.c (6.1).
Differs: The file /proc/slabinfo lists the slab caches that are modelled, without the slabs that
they had at boot.
"""

from collections.abc import Iterator

from kernelsim.config.era import Era
from kernelsim.mm.core.mem import Mem
from kernelsim.mm.core.slab_cache import (
    KMEM_CACHES,
    MAPLE_NODE,
    NODE_PARTIAL,
    NR_KMEM_CACHES,
    SB_CACHE,
    SB_INUSE,
    SB_OBJECTS,
    SB_STATE,
    SC_NR_OBJECTS,
    SC_NR_SLABS,
    SC_OBJECTS,
    SC_ORDER,
    SC_SIZE,
    SLAB_ROWS,
)
from kernelsim.procfs.snapshot import SlabSnapshot


def capture_slabs(mem: Mem, era: Era) -> Iterator[SlabSnapshot]:
    """Return the slab caches that a kernel has, over all nodes.

    Source: Linux 6.1 mm/slub.c:get_slabinfo
    """
    slabs = mem.slabs
    rows = slabs.row[: slabs.state[SLAB_ROWS]]
    partial = rows[rows[:, SB_STATE] == NODE_PARTIAL]
    for number, cache in enumerate(KMEM_CACHES):
        if number == MAPLE_NODE and not era.maple_tree:
            continue
        own = slabs.cache[number::NR_KMEM_CACHES]
        listed = partial[partial[:, SB_CACHE] == number]
        nr_objects = int(own[:, SC_NR_OBJECTS].sum())
        yield SlabSnapshot(
            name=cache.name,
            size=int(own[0, SC_SIZE]),
            objects=int(own[0, SC_OBJECTS]),
            order=int(own[0, SC_ORDER]),
            nr_slabs=int(own[:, SC_NR_SLABS].sum()),
            nr_objects=nr_objects,
            nr_active=nr_objects - int((listed[:, SB_OBJECTS] - listed[:, SB_INUSE]).sum()),
        )
