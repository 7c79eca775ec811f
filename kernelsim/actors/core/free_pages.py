"""Giving frames back to the nodes that own them.

Linux: mm/page_alloc.c:free_unref_page_list, 6.1.
Units: pages.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.messages.node import FreePages
from kernelsim.mm.core.mem import I64, nids_of


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
