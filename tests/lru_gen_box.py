"""A node whose pages are in generations, for tests without actors."""

from kernelsim.mm.core.lru_gen import (
    GEN_MASK,
    LG_MAX_SEQ,
    LG_MIN_SEQ,
    LRU_GEN_CORE,
    LRU_GEN_MM_WALK,
)
from kernelsim.mm.core.mem import L_HEAD, MAX_NR_GENS, gen_list
from kernelsim.mm.reclaim.lru_gen_aging import (
    inc_max_seq,
    inc_min_seq,
    lru_gen_change_state,
    needs_inc_min_seq,
)
from kernelsim.mm.reclaim.lru_gen_evict import isolate_folios, putback_folios
from kernelsim.mm.reclaim.lru_gen_walk import new_bloom_filters, new_mm_walk
from kernelsim.mm.reclaim.reclaim_batch import STAT_NR_TAKEN, new_reclaim_batch
from kernelsim.mm.space.pgtable import _PAGE_ACCESSED
from tests.free_pages import free_unref_pages
from tests.reclaim_box import KSWAPD, MM, ReclaimBox
from tests.table_box import set_pte_at

CAPS = LRU_GEN_CORE | LRU_GEN_MM_WALK


class LruGenBox(ReclaimBox):
    """A reclaim box with the multi-generational LRU switched on."""

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.batch = new_reclaim_batch(64)
        self.walk = new_mm_walk()
        self.bloom = new_bloom_filters()
        lru_gen_change_state(self.mem, CAPS)

    @property
    def state(self):
        """What is kept of the node's generations."""
        return self.mem.lru_gen[0]

    def seq_of(self, pfn: int) -> int:
        """Return the sequence number of a page's generation."""
        gen = int(self.mem.pages.gen[pfn] & GEN_MASK) - 1
        assert gen >= 0
        oldest = int(self.state[LG_MIN_SEQ : LG_MIN_SEQ + 2].min())
        return next(seq for seq in range(oldest, oldest + 4) if seq % MAX_NR_GENS == gen)

    def pages_of_seq(self, seq: int, file: int) -> list[int]:
        """Return the pfns on the list of a generation, young end first."""
        found, pfn = [], int(self.mem.lists[gen_list(self.mem, 0, seq % 4, file, 0), L_HEAD])
        while pfn:
            found.append(pfn)
            pfn = int(self.mem.pages.next[pfn])
        return found

    def age(self, *, can_swap: bool = True, now_ns: int = 0) -> None:
        """Begin a new generation, without a walk."""
        while needs_inc_min_seq(self.state):
            inc_min_seq(self.mem, 0, can_swap)
        inc_max_seq(self.mem, 0, now_ns)

    def isolate(self, swappiness: int = 60, *, how: int = KSWAPD) -> list[int]:
        """Take the oldest pages; return them."""
        isolate_folios(self.mem, 0, swappiness, 0, how, self.batch)
        return self.batch.folios[: self.batch.stat[STAT_NR_TAKEN]].tolist()

    def putback_oldest(self, file: int) -> list[int]:
        """Put the rest of the batch back and free what may be freed; return the freed pfns."""
        nr_free = putback_folios(self.mem, 0, file, KSWAPD, self.batch)
        free_unref_pages(self.mem, 0, self.batch.to_free, nr_free)
        return sorted(self.batch.to_free[:nr_free].tolist())

    def nr_gens(self, file: int) -> int:
        """Return how many generations of a type there are."""
        return int(self.state[LG_MAX_SEQ] - self.state[LG_MIN_SEQ + file] + 1)

    def forget_accessed(self, vpn: int) -> None:
        """Clear the accessed bit of a page."""
        set_pte_at(self.mem, self.pool.pt, self.mms, MM, vpn, self.pte(vpn) & ~_PAGE_ACCESSED)
