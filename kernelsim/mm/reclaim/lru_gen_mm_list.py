"""Whose page tables are walked next, when several tasks age a node at the same time.

Linux: mm/vmscan.c: iterate_mm_list, iterate_mm_list_nowalk, should_skip_mm, lru_gen_use_mm, 6.1.
Differs: An address space may end while its page tables are walked; Linux has it wait.

All address spaces are walked once for each generation, in the order they were made, by all tasks
that age the node together. The last of them that finds none left makes the new generation.

Interface: one `MmListState` a node; a walker calls `iterate` with what it has walked, until that
gives it no more.
"""

from collections.abc import Mapping

import attrs

from kernelsim.mm.core.lru_gen import MIN_LRU_BATCH, MIN_NR_GENS
from kernelsim.mm.core.mem import U8
from kernelsim.mm.reclaim.lru_gen_walk import (
    W_CAN_SWAP,
    W_FORCE_SCAN,
    W_MAX_SEQ,
    MmWalk,
    new_bloom_filters,
    reset_bloom_filter,
)
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, Mms


@attrs.define
class MmListState:
    """How far the walks of a node are.

    Attributes:
        nid: The node.
        seq: The last generation whose walk is complete.
        head: The present walk has come to the address space of this `ctx_id`; it was made no later
            than those with higher ones.
        tail: Those from this one on have never been walked.
        nr_walkers: Tasks that have an address space in hand.
        bloom: Which page tables to walk into.
    """

    nid: int
    seq: int = MIN_NR_GENS
    head: int = 0
    tail: int = 0
    nr_walkers: int = 0
    bloom: U8 = attrs.field(factory=new_bloom_filters)

    def iterate(
        self,
        by_number: Mapping[int, MmStruct],
        mms: Mms,
        walk: MmWalk,
        done: MmStruct | None,
    ) -> tuple[bool, MmStruct | None]:
        """Take the next address space to walk.

        Args:
            by_number: All address spaces, in the order they were made.
            mms: What leaves know of them.
            walk: The walker's work space.
            done: What it has walked; None when it begins.

        Returns:
            Whether it is the last walker and the walk of this generation is complete, so that it
            has to make the new one; and what to walk next.

        Source: Linux 6.1 mm/vmscan.c:iterate_mm_list
        """
        found = None
        if walk.state[W_MAX_SEQ] > self.seq:
            is_first = not self.nr_walkers
            if is_first:
                self.head = 0
            found = self._next(by_number, mms, walk)
            if found is not None and is_first:
                reset_bloom_filter(self.bloom, int(walk.state[W_MAX_SEQ]) + 1)
        elif done is None:
            return False, None
        self.nr_walkers += (found is not None) - (done is not None)
        return not self.nr_walkers, found

    def _next(self, by_number: Mapping[int, MmStruct], mms: Mms, walk: MmWalk) -> MmStruct | None:
        left = [mm for mm in by_number.values() if mm.ctx_id >= self.head]
        found = None
        for mm in left:
            self.head = mm.ctx_id + 1
            if mm.ctx_id >= self.tail:
                self.tail = mm.ctx_id + 1
                walk.state[W_FORCE_SCAN] = 1
            if not self._should_skip(mm, mms, walk):
                found = mm
                break
        if found is None or found is left[-1]:
            self.seq += 1
        return found

    def _should_skip(self, mm: MmStruct, mms: Mms, walk: MmWalk) -> bool:
        """Tell whether an address space has not run since it was walked, or has hardly any page.

        Source: Linux 6.1 mm/vmscan.c:should_skip_mm
        """
        bit = 1 << self.nid
        if not walk.state[W_FORCE_SCAN] and not mm.lru_gen_bitmap & bit:
            return True
        mm.lru_gen_bitmap &= ~bit
        rss = mms.rss[mm.number]
        size = int(rss[MM_FILEPAGES])
        if walk.state[W_CAN_SWAP]:
            size += int(rss[MM_ANONPAGES] + rss[MM_SHMEMPAGES])
        return size < MIN_LRU_BATCH

    def iterate_nowalk(self, max_seq: int) -> bool:
        """Do without a walk; tell whether the caller is to make the new generation.

        Source: Linux 6.1 mm/vmscan.c:iterate_mm_list_nowalk
        """
        if max_seq <= self.seq or self.nr_walkers:
            return False
        self.seq += 1
        return True
