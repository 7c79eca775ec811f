"""Where the free pages of a zone are between the watermarks, as bursts note it for the log.

Interface: `band_of` tells it now; `note_bands` notes changes, for the actors to log.
Units: pages, ns.
"""

from kernelsim.hw.leaf import leaf
from kernelsim.mm.burst.columns import (
    C_NR_NODES,
    C_NR_ZONES,
    N_BAND,
    N_FREE,
    N_TIME,
    N_ZONE,
    Burst,
)
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
)


@leaf
def band_of(mem: Mem, zone: int) -> int:
    """Return where the free pages of a zone are: 0 below min, 1, 2, 3 above high."""
    row = mem.zone[zone]
    free = row[Z_FREE] - row[Z_WATERMARK_BOOST]
    if free > row[Z_WMARK_HIGH]:
        return 3
    return int(free > row[Z_WMARK_LOW]) + int(free > row[Z_WMARK_MIN])


@leaf
def note_bands(mem: Mem, burst: Burst, nid: int, now_ns: int) -> None:
    """Note for the log which watermarks the free pages of a node's zones have crossed.

    All its zones are looked at: a boost that kswapd took away moves a mark, too. The last row is
    written over.
    """
    nr_zones = int(burst.cost[C_NR_ZONES] // burst.cost[C_NR_NODES])
    for zone in range(nid * nr_zones, (nid + 1) * nr_zones):
        if burst.band[zone] < 0:
            continue
        band = band_of(mem, zone)
        if band == burst.band[zone]:
            continue
        burst.band[zone] = band
        burst.notes[0, 0] = min(burst.notes[0, 0] + 1, len(burst.notes) - 1)
        row = burst.notes[burst.notes[0, 0]]
        row[N_TIME] = now_ns
        row[N_ZONE] = zone
        row[N_BAND] = band
        row[N_FREE] = mem.zone[zone, Z_FREE]
