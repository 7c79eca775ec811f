"""One NUMA node: its zones, free lists, LRU lists and memory controller.

Linux: pg_data_t, zone->lock, lruvec->lru_lock (mm/page_alloc.c, mm/swap.c, mm/vmscan.c), 6.1.
Every request that needs a lock is served in its turn: the answer comes at
`max(now, lock is free) + hold`, where the hold is what the pages moved cost. A request from
another node holds the lock longer, in the ratio of the distances, since every line it touches
comes over the interconnect.
Owns: its zones with their free lists, the per-CPU lists of these zones, its LRU lists, its memory
controller.
Interface: ask; the messages of messages/node.py.

Who writes a node's state, under which lock:
    free lists, per-CPU lists    this actor, under zone->lock; boot alone writes them without
    LRU lists, page flags that   this actor, under lru_lock
    belong to them
    watermarks, reserves         the writer of the sysctl, as under zone->lock; nothing is paid
    watermark boosts             this actor when it mixes pageblocks up, kswapd when it has worked
                                 them off: both under zone->lock in Linux
    the boosted-watermark mark,  bits of zone->flags in Linux, set and cleared without a lock: by
    the reclaim-active mark      the task that allocates, by kswapd
    counters of vmstat           the code that counts, without a lock, as per-CPU counters in Linux
All of it may be read as the kernel reads it: without the lock, knowing it may be old.
What a lock guards changes when the lock is granted (shared_server.py): a message that must queue
is served at its turn, one that need not is served in line, and both are answered when the hold is
over.
Units: pages, ns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kernelsim.actors.messages.node import (
    AllocPages,
    BeginSwapRead,
    DrainPages,
    EndPageRead,
    EndPageWrite,
    EndSwapRead,
    EndSwapWrite,
    FreePages,
    IsolateLru,
    LruActivate,
    LruAddDrain,
    MemoryTraffic,
    PutbackInactive,
    ReleasePages,
    ShrinkActive,
)
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.node_blocks import NodeBlocks
from kernelsim.actors.parts.node_files import NodeFiles
from kernelsim.actors.parts.node_folios import NodeFolios
from kernelsim.actors.parts.node_hotplug import NodeHotplug
from kernelsim.actors.parts.node_lru_gen import NodeLruGen
from kernelsim.actors.parts.node_migrate import NodeMigrate
from kernelsim.actors.parts.node_swap import NodeSwap
from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.parts.shared_server import NodeLock, SharedServer, Work
from kernelsim.actors.parts.zone_bands import ZoneBands
from kernelsim.actors.tracing import trace, trace_all, wants
from kernelsim.config.latency import LatencySpec
from kernelsim.config.zones import ZoneType, zone_name
from kernelsim.mm.burst.servers import controller, drawn_ns, lru_lock, zone_hold_ns
from kernelsim.mm.core.folio_batch import (
    activate_batch_move,
    activate_batch_run,
    folio_batch_move_lru,
    folio_batch_run,
)
from kernelsim.mm.core.mem import I64, L_COUNT, pcp_list
from kernelsim.mm.page.pcp import alloc_pages_bulk, refill_batch
from kernelsim.mm.page.pcp_free import drain_full, drain_pages, free_isolated, free_unref_run
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_RECLAIMED, STAT_NR_TAKEN, STAT_NR_TO_FREE
from kernelsim.mm.reclaim.vmscan_list import (
    isolate_lru_folios,
    putback_inactive,
    shrink_active_list,
)
from kernelsim.mm.swap.free_swap import release_pages
from kernelsim.sim.actor import Actor, At
from kernelsim.sim.reply import Reply
from kernelsim.trace.kmem import mm_page_alloc, mm_page_alloc_extfrag, mm_page_free
from kernelsim.units import NS_PER_S


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
        self._burst = memory.burst
        self.swap = NodeSwap(self, nid, memory)
        self._locks: list[NodeLock] = []
        self.zone_locks: dict[int, NodeLock] = {}
        self.lru_lock: NodeLock
        self.controller: SharedServer
        self.observer = Observer()
        self.bands: ZoneBands
        files = NodeFiles(self, memory, self._under_lru_lock, self._lru_hold_ns)
        generations = NodeLruGen(self, nid, memory, self._under_lru_lock, self._lru_hold_ns)
        folios = NodeFolios(nid, memory, self._under_lru_lock, self._lru_hold_ns)
        migrate = NodeMigrate(memory, self._under_lru_lock, self._lru_hold_ns)
        blocks = NodeBlocks(
            self, nid, memory, self._under_zone_lock, self._under_lru_lock, self._zone_hold_ns,
            self._lru_hold_ns, distances,
        )  # fmt: skip
        hotplug = NodeHotplug(
            memory, self._under_zone_lock, self._under_lru_lock, self._lru_hold_ns,
            self._zone_hold_ns, lambda: self.bands,
        )  # fmt: skip
        self._handlers: dict[type, Callable[[Any], Any]] = {
            AllocPages: self.on_alloc_pages,
            FreePages: self.on_free_pages,
            DrainPages: self.on_drain_pages,
            LruAddDrain: self.on_lru_add_drain,
            LruActivate: self.on_lru_activate,
            ReleasePages: self.on_release_pages,
            IsolateLru: self.on_isolate_lru,
            PutbackInactive: self.on_putback_inactive,
            ShrinkActive: self.on_shrink_active,
            BeginSwapRead: self.on_begin_swap_read,
            EndSwapRead: self.swap.end_read,
            EndSwapWrite: self.on_end_swap_write,
            EndPageRead: files.end_read,
            EndPageWrite: files.end_write,
            MemoryTraffic: self.on_memory_traffic,
            **blocks.handlers,
            **generations.handlers,
            **folios.handlers,
            **migrate.handlers,
            **hotplug.handlers,
        }

    @property
    def nr_granted(self) -> int:
        """Pages handed out and not given back."""
        return int(self._burst.granted[self.nid])

    def observe(self, observer: Observer) -> None:
        """Let an observer listen from now on, at its locks too."""
        self.observer = observer
        for lock in self._locks:
            lock.observer = observer

    def wire(self) -> None:
        """Make the locks; called when the engine is known."""
        burst, node = self._burst, f"node {self.nid}"
        self.zone_locks = {
            zone: self._lock(f"{zone_name(self.nid, each)} zone->lock", zone)
            for zone, each in zip(self._zones, self._zone_types, strict=True)
        }
        self.lru_lock = self._lock(f"{node} lru_lock", lru_lock(burst, self.nid))
        self.controller = self._server(f"{node} memory controller", controller(burst, self.nid))
        self.bands = ZoneBands(self, self.nid, self._mem, self._zones, burst)

    def _server(self, name: str, index: int) -> SharedServer:
        clock, account = self.engine.clock, self.engine.account(name)
        return SharedServer(clock, name, account, self._burst, index)

    def _lock(self, name: str, index: int) -> NodeLock:
        lock = NodeLock(self, self.engine.clock, self._server(name, index), self._burst)
        lock.observer = self.observer
        self._locks.append(lock)
        return lock

    def receive(self, message: Any) -> Any:  # noqa: ANN401 - the messages above
        """Serve a message."""
        return self._handlers[type(message)](message)

    def on_alloc_pages(self, message: AllocPages) -> Any:  # noqa: ANN401 - (got, refills), maybe later
        """Serve pages from the CPU's list; one that is empty is refilled under the zone's lock."""
        number = pcp_list(self._mem, message.zone, message.cpu, message.migratetype)
        nr_listed = int(self._mem.lists[number, L_COUNT])
        if nr_listed:
            return self._take_pages(message, message.floor, min(message.want, nr_listed))
        return self._under_zone_lock(message.zone, partial(self._refill, message), message.user)

    def _refill(self, message: AllocPages) -> tuple[tuple[int, int], int]:
        """Refill the list, and take pages from it as long as that leaves enough free.

        The first was asked for above the watermark, and is served wherever free pages are now.

        Source: Linux 6.1 mm/page_alloc.c:rmqueue_pcplist
        """
        nr_batch = refill_batch(self._mem, message.zone)
        got, refills = self._take_pages(message, -1, 1)
        if got and message.want > 1:
            rest = min(message.want, nr_batch) - 1
            got += self._take_pages(message, message.floor, rest, 1)[0] if rest else 0
        self.zones_changed()
        hold_ns = self._zone_hold_ns(message.user, nr_batch)
        return (got, refills), hold_ns * self._distances[message.cpu_nid] // 10

    def _take_pages(
        self, message: AllocPages, floor: int, want: int, done: int = 0
    ) -> tuple[int, int]:
        got, refills = alloc_pages_bulk(
            self._mem, message.zone, message.cpu, message.cpu_nid, message.preferred_nid,
            message.migratetype, floor, want, message.out, message.start + done,
        )  # fmt: skip
        self.observer.granted(message, got, refills)
        self._burst.granted[self.nid] += got
        if got and wants(self, mm_page_alloc):
            for pfn in message.out[message.start + done :][:got].tolist():
                trace(self, mm_page_alloc(pfn, 0, message.gfp, message.migratetype))
        return got, refills

    def on_free_pages(self, message: FreePages) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Put pages on the CPU's lists, up to the first that needs its zone's lock."""
        start, nr = message.start, message.nr
        if not start and wants(self, mm_page_free):
            trace_all(self, (mm_page_free(int(pfn), 0) for pfn in message.pfns[:nr]))
        at, zone, is_isolated = free_unref_run(self._mem, message.cpu, message.pfns, start, nr)
        self.observer.freed(message.pfns[start:at])
        self._burst.granted[self.nid] -= at - start  # the rest stays in the task's hands
        if zone < 0:
            return at
        work = partial(self._free, message, at, zone, is_isolated)
        return self._under_zone_lock(zone, work, message.user, frees=True)

    def _free(self, message: FreePages, at: int, zone: int, is_isolated: bool) -> tuple[int, int]:
        """Drain the list that is full, or free a page of an isolated pageblock.

        Source: Linux 6.1 mm/page_alloc.c:free_unref_page_list, :free_unref_page_commit
        """
        nr = 1
        if is_isolated:
            free_isolated(self._mem, zone, int(message.pfns[at]))
            self.observer.freed(message.pfns[at : at + 1])
            self._burst.granted[self.nid] -= 1
            at += 1
        else:
            nr = drain_full(self._mem, zone, message.cpu, message.pfns, at)
        self.bands.look()
        return at, self._zone_hold_ns(message.user, nr)

    def on_drain_pages(self, message: DrainPages) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Empty a CPU's list into the buddy system."""
        work = partial(self._drain, message)
        return self._under_zone_lock(message.zone, work, message.user, frees=True)

    def _drain(self, message: DrainPages) -> tuple[int, int]:
        drained = drain_pages(self._mem, message.zone, message.cpu)
        self.bands.look()
        return drained, self._zone_hold_ns(message.user, drained)

    def on_lru_add_drain(self, message: LruAddDrain) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Move pages of a folio_batch to their lists."""
        return self._under_lru_lock(partial(self._lru_add_drain, message), message.user)

    def _lru_add_drain(self, message: LruAddDrain) -> tuple[I64, int]:
        nid, nr_pages = folio_batch_run(self._mem, message.cpu)
        if nid != self.nid:  # another task emptied it meanwhile
            return np.zeros(0, np.int64), 0
        out = np.zeros(nr_pages, np.int64)
        nr_free = folio_batch_move_lru(self._mem, message.cpu, nr_pages, out)
        self._memory.taken(nr_free)
        return out[:nr_free], self._lru_hold_ns(message.user, nr_pages)

    def on_lru_activate(self, message: LruActivate) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Move pages that were used twice to the active list."""
        return self._under_lru_lock(partial(self._lru_activate, message), message.user)

    def _lru_activate(self, message: LruActivate) -> tuple[I64, int]:
        nid, nr_pages = activate_batch_run(self._mem, message.cpu)
        if nid != self.nid:  # another task emptied it meanwhile
            return np.zeros(0, np.int64), 0
        self.observer.activates(self._mem.activate_batch[message.cpu, 1 : 1 + nr_pages])
        out = np.zeros(nr_pages, np.int64)
        nr_free = activate_batch_move(self._mem, message.cpu, nr_pages, out)
        self._memory.taken(nr_free)
        return out[:nr_free], self._lru_hold_ns(message.user, nr_pages)

    def on_release_pages(self, message: ReleasePages) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Take pages that nobody uses any more off their lists."""
        return self._under_lru_lock(partial(self._release_pages, message), message.user)

    def _release_pages(self, message: ReleasePages) -> tuple[I64, int]:
        nr = len(message.pfns)
        out = np.zeros(nr, np.int64)
        nr_free = self._memory.taken(release_pages(self._mem, message.pfns, nr, out))
        return out[:nr_free], self._lru_hold_ns(message.user, nr)

    def on_isolate_lru(self, message: IsolateLru) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Take a batch off a list."""
        return self._under_lru_lock(partial(self._isolate_lru, message), message.user)

    def _isolate_lru(self, message: IsolateLru) -> tuple[tuple[int, int, int], int]:
        self.observer.scans(self.nid, message.lru)
        result = isolate_lru_folios(
            self._mem, self.nid, message.lru, message.nr_to_scan, message.reclaim_idx,
            message.how, message.batch,
        )  # fmt: skip
        self.observer.isolates(message.user, message.lru, result[1])
        return result, self._lru_hold_ns(message.user, result[1])

    def on_putback_inactive(self, message: PutbackInactive) -> Any:  # noqa: ANN401 - maybe later
        """Put the rest of a batch back; what its owners freed meanwhile goes to the allocator."""
        return self._under_lru_lock(partial(self._putback_inactive, message), message.user)

    def _putback_inactive(self, message: PutbackInactive) -> tuple[int, int]:
        memory, batch = self._memory, message.batch
        nr = putback_inactive(self._mem, memory.lruvec, self.nid, message.lru, message.how, batch)
        memory.taken(nr - int(batch.stat[STAT_NR_RECLAIMED]))
        return nr, self._lru_hold_ns(message.user, int(batch.stat[STAT_NR_TAKEN]))

    def on_shrink_active(self, message: ShrinkActive) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Move a batch to the inactive list."""
        return self._under_lru_lock(partial(self._shrink_active, message), message.user)

    def _shrink_active(self, message: ShrinkActive) -> tuple[tuple[int, int], int]:
        stat = message.batch.stat
        self.observer.judges(message.batch.folios[: int(stat[STAT_NR_TAKEN])])
        moved = shrink_active_list(*self._memory.space, self.nid, message.lru, message.batch)
        self.observer.judged(message.user)
        nr_to_free = self._memory.taken(int(stat[STAT_NR_TO_FREE]))
        return (moved, nr_to_free), self._lru_hold_ns(message.user, int(stat[STAT_NR_TAKEN]))

    def on_begin_swap_read(self, message: BeginSwapRead) -> Any:  # noqa: ANN401 - maybe later
        """Enter pages in the swap cache; from now on others find them, locked, and sleep."""
        return self._under_lru_lock(partial(self._begin_swap_read, message), message.user)

    def _begin_swap_read(self, message: BeginSwapRead) -> tuple[I64, int]:
        hold_ns = self._lru_hold_ns(message.user, len(message.slots))
        return self.swap.begin_read(message, self.observer), hold_ns

    def on_end_swap_write(self, message: EndSwapWrite) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Let written pages be freed, and those who wait for that go on."""
        return self._under_lru_lock(partial(self._end_swap_write, message), "interrupt")

    def _end_swap_write(self, message: EndSwapWrite) -> tuple[None, int]:
        self.swap.end_write(message)
        return None, self._lru_hold_ns("interrupt", len(message.pfns))

    def on_memory_traffic(self, message: MemoryTraffic) -> At:
        """Let bytes pass the controller in their turn."""
        hold_ns = message.size_bytes * NS_PER_S // self._latency.memory_bandwidth_bytes_per_s
        return At(self.controller.reserve(hold_ns, message.user)[1], None)

    def _under_zone_lock(self, zone: int, work: Work, user: str, *, frees: bool = False) -> Any:  # noqa: ANN401
        return self.zone_locks[zone].serve(work, user, self.way_back, frees=frees)

    def _under_lru_lock(self, work: Work, user: str) -> Any:  # noqa: ANN401
        return self.lru_lock.serve(work, user, self.way_back)

    def _lru_hold_ns(self, user: str, nr_pages: int) -> int:
        return self._drawn_ns(user, self._latency.lru_lock_hold_page_ns * nr_pages)

    def _zone_hold_ns(self, user: str, nr_pages: int) -> int:
        return self._drawn_ns(user, zone_hold_ns(self._burst, nr_pages))

    def _drawn_ns(self, user: str, mean_ns: int) -> int:
        """Return how long steps of a mean take this time; an interrupt's take their mean."""
        cpu = self._memory.cpu_numbers.get(user)
        if cpu is None or not mean_ns:
            return mean_ns
        return drawn_ns(self._burst, cpu, mean_ns)

    def zones_changed(self) -> None:
        """Log which watermarks were crossed, and which pageblocks were mixed up."""
        self.bands.look()
        self.trace_extfrag()

    def trace_extfrag(self) -> None:
        """Log the pageblocks that were just mixed up, and forget them."""
        rows = self._mem.extfrag
        if not rows[0, 0]:
            return
        nr_rows = min(int(rows[0, 0]), len(rows) - 1)
        rows[0, 0] = 0
        trace_all(self, (mm_page_alloc_extfrag(*row) for row in rows[1 : 1 + nr_rows].tolist()))

    def way_back(self) -> Reply | None:
        """Put the answer to the present message off; None if it was told and wants none."""
        return None if self.is_told else self.defer()
