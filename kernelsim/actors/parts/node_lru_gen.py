"""What a node does with its generations of pages, under its lru_lock.

Linux: mm/vmscan.c: evict_folios, inc_max_seq, reset_batch_size, 6.1.
Interface: `NodeLruGen`, part of a node's actor; its `handlers` are those of its messages.
Units: pages, ns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from kernelsim.actors.messages.node import (
    IncMaxSeq,
    IsolateOldest,
    PutbackOldest,
    ResetBatchSize,
)
from kernelsim.actors.parts.memory import Memory
from kernelsim.actors.parts.shared_server import Work
from kernelsim.actors.tracing import Named
from kernelsim.mm.core.lru_gen import MAX_LRU_BATCH
from kernelsim.mm.reclaim.lru_gen_aging import inc_max_seq, inc_min_seq, needs_inc_min_seq
from kernelsim.mm.reclaim.lru_gen_evict import isolate_folios, putback_folios
from kernelsim.mm.reclaim.lru_gen_walk import W_BATCHED, MmWalk, reset_batch_size
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_RECLAIMED, STAT_NR_TAKEN

# All counters of a node's generations are gone through: 40 words, 5 cache lines, of which the move
# of one page touches about as many.
PAGES_A_COUNT: Final = 1


class NodeLruGen:
    """The side of one node that keeps its generations.

    Args:
        owner: The node's actor.
        nid: Its number.
        memory: What it works with.
        under_lru_lock: Does work at the node under its lru_lock: the work, and who asks.
        hold_ns: How long the lock is held to move so many pages, for whom.
    """

    def __init__(
        self,
        owner: Named,
        nid: int,
        memory: Memory,
        under_lru_lock: Callable[[Work, str], Any],
        hold_ns: Callable[[str, int], int],
    ) -> None:
        self._owner = owner
        self._nid = nid
        self._memory = memory
        self._hold_ns = hold_ns
        works: dict[type, Callable[[Any], tuple[Any, int]]] = {
            IsolateOldest: self._isolate,
            PutbackOldest: self._putback,
            ResetBatchSize: self._reset_batch_size,
            IncMaxSeq: self._inc_max_seq,
        }

        def serve(work: Callable[[Any], tuple[Any, int]], message: Any) -> Any:  # noqa: ANN401 - see works
            return under_lru_lock(partial(work, message), message.user)

        self.handlers: dict[type, Callable[[Any], Any]] = {
            kind: partial(serve, work) for kind, work in works.items()
        }

    def _isolate(self, message: IsolateOldest) -> tuple[tuple[int, int], int]:
        memory, batch = self._memory, message.batch
        memory.observer.ages(self._nid)
        scanned, file, looked, nr_sorted = isolate_folios(
            memory.mem, self._nid, message.swappiness, message.reclaim_idx, message.how, batch
        )
        taken = batch.folios[: int(batch.stat[STAT_NR_TAKEN])]
        memory.observer.evicts(message.user, file, taken, nr_sorted)
        return (scanned, file), self._hold_ns(message.user, looked)

    def _putback(self, message: PutbackOldest) -> tuple[int, int]:
        memory, batch = self._memory, message.batch
        nr = putback_folios(memory.mem, self._nid, message.file, message.how, batch)
        memory.taken(nr - int(batch.stat[STAT_NR_RECLAIMED]))
        hold_ns = self._count(message.walk, message.user)
        return nr, hold_ns + self._hold_ns(message.user, int(batch.stat[STAT_NR_TAKEN]))

    def _reset_batch_size(self, message: ResetBatchSize) -> tuple[None, int]:
        return None, self._count(message.walk, message.user)

    def _count(self, walk: MmWalk, user: str) -> int:
        """Count what a walk has promoted; return how long that takes, in ns."""
        if not walk.state[W_BATCHED]:
            return 0
        reset_batch_size(self._memory.mem, self._nid, walk)
        return self._hold_ns(user, PAGES_A_COUNT)

    def _inc_max_seq(self, message: IncMaxSeq) -> tuple[bool, int]:
        mem, nid = self._memory.mem, self._nid
        moved = 0
        if needs_inc_min_seq(mem.lru_gen[nid]):
            moved = inc_min_seq(mem, nid, message.can_swap)
            if moved == MAX_LRU_BATCH:
                return False, self._hold_ns(message.user, moved)
        inc_max_seq(mem, nid, self._owner.engine.now_ns)
        return True, self._hold_ns(message.user, moved + PAGES_A_COUNT)
