"""Giving frames back to the nodes that own them.

Linux: mm/swap.c:release_pages, mm/page_alloc.c:free_unref_page_list, 6.1.
Units: pages.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.messages.node import FreePages, ReleasePages
from kernelsim.mm.core.mem import I64, SWAP_CLUSTER_MAX, nids_of


async def release(current: Current, pfns: I64) -> int:
    """Free pages that nobody uses any more; return how many.

    They leave the lists of their node a few at a time, so that nobody waits long for lru_lock.

    Source: Linux 6.1 mm/swap.c:release_pages
    """
    kernel, task = current
    nids = nids_of(kernel.mem, pfns).tolist()
    frames, at = [], 0
    while at < len(pfns):
        end = at + 1
        while end < min(at + SWAP_CLUSTER_MAX, len(pfns)) and nids[end] == nids[at]:
            end += 1
        request = ReleasePages(pfns[at:end], task.cpu.name)
        frames.append(await kernel.nodes[nids[at]].ref.ask(request))
        at = end
    if not frames:
        return 0
    free = np.concatenate(frames)
    return await free_frames(current, free, len(free))


async def free_frames(current: Current, pfns: I64, nr: int) -> int:
    """Give frames that are not used any more back to their nodes."""
    kernel = current.kernel
    assert not nr or int(pfns[:nr].min()) > 0, "frame 0 belongs to the firmware, it ends all lists"
    for nid, part in by_node(kernel, pfns, nr):
        await free_on_node(current, nid, part, len(part))
    return nr


async def free_on_node(current: Current, nid: int, pfns: I64, nr: int) -> None:
    """Give frames of one node back: each hold of a zone's lock is one request."""
    node, at = current.kernel.nodes[nid].ref, 0
    while at < nr:
        cpu = current.task.cpu
        at = await node.ask(FreePages(cpu.number, pfns, nr, cpu.name, at))


def by_node(kernel: Kernel, pfns: I64, nr: int) -> list[tuple[int, I64]]:
    """Sort frames by the node that owns them: pairs of nid and frames, in rising nid."""
    if not nr:
        return []
    part = pfns[:nr].copy()
    if len(kernel.nodes) == 1:
        return [(0, part)]
    nids = nids_of(kernel.mem, part)
    return [(nid, part[nids == nid]) for nid in range(len(kernel.nodes)) if (nids == nid).any()]
