"""When compaction is worth its while, where its scanners are, and when it is done.

Linux: mm/compaction.c, include/linux/compaction.h, mm/vmstat.c, 6.1.
The migrate scanner goes up from the bottom of a zone and takes pages that can be moved; the free
scanner comes down from its top and finds free pages for them. When they meet all of the zone has
been scanned. Where they were is kept with the zone, so that the next one to compact goes on there.
# Differs from Linux: Pageblocks that are worth it are not searched for in the free lists
# (fast_find_migrateblock, fast_isolate_freepages); the scanners go through them in order, frame by
# frame, as before 5.1. A block that becomes free is not kept
# for who compacts (capture_control): whoever asks first gets it.
Interface: one `ZoneCompaction` a zone, shared and written without a lock as in Linux; one
`CompactControl` a run.
Units: pages, pfn; an order is the logarithm of a number of pages.
"""

from enum import IntEnum
from typing import Final

import attrs

from kernelsim.mm.core.mem import (
    MIGRATE_MOVABLE,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    Z_WMARK_MIN,
    Mem,
    zone_of,
)
from kernelsim.mm.page.isolate_freepages import is_free_pageblock
from kernelsim.mm.page.phys_mem import zone_span

PAGE_ALLOC_COSTLY_ORDER: Final = 3  # requests of a larger order may be refused; mmzone.h
COMPACT_CLUSTER_MAX: Final = 32  # pages moved together; include/linux/swap.h
COMPACT_MAX_DEFER_SHIFT: Final = 6  # mm/compaction.c
MAX_COMPACT_RETRIES: Final = 16  # mm/page_alloc.c
WHOLE_ZONE: Final = -1  # order of who compacts for no request (is_via_compact_memory)

MIGRATE_ASYNC: Final = 0  # enum migrate_mode
MIGRATE_SYNC_LIGHT: Final = 1
MIGRATE_SYNC: Final = 2

# enum compact_priority; the lower the more it tries
COMPACT_PRIO_SYNC_FULL: Final = 0
COMPACT_PRIO_SYNC_LIGHT: Final = 1
COMPACT_PRIO_ASYNC: Final = 2


class CompactResult(IntEnum):
    """How compaction of a zone ended, or why it goes on.

    Source: Linux 6.1 include/linux/compaction.h:compact_result
    """

    NOT_SUITABLE_ZONE = 0
    SKIPPED = 1
    DEFERRED = 2
    NO_SUITABLE_PAGE = 3
    CONTINUE = 4
    COMPLETE = 5
    PARTIAL_SKIPPED = 6
    CONTENDED = 7
    SUCCESS = 8


@attrs.define
class ZoneCompaction:
    """What compaction remembers of a zone.

    Attributes:
        migrate_pfn: Where the migrate scanner goes on, of those that do not wait and of the others;
            0 at first.
        free_pfn: Where the free scanner does.
        considered: Requests put off since compaction failed.
        defer_shift: As a logarithm, how many are to be.
        order_failed: The smallest order it failed for.
        blockskip_flush: Its scanners have met: pageblocks are to be looked at again.
        skip: Pageblocks that are not worth a look, as nothing could be taken from them.
    """

    migrate_pfn: list[int] = attrs.field(factory=lambda: [0, 0])
    free_pfn: int = 0
    considered: int = 0
    defer_shift: int = 0
    order_failed: int = 0
    blockskip_flush: bool = False
    skip: set[int] = attrs.field(factory=set)

    def defer(self, order: int) -> None:
        """Have more requests do without it after it has failed.

        Source: Linux 6.1 mm/compaction.c:defer_compaction
        """
        self.considered = 0
        self.defer_shift = min(self.defer_shift + 1, COMPACT_MAX_DEFER_SHIFT)
        self.order_failed = min(self.order_failed, order)

    def is_deferred(self, order: int) -> bool:
        """Tell whether a request is to do without it; it counts then.

        Source: Linux 6.1 mm/compaction.c:compaction_deferred
        """
        if order < self.order_failed:
            return False
        limit = 1 << self.defer_shift
        self.considered = min(self.considered + 1, limit)
        return self.considered < limit

    def defer_reset(self, order: int, *, has_block: bool) -> None:
        """Note that it has worked, or that a request then had its block.

        Source: Linux 6.1 mm/compaction.c:compaction_defer_reset
        """
        if has_block:
            self.considered = self.defer_shift = 0
        self.order_failed = max(self.order_failed, order + 1)

    def is_restarting(self, order: int) -> bool:
        """Tell whether it is tried again after it was put off for as long as it can be.

        Source: Linux 6.1 mm/compaction.c:compaction_restarting
        """
        if order < self.order_failed:
            return False
        is_longest = self.defer_shift == COMPACT_MAX_DEFER_SHIFT
        return is_longest and self.considered >= 1 << self.defer_shift

    def reset_cached_positions(self, mem: Mem, zone: int) -> None:
        """Have the next one begin at the ends of the zone.

        Source: Linux 6.1 mm/compaction.c:reset_cached_positions
        """
        start, end = zone_span(mem, zone)
        self.migrate_pfn = [start, start]
        self.free_pfn = (end - 1) & -PAGEBLOCK_NR_PAGES

    def reset_isolation_suitable(self, mem: Mem, zone: int) -> None:
        """Have all pageblocks looked at again.

        Source: Linux 6.1 mm/compaction.c:__reset_isolation_suitable
        """
        self.blockskip_flush = False
        self.skip.clear()
        self.reset_cached_positions(mem, zone)


@attrs.define
class CompactControl:
    """One run over a zone: what for, how, and how far it is.

    Attributes:
        zone: Zone row.
        order: Size of the block that is wanted; WHOLE_ZONE for none.
        migratetype: MIGRATE_* of the request.
        mode: MIGRATE_*, how long it may wait.
        highest_zoneidx: Highest zone type the request may use.
        alloc_flags: ALLOC_* bits of the request.
        mark: Z_WMARK_* above which a block must leave the zone.
        is_direct: It is the request that compacts, not kcompactd or a user.
        whole_zone: The scanners began at the ends of the zone.
        ignore_skip_hint: Pageblocks that were not worth a look are looked at.
        ignore_block_suitable: Free pages are taken from pageblocks of any type.
        is_proactive: Nobody asks: it goes on until free memory is less fragmented.
        migrate_pfn: Where the migrate scanner is.
        free_pfn: Where the free scanner is.
        nr_migrate_scanned: Frames that the migrate scanner has looked at.
        nr_free_scanned: Frames that the free scanner has.
        is_contended: A lock was taken, and it may not wait.
    """

    zone: int
    order: int
    migratetype: int
    mode: int
    highest_zoneidx: int
    alloc_flags: int = 0
    mark: int = Z_WMARK_MIN
    is_direct: bool = False
    whole_zone: bool = False
    ignore_skip_hint: bool = False
    ignore_block_suitable: bool = False
    is_proactive: bool = False
    migrate_pfn: int = 0
    free_pfn: int = 0
    nr_migrate_scanned: int = 0
    nr_free_scanned: int = 0
    is_contended: bool = False

    @property
    def is_sync(self) -> bool:
        """Whether it may wait."""
        return self.mode != MIGRATE_ASYNC

    @property
    def have_met(self) -> bool:
        """Whether the scanners have met.

        Source: Linux 6.1 mm/compaction.c:compact_scanners_met
        """
        return self.free_pfn >> PAGEBLOCK_ORDER <= self.migrate_pfn >> PAGEBLOCK_ORDER

    def start(self, mem: Mem, state: ZoneCompaction) -> None:
        """Set the scanners to where they begin.

        Source: Linux 6.1 mm/compaction.c:compact_zone
        """
        if self.order != WHOLE_ZONE and state.is_restarting(self.order):
            state.reset_isolation_suitable(mem, self.zone)
        start, end = zone_span(mem, self.zone)
        if self.whole_zone:
            self.migrate_pfn, self.free_pfn = start, (end - 1) & -PAGEBLOCK_NR_PAGES
            return
        if not start <= state.free_pfn < end:
            state.free_pfn = (end - 1) & -PAGEBLOCK_NR_PAGES
        if not start <= state.migrate_pfn[self.is_sync] < end:
            state.migrate_pfn = [start, start]
        self.free_pfn, self.migrate_pfn = state.free_pfn, state.migrate_pfn[self.is_sync]
        self.whole_zone = self.migrate_pfn <= start

    def next_migrate_block(self, mem: Mem, state: ZoneCompaction) -> int:
        """Go on to the next pageblock worth a look; return its end, 0 if the scanners have met.

        Source: Linux 6.1 mm/compaction.c:isolate_migratepages
        """
        while True:
            end = (self.migrate_pfn | (PAGEBLOCK_NR_PAGES - 1)) + 1
            if end > self.free_pfn:
                return 0
            if not self._has_block(mem, self.migrate_pfn):
                self.migrate_pfn = end
                continue
            is_skipped = not self.ignore_skip_hint and self._is_first(mem) and self._skips(state)
            if not is_skipped and self._is_source(mem):
                return end
            if not is_skipped:
                self.update_cached_migrate(state, end)
            self.migrate_pfn = end

    def _has_block(self, mem: Mem, pfn: int) -> bool:
        """Tell whether a pageblock is the zone's: its span may have holes, and parts of others.

        Source: Linux 6.1 mm/page_alloc.c:__pageblock_pfn_to_page
        """
        start, end = zone_span(mem, self.zone)
        first = max(pfn & -PAGEBLOCK_NR_PAGES, start)
        last = min((pfn | (PAGEBLOCK_NR_PAGES - 1)) + 1, end) - 1
        return bool(zone_of(mem, first) == zone_of(mem, last) == self.zone)

    def _is_first(self, mem: Mem) -> bool:
        """Tell whether the scanner has not begun with its pageblock."""
        is_start = self.migrate_pfn == zone_span(mem, self.zone)[0]
        return is_start or not self.migrate_pfn % PAGEBLOCK_NR_PAGES

    def _skips(self, state: ZoneCompaction) -> bool:
        return self.migrate_pfn >> PAGEBLOCK_ORDER in state.skip

    def _is_source(self, mem: Mem) -> bool:
        """Tell whether pages may be taken from the scanner's pageblock.

        A request that may not wait looks only at those of its own type.

        Source: Linux 6.1 mm/compaction.c:suitable_migration_source
        """
        if self.is_sync or not self.is_direct:
            return True
        return bool(mem.block_mt[self.migrate_pfn >> PAGEBLOCK_ORDER] == self.migratetype)

    def has_scanned(self, state: ZoneCompaction, pfn: int, end: int, nr_isolated: int) -> None:
        """Note how far the migrate scanner came in a pageblock, and how many pages it took.

        Source: Linux 6.1 mm/compaction.c:isolate_migratepages_block
        """
        # Differs from Linux: A pageblock gets its skip hint when it was scanned to its end, also
        # when pages were taken from it.
        if pfn == end and not nr_isolated:
            self.update_cached_migrate(state, end)
        if pfn == end and not (nr_isolated and self.ignore_skip_hint):
            state.skip.add((end - 1) >> PAGEBLOCK_ORDER)
        self.migrate_pfn = pfn

    def update_cached_migrate(self, state: ZoneCompaction, pfn: int) -> None:
        """Have the next one begin behind a pageblock.

        Source: Linux 6.1 mm/compaction.c:update_cached_migrate
        """
        state.migrate_pfn[0] = max(state.migrate_pfn[0], pfn)
        if self.is_sync:
            state.migrate_pfn[1] = max(state.migrate_pfn[1], pfn)

    def is_target(self, mem: Mem, state: ZoneCompaction, block: int) -> bool:
        """Tell whether free pages may be taken from a pageblock.

        Source: Linux 6.1 mm/compaction.c:suitable_migration_target, :isolation_suitable
        """
        if not self._has_block(mem, block) or is_free_pageblock(mem, self.zone, block):
            return False
        if not self.ignore_block_suitable and (
            mem.block_mt[block >> PAGEBLOCK_ORDER] != MIGRATE_MOVABLE
        ):
            return False
        return self.ignore_skip_hint or block >> PAGEBLOCK_ORDER not in state.skip


def compact_gap(order: int) -> int:
    """Return the free pages compaction needs for a block of an order.

    Source: Linux 6.1 include/linux/compaction.h:compact_gap
    """
    return 2 << order
