"""Invariants of shared memory that is in swap.

Linux: what mm/shmem.c keeps true between two lock holds (6.1).
Interface: `check_shmem`; `shmem_slots` for those who count the users of slots.
Units: pages, slots.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.lru import count_by_node
from kernelsim.check.page_cache import FileContents, first_indexes
from kernelsim.mm.core.mem import I64, Mem, PG_anon, PG_locked, PG_swapbacked, PG_uptodate
from kernelsim.mm.core.vmstat import NR_SHMEM
from kernelsim.mm.core.xarray import SWAP_ENTRY, XN_COUNT, XN_SHIFT, XN_TREE


def shmem_slots(kernel: Kernel) -> tuple[I64, I64, I64]:
    """Return the files, their pages and the slots of all shared memory that is in swap."""
    xa = kernel.spaces.pool.xa
    leaves = np.flatnonzero((xa.node[:, XN_COUNT] != 0) & (xa.node[:, XN_SHIFT] == 0))
    at, place = np.nonzero(xa.slots[leaves] < SWAP_ENTRY)
    slots: I64 = SWAP_ENTRY - xa.slots[leaves[at], place]
    return xa.node[leaves[at], XN_TREE], first_indexes(xa, leaves)[at] + place, slots


def check_shmem(mem: Mem, kernel: Kernel, expected: FileContents | None) -> Iterator[str]:
    """Check the counts of each file and node, and what is in swap.

    Args:
        mem: The machine's memory, its counters without those of boot.
        kernel: The machine.
        expected: What files must hold; None if nobody has written it down.
    """
    spaces, swap = kernel.spaces, kernel.swap
    number, index, slots = shmem_slots(kernel)
    for inode in [each for each in kernel.files.inodes.values() if each.is_shmem]:
        found = int(np.count_nonzero(number == inode.number))
        if found != spaces.swapped(inode.number):
            counted = spaces.swapped(inode.number)
            yield f"file {inode.number}: {counted} pages are in swap, found {found}"
        if inode.alloced < found + spaces.nrpages(inode.number):
            yield f"file {inode.number} has more pages than the {inode.alloced} it was given"
    flags = mem.pages.flags
    kinds = flags & np.uint32(PG_swapbacked | PG_anon) == np.uint32(PG_swapbacked)
    by_node = count_by_node(mem, np.flatnonzero(kinds & (mem.pages.mapping != 0)))
    for nid in np.flatnonzero(by_node != mem.node_stat[:, NR_SHMEM]).tolist():
        yield f"node {nid}: nr_shmem is {mem.node_stat[nid, NR_SHMEM]}, found {by_node[nid]}"
    if expected is None:
        return
    cached = swap.cache_pfn[slots]
    is_cached = flags[cached] & np.uint32(PG_locked | PG_uptodate) == np.uint32(PG_uptodate)
    held = np.where((cached != 0) & is_cached, mem.pages.token[cached], swap.token[slots])
    for i in np.flatnonzero(expected.differs(number, index, held)).tolist():
        yield f"page {index[i]} of file {number[i]}, in slot {slots[i]}, holds {held[i]:#x}"
