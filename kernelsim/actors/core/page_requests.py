"""What requests for pages are served by, in the form that compiled code reads.

Linux: mm/page_alloc.c:prepare_alloc_pages, mm/slub.c:allocate_slab (6.1).
Interface: `fill_request` for a task's own pages; one `SlabRequests` for slabs.
Units: zones, nodes.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from kernelsim.actors.core.task import Task
from kernelsim.actors.parts.node import Node
from kernelsim.actors.tracing import Listened
from kernelsim.mm.burst.columns import R_ZONES, ZONES_MAX
from kernelsim.mm.core.mem import I64, I64_2D
from kernelsim.mm.core.slab_cache import KMEM_CACHES, NR_KMEM_CACHES
from kernelsim.mm.page.alloc_context import AllocContext, AllocContexts
from kernelsim.mm.page.gfp import GFP_NOWAIT, Gfp, gfp_to_alloc_flags
from kernelsim.mm.page.mempolicy import Mempolicy
from kernelsim.mm.page.page_alloc import ALLOC_OOM
from kernelsim.trace.kmem import mm_page_alloc

NEW_SLAB_GFP: Final = GFP_NOWAIT | Gfp.NOWARN | Gfp.NORETRY | Gfp.COMP

# Of each cache; who reclaims has more bits, which count below the low watermark only.
SLAB_GFPS: Final = tuple(
    NEW_SLAB_GFP | (Gfp.RECLAIMABLE if cache.is_reclaimable else Gfp(0)) for cache in KMEM_CACHES
)


def fill_request(request: I64, context: AllocContext, *, oom_victim: bool) -> None:
    """Fill in what a task's requests for pages are served by: the columns of `Burst.request`."""
    flags = gfp_to_alloc_flags(context.gfp)
    request[: R_ZONES + len(context.zonelist)] = (
        context.migratetype, context.highest_zoneidx, context.preferred_nid,
        flags | ALLOC_OOM if oom_victim else flags, len(context.zonelist), *context.zonelist,
    )  # fmt: skip


class SlabRequests:
    """What slabs that steps of tasks open get their pages by.

    Args:
        contexts: What requests are served by.
        nodes: The nodes of the machine.
    """

    def __init__(self, contexts: AllocContexts, nodes: Sequence[Node]) -> None:
        self._contexts = contexts
        self._is_listened_to = Listened(nodes, mm_page_alloc)
        self._generation = -1
        self._kept: dict[tuple[int, Mempolicy | None], I64_2D] = {}
        self._none = np.zeros((NR_KMEM_CACHES, R_ZONES + ZONES_MAX), np.int64)

    def rows(self, task: Task) -> I64_2D:
        """Return a task's request for each cache; none finds a page while somebody logs pages."""
        if self._is_listened_to():
            return self._none
        if self._generation != self._contexts.phys.generation:
            self._kept.clear()
            self._generation = self._contexts.phys.generation
        key = task.cpu.nid, task.mempolicy
        rows = self._kept.get(key)
        if rows is None:
            rows = self._kept[key] = np.zeros_like(self._none)
            for cache, gfp in enumerate(SLAB_GFPS):
                # above the low watermark, where alone they are used, a victim is served as others
                fill_request(rows[cache], self._contexts.get(*key, gfp), oom_victim=False)
        return rows
