"""What a node does for blocks of more than one page: they come from the buddy system, and go back.

Linux: mm/page_alloc.c:rmqueue_buddy, :__free_pages_ok (6.1).
Interface: `NodeBlocks`, part of a node's actor, whose methods are handlers of its messages.
Units: pages.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from kernelsim.actors.messages.node import AllocBlock, FreeBlock
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.observer import Observer
from kernelsim.actors.parts.shared_server import Work
from kernelsim.actors.parts.zone_bands import ZoneBands
from kernelsim.actors.tracing import Named, trace, wants
from kernelsim.mm.core.mem import PAGEBLOCK_ORDER
from kernelsim.mm.core.vmstat import PGFREE
from kernelsim.mm.page.page_alloc import free_one_page, rmqueue, zone_statistics
from kernelsim.trace.kmem import mm_page_alloc, mm_page_free


class Owner(Named, Protocol):
    """The node's actor."""

    nid: int
    bands: ZoneBands
    observer: Observer

    def trace_extfrag(self) -> None:
        """Log the pageblocks that were just mixed up."""
        ...


class NodeBlocks:
    """The side of one node that serves blocks.

    Args:
        owner: The node's actor.
        memory: What it works with.
        distances: From each node to this one, 10 is local.
        under_zone_lock: Does work under a zone's lock: the zone, the work, and who asks.
        hold_ns: How long the lock is held this time: who asks, for how many pages or blocks.
    """

    def __init__(
        self,
        owner: Owner,
        memory: Memory,
        distances: tuple[int, ...],
        under_zone_lock: Callable[[int, Work, str], Any],
        hold_ns: Callable[[str, int], int],
    ) -> None:
        self._owner = owner
        self._memory = memory
        self._distances = distances
        self._under_zone_lock = under_zone_lock
        self._hold_ns = hold_ns
        self.handlers: dict[type, Callable[[Any], Any]] = {
            AllocBlock: self.on_alloc_block,
            FreeBlock: self.on_free_block,
        }

    def on_alloc_block(self, message: AllocBlock) -> Any:  # noqa: ANN401 - a pfn, maybe later
        """Take a block; the asking task has looked at the watermark."""
        return self._under_zone_lock(message.zone, partial(self._alloc, message), message.user)

    def _alloc(self, message: AllocBlock) -> tuple[int, int]:
        owner, mem = self._owner, self._memory.mem
        pfn = int(rmqueue(mem, message.zone, message.order, message.migratetype))
        if pfn:
            zone_statistics(mem, message.zone, message.cpu_nid, message.preferred_nid, 1)
            self._memory.burst.granted[owner.nid] += 1 << message.order
            owner.observer.granted_block(message)
            if wants(owner, mm_page_alloc):
                trace(owner, mm_page_alloc(pfn, message.order, message.gfp, message.migratetype))
        owner.bands.look()
        owner.trace_extfrag()
        hold_ns = self._hold_ns(message.user, 1)
        return pfn, hold_ns * self._distances[message.cpu_nid] // 10

    def on_free_block(self, message: FreeBlock) -> Any:  # noqa: ANN401 - nothing, maybe later
        """Put a block back."""
        return self._under_zone_lock(message.zone, partial(self._free, message), message.user)

    def _free(self, message: FreeBlock) -> tuple[None, int]:
        owner, mem, pfn = self._owner, self._memory.mem, message.pfn
        mem.pages.flags[pfn : pfn + (1 << message.order)] = 0
        migratetype = int(mem.block_mt[pfn >> PAGEBLOCK_ORDER])
        free_one_page(mem, message.zone, pfn, message.order, migratetype, False)
        mem.vm_event[PGFREE] += 1 << message.order
        self._memory.burst.granted[owner.nid] -= 1 << message.order
        owner.observer.freed(np.arange(pfn, pfn + (1 << message.order)))
        if wants(owner, mm_page_free):
            trace(owner, mm_page_free(pfn, message.order))
        owner.bands.look()
        return None, self._hold_ns(message.user, 1)
