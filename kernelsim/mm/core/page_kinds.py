"""What ranges of page frames hold: pages of each kind, told by their flags.

Linux: fs/proc/page.c:stable_page_flags, which tells it of each page in /proc/kpageflags, 6.1.
Interface: `count_kinds`. Units: pages, pfn.

A range with more than `PROBES_MAX` pages is judged by so many of them, one out of each of as many
equal parts, so that looking at a machine of 1 TB costs no more than at one of 1 GB. Which one of
its part differs from part to part: at equal distances all could be the first of their pageblocks.
"""

from typing import Final

import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import (
    I64_2D,
    Z_NID,
    Mem,
    PG_anon,
    PG_buddy,
    PG_kernel,
    PG_mlocked,
    PG_pcp,
    PG_reserved,
    PG_swapbacked,
    PG_table,
    PG_unevictable,
    zone_of,
)

PROBES_MAX: Final = 256
SCATTER: Final = 40503  # 2^16 / golden ratio: multiples of it spread evenly over 2^16
SCATTER_BITS: Final = 16

# Columns of what `count_kinds` writes: names of KINDS, in their order
K_KERNEL: Final = 0  # reserved at boot, slabs, kernel stacks, page tables
K_LOCKED: Final = 1  # mlocked, or unevictable for another reason
K_ANON: Final = 2  # anonymous or shared memory, also while it lies in the swap cache
K_FILE: Final = 3  # page cache
K_FREE: Final = 4  # in the buddy system or on per-cpu lists
K_ABSENT: Final = 5  # a hole, offline, or of another node
KINDS: Final = ("kernel", "locked", "anon", "file", "free", "absent")

# Columns of the ranges it is asked for
R_FIRST: Final = 0  # pfn
R_END: Final = 1  # one behind the last
R_NID: Final = 2  # or ANY_NODE
ANY_NODE: Final = -1


@leaf
def count_kinds(mem: Mem, ranges: I64_2D, out: I64_2D) -> None:
    """Count the pages of each kind in ranges of page frames.

    Args:
        mem: The machine's memory; not changed.
        ranges: [range, R_*]; none is empty.
        out: [range, K_*], overwritten: pages looked at, PROBES_MAX a range at most.
    """
    kernel = np.uint32(PG_kernel | PG_reserved | PG_table)
    out[:] = 0
    for row in range(len(ranges)):
        first, nr = ranges[row, R_FIRST], ranges[row, R_END] - ranges[row, R_FIRST]
        probes, nid = min(nr, PROBES_MAX), ranges[row, R_NID]
        end = 0
        for probe in range(probes):
            pfn = first + probe
            if nr > PROBES_MAX:
                start, end = end, (probe + 1) * nr // PROBES_MAX
                spread = (probe * SCATTER) & ((1 << SCATTER_BITS) - 1)
                pfn = first + start + (((end - start) * spread) >> SCATTER_BITS)
            zone = zone_of(mem, pfn)
            flags = mem.pages.flags[pfn]
            if zone < 0 or nid not in (ANY_NODE, mem.zone[zone, Z_NID]):
                out[row, K_ABSENT] += 1
            elif flags & kernel:
                out[row, K_KERNEL] += 1
            elif flags & np.uint32(PG_mlocked | PG_unevictable):
                out[row, K_LOCKED] += 1
            elif flags & np.uint32(PG_anon | PG_swapbacked):
                out[row, K_ANON] += 1
            elif flags & np.uint32(~(PG_buddy | PG_pcp) & 0xFFFFFFFF):
                out[row, K_FILE] += 1
            else:
                out[row, K_FREE] += 1
