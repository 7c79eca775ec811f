"""What a caller asks of the page allocator: gfp bits, and the three things derived from them.

Linux: include/linux/gfp_types.h, include/linux/gfp.h, include/trace/events/mmflags.h (6.1).
Differs: the bits of debugging options (KASAN) are left out.
Interface: `Gfp` and its combinations; `gfp_zone`, `gfp_migratetype`, `gfp_to_alloc_flags` decode
them; `format_gfp` writes them as the kernel's log and tracepoints do.
"""

from enum import IntFlag
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
GFP_KERNEL: Final = Gfp.RECLAIM | Gfp.IO | Gfp.FS
GFP_KERNEL_ACCOUNT: Final = GFP_KERNEL | Gfp.ACCOUNT
GFP_NOWAIT: Final = Gfp.KSWAPD_RECLAIM
GFP_NOIO: Final = Gfp.RECLAIM
GFP_NOFS: Final = Gfp.RECLAIM | Gfp.IO
GFP_USER: Final = Gfp.RECLAIM | Gfp.IO | Gfp.FS | Gfp.HARDWALL
GFP_DMA: Final = Gfp.DMA
GFP_DMA32: Final = Gfp.DMA32
GFP_HIGHUSER: Final = GFP_USER | Gfp.HIGHMEM
GFP_HIGHUSER_MOVABLE: Final = GFP_HIGHUSER | Gfp.MOVABLE
GFP_TRANSHUGE_LIGHT: Final = (
    GFP_HIGHUSER_MOVABLE | Gfp.COMP | Gfp.NOMEMALLOC | Gfp.NOWARN
) & ~Gfp.RECLAIM
GFP_TRANSHUGE: Final = GFP_TRANSHUGE_LIGHT | Gfp.DIRECT_RECLAIM

# Names in the order the kernel tries them; a name is printed when all its bits are left.
FORMAT_NAMES: Final[tuple[tuple[str, Gfp], ...]] = (
    ("GFP_TRANSHUGE", GFP_TRANSHUGE),
    ("GFP_TRANSHUGE_LIGHT", GFP_TRANSHUGE_LIGHT),
    ("GFP_HIGHUSER_MOVABLE", GFP_HIGHUSER_MOVABLE),
    ("GFP_HIGHUSER", GFP_HIGHUSER),
    ("GFP_USER", GFP_USER),
    ("GFP_KERNEL_ACCOUNT", GFP_KERNEL_ACCOUNT),
    ("GFP_KERNEL", GFP_KERNEL),
    ("GFP_NOFS", GFP_NOFS),
    ("GFP_ATOMIC", GFP_ATOMIC),
    ("GFP_NOIO", GFP_NOIO),
    ("GFP_NOWAIT", GFP_NOWAIT),
    ("GFP_DMA", GFP_DMA),
    ("__GFP_HIGHMEM", Gfp.HIGHMEM),
    ("GFP_DMA32", GFP_DMA32),
    ("__GFP_HIGH", Gfp.HIGH),
    ("__GFP_ATOMIC", Gfp.ATOMIC),
    ("__GFP_IO", Gfp.IO),
    ("__GFP_FS", Gfp.FS),
    ("__GFP_NOWARN", Gfp.NOWARN),
    ("__GFP_RETRY_MAYFAIL", Gfp.RETRY_MAYFAIL),
    ("__GFP_NOFAIL", Gfp.NOFAIL),
    ("__GFP_NORETRY", Gfp.NORETRY),
    ("__GFP_COMP", Gfp.COMP),
    ("__GFP_ZERO", Gfp.ZERO),
    ("__GFP_NOMEMALLOC", Gfp.NOMEMALLOC),
    ("__GFP_MEMALLOC", Gfp.MEMALLOC),
    ("__GFP_HARDWALL", Gfp.HARDWALL),
    ("__GFP_THISNODE", Gfp.THISNODE),
    ("__GFP_RECLAIMABLE", Gfp.RECLAIMABLE),
    ("__GFP_MOVABLE", Gfp.MOVABLE),
    ("__GFP_ACCOUNT", Gfp.ACCOUNT),
    ("__GFP_WRITE", Gfp.WRITE),
    ("__GFP_RECLAIM", Gfp.RECLAIM),
    ("__GFP_DIRECT_RECLAIM", Gfp.DIRECT_RECLAIM),
    ("__GFP_KSWAPD_RECLAIM", Gfp.KSWAPD_RECLAIM),
)


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


def gfp_to_alloc_flags(gfp: Gfp) -> int:
    """Return the ALLOC_* bits of the slow path, before those of OOM victims are added.

    Differs from Linux: there are no real-time tasks, which would get ALLOC_HARDER.
    Source: Linux 6.1 mm/page_alloc.c:gfp_to_alloc_flags
    """
    flags = ALLOC_WMARK_MIN | ALLOC_CPUSET
    flags |= int(gfp & (Gfp.HIGH | Gfp.KSWAPD_RECLAIM))  # ALLOC_HIGH, ALLOC_KSWAPD: same bits
    if gfp & Gfp.ATOMIC:
        if not gfp & Gfp.NOMEMALLOC:
            flags |= ALLOC_HARDER
        flags &= ~ALLOC_CPUSET
    return flags


def format_gfp(gfp: Gfp) -> str:
    """Write a mask by names, as `%pGg` does: `GFP_KERNEL|__GFP_COMP`; 0 is `none`."""
    left = int(gfp)
    if not left:
        return "none"
    parts = []
    for name, gfp_bits in FORMAT_NAMES:
        bits = int(gfp_bits)  # ~ of a flag knows only bits with a name
        if left & bits == bits:
            parts.append(name)
            left &= ~bits
    if left:
        parts.append(f"{left:#x}")
    return "|".join(parts)
