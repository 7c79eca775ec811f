"""How far down a request may take a zone, worked out apart from the allocator.

Linux: mm/page_alloc.c: zone_watermark_fast, __zone_watermark_ok, gfp_to_alloc_flags, 6.1.
Interface: `lowest_allowed` and `wrong_block` for what a request means to do, `wrong_grant` for what
it got.
Units: pages.
"""

from typing import Final

from kernelsim.actors.messages.node import AllocPages
from kernelsim.actors.parts.observer import Asker
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_NR_RESERVED_HIGHATOMIC,
    Z_PCP_BATCH,
    Z_WATERMARK_BOOST,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
)
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.page.gfp import Gfp

NO_LIMIT: Final = -1
# mm/internal.h, 6.1
NO_WATERMARKS: Final = 0x04
OOM: Final = 0x08
HARDER: Final = 0x10
HIGH: Final = 0x20


def lowest_allowed(
    mem: Mem, task: Asker, context: AllocContext, zone: int, mark: int, alloc_flags: int
) -> int:
    """Return the free pages of a zone that a request of one page must find more than.

    Bits of `alloc_flags` count only for tasks that may have them: all reserves for a task that
    reclaims, a half for one that is killed, and what the request's own mask says.

    Args:
        mem: Physical memory.
        task: Who asks.
        context: What for.
        zone: Zone row.
        mark: Z_WMARK_LOW at first, Z_WMARK_MIN in the slow path.
        alloc_flags: As the request claims.
    """
    if alloc_flags & NO_WATERMARKS and task.memalloc:
        return NO_LIMIT
    row = mem.zone[zone]
    is_killed = bool(alloc_flags & OOM) and task.killed
    is_atomic = bool(alloc_flags & HARDER and context.gfp & Gfp.ATOMIC)
    slow = mark == Z_WMARK_MIN
    pages = int(row[Z_WMARK_MIN] if slow else row[Z_WMARK_LOW])
    if not (slow and is_atomic):
        pages += int(row[Z_WATERMARK_BOOST])
    if alloc_flags & HIGH and context.gfp & Gfp.HIGH:
        pages -= pages // 2
    if is_killed:
        pages -= pages // 2
    elif is_atomic:
        pages -= pages // 4
    if not is_killed and not is_atomic:
        pages += int(row[Z_NR_RESERVED_HIGHATOMIC])
    return pages + int(mem.lowmem_reserve[zone, context.highest_zoneidx])


def wrong_block(
    mem: Mem, task: Asker, context: AllocContext, zone: int, order: int, mark: int, alloc_flags: int
) -> str:
    """Return what is wrong with a request that means to take a block of a zone."""
    left = int(mem.zone[zone, Z_FREE]) - (1 << order) + 1
    least = lowest_allowed(mem, task, context, zone, mark, alloc_flags)
    if left > least:
        return ""
    return f"{task.name} takes 2**{order} pages of zone {zone}, of which {least} must be left"


def wrong_grant(mem: Mem, request: AllocPages, nr: int, nr_refills: int) -> str:
    """Return what is wrong with a grant just made; nothing if nothing is.

    Pages of the CPU's list are counted free no longer; only a refill takes from the zone, and the
    last one began above the mark. So it cannot have gone below by as much as a whole batch.
    """
    if not nr and not nr_refills:
        return ""
    free = int(mem.zone[request.zone, Z_FREE])
    batch = max(int(mem.zone[request.zone, Z_PCP_BATCH]), 1) if nr_refills else 0
    if free + batch > request.floor:
        return ""
    return f"{free} are free behind it, and it had to stop at {request.floor}"
