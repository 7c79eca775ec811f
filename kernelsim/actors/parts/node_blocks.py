"""What a node does for requests of more than one page, and for who makes blocks for them.

Linux: mm/page_alloc.c: rmqueue_buddy, __free_pages_ok; mm/compaction.c, 6.1.
Interface: `NodeBlocks`, part of a node's actor; `handlers` by message.
Units: pages, pfn, ns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from kernelsim.actors.messages.blocks import (
    AllocBlock,
    FreeBlock,
    IsolateFreepages,
    IsolateMigratepages,
)
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.parts.shared_server import Work
from kernelsim.actors.tracing import Named, trace
from kernelsim.mm.core.mem import PAGEBLOCK_ORDER
from kernelsim.mm.core.vmstat import PGFREE
from kernelsim.mm.file.isolate_migratepages import isolate_migratepages_block
from kernelsim.mm.page.isolate_freepages import FS_NR_BLOCKS, isolate_freepages_block
from kernelsim.mm.page.page_alloc import free_one_page, rmqueue, zone_statistics
from kernelsim.trace.kmem import mm_page_alloc, mm_page_free


class Owner(Named, Protocol):
    """The actor of a node."""

    @property
    def observer(self) -> Observer:
        """What listens to what it hands out."""
        ...

    def zones_changed(self) -> None:
        """Log what has become of the free pages of its zones."""
        ...


class NodeBlocks:
    """The side of one node that hands out blocks.

    Args:
        owner: The node's actor.
        nid: Node number.
        memory: What the node works with.
        under_zone_lock: Does work under a zone's lock: the zone, the work, and who asks.
        under_lru_lock: Does work under its lru_lock: the work, and who asks.
        hold_ns: How long the one is held to move so many blocks, for whom.
        lru_hold_ns: How long the other is held to move so many pages.
        distances: From each node to this one, 10 is local.
    """

    def __init__(
        self,
        owner: Owner,
        nid: int,
        memory: Memory,
        under_zone_lock: Callable[[int, Work, str], Any],
        under_lru_lock: Callable[[Work, str], Any],
        hold_ns: Callable[[str, int], int],
        lru_hold_ns: Callable[[str, int], int],
        distances: tuple[int, ...],
    ) -> None:
        self._owner = owner
        self._nid = nid
        self._memory = memory
        self._under_zone_lock = under_zone_lock
        self._under_lru_lock = under_lru_lock
        self._hold_ns = hold_ns
        self._lru_hold_ns = lru_hold_ns
        self._distances = distances
        self.handlers: dict[type, Callable[[Any], Any]] = {
            AllocBlock: partial(self._serve, self._alloc),
            FreeBlock: partial(self._serve, self._free),
            IsolateFreepages: partial(self._serve, self._isolate_freepages),
            IsolateMigratepages: self._on_isolate_migratepages,
        }

    def _serve(self, work: Callable[[Any], Any], message: Any) -> Any:  # noqa: ANN401
        return self._under_zone_lock(message.zone, partial(work, message), message.user)

    def _alloc(self, message: AllocBlock) -> tuple[int, int]:
        """Take a block out of the buddy system; one request, however large.

        Source: Linux 6.1 mm/page_alloc.c:rmqueue_buddy
        """
        mem, zone, order = self._memory.mem, message.zone, message.order
        pfn = int(rmqueue(mem, zone, order, message.migratetype))
        if pfn:
            zone_statistics(mem, zone, message.cpu_nid, message.preferred_nid, 1)
            self._memory.burst.granted[self._nid] += 1 << order
            self._owner.observer.took_block(zone, order, message.cpu_nid, message.preferred_nid)
            trace(self._owner, mm_page_alloc(pfn, order, message.gfp, message.migratetype))
        self._owner.zones_changed()
        hold_ns = self._hold_ns(message.user, 1) * self._distances[message.cpu_nid] // 10
        return pfn, hold_ns

    def _free(self, message: FreeBlock) -> tuple[None, int]:
        """Put a block back.

        Source: Linux 6.1 mm/page_alloc.c:__free_pages_ok
        """
        mem, pfn, order = self._memory.mem, message.pfn, message.order
        migratetype = int(mem.block_mt[pfn >> PAGEBLOCK_ORDER])
        free_one_page(mem, message.zone, pfn, order, migratetype, False)
        mem.vm_event[PGFREE] += 1 << order
        self._memory.burst.granted[self._nid] -= 1 << order
        self._owner.observer.freed(np.arange(pfn, pfn + (1 << order)))
        trace(self._owner, mm_page_free(pfn, order))
        self._owner.zones_changed()
        return None, self._hold_ns(message.user, 1)

    def _isolate_freepages(self, message: IsolateFreepages) -> tuple[int, int]:
        """Take free pages away for others to be moved to."""
        nr = isolate_freepages_block(self._memory.mem, message.scan, message.out)
        self._memory.burst.granted[self._nid] += nr
        self._owner.observer.isolated_free(message.zone, nr)
        self._owner.zones_changed()
        return nr, self._hold_ns(message.user, int(message.scan[FS_NR_BLOCKS]))

    def _on_isolate_migratepages(self, message: IsolateMigratepages) -> Any:  # noqa: ANN401
        """Take pages off their lists to be moved."""
        return self._under_lru_lock(partial(self._isolate_migratepages, message), message.user)

    def _isolate_migratepages(self, message: IsolateMigratepages) -> tuple[int, int]:
        nr = isolate_migratepages_block(self._memory.mem, message.scan, message.out, message.kinds)
        return nr, self._lru_hold_ns(message.user, nr)
