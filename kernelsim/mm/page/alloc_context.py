"""What a request for pages is served by: where it may look, and how far down.

Linux: struct alloc_context of mm/internal.h, mm/page_alloc.c:prepare_alloc_pages, 6.1.
"""

import attrs

from kernelsim.mm.page.gfp import Gfp


@attrs.frozen
class AllocContext:
    """What a request wants, and where it may look.

    Attributes:
        gfp: Bits of the request.
        migratetype: MIGRATE_* of the pages.
        zonelist: Zone rows in the order they are tried.
        highest_zoneidx: Highest zone index the request may use; lower zones keep their
            lowmem_reserve against it.
        preferred_nid: Node the policy wants first.
        nodemask: Nodes a policy confines the request to, rising; None for no such policy.
    """

    gfp: Gfp
    migratetype: int
    zonelist: tuple[int, ...]
    highest_zoneidx: int
    preferred_nid: int
    nodemask: tuple[int, ...] | None = None
