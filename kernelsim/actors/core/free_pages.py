"""Giving frames back to the nodes that own them.

Linux: mm/swap.c:release_pages, mm/page_alloc.c:free_unref_page_list, 6.1.
Units: pages.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lock_run import LockRun
from kernelsim.actors.messages.node import DrainPages, FreePages, ReleasePages
from kernelsim.mm.burst.free_pages import (
    FR_AT,
    FR_NR_FREED,
    free_unref_pages,
    new_free_run,
    release_run,
)
from kernelsim.mm.core.mem import I64, SWAP_CLUSTER_MAX, nids_of
from kernelsim.trace.kmem import mm_page_free


async def release(current: Current, pfns: I64) -> int:
    """Free pages that nobody uses any more; return how many.

    They leave the lists of their node a few at a time, so that nobody waits long for lru_lock.

    Source: Linux 6.1 mm/swap.c:release_pages
    """
    kernel, task = current
    free, at, nr_free = np.zeros(len(pfns), np.int64), 0, 0
    burst = FreeBurst(current)
    while at < len(pfns):
        at, nr_free = burst.release(pfns, at, free, nr_free)
        if at == len(pfns):
            break
        nids = nids_of(kernel.mem, pfns[at : at + SWAP_CLUSTER_MAX])
        end = at + int((nids == nids[0]).cumprod().sum())
        request = ReleasePages(pfns[at:end], task.cpu.name)
        frames = await kernel.nodes[nids[0]].ref.ask(request)
        free[nr_free : nr_free + len(frames)] = frames
        at, nr_free = end, nr_free + len(frames)
    return await free_frames(current, free, nr_free)


async def free_frames(current: Current, pfns: I64, nr: int) -> int:
    """Give frames that are not used any more back to their nodes."""
    kernel = current.kernel
    assert not nr or int(pfns[:nr].min()) > 0, "frame 0 belongs to the firmware, it ends all lists"
    for nid, part in by_node(kernel, pfns, nr):
        await free_on_node(current, nid, part, len(part))
    return nr


async def free_on_node(current: Current, nid: int, pfns: I64, nr: int) -> None:
    """Give frames of one node back: each hold of a zone's lock is one request."""
    node, at, burst = current.kernel.nodes[nid].ref, 0, FreeBurst(current)
    while at < nr:
        at = burst.free(nid, pfns, nr, at)
        if at < nr:
            cpu = current.task.cpu
            at = await node.ask(FreePages(cpu.number, pfns, nr, cpu.name, at))


class FreeBurst:
    """What a task frees in compiled code, as far as nobody else can notice.

    Args:
        current: The task.
    """

    def __init__(self, current: Current) -> None:
        self._kernel = current.kernel
        self._locks = LockRun(current, new_free_run(), mm_page_free)

    def release(self, pfns: I64, at: int, out: I64, nr_out: int) -> tuple[int, int]:
        """Take `pfns[at:]` off their lists; return the first that is left, and how many are out."""
        run = self._locks.run
        if not self._locks.begin():
            return at, nr_out
        run[FR_AT], run[FR_NR_FREED] = at, nr_out
        release_run(self._kernel.mem, self._kernel.burst, pfns, len(pfns), out, run)
        self._locks.end()
        return int(run[FR_AT]), int(run[FR_NR_FREED])

    def free(self, nid: int, pfns: I64, nr: int, at: int) -> int:
        """Give frames `pfns[at:nr]` of a node back; return the first that is left."""
        run = self._locks.run
        if not self._locks.begin():
            return at
        run[FR_AT] = at
        free_unref_pages(self._kernel.mem, self._kernel.burst, nid, pfns, nr, run)
        self._locks.end()
        return int(run[FR_AT])


async def drain_all_pages(current: Current, zone: int) -> None:
    """Have all CPUs give back what they keep of a zone.

    Source: Linux 6.1 mm/page_alloc.c:__drain_all_pages
    """
    kernel, task = current
    for cpu in kernel.cpus:
        if kernel.mem.pcp_count[zone, cpu.number]:
            request = DrainPages(zone, cpu.number, task.cpu.name)
            await kernel.node_of(zone).ref.ask(request)


def by_node(kernel: Kernel, pfns: I64, nr: int) -> list[tuple[int, I64]]:
    """Sort frames by the node that owns them: pairs of nid and frames, in rising nid."""
    if not nr:
        return []
    part = pfns[:nr].copy()
    if len(kernel.nodes) == 1:
        return [(0, part)]
    nids = nids_of(kernel.mem, part)
    return [(nid, part[nids == nid]) for nid in range(len(kernel.nodes)) if (nids == nid).any()]
