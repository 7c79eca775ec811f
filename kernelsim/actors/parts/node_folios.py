"""What a node does to pages that change their list because of what their mapping is told.

Linux: mm/mlock.c:mlock_page, mm/swap.c:lru_lazyfree_fn, mm/vmscan.c:reclaim_folio_list, 6.1.
Interface: `NodeFolios`, part of a node's actor; `handlers` by message.
Units: pages.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from kernelsim.actors.messages.node import (
    IsolateMapped,
    LazyfreeFolios,
    MlockFolios,
    PutbackMapped,
)
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.shared_server import Work
from kernelsim.mm.core.mlock import mlock_folios, munlock_folios
from kernelsim.mm.core.swap import lru_lazyfree
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_RECLAIMED, STAT_NR_TAKEN
from kernelsim.mm.reclaim.vmscan_list import isolate_mapped, putback_mapped


class NodeFolios:
    """The side of one node that moves pages between lists.

    Args:
        nid: Node number.
        memory: What the node works with.
        under_lru_lock: Does work at the node under its lru_lock: the work, and who asks.
        hold_ns: How long the lock is held to move so many pages, for whom.
    """

    def __init__(
        self,
        nid: int,
        memory: Memory,
        under_lru_lock: Callable[[Work, str], Any],
        hold_ns: Callable[[str, int], int],
    ) -> None:
        self._nid = nid
        self._memory = memory
        self._mem = memory.mem
        self._under_lru_lock = under_lru_lock
        self._hold_ns = hold_ns
        self.handlers: dict[type, Callable[[Any], Any]] = {
            MlockFolios: self._on_mlock,
            LazyfreeFolios: self._on_lazyfree,
            IsolateMapped: self._on_isolate_mapped,
            PutbackMapped: self._on_putback_mapped,
        }

    def _on_mlock(self, message: MlockFolios) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Move locked pages to the unevictable list, unlocked ones back."""
        return self._under_lru_lock(partial(self._mlock, message), message.user)

    def _mlock(self, message: MlockFolios) -> tuple[None, int]:
        move, nr = mlock_folios if message.locks else munlock_folios, len(message.pfns)
        move(self._mem, message.pfns, nr)
        return None, self._hold_ns(message.user, nr)

    def _on_lazyfree(self, message: LazyfreeFolios) -> Any:  # noqa: ANN401 - the answer, maybe later
        """Move pages that are not worth swapping to the inactive list of files."""
        return self._under_lru_lock(partial(self._lazyfree, message), message.user)

    def _lazyfree(self, message: LazyfreeFolios) -> tuple[None, int]:
        lru_lazyfree(self._mem, message.pfns, len(message.pfns))
        return None, self._hold_ns(message.user, len(message.pfns))

    def _on_isolate_mapped(self, message: IsolateMapped) -> Any:  # noqa: ANN401 - maybe later
        """Take pages off their lists that a program wants to be reclaimed."""
        return self._under_lru_lock(partial(self._isolate_mapped, message), message.user)

    def _isolate_mapped(self, message: IsolateMapped) -> tuple[int, int]:
        nr_file = isolate_mapped(
            *self._memory.space, self._nid, message.mm, message.vpns, message.pfns, message.batch
        )
        return nr_file, self._hold_ns(message.user, len(message.pfns))

    def _on_putback_mapped(self, message: PutbackMapped) -> Any:  # noqa: ANN401 - maybe later
        """Put the rest of them back; what its owners freed meanwhile goes to the allocator."""
        return self._under_lru_lock(partial(self._putback_mapped, message), message.user)

    def _putback_mapped(self, message: PutbackMapped) -> tuple[int, int]:
        batch = message.batch
        nr = putback_mapped(self._mem, self._nid, message.nr_file, batch)
        self._memory.taken(nr - int(batch.stat[STAT_NR_RECLAIMED]))
        return nr, self._hold_ns(message.user, int(batch.stat[STAT_NR_TAKEN]))
