"""What a caller asks of the page allocator: gfp bits, and the three things derived from them.

Linux: include/linux/gfp_types.h, include/linux/gfp.h, include/trace/events/mmflags.h (6.1).
Differs: The bits of debugging options (KASAN) are left out of the GFP flags.
Interface: `Gfp` and its combinations; `gfp_zone`, `gfp_migratetype`, `gfp_to_alloc_flags` decode
them. `kernelsim.trace.show` writes them as the kernel's log and tracepoints do.
"""

from enum import IntFlag
from functools import cache
from typing import Final

from kernelsim.config.zones import ZoneType
from kernelsim.mm.page.page_alloc import ALLOC_CPUSET, ALLOC_HARDER, ALLOC_WMARK_MIN


class Gfp(IntFlag):
    """Bits of a request; Linux writes `__GFP_` in front.

    Source: Linux 6.1 include/linux/gfp_types.h
    """

    DMA = 0x01
    HIGHMEM = 0x02
    DMA32 = 0x04
    MOVABLE = 0x08
    RECLAIMABLE = 0x10
    HIGH = 0x20
    IO = 0x40
    FS = 0x80
    ZERO = 0x100
    ATOMIC = 0x200
    DIRECT_RECLAIM = 0x400
    KSWAPD_RECLAIM = 0x800
    WRITE = 0x1000
    NOWARN = 0x2000
    RETRY_MAYFAIL = 0x4000
    NOFAIL = 0x8000
    NORETRY = 0x10000
    MEMALLOC = 0x20000
    COMP = 0x40000
    NOMEMALLOC = 0x80000
    HARDWALL = 0x100000
    THISNODE = 0x200000
    ACCOUNT = 0x400000
    RECLAIM = DIRECT_RECLAIM | KSWAPD_RECLAIM


GFP_ATOMIC: Final = Gfp.HIGH | Gfp.ATOMIC | Gfp.KSWAPD_RECLAIM
GFP_NOWAIT: Final = Gfp.KSWAPD_RECLAIM
GFP_NOFS: Final = Gfp.RECLAIM | Gfp.IO
GFP_KERNEL: Final = Gfp.RECLAIM | Gfp.IO | Gfp.FS
GFP_KERNEL_ACCOUNT: Final = GFP_KERNEL | Gfp.ACCOUNT
GFP_PGTABLE_USER: Final = GFP_KERNEL_ACCOUNT | Gfp.ZERO
# CONFIG_HIGHPTE, as Debian has it: page tables may lie in HighMem, but for the top one.
USERPTE_GFP: Final = {
    "x86_64": GFP_PGTABLE_USER,
    "i386": GFP_PGTABLE_USER | Gfp.HIGHMEM,
    "i386pae": GFP_PGTABLE_USER | Gfp.HIGHMEM,
}
GFP_USER: Final = Gfp.RECLAIM | Gfp.IO | Gfp.FS | Gfp.HARDWALL
GFP_HIGHUSER: Final = GFP_USER | Gfp.HIGHMEM
GFP_HIGHUSER_MOVABLE: Final = GFP_HIGHUSER | Gfp.MOVABLE
GFP_USER_FOLIO: Final = GFP_HIGHUSER_MOVABLE | Gfp.COMP  # mm/mempolicy.c:vma_alloc_folio
GFP_ZEROED_USER_FOLIO: Final = GFP_USER_FOLIO | Gfp.ZERO  # alloc_zeroed_user_highpage_movable


def gfp_zone(gfp: Gfp, zone_types: tuple[ZoneType, ...]) -> int:
    """Return the highest zone a request may use, as an index into the machine's zone types.

    A zone the architecture lacks is replaced by ZONE_NORMAL.
    Source: Linux 6.1 include/linux/gfp.h:gfp_zone
    """
    wanted = ZoneType.ZONE_NORMAL
    if gfp & Gfp.MOVABLE and gfp & Gfp.HIGHMEM:
        wanted = ZoneType.ZONE_MOVABLE
    elif gfp & Gfp.HIGHMEM:
        wanted = ZoneType.ZONE_HIGHMEM
    elif gfp & Gfp.DMA32:
        wanted = ZoneType.ZONE_DMA32
    elif gfp & Gfp.DMA:
        wanted = ZoneType.ZONE_DMA
    return zone_types.index(wanted if wanted in zone_types else ZoneType.ZONE_NORMAL)


def gfp_migratetype(gfp: Gfp) -> int:
    """Return the migratetype a request's pages have (MIGRATE_*).

    Source: Linux 6.1 include/linux/gfp.h:gfp_migratetype
    """
    # The two bits were chosen to be the enum's values, MOVABLE 1 and RECLAIMABLE 2.
    return (int(gfp) & (Gfp.MOVABLE | Gfp.RECLAIMABLE)) >> 3


@cache
def gfp_to_alloc_flags(gfp: Gfp) -> int:
    """Return the ALLOC_* bits of the slow path, before those of OOM victims are added.

    Each kind of request is worked out once: operators of flags take a microsecond each.

    Differs from Linux: There are no real-time tasks, which would get ALLOC_HARDER.
    Source: Linux 6.1 mm/page_alloc.c:gfp_to_alloc_flags
    """
    flags = ALLOC_WMARK_MIN | ALLOC_CPUSET
    flags |= int(gfp & (Gfp.HIGH | Gfp.KSWAPD_RECLAIM))  # ALLOC_HIGH, ALLOC_KSWAPD: same bits
    if gfp & Gfp.ATOMIC:
        if not gfp & Gfp.NOMEMALLOC:
            flags |= ALLOC_HARDER
        flags &= ~ALLOC_CPUSET
    return flags
