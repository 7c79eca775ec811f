"""Which sums of events must equal which counters, and which counters each other.

Linux: mm/vmstat.c, and what mm/page_alloc.c, mm/vmscan.c and mm/page_io.c count, 6.1.
A `Ledger` is kept from what nodes and CPUs say they did, by zone, node and kind. The state of the
zones gives the same sums once more; the counters are a third account. They must agree.
Interface: a `Ledger` a machine; `check_sums` at a look.
Units: pages; events.
"""

from collections.abc import Iterator
from typing import Final

import attrs
import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.core.lru_gen import LG_NR_ISOLATED, lru_gen_enabled
from kernelsim.mm.core.mem import (
    I64,
    I64_2D,
    L_COUNT,
    MAX_ORDER,
    MIGRATE_ISOLATE,
    MIGRATE_TYPES,
    Z_FREE,
    Z_MANAGED,
    Z_NID,
    Z_TYPE_INDEX,
    Mem,
    PG_active,
    PG_writeback,
)
from kernelsim.mm.core.tunables import Tunables
from kernelsim.mm.core.vmstat import (
    NR_DIRTIED,
    NR_DIRTY,
    NR_ISOLATED_ANON,
    NR_ISOLATED_FILE,
    NR_VMSCAN_WRITE,
    NR_WRITEBACK,
    NR_WRITTEN,
    NUMA_FOREIGN,
    NUMA_HIT,
    NUMA_LOCAL,
    NUMA_MISS,
    NUMA_OTHER,
    NUMA_STAT_NAMES,
    PGACTIVATE,
    PGALLOC_DMA,
    PGDEACTIVATE,
    PGFAULT,
    PGFREE,
    PGMAJFAULT,
    PGPGIN,
    PGPGOUT,
    PGREFILL,
    PGROTATED,
    PGSCAN_ANON,
    PGSCAN_DIRECT,
    PGSCAN_FILE,
    PGSCAN_KSWAPD,
    PGSTEAL_ANON,
    PGSTEAL_DIRECT,
    PGSTEAL_FILE,
    PGSTEAL_KSWAPD,
    PSWPIN,
    PSWPOUT,
    SWAP_RA,
    VM_EVENT_NAMES,
    WORKINGSET_ACTIVATE_ANON,
    WORKINGSET_ACTIVATE_FILE,
    WORKINGSET_REFAULT_ANON,
    WORKINGSET_REFAULT_FILE,
)
from kernelsim.mm.swap.swap_area import SA_USED, SA_WRITEOK

KIB_OF_A_PAGE: Final = 4
SCANNED: Final = (PGSCAN_DIRECT, PGSCAN_KSWAPD, PGSCAN_ANON, PGSCAN_FILE)
STOLEN: Final = (PGSTEAL_DIRECT, PGSTEAL_KSWAPD, PGSTEAL_ANON, PGSTEAL_FILE)
NUMA_KINDS: Final = (NUMA_HIT, NUMA_MISS, NUMA_LOCAL, NUMA_OTHER)


@attrs.define
class Ledger:
    """What was done since the checker listens, and where the counters stood then.

    Attributes:
        mem: Physical memory.
        tunables: Of the machine: where requests are served is counted only if it says so.
        allocated: Pages handed out, by zone row.
        isolated: Free pages that were taken for compaction, by zone row; no request was for them.
        freed: Pages that came back, by zone row.
        numa: Pages handed out by zone row and NUMA_*.
        foreign: Pages that were wanted from a node and came from another, by the node.
        scanned: Pages of inactive lists that were looked at, by whether kswapd did it and whether
            they are file pages.
        stolen: Pages reclaimed, by the same.
        refilled: Pages of active lists that were looked at.
        activated: Pages that became active when they were judged, or since they were used twice.
        deactivated: Pages that became inactive then.
        written: Pages whose writing ended, by node.
        rotated: Written pages that went to the tail of their lists.
        refaults: Pages read again whose eviction was remembered, by node.
        quietly_active: Pages that were active already, or became so without an event.
        had_generations: The multi-generational LRU was in force, which marks pages as active that
            are on their way to it or come from it.
    """

    mem: Mem
    tunables: Tunables
    allocated: I64 = attrs.field(init=False)
    isolated: I64 = attrs.field(init=False)
    freed: I64 = attrs.field(init=False)
    numa: I64_2D = attrs.field(init=False)
    foreign: I64 = attrs.field(init=False)
    scanned: I64_2D = attrs.field(factory=lambda: np.zeros((2, 2), np.int64))
    stolen: I64_2D = attrs.field(factory=lambda: np.zeros((2, 2), np.int64))
    refilled: int = 0
    activated: int = 0
    deactivated: int = 0
    rotated: int = 0
    written: I64 = attrs.field(init=False)
    refaults: I64 = attrs.field(init=False)
    quietly_active: int = attrs.field(init=False)
    had_generations: bool = attrs.field(init=False)
    used: I64 = attrs.field(init=False)
    events: I64 = attrs.field(init=False)
    node_stat: I64_2D = attrs.field(init=False)
    numa_stat: I64_2D = attrs.field(init=False)
    _numa_rules: object = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Note where the counters stand."""
        mem, nr_zones = self.mem, len(self.mem.zone)
        self.allocated = np.zeros(nr_zones, np.int64)
        self.isolated = np.zeros(nr_zones, np.int64)
        self.freed = np.zeros(nr_zones, np.int64)
        self.used = used_pages(mem)
        self.quietly_active = count_active(mem)
        self.had_generations = bool(lru_gen_enabled(mem))
        self.events = mem.vm_event.copy()
        self.node_stat = mem.node_stat.copy()
        self.written = np.zeros(len(mem.node_stat), np.int64)
        self.refaults = np.zeros(len(mem.node_stat), np.int64)
        self.start_numa()

    def start_numa(self) -> None:
        """Count where requests are served from now on."""
        self.numa = np.zeros_like(self.mem.numa_stat)
        self.numa_stat = self.mem.numa_stat.copy()
        self.foreign = np.zeros(len(self.mem.node_stat), np.int64)
        self._numa_rules = self.tunables.now

    def follow_tunables(self) -> bool:
        """Begin to count anew where requests are served if a tunable changed; return whether."""
        if self._numa_rules is self.tunables.now:
            return False
        self.start_numa()
        return True

    def took(self, zone: int, cpu_nid: int, preferred_nid: int, nr: int, order: int = 0) -> None:
        """Enter blocks that were handed out and are counted already, each of 2**order pages."""
        self.allocated[zone] += nr << order
        if self.follow_tunables():  # then they are among what is counted from
            return
        nid = self.mem.zone[zone, Z_NID]
        self.numa[zone, NUMA_LOCAL if nid == cpu_nid else NUMA_OTHER] += nr
        self.numa[zone, NUMA_HIT if nid == preferred_nid else NUMA_MISS] += nr
        self.foreign[preferred_nid] += nr if nid != preferred_nid else 0


def used_pages(mem: Mem) -> I64:
    """Return the pages of each zone that are neither free nor on a CPU's list.

    Free pages of isolated pageblocks do not count in Z_FREE.
    """
    pages: I64 = mem.zone[:, Z_MANAGED] - mem.zone[:, Z_FREE] - mem.pcp_count.sum(axis=1)
    counts = mem.lists[: len(pages) * MAX_ORDER * MIGRATE_TYPES, L_COUNT]
    isolated = counts.reshape(len(pages), MAX_ORDER, MIGRATE_TYPES)[:, :, MIGRATE_ISOLATE]
    pages -= (isolated << np.arange(MAX_ORDER)).sum(axis=1)
    return pages


def check_sums(kernel: Kernel, ledger: Ledger) -> Iterator[str]:
    """Return which sums and counters do not agree, one line each."""
    yield from check_zones(kernel, ledger)
    yield from check_numa(kernel.mem, ledger)
    yield from check_reclaim(kernel.mem, ledger)
    yield from check_swap_traffic(kernel.mem, ledger)
    yield from check_reads(kernel, ledger)


def check_zones(kernel: Kernel, ledger: Ledger) -> Iterator[str]:
    """Compare what zones gave and got back with pgalloc_* and pgfree."""
    mem = kernel.mem
    events = mem.vm_event - ledger.events
    back = ledger.allocated + ledger.isolated - (used_pages(mem) - ledger.used)
    for zone in np.flatnonzero(back != ledger.freed).tolist():
        yield (
            f"zone {zone}: {ledger.allocated[zone]} pages were handed out, {back[zone]} are "
            f"back, {ledger.freed[zone]} were given back"
        )
    if events[PGFREE] != back.sum():
        yield f"pgfree rose by {events[PGFREE]}, {back.sum()} pages came back"
    for index, zone_type in enumerate(kernel.phys.zone_types):
        out = int(ledger.allocated[mem.zone[:, Z_TYPE_INDEX] == index].sum())
        if events[PGALLOC_DMA + index] != out:
            yield (
                f"pgalloc of {zone_type.name} rose by {events[PGALLOC_DMA + index]}, "
                f"{out} pages were handed out"
            )


def check_numa(mem: Mem, ledger: Ledger) -> Iterator[str]:
    """Compare where requests were served with numa_*."""
    ledger.follow_tunables()
    if not ledger.tunables.now.vm_numa_stat:
        return
    counted = mem.numa_stat - ledger.numa_stat
    for kind in NUMA_KINDS:
        for zone in np.flatnonzero(counted[:, kind] != ledger.numa[:, kind]).tolist():
            yield (
                f"zone {zone}: {NUMA_STAT_NAMES[kind]} rose by {counted[zone, kind]}, by the "
                f"requests it is {ledger.numa[zone, kind]}"
            )
    foreign = np.zeros_like(ledger.foreign)
    np.add.at(foreign, mem.zone[:, Z_NID], counted[:, NUMA_FOREIGN])
    for nid in np.flatnonzero(foreign != ledger.foreign).tolist():
        yield (
            f"node {nid}: numa_foreign rose by {foreign[nid]}, {ledger.foreign[nid]} pages wanted "
            "from it came from others"
        )


def check_reclaim(mem: Mem, ledger: Ledger) -> Iterator[str]:
    """Compare what reclaim scanned, stole, activated and deactivated with what it says of it."""
    events = mem.vm_event - ledger.events
    stat = mem.node_stat - ledger.node_stat
    exact = (
        *zip(SCANNED, by_whom_and_kind(ledger.scanned), strict=True),
        (PGREFILL, ledger.refilled),
        (PGACTIVATE, ledger.activated),
        (PGDEACTIVATE, ledger.deactivated),
        (PGROTATED, ledger.rotated),
    )
    for column, done in exact:
        if events[column] != done:
            name = VM_EVENT_NAMES[column]
            yield f"{name} rose by {events[column]}, by what reclaim did it is {done}"
    refaults = stat[:, [WORKINGSET_REFAULT_ANON, WORKINGSET_REFAULT_FILE]].sum(axis=1)
    for nid in np.flatnonzero(refaults != ledger.refaults).tolist():
        yield (
            f"node {nid}: workingset_refault rose by {refaults[nid]}, {ledger.refaults[nid]} pages "
            "were read again whose eviction is remembered"
        )
    off_lists = mem.node_stat[:, [NR_ISOLATED_ANON, NR_ISOLATED_FILE]]
    off_lists = off_lists - ledger.node_stat[:, [NR_ISOLATED_ANON, NR_ISOLATED_FILE]]
    is_done = (
        not off_lists.any() and not mem.lru_gen[:, LG_NR_ISOLATED].any()
    )  # else pages of a batch may be counted only when it is put back
    for column, stolen in zip(STOLEN, by_whom_and_kind(ledger.stolen), strict=True):
        if events[column] > stolen or (is_done and events[column] != stolen):
            name = VM_EVENT_NAMES[column]
            yield f"{name} rose by {events[column]}, {stolen} pages were reclaimed so"
    up = events[PGACTIVATE] + ledger.quietly_active
    up += stat[:, [WORKINGSET_ACTIVATE_ANON, WORKINGSET_ACTIVATE_FILE]].sum()
    nr_active = count_active(mem)
    if not ledger.had_generations and nr_active > up - events[PGDEACTIVATE]:
        yield (
            f"{nr_active} pages are active, {up} were activated and {events[PGDEACTIVATE]} "
            "deactivated"
        )


def by_whom_and_kind(pages: I64_2D) -> list[int]:
    """Return the sums that the kernel counts: direct, by kswapd; anonymous, of files."""
    return [*pages.sum(axis=1).tolist(), *pages.sum(axis=0).tolist()]


def check_reads(kernel: Kernel, ledger: Ledger) -> Iterator[str]:
    """Compare what the kernel says it read with what the disks were asked for.

    A task counts a request and then may have to wait until the disk takes it; swapon reads a page
    of an area that is in use and takes no slots yet.
    """
    counted = int(kernel.mem.vm_event[PGPGIN] - ledger.events[PGPGIN])
    asked = sum(device.statistics.pages_asked for device in kernel.devices.values())
    used, is_open = kernel.swap.area[:, SA_USED], kernel.swap.area[:, SA_WRITEOK]
    most = asked + len(kernel.page_reads) + int(np.count_nonzero((used != 0) & (is_open == 0)))
    if not KIB_OF_A_PAGE * asked <= counted <= KIB_OF_A_PAGE * most:
        yield f"pgpgin rose by {counted}, by the pages that disks were asked for it is {asked} * 4"
    counted = int(kernel.mem.vm_event[PGPGOUT] - ledger.events[PGPGOUT])
    given = sum(device.statistics.pages_given for device in kernel.devices.values())
    waiting = np.count_nonzero(kernel.mem.pages.flags & np.uint32(PG_writeback))
    if not KIB_OF_A_PAGE * given <= counted <= KIB_OF_A_PAGE * (given + waiting):
        yield f"pgpgout rose by {counted}, by the pages that disks were given it is {given} * 4"


def check_swap_traffic(mem: Mem, ledger: Ledger) -> Iterator[str]:
    """Compare the accounts of what goes to swap and comes from it."""
    events, stat = mem.vm_event - ledger.events, mem.node_stat - ledger.node_stat
    counted, expected = int(events[PSWPOUT]), int(stat[:, NR_VMSCAN_WRITE].sum())
    if counted != expected:
        yield f"pswpout rose by {counted}, by the pages moved it is {expected}"
    for nid in np.flatnonzero(stat[:, NR_WRITTEN] != ledger.written).tolist():
        yield (
            f"node {nid}: nr_written rose by {stat[nid, NR_WRITTEN]}, the writing of "
            f"{ledger.written[nid]} pages has ended"
        )
    under_way = stat[:, NR_WRITTEN] + stat[:, NR_WRITEBACK] - stat[:, NR_VMSCAN_WRITE]
    for nid in np.flatnonzero(under_way < 0).tolist():
        yield (
            f"node {nid}: {stat[nid, NR_VMSCAN_WRITE]} pages of swap were to be written, "
            f"{-under_way[nid]} fewer are or were"
        )
    # Pages of files that went are not written; dirty ones may have moved to another node.
    most, nr_files = int((stat[:, NR_DIRTIED] - stat[:, NR_DIRTY]).sum()), int(under_way.sum())
    if nr_files > most:
        yield (
            f"{expected} pages of swap and at most {most} of files were to be written, "
            f"{nr_files} more than those of swap are or were"
        )
    for part, whole in ((PGMAJFAULT, PGFAULT), (SWAP_RA, PSWPIN)):
        if events[part] > events[whole]:
            names = VM_EVENT_NAMES[part], VM_EVENT_NAMES[whole]
            yield f"{names[0]} rose by {events[part]}, {names[1]} by {events[whole]} only"


def count_active(mem: Mem) -> int:
    """Count the pages that are on an active list, or on their way there."""
    return int(np.count_nonzero(mem.pages.flags & np.uint32(PG_active)))
