"""One NUMA node: its zones, free lists, LRU lists and memory controller.

Linux: pg_data_t, zone->lock, lruvec->lru_lock (mm/page_alloc.c, mm/swap.c, mm/vmscan.c), 6.1.
Every request that needs a lock is served in its turn: the answer comes at
`max(now, lock is free) + hold`, where the hold is what the pages moved cost. A request from
another node holds the lock longer, in the ratio of the distances, since every line it touches
comes over the interconnect.
# Differs from Linux: One request moves a burst of pages in one hold of zone->lock, which lasts as
# long as all the holds of the kernel's single batches together, so contention is exact in sum and
# coarse in time.
Interface: ask; the messages of messages/node.py.

Who writes a node's state, under which lock:
    free lists, per-CPU lists    this actor, under zone->lock; boot alone writes them without
    LRU lists, page flags that   this actor, under lru_lock. But a page that is unmapped and freed
    belong to them               leaves its list in the step that unmaps it, in the task's time
                                 (`take_anonymous`); lru_lock is paid after that, by `LruDeleted`
    watermarks, reserves         whoever writes the sysctl, as under zone->lock; nothing is paid
    watermark boosts             this actor when it mixes pageblocks up, kswapd when it has worked
                                 them off: both under zone->lock in Linux
    the boosted-watermark mark,  bits of zone->flags in Linux, set and cleared without a lock: by
    the reclaim-active mark      the task that allocates, by kswapd
    counters of vmstat           whoever counts, without a lock, as the kernel's per-CPU ones
All of it may be read as the kernel reads it: without the lock, knowing it may be old.
# Differs from Linux: A message to a node is served when it comes, and answered when its hold of the
# lock is over; between the two, others already see what it did.
Units: pages, ns.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from kernelsim.actors.messages.node import (
    AllocPages,
    BeginSwapRead,
    DrainPages,
    EndSwapRead,
    EndSwapWrite,
    FreePages,
    IsolateLru,
    LruAdd,
    LruDeleted,
    MemoryTraffic,
    PutbackInactive,
    ShrinkActive,
)
from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.tracing import Speaker, trace, trace_all, wants
from kernelsim.config.latency import LatencySpec
from kernelsim.config.zones import ZoneType, zone_name
from kernelsim.mm.core.mem import (
    I64_2D,
    Z_FREE,
    Z_MANAGED,
    Z_PCP_BATCH,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
)
from kernelsim.mm.core.swap import lru_add
from kernelsim.mm.page.pcp import alloc_pages_bulk, drain_pages, free_unref_pages
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_RECLAIMED, STAT_NR_TAKEN, STAT_NR_TO_FREE
from kernelsim.mm.reclaim.throttle_reason import WRITEBACK, ThrottleReason
from kernelsim.mm.reclaim.vmscan_balance import wakes_writeback_throttled
from kernelsim.mm.reclaim.vmscan_list import (
    isolate_lru_folios,
    putback_inactive,
    shrink_active_list,
)
from kernelsim.mm.space.page_table_pool import Space
from kernelsim.mm.swap.swap_readahead import missing_slots
from kernelsim.mm.swap.swap_state import begin_swap_read, end_swap_read, end_swap_write
from kernelsim.mm.swap.swapfile import SwapArea
from kernelsim.sim.actor import Actor, At
from kernelsim.sim.locks import FifoServer, WaitQueue
from kernelsim.trace.kmem import mm_page_alloc, mm_page_alloc_extfrag, mm_page_free
from kernelsim.trace.ks import ks_lock_wait, ks_swapin, ks_watermark
from kernelsim.units import NS_PER_S

BANDS = ("below_min", "low_min", "high_low", "above_high")  # of a zone's free pages


class Memory(Protocol):
    """What a node works with that is the whole machine's."""

    @property
    def mem(self) -> Mem:
        """Physical memory; a node writes the rows of its zones."""
        ...

    @property
    def space(self) -> Space:
        """Page tables, for the references of pages that are looked at."""
        ...

    @property
    def swap(self) -> SwapArea:
        """Swap slots."""
        ...

    @property
    def lruvec(self) -> I64_2D:
        """What reclaim remembers of each node, shape [nid, LV_*]."""
        ...

    @property
    def swap_reads(self) -> dict[int, WaitQueue]:
        """Slots being read from disk, with the queue of those who wait."""
        ...

    def placed(self, nr_pages: int) -> int:
        """Note that granted pages came into use."""
        ...

    def taken(self, nr_pages: int) -> int:
        """Note that pages went out of use."""
        ...

    def throttle_queue(self, nid: int, reason: ThrottleReason) -> WaitQueue:
        """Return where tasks throttled on a node for a reason sleep."""
        ...


class Node(Actor):
    """The actor of one node.

    Args:
        nid: Node number.
        memory: What it works with.
        zone_types: Of the architecture, in the order of the node's rows.
        distances: From each node to this one, 10 is local.
        latency: Costs of holds, bandwidth of the controller.
    """

    def __init__(
        self,
        nid: int,
        memory: Memory,
        zone_types: tuple[ZoneType, ...],
        distances: tuple[int, ...],
        latency: LatencySpec,
    ) -> None:
        super().__init__(f"node{nid}")
        self.nid = nid
        self._memory = memory
        self._mem = memory.mem
        self._zone_types = zone_types
        self._zones = range(nid * len(zone_types), (nid + 1) * len(zone_types))
        self._distances = distances
        self._latency = latency
        self.zone_locks: dict[int, FifoServer] = {}
        self.lru_lock: FifoServer
        self.controller: FifoServer
        self.observer = Observer()
        self.nr_granted = 0  # pages handed out and not given back
        self.band_entries: dict[int, list[list[int]]] = {}  # by zone and band: times, first at ns
        self._bands: dict[int, int] = {}  # index into BANDS by zone that has pages, as logged last
        self._handlers: dict[type, Callable[[Any], Any]] = {
            AllocPages: self.on_alloc_pages,
            FreePages: self.on_free_pages,
            DrainPages: self.on_drain_pages,
            LruAdd: self.on_lru_add,
            LruDeleted: self.on_lru_deleted,
            IsolateLru: self.on_isolate_lru,
            PutbackInactive: self.on_putback_inactive,
            ShrinkActive: self.on_shrink_active,
            BeginSwapRead: self.on_begin_swap_read,
            EndSwapRead: self.on_end_swap_read,
            EndSwapWrite: self.on_end_swap_write,
            MemoryTraffic: self.on_memory_traffic,
        }

    def wire(self) -> None:
        """Make the locks; called when the engine is known."""
        engine = self.engine
        names = (f"{zone_name(self.nid, each)} zone->lock" for each in self._zone_types)
        locks = map(engine.server, names)
        self.zone_locks = dict(zip(self._zones, locks, strict=True))
        self.lru_lock = engine.server(f"node {self.nid} lru_lock")
        self.controller = engine.server(f"node {self.nid} memory controller")
        managed = [zone for zone in self._zones if self._mem.zone[zone, Z_MANAGED]]
        self._bands = {zone: self._band_of(zone) for zone in managed}

    def receive(self, message: Any) -> Any:  # noqa: ANN401 - the messages above
        """Serve a message."""
        return self._handlers[type(message)](message)

    def on_alloc_pages(self, message: AllocPages) -> Any:  # noqa: ANN401 - (got, refills), maybe later
        """Serve pages from the CPU's list, refilling it under the zone's lock."""
        zone = message.zone
        got, refills = alloc_pages_bulk(
            self._mem, zone, message.cpu, message.cpu_nid, message.preferred_nid,
            message.migratetype, message.floor, message.want, message.out, message.start,
        )  # fmt: skip
        self.observer.granted(message, got, refills)
        self.nr_granted += got
        if got and wants(self, mm_page_alloc):
            trace_all(
                self,
                (
                    mm_page_alloc(int(pfn), 0, message.gfp, message.migratetype)
                    for pfn in message.out[message.start : message.start + got]
                ),
            )
        if not refills:
            return got, refills
        self._log_bands()
        self._trace_extfrag()
        moved = refills * int(self._mem.zone[zone, Z_PCP_BATCH])
        hold_ns = moved * self._latency.zone_lock_hold_page_ns
        return At(self._zone_locked(zone, hold_ns, message.cpu_nid, message.user), (got, refills))

    def on_free_pages(self, message: FreePages) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Put pages on the CPU's lists, draining them under the zones' locks when they are full."""
        if wants(self, mm_page_free):
            trace_all(self, (mm_page_free(int(pfn), 0) for pfn in message.pfns[: message.nr]))
        nr_holds = free_unref_pages(self._mem, message.cpu, message.pfns, message.nr)
        self.nr_granted -= message.nr
        if not nr_holds:
            return 0
        self._log_bands()
        zone = self._main_zone()
        moved = nr_holds * int(self._mem.zone[zone, Z_PCP_BATCH])
        hold_ns = moved * self._latency.zone_lock_hold_page_ns
        return At(self._zone_locked(zone, hold_ns, self.nid, message.user), nr_holds)

    def on_drain_pages(self, message: DrainPages) -> At:
        """Empty a CPU's list into the buddy system."""
        drained = drain_pages(self._mem, message.zone, message.cpu)
        self._log_bands()
        hold_ns = drained * self._latency.zone_lock_hold_page_ns
        return At(self._zone_locked(message.zone, hold_ns, self.nid, message.user), drained)

    def on_lru_add(self, message: LruAdd) -> At:
        """Put pages on their lists."""
        lru_add(self._mem, message.pfns, message.nr)
        return self._lru_locked(message.nr, message.user)

    def on_lru_deleted(self, message: LruDeleted) -> At:
        """Hold the lock for pages that have left their lists."""
        return self._lru_locked(message.nr, message.user)

    def on_isolate_lru(self, message: IsolateLru) -> At:
        """Take a batch off a list."""
        result = isolate_lru_folios(
            self._mem, self.nid, message.lru, message.nr_to_scan, message.reclaim_idx,
            message.how, message.batch,
        )  # fmt: skip
        return self._lru_locked(result[1], message.user, result)

    def on_putback_inactive(self, message: PutbackInactive) -> At:
        """Put the rest of a batch back; what its owners freed meanwhile goes to the allocator."""
        memory, batch = self._memory, message.batch
        nr = putback_inactive(self._mem, memory.lruvec, self.nid, message.lru, message.how, batch)
        memory.taken(nr - int(batch.stat[STAT_NR_RECLAIMED]))
        return self._lru_locked(int(batch.stat[STAT_NR_TAKEN]), message.user, nr)

    def on_shrink_active(self, message: ShrinkActive) -> At:
        """Move a batch to the inactive list."""
        stat = message.batch.stat
        moved = shrink_active_list(*self._memory.space, self.nid, message.lru, message.batch)
        nr_to_free = self._memory.taken(int(stat[STAT_NR_TO_FREE]))
        return self._lru_locked(int(stat[STAT_NR_TAKEN]), message.user, (moved, nr_to_free))

    def on_begin_swap_read(self, message: BeginSwapRead) -> At:
        """Enter pages in the swap cache; from now on others find them, locked, and sleep."""
        memory, target = self._memory, message.target
        begun = np.array(missing_slots(memory.swap, message.slots.tolist()), np.int64)
        begin_swap_read(
            self._mem, memory.swap, memory.lruvec, begun, message.pfns, len(begun), target
        )
        queue = self.engine.wait_queue(f"swap slot {target}")
        memory.swap_reads.update(dict.fromkeys(begun.tolist(), queue))
        memory.placed(len(begun))
        return self._lru_locked(len(message.slots), message.user, begun)

    def on_end_swap_read(self, message: EndSwapRead) -> None:
        """Fill the pages and wake who waits for them; no lock is taken.

        Source: Linux 6.1 mm/page_io.c:end_swap_bio_read
        """
        memory, slots = self._memory, message.slots.tolist()
        end_swap_read(self._mem, memory.swap, message.pfns, len(slots))
        queue = memory.swap_reads[slots[0]]
        for slot in slots:
            del memory.swap_reads[slot]
        queue.wake_all()
        ahead = len(slots) - (message.target in slots)
        latency_ns = self.engine.now_ns - message.began_ns
        point = ks_swapin(message.device, message.target, len(slots), ahead, latency_ns)
        trace(Speaker(self.engine, message.comm), point)

    def on_end_swap_write(self, message: EndSwapWrite) -> At:
        """Let written pages be freed; wake those throttled when enough was written.

        Source: Linux 6.1 mm/page_io.c:end_swap_bio_write, mm/vmscan.c:__acct_reclaim_writeback
        """
        memory, nr = self._memory, len(message.pfns)
        queue = memory.throttle_queue(self.nid, WRITEBACK)
        end_swap_write(self._mem, message.pfns, nr, queue.nr_waiting > 0)
        if wakes_writeback_throttled(self._mem, memory.lruvec, self.nid):
            queue.wake_all()
        return self._lru_locked(nr, "interrupt")

    def on_memory_traffic(self, message: MemoryTraffic) -> At:
        """Let bytes pass the controller in their turn."""
        hold_ns = message.size_bytes * NS_PER_S // self._latency.memory_bandwidth_bytes_per_s
        return At(self.controller.reserve(hold_ns, message.user)[1], None)

    def _lru_locked(self, nr_pages: int, user: str, result: object = None) -> At:
        begin_ns, end_ns = self.lru_lock.reserve(
            nr_pages * self._latency.lru_lock_hold_page_ns, user
        )
        self._log_wait(self.lru_lock, begin_ns, user)
        return At(end_ns, result)

    def _zone_locked(self, zone: int, hold_ns: int, nid: int, user: str) -> int:
        lock = self.zone_locks[zone]
        begin_ns, end_ns = lock.reserve(hold_ns * self._distances[nid] // 10, user)
        self._log_wait(lock, begin_ns, user)
        return end_ns

    def _band_of(self, zone: int) -> int:
        row = self._mem.zone[zone]
        free = row[Z_FREE] - row[Z_WATERMARK_BOOST]
        if free > row[Z_WMARK_HIGH]:
            return 3
        return int(free > row[Z_WMARK_LOW]) + int(free > row[Z_WMARK_MIN])

    def _log_bands(self) -> None:
        """Log which watermarks the free pages crossed since the last look, one by one."""
        engine = self.engine
        if engine.sink is None:
            return
        for zone, before in self._bands.items():
            now = self._band_of(zone)
            if now == before:
                continue
            self._bands[zone] = now
            step = 1 if now > before else -1
            entries = self.band_entries.setdefault(zone, [[0, 0] for _ in BANDS])
            for band in range(before + step, now + step, step):
                entries[band][0] += 1
                entries[band][1] = entries[band][1] or engine.now_ns
            zid, free = zone - self._zones.start, int(self._mem.zone[zone, Z_FREE])
            for band in range(before, now, step):
                trace(self, ks_watermark(self.nid, zid, BANDS[band], BANDS[band + step], free))

    def _trace_extfrag(self) -> None:
        """Log the pageblocks that were just mixed up, and forget them."""
        rows = self._mem.extfrag
        if not rows[0, 0]:
            return
        nr_rows = min(int(rows[0, 0]), len(rows) - 1)
        rows[0, 0] = 0
        trace_all(
            self,
            (
                mm_page_alloc_extfrag(*(int(field) for field in row))
                for row in rows[1 : 1 + nr_rows]
            ),
        )

    def _log_wait(self, lock: FifoServer, begin_ns: int, user: str) -> None:
        wait_ns = begin_ns - self.engine.clock.now_ns
        if wait_ns:
            trace(self, ks_lock_wait(lock.name, user, wait_ns, lock.free_ns - begin_ns))

    def _main_zone(self) -> int:
        sizes = self._mem.zone[self._zones.start : self._zones.stop, Z_MANAGED]
        return self._zones.start + int(sizes.argmax())
