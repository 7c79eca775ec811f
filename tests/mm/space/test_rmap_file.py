"""Reverse mapping of pages of files: which entries are found, looked at, taken, made read-only."""

import numpy as np
import pytest

from kernelsim.mm.core.mem import PG_dirty, PG_uptodate
from kernelsim.mm.core.vmstat import NR_MAPPED
from kernelsim.mm.file.filemap_fault import make_writable, map_file_page
from kernelsim.mm.space.mmap import MappedFile, VmArea
from kernelsim.mm.space.pgtable import MM_FILEPAGES, pte_at
from kernelsim.mm.space.rmap import folio_referenced, try_to_unmap
from kernelsim.mm.space.rmap_file import folio_mkclean
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.mm.space.wp_page import wp_page_copy
from kernelsim.mm.space.zap import unmap_range
from kernelsim.units import PAGE_SIZE
from tests.table_box import NO_MARKS, TableBox, none_cleared

FILE = 9
ACCESSED, DIRTY, RW = 0x20, 0x40, 0x2
BITS = 0x25  # present, user, accessed


class Box(TableBox):
    """Address spaces that map pages of one file."""

    def show(self, vpn, *, pgoff=0, flags=VmFlag.VM_READ):
        """Make an address space with a mapping of 16 pages of the file; return its number."""
        number = self.new_mm()
        start = vpn * PAGE_SIZE
        file = MappedFile("/f", number=FILE)
        vma = VmArea(start, start + 16 * PAGE_SIZE, flags, file, pgoff)
        self.registry.by_number[number].map.insert(vma)
        self.install(number, vpn, 16)
        return number

    def page(self, index):
        """Return a cached page of the file."""
        pfn = int(self.take(1)[0])
        self.mem.pages.mapping[pfn], self.mem.pages.index[pfn] = FILE, index
        self.mem.pages.flags[pfn] |= PG_uptodate
        return pfn

    def put(self, mm, vpn, pfn):
        """Map it."""
        map_file_page(*self.state, mm, vpn, pfn, BITS)


@pytest.fixture
def box():
    """Return an empty machine."""
    return Box()


def test_every_mapping_of_a_page_is_found(box):
    """Three address spaces show it at other places; one maps another page; one does not map it."""
    pfn, other = box.page(5), box.page(4)
    users = [(box.show(100), 105), (box.show(700, pgoff=3), 702), (box.show(512, pgoff=5), 512)]
    box.put(box.show(40), 44, other)
    box.show(64)
    for mm, vpn in users:
        box.put(mm, vpn, pfn)

    assert folio_referenced(*box.state, pfn) == (3, False)
    assert folio_referenced(*box.state, pfn) == (0, False)
    assert [pte_at(*box.state, mm, vpn) & ACCESSED for mm, vpn in users] == [0, 0, 0]
    assert folio_referenced(*box.state, other) == (1, False)


def test_use_through_a_program_is_told_and_use_by_a_stream_is_not_counted(box):
    """VM_EXEC of a mapping that was used; VM_SEQ_READ makes use not count."""
    pfn = box.page(0)
    program = box.show(32, flags=VmFlag.VM_READ | VmFlag.VM_EXEC)
    stream = box.show(64, flags=VmFlag.VM_READ | VmFlag.VM_SEQ_READ)
    box.put(stream, 64, pfn)
    assert folio_referenced(*box.state, pfn) == (0, False)
    assert pte_at(*box.state, stream, 64) & ACCESSED == 0
    box.put(program, 32, pfn)
    assert folio_referenced(*box.state, pfn) == (1, True)
    assert folio_referenced(*box.state, pfn) == (0, False)


def test_unmapping_takes_all_entries_and_counts_them(box):
    """Afterwards nothing maps it, resident sizes and nr_mapped are right, TLBs have to hear it."""
    pfn = box.page(2)
    users = [(box.show(16 * k), 16 * k + 2) for k in (1, 5, 9)]
    for mm, vpn in users:
        box.put(mm, vpn, pfn)
    assert box.mem.node_stat[0, NR_MAPPED] == 1

    assert try_to_unmap(*box.state, pfn)

    mms = box.registry.mms
    assert box.mem.node_stat[0, NR_MAPPED] == box.mem.pages.mapcount[pfn] == 0
    for mm, vpn in users:
        assert pte_at(*box.state, mm, vpn) == mms.rss[mm, MM_FILEPAGES] == 0
        assert mms.tlb_flush_batched[mm] == mms.hiwater_rss[mm] == 1


def test_a_page_that_is_written_back_is_made_read_only_everywhere(box):
    """Of two writable entries and one that is not, two change; they stay mapped."""
    pfn = box.page(1)
    users = [
        (box.show(16 * k, flags=VmFlag.VM_WRITE | VmFlag.VM_SHARED), 16 * k + 1) for k in (1, 2, 3)
    ]
    for mm, vpn in users:
        box.put(mm, vpn, pfn)
    box.mem.pages.flags[pfn] |= PG_dirty
    for mm, vpn in users[:2]:
        make_writable(*box.state, mm, vpn)

    assert folio_mkclean(*box.state, pfn) == 2

    assert [pte_at(*box.state, mm, vpn) & (RW | DIRTY) for mm, vpn in users] == [0, 0, 0]
    assert box.mem.pages.mapcount[pfn] == 3
    assert [box.registry.mms.tlb_flush_batched[mm] for mm, _ in users] == [1, 1, 0]


@pytest.mark.parametrize("stored", [False, True])
def test_a_process_that_unmaps_leaves_pages_of_files_where_they_are(box, stored):
    """They are not to be freed; reclaim has to flush them meanwhile, at once if stored to."""
    pfn, flags = box.page(2), VmFlag.VM_WRITE | VmFlag.VM_SHARED
    one, two = box.show(16, flags=flags), box.show(512, flags=flags)
    box.put(one, 18, pfn)
    box.put(two, 514, pfn)
    box.mem.pages.flags[pfn] |= PG_dirty
    before = int(box.mem.pages.flags[pfn])
    if stored:
        make_writable(*box.state, one, 18)
        box.set_pte(one, 18, pte_at(*box.state, one, 18) | DIRTY)
    out, cleared = np.zeros(4, np.int64), none_cleared()

    done = unmap_range(*box.state, one, 16, 16, *NO_MARKS, out, out.copy(), cleared)

    assert done == (0, 0, 0, 32)
    assert cleared.tolist() == [18, 19, 1, int(stored)]
    assert box.mem.pages.flags[pfn] == before
    assert box.mem.pages.mapcount[pfn] == 1
    assert [int(box.registry.mms.tlb_flush_batched[mm]) for mm in (one, two)] == [1, 0]


def test_a_copy_of_a_page_of_a_file_leaves_it_where_it_is(box):
    """The page is not to be freed, and reclaim has to flush it meanwhile."""
    pfn = box.page(2)
    mm = box.show(16, flags=VmFlag.VM_WRITE)
    box.put(mm, 18, pfn)
    before, out = int(box.mem.pages.flags[pfn]), np.zeros(1, np.int64)

    assert wp_page_copy(*box.state, mm, 18, 1, 1, box.take(1), 1, 77, out) == (1, 0)

    mms = box.registry.mms
    assert (box.mem.pages.flags[pfn], box.mem.pages.mapcount[pfn]) == (before, 0)
    assert (mms.tlb_flush_batched[mm], mms.rss[mm, MM_FILEPAGES]) == (1, 0)


def test_a_page_that_was_stored_to_and_is_clean_is_a_bug_of_ours(box):
    """Nobody may take such an entry: what was stored would be lost."""
    pfn, mm = box.page(0), box.show(16)
    box.put(mm, 16, pfn)
    make_writable(*box.state, mm, 16)
    with pytest.raises(AssertionError, match="was stored to and is clean"):
        try_to_unmap(*box.state, pfn)
