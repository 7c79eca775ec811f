"""The page cache a recorded machine had at boot, as ordinary pages of a file without a name.

Linux: what /proc/zoneinfo prints of nr_zone_inactive_file and nr_zone_active_file (6.1).
Differs: The page cache of boot belongs to one file, clean, and what programs of the recording had
mapped of it is reclaimed like the rest.

Interface: `place_boot_cache`, once, when the counters of the recording have been taken over.
Units: pages.
"""

import numpy as np

from kernelsim.mm.core.mem import (
    I64,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_FILE,
    MIGRATE_MOVABLE,
    PAGEBLOCK_ORDER,
    Z_NID,
    Z_SPANNED,
    Z_START_PFN,
    Mem,
    PG_active,
    PG_kernel,
    PG_uptodate,
    zones_of,
)
from kernelsim.mm.core.slab_cache import SLAB_BOOT
from kernelsim.mm.core.swap import lru_add
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_FILE,
    NR_FILE_PAGES,
    NR_INACTIVE_FILE,
    NR_ZONE_INACTIVE_ANON,
)
from kernelsim.mm.core.xarray import xa_store
from kernelsim.mm.file.address_space import AS_NRPAGES, AddressSpaces


def place_boot_cache(mem: Mem, spaces: AddressSpaces, number: int, first_token: int) -> int:
    """Turn used pages into pages of a file, as many of each zone as the counters say.

    Args:
        mem: The machine's memory.
        spaces: All files.
        number: The file.
        first_token: What its first page holds; each further one holds one more.

    Returns:
        How many there are; counters that promised more than the zones have in use are corrected.
    """
    nr_pages = 0
    for zone in range(len(mem.zone)):
        for lru, flags in (
            (LRU_ACTIVE_FILE, PG_active | PG_uptodate),
            (LRU_INACTIVE_FILE, PG_uptodate),
        ):
            wanted = int(mem.zone_stat[zone, NR_ZONE_INACTIVE_ANON + lru])
            pfns = used_pages(mem, zone, wanted) if wanted else np.zeros(0, np.int64)
            nid = mem.zone[zone, Z_NID]
            mem.zone_stat[zone, NR_ZONE_INACTIVE_ANON + lru] -= wanted
            mem.node_stat[nid, lru] -= wanted
            mem.node_stat[nid, NR_FILE_PAGES] -= wanted - len(pfns)
            enter(mem, spaces, number, nr_pages, pfns, flags)
            tokens = np.arange(nr_pages, nr_pages + len(pfns), dtype=np.uint64)
            mem.pages.token[pfns] = tokens + np.uint64(first_token)
            nr_pages += len(pfns)
    # A recording may leave the counter out.
    listed = mem.node_stat[:, NR_INACTIVE_FILE] + mem.node_stat[:, NR_ACTIVE_FILE]
    mem.node_stat[:, NR_FILE_PAGES] = np.maximum(mem.node_stat[:, NR_FILE_PAGES], listed)
    return nr_pages


def used_pages(mem: Mem, zone: int, wanted: int) -> I64:
    """Choose pages of a zone that the kernel uses, those of movable pageblocks first."""
    start = int(mem.zone[zone, Z_START_PFN])
    end = start + int(mem.zone[zone, Z_SPANNED])
    used: I64 = start + np.flatnonzero(mem.pages.flags[start:end] == PG_kernel)
    used = used[zones_of(mem, used) == zone]  # it may span memory of others
    is_movable = mem.block_mt[used >> PAGEBLOCK_ORDER] == MIGRATE_MOVABLE
    return np.concatenate((used[is_movable], used[~is_movable]))[:wanted]


def enter(mem: Mem, spaces: AddressSpaces, number: int, index: int, pfns: I64, flags: int) -> None:
    """Put pages in the page cache from an index on, and on their list; they are counted there."""
    spaces.pool.reserve(len(pfns))
    mem.slabs.state[SLAB_BOOT] = 1
    for at, pfn in enumerate(pfns.tolist(), start=index):
        xa_store(spaces.pool.xa, number, at, pfn, 0)
    mem.slabs.state[SLAB_BOOT] = 0
    mem.pages.flags[pfns] = flags
    mem.pages.mapping[pfns] = number
    mem.pages.index[pfns] = np.arange(index, index + len(pfns))
    spaces.row[number, AS_NRPAGES] += len(pfns)
    lru_add(mem, pfns, len(pfns))
