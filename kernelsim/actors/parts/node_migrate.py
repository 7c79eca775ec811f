"""What a node does to move pages away, and to take those in that have come to it.

Linux: mm/migrate.c, 6.1.
Interface: `NodeMigrate`, part of a node's actor; `handlers` by message.
Units: pages.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kernelsim.actors.messages.node import MigrateFolios, PutbackFolios
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.shared_server import Work
from kernelsim.mm.core.mem import I64
from kernelsim.mm.file.migrate_folio import putback_movable_pages
from kernelsim.mm.swap.migrate import migrate_folios


class NodeMigrate:
    """The side of one node that has pages moved.

    Args:
        memory: What the node works with.
        under_lru_lock: Does work at the node under its lru_lock: the work, and who asks.
        hold_ns: How long the lock is held to move so many pages, for whom.
    """

    def __init__(
        self,
        memory: Memory,
        under_lru_lock: Callable[[Work, str], Any],
        hold_ns: Callable[[str, int], int],
    ) -> None:
        self._memory = memory
        self._under_lru_lock = under_lru_lock
        self._hold_ns = hold_ns
        self.handlers: dict[type, Callable[[Any], Any]] = {
            MigrateFolios: self._on_migrate,
            PutbackFolios: self._on_putback,
        }

    def _on_migrate(self, message: MigrateFolios) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Move pages off this node."""
        return self._under_lru_lock(partial(self._migrate, message), message.user)

    def _migrate(self, message: MigrateFolios) -> tuple[I64, int]:
        memory, nr = self._memory, len(message.vpns)
        burst, moved = memory.burst, np.zeros(nr, np.int64)
        migrate_folios(
            *memory.space, memory.swap, burst.tlb_tag,
            message.mm, message.asid, message.vpns, message.old, message.new, moved,
        )  # fmt: skip
        return moved, self._hold_ns(message.user, nr)

    def _on_putback(self, message: PutbackFolios) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Put pages that have come to this node on its lists."""
        return self._under_lru_lock(partial(self._putback, message), message.user)

    def _putback(self, message: PutbackFolios) -> tuple[I64, int]:
        out, kinds = np.zeros_like(message.pfns), np.zeros_like(message.pfns)  # all anonymous
        nr_free = putback_movable_pages(self._memory.mem, message.pfns, kinds, out)
        self._memory.taken(nr_free)
        return out[:nr_free], self._hold_ns(message.user, len(message.pfns))
