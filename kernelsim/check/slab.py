"""Check that slabs hold the objects that exist, and that their pages are counted.

Apart from the allocator: objects are found where their owners keep them, nodes in the trees of page
caches and of swap, buffer heads at pages of files, bios at slots that are read or written, those of
processes in their sets, which owners have (check_owners).
Interface: `check_slabs` lists what is wrong; `slab_pages` is for those who count pages.
Units: objects, pages.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.check.page_cache import pages_of_files
from kernelsim.mm.core.kernel_objects import KTHREAD_OBJECTS
from kernelsim.mm.core.mem import I64, Mem, PG_kernel, nids_of
from kernelsim.mm.core.slab_cache import (
    BIO,
    BUFFER_HEAD,
    KMEM_CACHES,
    MAPLE_NODE,
    MM_STRUCT,
    NODE_PARTIAL,
    NR_KMEM_CACHES,
    RADIX_TREE_NODE,
    SB_CACHE,
    SB_INUSE,
    SB_NID,
    SB_OBJECTS,
    SB_ORDER,
    SB_PFN,
    SB_STATE,
    SC_COUNT,
    SC_NR_INUSE,
    SLAB_ROWS,
    VM_AREA_STRUCT,
)
from kernelsim.mm.core.vmstat import NR_SLAB_RECLAIMABLE, NR_SLAB_UNRECLAIMABLE
from kernelsim.mm.core.xarray import XN_COUNT, XN_SLAB
from kernelsim.mm.swap.swap_area import TN_COUNT, TN_SLAB

LINES_MAX: Final = 5


def slab_pages(mem: Mem) -> tuple[I64, I64]:
    """Return the pages that slabs have, and the row of the slab that each belongs to."""
    rows = mem.slabs.row[: mem.slabs.state[SLAB_ROWS]]
    paid = np.flatnonzero((rows[:, SB_PFN] > 0) & (rows[:, SB_STATE] != 0))
    sizes = 1 << rows[paid, SB_ORDER]
    first = np.repeat(rows[paid, SB_PFN] - np.cumsum(sizes) + sizes, sizes)
    return first + np.arange(sizes.sum()), np.repeat(paid, sizes)


def objects_of(kernel: Kernel, cache: int) -> I64:
    """Return the slab of each object of a cache that exists."""
    mem, swap = kernel.mem, kernel.swap
    if cache == RADIX_TREE_NODE:
        node = kernel.spaces.pool.xa.node
        return np.concatenate(
            (node[node[:, XN_COUNT] > 0, XN_SLAB], swap.node[swap.node[:, TN_COUNT] > 0, TN_SLAB])
        )
    if cache == BUFFER_HEAD:
        private = mem.pages.private[pages_of_files(mem)].astype(np.int64)
        return private[private > 0] - 1
    if cache == BIO:
        return swap.bio[swap.bio > 0].astype(np.int64) - 1
    if cache == VM_AREA_STRUCT:
        maps = [mm.map.rows for mm in kernel.mms.by_number.values()]
        return np.array([row for rows in maps for row in rows], np.int64)
    if cache == MAPLE_NODE:
        if not kernel.spec.era.maple_tree:
            return np.zeros(0, np.int64)
        trees = [mm.map.tree for mm in kernel.mms.by_number.values()]
        return np.array([node.row for tree in trees for node in tree.nodes()], np.int64)
    sets = kernel.object_sets.in_use.values()
    return np.array([each.rows[cache] for each in sets if cache in each.rows], np.int64)


def check_slabs(mem: Mem, kernel: Kernel) -> list[str]:
    """Return where slabs, their objects, pages and counters disagree.

    Args:
        mem: Memory, with counters of what our own processes did.
        kernel: The machine.
    """
    return [
        *check_objects(kernel), *check_slab_pages(mem), *check_partial(mem), *check_owners(kernel),
    ]  # fmt: skip


def check_objects(kernel: Kernel) -> Iterator[str]:
    """Compare the objects in use of each slab and cache with those that exist."""
    slabs = kernel.mem.slabs
    rows = slabs.row[: slabs.state[SLAB_ROWS]]
    for number, cache in enumerate(KMEM_CACHES):
        objects = objects_of(kernel, number)
        counted = int(slabs.cache[number::NR_KMEM_CACHES, SC_NR_INUSE].sum())
        if counted != len(objects):
            yield f"{cache.name}: {counted} objects are in use, there are {len(objects)}"
        found = np.bincount(objects, minlength=len(rows))
        own = (rows[:, SB_CACHE] == number) & (rows[:, SB_STATE] != 0)
        for row in np.flatnonzero(own & (found != rows[:, SB_INUSE]))[:LINES_MAX].tolist():
            yield f"{cache.name}: slab {row} has {rows[row, SB_INUSE]} objects, not {found[row]}"
    for row in np.flatnonzero(rows[:, SB_INUSE] > rows[:, SB_OBJECTS])[:LINES_MAX].tolist():
        yield f"slab {row} has more objects than there is room for"


def check_slab_pages(mem: Mem) -> Iterator[str]:
    """Check that pages of slabs are the kernel's, each of one slab, and counted."""
    pfns, rows = slab_pages(mem)
    if len(np.unique(pfns)) != len(pfns):
        yield "a page belongs to two slabs"
    for pfn in pfns[mem.pages.flags[pfns] != PG_kernel][:LINES_MAX].tolist():
        yield f"pfn {pfn} belongs to a slab and has flags {mem.pages.flags[pfn]:#x}"
    is_reclaimable = np.array([cache.is_reclaimable for cache in KMEM_CACHES])
    kinds = is_reclaimable[mem.slabs.row[rows, SB_CACHE]]
    for counter, of_kind, name in (
        (NR_SLAB_RECLAIMABLE, kinds, "nr_slab_reclaimable"),
        (NR_SLAB_UNRECLAIMABLE, ~kinds, "nr_slab_unreclaimable"),
    ):
        found = np.bincount(nids_of(mem, pfns[of_kind]), minlength=len(mem.node_stat))
        for nid in np.flatnonzero(found != mem.node_stat[:, counter]).tolist():
            counted = mem.node_stat[nid, counter]
            yield f"node {nid}: {name} is {counted}, slabs have {found[nid]} pages"


def check_partial(mem: Mem) -> Iterator[str]:
    """Compare nr_partial of each node and cache with the slabs that say they are on its list."""
    rows = mem.slabs.row[: mem.slabs.state[SLAB_ROWS]]
    listed = rows[rows[:, SB_STATE] == NODE_PARTIAL]
    place = listed[:, SB_NID] * NR_KMEM_CACHES + listed[:, SB_CACHE]
    found = np.bincount(place, minlength=len(mem.slabs.cache))
    for at in np.flatnonzero(found != mem.slabs.cache[:, SC_COUNT]).tolist():
        nid, cache = divmod(at, NR_KMEM_CACHES)
        counted = mem.slabs.cache[at, SC_COUNT]
        yield f"node {nid}: {KMEM_CACHES[cache].name} has {found[at]} partial slabs, not {counted}"


def check_owners(kernel: Kernel) -> Iterator[str]:
    """Find processes and address spaces that lack an object, or have some that are free."""
    in_use, owners = kernel.object_sets.in_use, set[int]()
    wanted = [
        *((each.task.name, each.task.objects, KTHREAD_OBJECTS) for each in living(kernel)),
        *((f"mm {n}", mm.objects, (MM_STRUCT,)) for n, mm in kernel.mms.by_number.items()),
    ]
    for name, objects, caches in wanted:
        if objects is None or not objects.rows.keys() >= set(caches):
            yield f"{name} lacks an object of the kernel"
        elif in_use.get(objects.number) is not objects:
            yield f"{name} has objects of the kernel that are free"
        elif objects.number in owners:
            yield f"{name} has objects of the kernel that another one has, too"
        else:
            owners.add(objects.number)
    for number, mm in kernel.mms.by_number.items():
        if len(mm.map.rows) != len(mm.map):
            yield f"mm {number} has {len(mm.map.rows)} vm_area_structs for {len(mm.map)} mappings"


def living(kernel: Kernel) -> Iterator[ProcessEntry]:
    """Return the processes that are not about to be gone."""
    for process in (*kernel.processes.values(), *kernel.zombies.values()):
        if not process.has_ended() or process.is_zombie:
            yield process
