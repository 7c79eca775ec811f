"""Dropping what is cached of files, in the time of the task that asks for it.

Linux: mm/truncate.c, mm/fadvise.c, fs/drop_caches.c, 6.1.
Units: pages of a file.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import release
from kernelsim.actors.core.lru_add import lru_add_drain, lru_add_drain_all
from kernelsim.fs.inode import Inode
from kernelsim.mm.core.vmstat import DROP_PAGECACHE, DROP_SLAB
from kernelsim.mm.file.truncate import invalidate_mapping_pages

DROP_BATCH_PAGES: Final = 512  # dropped before others get a turn
DROP_PAGES: Final = 1  # bits of what is written to drop_caches
DROP_OBJECTS: Final = 2


async def invalidate_pages(current: Current, inode: Inode, first: int, last: int) -> int:
    """Drop clean pages of a file that nobody uses; return how many.

    Source: Linux 6.1 mm/truncate.c:invalidate_mapping_pages
    """
    kernel, task = current
    spaces, dropped = kernel.spaces, 0
    pfns = np.zeros(DROP_BATCH_PAGES, np.int64)
    while first <= last:
        nr, first = invalidate_mapping_pages(
            kernel.mem, spaces.mappings, inode.number, first, last, pfns
        )
        await release(current, pfns[:nr])
        dropped += nr
        await task.compute(kernel.spec.latency.pte_set_ns * nr)
    return dropped


async def advise_dontneed(current: Current, inode: Inode, first: int, last: int) -> None:
    """Drop a range of a file, also pages that wait in the batches of other CPUs.

    Source: Linux 6.1 mm/fadvise.c:generic_fadvise
    """
    await lru_add_drain(current)
    await invalidate_pages(current, inode, first, last)
    mem = current.kernel.mem
    if mem.lru_batch[:, 0].any() or mem.activate_batch[:, 0].any():
        await lru_add_drain_all(current)
        await invalidate_pages(current, inode, first, last)


async def drop_caches(current: Current, what: int) -> None:
    """Drop what is cached of all files (1), objects of the kernel (2), or both (3).

    Source: Linux 6.1 fs/drop_caches.c:drop_caches_sysctl_handler
    """
    kernel = current.kernel
    if what & DROP_PAGES:
        await lru_add_drain_all(current)
        for inode in list(kernel.files.inodes.values()):
            await invalidate_pages(current, inode, 0, max(inode.nr_pages - 1, 0))
        kernel.mem.vm_event[DROP_PAGECACHE] += 1
    if what & DROP_OBJECTS:  # there are none whose number is known
        kernel.mem.vm_event[DROP_SLAB] += 1
