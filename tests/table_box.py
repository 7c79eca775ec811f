"""Memory with page tables and nothing else, for tests of what works on tables.

Interface: `TableBox` has address spaces, frames given out one after the other, and no allocator.
A test that needs more of it extends it where it is.
Units: pages; a vpn is a virtual page number.
"""

import numpy as np

from kernelsim.check.page_tables import check_page_tables
from kernelsim.mm.boot.mm_init import new_mem
from kernelsim.mm.core.mem import (
    I64,
    PAGEBLOCK_ORDER,
    Z_NID,
    Z_SPANNED,
    Z_START_PFN,
    Mem,
    PG_anon_exclusive,
)
from kernelsim.mm.space.memory import map_anon
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.page_table_pool import PageTablePool
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    _PAGE_RW,
    MM_ANONPAGES,
    PT_BITS,
    Mms,
    PageTables,
    install_tables,
    pgd_alloc,
    pte_at,
    pte_pfn,
    pte_span,
    tables_needed,
)
from kernelsim.mm.space.zap import NONE_CLEARED
from tests.commit_account import commit_account

NODE_PAGES = 2048
FIRST_PFN = 1024
NO_MARKS = (np.zeros((1, 1), np.int64), 0, False)  # of unmap_range: it marks no page of a file


def none_cleared() -> I64:
    """Return what `unmap_range` adds the entries to that it clears; there are none yet."""
    return np.array(NONE_CLEARED, np.int64)


def set_pte_at(mem: Mem, pt: PageTables, mms: Mms, mm: int, vpn: int, pte: int) -> None:
    """Write the entry of a page in a table that is there; count nothing."""
    row, _ = pte_span(mem, pt, mms, mm, vpn)
    assert row, "the table of an entry is missing"
    pt.entry[row, vpn & ((1 << int(pt.state[PT_BITS])) - 1)] = np.uint64(pte & (1 << 64) - 1)


class TableBox:
    """Two nodes of 2048 frames, one pool, and address spaces with a PGD."""

    def __init__(self, *, levels: int = 4, bits: int = 9) -> None:
        nr_pfns = FIRST_PFN + 2 * NODE_PAGES
        self.mem = new_mem(nr_pfns=nr_pfns, nr_nodes=2, nr_zone_types=1, nr_cpus=1)
        for nid in range(2):
            start = FIRST_PFN + NODE_PAGES * nid
            self.mem.zone[nid, [Z_NID, Z_START_PFN, Z_SPANNED]] = nid, start, NODE_PAGES
            blocks = slice(start >> PAGEBLOCK_ORDER, (start + NODE_PAGES) >> PAGEBLOCK_ORDER)
            self.mem.block_zone[blocks] = nid + 1
        self.pool = PageTablePool(levels=levels, bits=bits)
        self.registry = MmRegistry(commit_account(2 * NODE_PAGES))
        self.next_pfn = FIRST_PFN

    @property
    def state(self) -> tuple[Mem, PageTables, Mms]:
        """What every leaf takes first."""
        return self.mem, self.pool.pt, self.registry.mms

    def take(self, nr: int) -> I64:
        """Return frames nobody used yet, the first node's first."""
        pfns = np.arange(self.next_pfn, self.next_pfn + nr, dtype=np.int64)
        self.next_pfn += nr
        return pfns

    def new_mm(self) -> int:
        """Create an address space; return its number."""
        mm = self.registry.mm_alloc(owner_pid=1)
        self.pool.reserve(1)
        pgd_alloc(*self.state, mm.number, int(self.take(1)[0]))
        return mm.number

    def install(self, mm: int, vpn: int, nr: int) -> int:
        """Build the tables a range needs; return how many."""
        needed = tables_needed(*self.state, mm, vpn, nr)
        self.pool.reserve(needed)
        assert install_tables(*self.state, mm, vpn, nr, self.take(needed), needed) == needed
        return int(needed)

    def map(self, mm: int, vpn: int, nr: int, token: int = 7) -> I64:
        """Write to fresh pages; return their frames."""
        self.install(mm, vpn, nr)
        pfns = self.take(nr)
        assert map_anon(*self.state, mm, vpn, nr, 1, pfns, nr, token) == nr
        return pfns

    def pte(self, mm: int, vpn: int) -> int:
        """Return a page's entry; 0 for none."""
        return int(pte_at(*self.state, mm, vpn))

    def set_pte(self, mm: int, vpn: int, pte: int) -> None:
        """Write an entry in a table that is there."""
        set_pte_at(*self.state, mm, vpn, pte)

    def protect(self, mm: int, vpn: int, nr: int) -> None:
        """Make present pages read-only."""
        for page in range(vpn, vpn + nr):
            self.set_pte(mm, page, self.pte(mm, page) & ~_PAGE_RW)

    def share(self, parent: int, vpn: int, nr: int) -> int:
        """Return an address space that has the same pages, read-only in both, as after fork."""
        child, mms, pages = self.new_mm(), self.registry.mms, self.mem.pages
        mms.fork_next[child], mms.fork_next[parent] = mms.fork_next[parent], child
        self.install(child, vpn, nr)
        self.protect(parent, vpn, nr)
        for page in range(vpn, vpn + nr):
            pte = self.pte(parent, page)
            pages.mapcount[pte_pfn(pte)] += 1
            pages.flags[pte_pfn(pte)] &= np.uint32(~PG_anon_exclusive & 0xFFFF_FFFF)
            mms.rss[child, MM_ANONPAGES] += 1
            self.set_pte(child, page, pte & ~_PAGE_ACCESSED)
        return child

    def faults(self) -> list[str]:
        """Run the checker."""
        return check_page_tables(*self.state, self.registry.by_number)
