"""Pages of files in page tables: entries, mappings, chains and what the pages hold agree.

The chains through which the kernel goes from a file to its mappings are compared with the mappings
of the processes, and each entry with the chains.
Interface: `check_mapped_files` at a look; `maps_file` says which entries map pages of files, and
`is_referenced` whether one was used.
Units: virtual page numbers, pages of files.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.page_cache import FileContents
from kernelsim.check.tables import PRESENT, SPECIAL, WRITABLE, Tables, cut_short
from kernelsim.mm.core.mem import I64, Mem, PG_anon, PG_dirty, PG_swapbacked, PG_uptodate
from kernelsim.mm.space.i_mmap import FV_FLAGS, FV_MM, FV_NR_PAGES, FV_PGOFF, FV_VPN
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import pte_at
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SHIFT

IsLeaving = Callable[[MmStruct, int], bool]
DIRTY: Final = 0x40
ACCESSED: Final = 0x20
FRAME_MASK: Final = 0x000F_FFFF_FFFF_F000
FRAME_SHIFT: Final = 12


def maps_file(mem: Mem, tables: Tables) -> NDArray[np.bool_]:
    """Tell which entries map a page of a file."""
    is_mapped: NDArray[np.bool_] = tables.bits & (PRESENT | SPECIAL) == PRESENT
    is_mapped[is_mapped] = mem.pages.flags[tables.pfns(is_mapped)] & np.uint32(PG_anon) == 0
    return is_mapped


def check_mapped_files(
    kernel: Kernel,
    tables: Tables,
    contents: FileContents | None = None,
    is_leaving: IsLeaving | None = None,
) -> Iterator[str]:
    """Find what is wrong with mapped pages of files, one line each.

    Args:
        kernel: The machine.
        tables: All its page tables.
        contents: What files hold, as their readers must see it; None if nobody listened.
        is_leaving: Whether a process is in the middle of unmapping a page; None if unknown.
    """
    yield from check_chains(kernel, is_leaving)
    where = np.flatnonzero(maps_file(kernel.mem, tables))
    if not len(where):
        return
    pages = kernel.mem.pages
    mm, vpn, bits = tables.mm[where], tables.vpn[where], tables.bits[where]
    pfn = (tables.pte[where] & FRAME_MASK) >> FRAME_SHIFT
    is_right, shared = shown_by(kernel, mm, vpn, pfn)
    flags = pages.flags[pfn]

    def report(bad: NDArray[np.bool_], text: str) -> Iterator[str]:
        yield from cut_short(
            f"mm {mm[i]} vpn {vpn[i]:#x} pfn {pfn[i]}: {text}" for i in np.flatnonzero(bad).tolist()
        )

    yield from report(~is_right, "is not the page of the file that its mapping shows there")
    yield from report(flags & np.uint32(PG_uptodate) == 0, "is mapped and holds nothing yet")
    # Nobody hears of stores to memory that is shared: it is as good as dirty.
    is_dirty = flags & np.uint32(PG_dirty | PG_swapbacked) != 0
    yield from report((bits & WRITABLE != 0) & ~shared, "a page of a file is writable in private")
    yield from report((bits & (WRITABLE | DIRTY) != 0) & ~is_dirty, "may be stored to and is clean")
    if contents is not None:
        number, index = pages.mapping[pfn].astype(np.int64), pages.index[pfn]
        wrong = contents.differs(number, index, pages.token[pfn])
        yield from report(is_right & wrong, "holds something else than its file")


def check_chains(kernel: Kernel, is_leaving: IsLeaving | None) -> Iterator[str]:
    """Check that a file leads to the mappings that show it, each once, and to no others.

    It leads to those that are being unmapped, too, until their entries are gone.
    """
    i_mmap = kernel.mms.i_mmap
    for number in range(len(i_mmap.first)):
        listed = sorted(tuple(row[FV_MM : FV_FLAGS + 1]) for row in i_mmap.mappings(number))
        wanted: list[tuple[int, ...]] = [
            (mm.number, vma.vpn, vma.nr_pages, vma.pgoff, int(vma.flags))
            for mm in kernel.mms.by_number.values()
            if mm.map.nr_of_files
            for vma in mm.map
            if number and vma.file_number == number
        ]
        more = list((Counter(listed) - Counter(wanted)).elements())
        leaves = is_leaving or _is_unmapped
        more = [row for row in more if not leaves(kernel.mms.by_number[row[0]], row[1])]
        if more or Counter(wanted) - Counter(listed):
            yield f"file {number} leads to {len(listed)} mappings, {len(wanted)} show it"


def _is_unmapped(mm: MmStruct, vpn: int) -> bool:
    """Tell whether a process shows nothing at a page; it may be unmapping it, or ending."""
    return mm.map.find_vma_intersection(vpn << PAGE_SHIFT, (vpn + 1) << PAGE_SHIFT) is None


def shown_by(
    kernel: Kernel, mm: I64, vpn: I64, pfn: I64
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which entries map what a mapping shows there, and which of these mappings are shared."""
    pages = kernel.mem.pages
    number, index = pages.mapping[pfn], pages.index[pfn]
    is_right, is_shared = np.zeros(len(mm), np.bool_), np.zeros(len(mm), np.bool_)
    for file in np.unique(number).tolist():
        for row in kernel.mms.i_mmap.mappings(file):
            inside = index - row[FV_PGOFF]
            found = (number == file) & (mm == row[FV_MM]) & (vpn - row[FV_VPN] == inside)
            found &= (inside >= 0) & (inside < row[FV_NR_PAGES])
            is_right |= found
            is_shared |= found & bool(row[FV_FLAGS] & VmFlag.VM_SHARED)
    return is_right, is_shared


def is_referenced(kernel: Kernel, pfn: int, *, counted: bool) -> bool:
    """Tell whether an entry of a page of a file says that it was used.

    With `counted`, use through a mapping that is read once, in order, is left out.
    """
    number, index = int(kernel.mem.pages.mapping[pfn]), int(kernel.mem.pages.index[pfn])
    for row in kernel.mms.i_mmap.mappings(number):
        inside = index - row[FV_PGOFF]
        if not 0 <= inside < row[FV_NR_PAGES]:
            continue
        if counted and row[FV_FLAGS] & VmFlag.VM_SEQ_READ:
            continue
        pte = pte_at(*kernel.space, row[FV_MM], row[FV_VPN] + inside)
        if pte & PRESENT and (pte & FRAME_MASK) >> FRAME_SHIFT == pfn and pte & ACCESSED:
            return True
    return False
