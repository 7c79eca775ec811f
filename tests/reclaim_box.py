"""A tiny machine for tests of reclaim: one mm, one CPU, swap, and no waiting."""

from collections.abc import Callable

import numpy as np
import pytest

from kernelsim.config.machine import ZoneSpec
from kernelsim.config.zones import ZoneType
from kernelsim.mm.boot.mm_init import free_range, init_zone, new_mem
from kernelsim.mm.core.lruvec import new_lruvec
from kernelsim.mm.core.mem import (
    L_HEAD,
    LRU_ACTIVE_ANON,
    LRU_INACTIVE_ANON,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
    PG_uptodate,
    lru_list,
)
from kernelsim.mm.core.swap import lru_add
from kernelsim.mm.core.xarray_pool import XArrayPool
from kernelsim.mm.file.address_space import AddressSpaces
from kernelsim.mm.file.filemap import filemap_add_folio
from kernelsim.mm.page.pcp import alloc_pages_bulk
from kernelsim.mm.reclaim.reclaim_batch import (
    SHRINK_IO,
    SHRINK_KSWAPD,
    SHRINK_MAY_UNMAP,
    SHRINK_MAY_WRITEPAGE,
    STAT_NR_TAKEN,
    STAT_NR_TO_WRITE,
    new_reclaim_batch,
)
from kernelsim.mm.reclaim.vmscan_folio import shrink_folio_list
from kernelsim.mm.reclaim.vmscan_list import (
    isolate_lru_folios,
    putback_inactive,
    shrink_active_list,
)
from kernelsim.mm.space.memory import map_anon
from kernelsim.mm.space.mm_registry import make_mms
from kernelsim.mm.space.page_table_pool import PageTablePool
from kernelsim.mm.space.pgtable import (
    _PAGE_ACCESSED,
    install_tables,
    pgd_alloc,
    pte_at,
    tables_needed,
)
from kernelsim.mm.swap.do_swap_page import map_swapcache_run
from kernelsim.mm.swap.page_io import end_swap_read, end_swap_write
from kernelsim.mm.swap.swap_area import swapon
from kernelsim.mm.swap.swap_state import begin_swap_read
from tests.free_pages import free_unref_pages
from tests.table_box import set_pte_at

MM = 1
FILE = 1
KSWAPD = SHRINK_KSWAPD | SHRINK_MAY_UNMAP | SHRINK_MAY_WRITEPAGE | SHRINK_IO


class ReclaimBox:
    """One node of one zone, one mm without VMAs, and swap."""

    def __init__(self, nr_pages: int = 1024, swap_pages: int = 1024) -> None:
        self.mem = new_mem(nr_pfns=nr_pages + 1024, nr_nodes=1, nr_zone_types=1, nr_cpus=1)
        spec = ZoneSpec(
            type=ZoneType.ZONE_NORMAL,
            start_pfn=1024,
            spanned_pages=nr_pages,
            present_pages=nr_pages,
            managed_pages=nr_pages,
        )
        init_zone(self.mem, 0, spec, 0, [(1024, 1024 + nr_pages)])
        free_range(self.mem, 0, 1024, 1024 + nr_pages)
        self.mem.zone[0, 12:14] = (1, 64)  # per-cpu lists: batch, high
        sizes = [swap_pages] if swap_pages else []
        self.swap = swapon(sizes, [-2] * len(sizes), 1)
        self.lruvec = new_lruvec(1)
        self.spaces = AddressSpaces(XArrayPool())
        self.pool = PageTablePool()
        self.mms = make_mms(4)
        self.mms.fork_next[MM] = MM
        self.batch = new_reclaim_batch()
        self.writing: list[int] = []
        pgd_alloc(self.mem, self.pool.pt, self.mms, MM, int(self.take(1, MIGRATE_UNMOVABLE)[0]))

    def take(self, nr: int, migratetype: int = MIGRATE_MOVABLE) -> np.ndarray:
        """Allocate pages, whatever the watermarks say."""
        out = np.zeros(max(nr, 1), np.int64)
        got, _ = alloc_pages_bulk(self.mem, 0, 0, 0, 0, migratetype, -1, nr, out, 0)
        assert got == nr
        return out

    def fault(self, vpn: int, nr: int, token: int = 7) -> np.ndarray:
        """Map fresh anonymous pages by writing to them."""
        mem, pt = self.mem, self.pool.pt
        need = tables_needed(mem, pt, self.mms, MM, vpn, nr)
        tables = self.take(need, MIGRATE_UNMOVABLE)
        install_tables(mem, pt, self.mms, MM, vpn, nr, tables, need)
        pfns = self.take(nr)
        assert map_anon(mem, pt, self.mms, MM, vpn, nr, 1, pfns, nr, token) == nr
        lru_add(mem, pfns, nr)
        return pfns

    def cache(self, index: int, nr: int, flags: int = 0) -> np.ndarray:
        """Put fresh pages of FILE in the page cache and on their list."""
        pfns = self.take(nr)
        self.spaces.add(FILE)
        self.spaces.pool.reserve(nr)
        for i, pfn in enumerate(pfns.tolist()):
            filemap_add_folio(
                self.mem, self.spaces.mappings, self.lruvec, FILE, index + i, pfn, 0, 0, False
            )
        self.mem.pages.flags[pfns] = flags | PG_uptodate
        lru_add(self.mem, pfns, nr)
        return pfns

    def pte(self, vpn: int) -> int:
        """Return the PTE of a page."""
        return int(pte_at(self.mem, self.pool.pt, self.mms, MM, vpn))

    def use(self, vpn: int) -> None:
        """Set the accessed bit of a page, as the hardware does."""
        pte = self.pte(vpn) | _PAGE_ACCESSED
        set_pte_at(self.mem, self.pool.pt, self.mms, MM, vpn, pte)

    def shrink(self, *, how: int = KSWAPD) -> None:
        """Decide about the isolated batch; its writes stay unfinished."""
        mem, batch = self.mem, self.batch
        shrink_folio_list(
            mem, self.pool.pt, self.mms, self.swap, self.spaces.mappings, self.lruvec, 0, how,
            batch, 0, int(batch.stat[STAT_NR_TAKEN]),
        )  # fmt: skip
        self.writing += batch.to_write[: batch.stat[STAT_NR_TO_WRITE]].tolist()

    def putback(self, *, how: int = KSWAPD, lru: int = LRU_INACTIVE_ANON) -> list[int]:
        """Put the rest of the batch back and free what may be freed; return the freed pfns."""
        nr_free = putback_inactive(self.mem, self.lruvec, 0, lru, how, self.batch)
        free_unref_pages(self.mem, 0, self.batch.to_free, nr_free)
        return sorted(self.batch.to_free[:nr_free].tolist())

    def scan(self, nr: int, *, how: int = KSWAPD, lru: int = LRU_INACTIVE_ANON) -> np.ndarray:
        """Reclaim from the tail of an inactive list; return the batch's stat."""
        isolate_lru_folios(self.mem, 0, lru, nr, 0, how, self.batch)
        self.shrink(how=how)
        self.putback(how=how, lru=lru)
        return self.batch.stat

    def scan_active(self, nr: int) -> int:
        """Age the tail of the active anonymous list; return how many were deactivated."""
        isolate_lru_folios(self.mem, 0, LRU_ACTIVE_ANON, nr, 0, KSWAPD, self.batch)
        return int(
            shrink_active_list(self.mem, self.pool.pt, self.mms, 0, LRU_ACTIVE_ANON, self.batch)
        )

    def end_writes(self) -> int:
        """Let the device finish all writes; return how many pages were rotated."""
        done = np.array(self.writing, np.int64)
        self.writing = []
        tokens = self.mem.pages.token[done]
        return int(end_swap_write(self.mem, self.swap, done, tokens, len(done), False))

    def forget_use(self, nr: int) -> None:
        """Clear the accessed bits of the `nr` pages that reclaim would take first."""
        for pfn in self.pages_of(LRU_INACTIVE_ANON)[-nr:]:
            if not self.mem.pages.mapcount[pfn]:
                continue
            vpn = int(self.mem.pages.index[pfn])
            pte = self.pte(vpn) & ~_PAGE_ACCESSED
            set_pte_at(self.mem, self.pool.pt, self.mms, MM, vpn, pte)

    def swap_out(self, nr: int) -> None:
        """Write the `nr` oldest pages to swap and free them."""
        self.forget_use(nr)
        self.scan(nr)
        self.end_writes()
        self.scan(nr)

    def read(self, slots: list[int], *, target: int = 0) -> np.ndarray:
        """Read slots into the swap cache; the first is the one asked for unless told."""
        pfns = self.take(len(slots))
        numbers = np.array(slots, np.int64)
        target = target or slots[0]
        begin_swap_read(self.mem, self.swap, self.lruvec, numbers, pfns, len(slots), target, False)
        end_swap_read(self.mem, self.swap, pfns, len(slots))
        return pfns

    def swap_in(self, vpn: int, nr: int, *, write: bool, token: int = 9) -> tuple[int, int, int]:
        """Fault on swap entries whose pages may be cached."""
        return map_swapcache_run(
            self.mem, self.pool.pt, self.mms, self.swap, MM, vpn, nr, 1, write, token
        )

    def pages_of(self, lru: int) -> list[int]:
        """Return the pfns of a list, front first."""
        found = []
        pfn = int(self.mem.lists[lru_list(self.mem, 0, lru), L_HEAD])
        while pfn:
            found.append(pfn)
            pfn = int(self.mem.pages.next[pfn])
        return found


@pytest.fixture
def reclaim_box() -> Callable[..., ReclaimBox]:
    """Give the class, so that a test chooses the sizes."""
    return ReclaimBox
