"""What a node does when memory goes online or offline, and to have pages of it moved away.

Linux: mm/page_isolation.c, mm/memory_hotplug.c, mm/migrate.c, 6.1.
Interface: `NodeHotplug`, part of a node's actor; `handlers` by message.
Units: pages, pfn, ns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kernelsim.actors.messages.memory_hotplug import (
    IsolateMovable,
    IsolateRange,
    OfflineRange,
    OnlineRange,
    PutbackMovable,
    UndoIsolateRange,
)
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.shared_server import Work
from kernelsim.actors.parts.zone_bands import ZoneBands
from kernelsim.mm.core.mem import I64, PAGEBLOCK_NR_PAGES
from kernelsim.mm.file.migrate_folio import isolate_movable, putback_movable_pages
from kernelsim.mm.page.memory_hotplug import offline_pages, online_pages
from kernelsim.mm.page.page_isolation import start_isolate_page_range, undo_isolate_page_range


class NodeHotplug:
    """The side of one node that gains and loses memory.

    Args:
        memory: What the node works with.
        under_zone_lock: Does work under a zone's lock: the zone, the work, and who asks.
        under_lru_lock: Does work under its lru_lock: the work, and who asks.
        lru_hold_ns: How long that is held to move so many pages, for whom.
        zone_hold_ns: How long a zone's lock is held to move so many blocks, for whom.
        bands: Gives what logs the watermarks that its free pages cross.
    """

    def __init__(
        self,
        memory: Memory,
        under_zone_lock: Callable[[int, Work, str], Any],
        under_lru_lock: Callable[[Work, str], Any],
        lru_hold_ns: Callable[[str, int], int],
        zone_hold_ns: Callable[[str, int], int],
        bands: Callable[[], ZoneBands],
    ) -> None:
        self._memory = memory
        self._under_zone_lock = under_zone_lock
        self._under_lru_lock = under_lru_lock
        self._lru_hold_ns = lru_hold_ns
        self._zone_hold_ns = zone_hold_ns
        self._bands = bands
        self.handlers: dict[type, Callable[[Any], Any]] = {
            IsolateRange: partial(self._zone_work, self._isolate),
            UndoIsolateRange: partial(self._zone_work, self._undo),
            OfflineRange: partial(self._zone_work, self._offline),
            OnlineRange: partial(self._zone_work, self._online),
            IsolateMovable: partial(self._lru_work, self._isolate_movable),
            PutbackMovable: partial(self._lru_work, self._putback),
        }

    def _zone_work(self, work: Callable[[Any], Any], message: Any) -> Any:  # noqa: ANN401
        return self._under_zone_lock(message.zone, partial(self._held, work, message), message.user)

    def _held(self, work: Callable[[Any], Any], message: Any) -> tuple[Any, int]:  # noqa: ANN401
        """Do work under the lock, which takes as long as moving one free block a pageblock."""
        nr_blocks = (message.end - message.start) // PAGEBLOCK_NR_PAGES
        result = work(message)
        self._bands().look()  # an isolated page is not free
        return result, self._zone_hold_ns(message.user, nr_blocks)

    def _isolate(self, message: IsolateRange) -> int:
        return start_isolate_page_range(
            self._memory.mem, message.zone, message.start, message.end, message.in_movable_zone
        )

    def _undo(self, message: UndoIsolateRange) -> None:
        undo_isolate_page_range(self._memory.mem, message.zone, message.start, message.end)

    def _offline(self, message: OfflineRange) -> None:
        offline_pages(self._memory.mem, message.zone, message.start, message.end)
        self._memory.memory_changed(message.zone)
        self._bands().memory_changed()

    def _online(self, message: OnlineRange) -> None:
        online_pages(self._memory.mem, message.zone, message.start, message.end)
        self._memory.memory_changed(message.zone)
        self._bands().memory_changed()

    def _lru_work(self, work: Callable[[Any], Any], message: Any) -> Any:  # noqa: ANN401
        return self._under_lru_lock(partial(work, message), message.user)

    def _isolate_movable(self, message: IsolateMovable) -> tuple[tuple[int, int], int]:
        found = isolate_movable(
            self._memory.mem, message.start, message.end, message.out, message.kinds
        )
        return found, self._lru_hold_ns(message.user, found[0])

    def _putback(self, message: PutbackMovable) -> tuple[I64, int]:
        out, nr = np.zeros(len(message.pfns), np.int64), len(message.pfns)
        nr_free = putback_movable_pages(self._memory.mem, message.pfns, message.kinds, out)
        self._memory.taken(nr_free)
        return out[:nr_free], self._lru_hold_ns(message.user, nr)
