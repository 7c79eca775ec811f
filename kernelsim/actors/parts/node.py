"""One NUMA node: owns its zones, free lists, LRU lists and memory controller.

Linux: pg_data_t, zone->lock, lruvec->lru_lock (mm/page_alloc.c, mm/swap.c, mm/vmscan.c), 6.1.
Every request that needs a lock is served in its turn: the answer comes at
`max(now, lock is free) + hold`, where the hold is what the pages moved cost. A request from
another node holds the lock longer, in the ratio of the distances, since every line it touches
comes over the interconnect.
# Differs from Linux: one request moves a burst of pages in one hold as long as all the holds of
# the kernel's single batches together, so contention is exact in sum and coarse in time.
Interface: ask; the messages below. They are `msgspec` structs, as tracepoints are: each step of a
burst makes one, and a frozen attrs object takes several times as long. State is written by nobody
else, but may be read as the kernel reads it: without the lock, knowing it may be old.
Units: pages, ns.
"""

from collections.abc import Callable
from typing import Any

from kernelsim.actors.messages.node import (
    AllocPages,
    DrainPages,
    FreePages,
    MemoryTraffic,
    UnderLruLock,
)
from kernelsim.actors.observer import Observer
from kernelsim.actors.tracing import trace, trace_all, wants
from kernelsim.config.latency import LatencySpec
from kernelsim.config.zones import ZoneType, zone_name
from kernelsim.mm.core.mem import (
    Z_FREE,
    Z_MANAGED,
    Z_PCP_BATCH,
    Z_WATERMARK_BOOST,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Mem,
)
from kernelsim.mm.page.pcp import alloc_pages_bulk, drain_pages, free_unref_pages
from kernelsim.sim.actor import Actor, At
from kernelsim.sim.locks import FifoServer
from kernelsim.trace.kmem import mm_page_alloc, mm_page_alloc_extfrag, mm_page_free
from kernelsim.trace.ks import ks_lock_wait, ks_watermark
from kernelsim.units import NS_PER_S

BANDS = ("below_min", "low_min", "high_low", "above_high")  # of a zone's free pages


class Node(Actor):
    """The actor of one node.

    Args:
        nid: Node number.
        mem: Physical memory; this actor writes the rows of its zones.
        zone_types: Of the architecture, in the order of the node's rows.
        distances: From each node to this one, 10 is local.
        latency: Costs of holds, bandwidth of the controller.
    """

    def __init__(
        self,
        nid: int,
        mem: Mem,
        zone_types: tuple[ZoneType, ...],
        distances: tuple[int, ...],
        latency: LatencySpec,
    ) -> None:
        super().__init__(f"node{nid}")
        self.nid = nid
        self._mem = mem
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
            UnderLruLock: self.on_lru_lock,
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

    def on_lru_lock(self, message: UnderLruLock) -> At:
        """Change the LRU lists."""
        result = message.work()
        nr_pages = result[1] if message.nr_pages is None else message.nr_pages
        hold_ns = nr_pages * self._latency.lru_lock_hold_page_ns
        begin_ns, end_ns = self.lru_lock.reserve(hold_ns, message.user)
        self._log_wait(self.lru_lock, begin_ns, message.user)
        return At(end_ns, result)

    def on_memory_traffic(self, message: MemoryTraffic) -> At:
        """Let bytes pass the controller in their turn."""
        hold_ns = message.size_bytes * NS_PER_S // self._latency.memory_bandwidth_bytes_per_s
        return At(self.controller.reserve(hold_ns, message.user)[1], None)

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
        sink = engine.sink
        if sink is None:
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
            if not sink.wants(self.name, "ks_watermark"):
                continue
            zid, free = zone - self._zones.start, int(self._mem.zone[zone, Z_FREE])
            for band in range(before, now, step):
                point = ks_watermark(self.nid, zid, BANDS[band], BANDS[band + step], free)
                sink.emit(engine.now_ns, self.name, "ks_watermark", point)

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
