"""The allocator against a naive one that works page by page on Python lists."""

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from kernelsim.check.pages import check_pages
from kernelsim.config.machine import ZoneSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.mm_init import free_range, init_zone, new_mem
from kernelsim.mm.core.mem import (
    Z_BOOSTED_WATERMARK,
    Z_FREE,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_RECLAIM_ACTIVE,
    Z_WATERMARK_BOOST,
    Z_WATERMARK_BOOST_FACTOR,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    Z_WMARK_PROMO,
    Mem,
    PG_lru,
    free_list,
    pcp_list,
)
from kernelsim.mm.core.vmstat import NUMA_HIT, NUMA_LOCAL, PGALLOC_DMA, PGFREE
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.page.page_alloc import rmqueue
from kernelsim.mm.page.pcp import alloc_pages_bulk
from kernelsim.mm.page.pcp_free import drain_pages
from tests.free_pages import free_unref_pages
from tests.free_zone import free_block, pages_of

START, END = 700, 700 + 2 * 1024 + 200  # begins and ends inside a MAX_ORDER block
BATCH, HIGH = 7, 40
FALLBACKS = {0: (2, 1), 1: (2, 0), 2: (0, 1)}


class NaiveZone:
    """One zone with Linux 6.1's rules, one page at a time; free lists have their head first."""

    def __init__(self) -> None:
        self.lists: dict[tuple[int, int], list[int]] = {
            (order, mt): [] for order in range(11) for mt in range(3)
        }
        self.blocks: dict[int, tuple[int, int]] = {}
        self.block_mt = dict.fromkeys(range(START >> 9, (END - 1 >> 9) + 1), 1)
        self.pcp: dict[tuple[int, int], list[int]] = {(c, m): [] for c in (0, 1) for m in range(3)}
        self.factor = {0: 0, 1: 0}
        self.boost = 0
        self.reclaim_active = False
        self.movable: set[int] = set()  # pages on an LRU list
        pfn = START
        while pfn < END:
            order = max(o for o in range(11) if pfn % (1 << o) == 0 and pfn + (1 << o) <= END)
            self.add(pfn, order, 1, tail=True)
            pfn += 1 << order

    @property
    def nr_free(self) -> int:
        """Count the free pages."""
        return sum(1 << order for order, _ in self.blocks.values())

    def add(self, pfn: int, order: int, mt: int, *, tail: bool) -> None:
        """Enter a block in a list."""
        self.blocks[pfn] = (order, mt)
        self.lists[order, mt].insert(len(self.lists[order, mt]) if tail else 0, pfn)

    def remove(self, pfn: int) -> int:
        """Take a block off its list; return its order."""
        order, mt = self.blocks.pop(pfn)
        self.lists[order, mt].remove(pfn)
        return order

    def free(self, pfn: int, order: int, mt: int) -> None:
        """Merge a block with its buddies and enter it."""
        while order < 10 and self.blocks.get(pfn ^ (1 << order), (-1, 0))[0] == order:
            self.remove(pfn ^ (1 << order))
            pfn &= ~(1 << order)
            order += 1
        above = (pfn & ~(1 << order)) ^ (2 << order)
        likely = order < 9 and self.blocks.get(above, (-1, 0))[0] == order + 1
        self.add(pfn, order, mt, tail=likely)

    def smallest(self, order: int, mt: int) -> int:
        """Take a block of this type, split from the smallest; 0 for none."""
        for current in range(order, 11):
            if self.lists[current, mt]:
                pfn = self.lists[current, mt][0]
                self.remove(pfn)
                for half in range(current - 1, order - 1, -1):
                    self.add(pfn + (1 << half), half, mt, tail=False)
                return pfn
        return 0

    def alloc(self, order: int, mt: int) -> int:
        """Take a block, stolen if need be."""
        while True:
            pfn = self.smallest(order, mt)
            if pfn or not self.steal(order, mt):
                return pfn

    def suitable(self, order: int, mt: int) -> int | None:
        """Name the type to steal a block of this order from."""
        return next((f for f in FALLBACKS[mt] if self.lists[order, f]), None)

    def steal(self, order: int, mt: int) -> bool:
        """Move memory of another type to this one; False for none."""
        found = [o for o in range(order, 11) if self.suitable(o, mt) is not None]
        if not found:
            return False
        current = found[-1]
        whole = current >= 4 or mt != 1
        if not whole:
            current = found[0]
        fallback = self.suitable(current, mt)
        assert fallback is not None
        pfn = self.lists[current, fallback][0]
        if current >= 9:
            for block in range(pfn >> 9, (pfn + (1 << current)) >> 9):
                self.block_mt[block] = mt
        else:
            self.boost = min(self.boost + 512, 900)
            if whole and self.claim(pfn, mt):
                return True
        self.remove(pfn)
        self.add(pfn, current, mt, tail=True)
        return True

    def claim(self, pfn: int, mt: int) -> bool:
        """Move the free blocks of a pageblock; False if it leaves the zone."""
        block = pfn >> 9
        first, last = block << 9, (block + 1) << 9
        if last > END:
            return False
        if first < START:
            first = pfn
        inside = sorted(p for p in self.blocks if first <= p < last)
        moved = 0
        for head in inside:
            order = self.remove(head)
            self.add(head, order, mt, tail=True)
            moved += 1 << order
        movable = sum(first <= p < last for p in self.movable)
        alike = movable if mt == 1 else 0
        if mt != 1 and self.block_mt[block] == 1:
            alike = 512 - moved - movable
        if moved + alike >= 256:
            self.block_mt[block] = mt
        return True

    def alloc_pcp(self, cpu: int, mt: int, floor: int) -> int:
        """Take one page from a CPU's list; 0 for none."""
        if self.nr_free <= floor:
            return 0
        pages = self.pcp[cpu, mt]
        if not pages:
            for _ in range(BATCH):
                pfn = self.alloc(0, mt)
                if not pfn:
                    break
                pages.append(pfn)
        if not pages:
            return 0
        self.factor[cpu] >>= 1
        return pages.pop(0)

    def pcp_count(self, cpu: int) -> int:
        """Count the pages on a CPU's lists."""
        return sum(len(self.pcp[cpu, mt]) for mt in range(3))

    def free_pcp(self, cpu: int, pfn: int) -> None:
        """Free one page to a CPU's list."""
        mt = self.block_mt[pfn >> 9]
        self.pcp[cpu, mt].insert(0, pfn)
        high = min(4 * BATCH, HIGH) if self.reclaim_active else HIGH
        if self.pcp_count(cpu) < high:
            return
        count = BATCH << self.factor[cpu]
        if count < high - BATCH:
            self.factor[cpu] += 1
        self.drain(cpu, min(max(count, BATCH), high - BATCH), mt)

    def drain(self, cpu: int, count: int, mt: int) -> None:
        """Give the oldest pages back, one by one."""
        for turn in range(3):
            pages = self.pcp[cpu, (mt + turn) % 3]
            while count and pages:
                self.free(pages.pop(), 0, (mt + turn) % 3)
                count -= 1


def real_zone() -> Mem:
    """Build the same zone with the code under test."""
    mem = new_mem(nr_pfns=END, nr_nodes=1, nr_zone_types=1, nr_cpus=2)
    size = END - START
    spec = ZoneSpec(
        type=ZoneType.ZONE_NORMAL,
        start_pfn=START,
        spanned_pages=size,
        present_pages=size,
        managed_pages=size,
    )
    init_zone(mem, 0, spec, 0, [(START, END)])
    free_range(mem, 0, START, END)
    row = mem.zone[0]
    row[Z_PCP_BATCH], row[Z_PCP_HIGH] = BATCH, HIGH
    row[Z_WMARK_MIN], row[Z_WMARK_LOW], row[Z_WMARK_HIGH], row[Z_WMARK_PROMO] = 400, 500, 600, 700
    row[Z_WATERMARK_BOOST_FACTOR] = 15000
    return mem


class BuddyMachine(RuleBasedStateMachine):
    """Do the same to both, and compare every list after every step."""

    runs = Bundle("runs")  # tuples of (pfn, order)
    cpus = st.integers(0, 1)
    types = st.integers(0, 2)

    def __init__(self) -> None:
        super().__init__()
        self.mem = real_zone()
        self.naive = NaiveZone()
        self.held: set[int] = set()
        self.out = np.zeros(END, np.int64)
        self.nr_allocated = self.nr_freed = self.nr_bulk = 0

    def hold(self, pfn: int, order: int) -> None:
        """Note pages as allocated."""
        pages = set(range(pfn, pfn + (1 << order)))
        assert not pages & self.held
        self.held |= pages
        self.nr_allocated += len(pages)

    def drop(self, pfn: int, order: int) -> None:
        """Forget pages that are about to be freed."""
        pages = set(range(pfn, pfn + (1 << order)))
        self.held -= pages
        self.naive.movable -= pages
        self.mem.pages.flags[pfn : pfn + (1 << order)] = 0
        self.nr_freed += len(pages)

    @rule(
        cpu=cpus,
        mt=types,
        want=st.one_of(st.integers(1, 3 * BATCH), st.integers(1, 1500)),
        floor=st.one_of(st.just(-1), st.integers(-1, 1500)),
    )
    def alloc_bulk(self, cpu: int, mt: int, want: int, floor: int) -> None:
        """Each page of a bulk is a request of its own."""
        expected: list[int] = []
        while len(expected) < want:
            pfn = self.naive.alloc_pcp(cpu, mt, floor)
            if not pfn:
                break
            expected.append(pfn)
        got, _ = alloc_pages_bulk(self.mem, 0, cpu, 0, 0, mt, floor, want, self.out, 3)
        assert self.out[3 : 3 + got].tolist() == expected
        for pfn in expected:
            self.hold(pfn, 0)
        self.nr_bulk += got

    @rule(target=runs, mt=types, order=st.integers(0, 10))
    def alloc_block(self, mt: int, order: int) -> Any:
        """A block comes from the smallest free one, else it is stolen."""
        pfn = rmqueue(self.mem, 0, order, mt)
        assert pfn == self.naive.alloc(order, mt)
        if not pfn:
            return multiple()
        self.hold(pfn, order)
        return (pfn, order)

    @rule(cpu=cpus, how_many=st.integers(1, 1200), order=st.randoms(use_true_random=False))
    def free_some(self, cpu: int, how_many: int, order: Any) -> None:
        """Pages go to the CPU's list, and from there to the buddy system, oldest first."""
        pages = sorted(self.held)
        start = order.randrange(len(pages) + 1)
        pages = pages[start : start + how_many]
        style = order.randrange(4)
        if style == 1:
            pages.reverse()
        elif style == 2:
            order.shuffle(pages)
        elif style == 3:
            pages = pages[::3]
        for pfn in pages:
            self.drop(pfn, 0)
            self.naive.free_pcp(cpu, pfn)
        free_unref_pages(self.mem, cpu, np.array(pages, np.int64), len(pages))

    @rule(run=runs)
    def free_block(self, run: tuple[int, int]) -> None:
        """A block goes straight back."""
        pfn, order = run
        if set(range(pfn, pfn + (1 << order))) <= self.held:
            self.drop(pfn, order)
            self.naive.free(pfn, order, self.naive.block_mt[pfn >> 9])
            free_block(self.mem, pfn, order)
            self.mem.vm_event[PGFREE] += 1 << order

    @rule(mt=types, step=st.integers(2, 40), width=st.integers(1, 30))
    def riddle(self, mt: int, step: int, width: int) -> None:
        """Take what is left, then free some of every so many pages: memory full of small holes."""
        got, _ = alloc_pages_bulk(self.mem, 0, 0, 0, 0, mt, -1, END, self.out, 0)
        expected = [self.naive.alloc_pcp(0, mt, -1) for _ in range(got)]
        assert self.out[:got].tolist() == expected
        assert not self.naive.alloc_pcp(0, mt, -1)
        for pfn in expected:
            self.hold(pfn, 0)
        self.nr_bulk += got
        pages = [pfn for pfn in sorted(self.held) if pfn % step < width]
        for pfn in pages:
            self.drop(pfn, 0)
            self.naive.free_pcp(1, pfn)
        free_unref_pages(self.mem, 1, np.array(pages, np.int64), len(pages))

    @rule(cpu=cpus)
    def drain(self, cpu: int) -> None:
        """A drained list is empty."""
        count = self.naive.pcp_count(cpu)
        self.naive.drain(cpu, count, 0)
        assert drain_pages(self.mem, 0, cpu) == count

    @rule(active=st.booleans())
    def reclaim(self, active: bool) -> None:
        """While kswapd works, lists are kept shorter."""
        self.naive.reclaim_active = active
        self.mem.zone[0, Z_RECLAIM_ACTIVE] = int(active)

    @invariant()
    def same_lists(self) -> None:
        """Every free list and per-cpu list has the same pages in the same order."""
        mem, naive = self.mem, self.naive
        counts = free_area_counts(mem, 0)
        for (order, mt), expected in naive.lists.items():
            listed = pages_of(mem, free_list(0, order, mt))
            assert counts[order, mt] == len(expected)
            assert listed == expected[: len(listed)]
            if (order, mt) != (10, 1):
                assert len(listed) == len(expected)
        for (cpu, mt), pages in naive.pcp.items():
            assert pages_of(mem, pcp_list(mem, 0, cpu, mt)) == pages
        for block, mt in naive.block_mt.items():
            assert mem.block_mt[block] == mt
        assert mem.pcp_free_factor[0].tolist() == [naive.factor[0], naive.factor[1]]

    @invariant()
    def same_counts(self) -> None:
        """No page is lost, and the counters say so."""
        mem = self.mem
        assert mem.zone[0, Z_FREE] == self.naive.nr_free
        assert mem.zone[0, Z_WATERMARK_BOOST] == self.naive.boost
        assert mem.zone[0, Z_BOOSTED_WATERMARK] == (self.naive.boost > 0)
        assert mem.vm_event[PGALLOC_DMA] == self.nr_allocated
        assert mem.vm_event[PGFREE] == self.nr_freed
        assert mem.numa_stat[0, [NUMA_HIT, NUMA_LOCAL]].tolist() == [self.nr_bulk] * 2
        on_lists = self.naive.pcp_count(0) + self.naive.pcp_count(1)
        assert self.naive.nr_free + on_lists + len(self.held) == END - START
        assert check_pages(mem, in_flight=len(self.held)) == []


class LruBuddyMachine(BuddyMachine):
    """The same with held pages marked as movable ones, which count when a pageblock is claimed."""

    def hold(self, pfn: int, order: int) -> None:
        """Note pages as allocated."""
        super().hold(pfn, order)
        if order == 0 and pfn % 3:
            self.naive.movable.add(pfn)
            self.mem.pages.flags[pfn] = PG_lru

    @invariant()
    def same_counts(self) -> None:
        """No page is lost; the pages are on no LRU list, so the checker is not asked."""
        assert self.mem.zone[0, Z_FREE] == self.naive.nr_free


TestBuddyMachine = BuddyMachine.TestCase
TestBuddyMachine.settings = settings(max_examples=15, stateful_step_count=20)
TestLruBuddyMachine = LruBuddyMachine.TestCase
TestLruBuddyMachine.settings = settings(max_examples=15, stateful_step_count=20)
