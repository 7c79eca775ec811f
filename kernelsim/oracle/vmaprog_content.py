"""What the pages of recorded programs hold, byte by byte.

A page of the machine holds a token, which says who stored to it last. Here each token stands for
the bytes of a page: what a store finds is looked up, and what it leaves is kept under its token.
Interface: `Contents`; `page_token` says what a program would find at a page now.
Units: virtual page numbers, bytes.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.page_cache import file_token
from kernelsim.fs.file import OpenFile
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import _PAGE_PRESENT, maps_page, pte_at, pte_pfn, pte_swap_slot
from kernelsim.mm.swap.gup import slot_token
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

FIRST_WORD: Final = 0xF_0000_0000  # a fresh file's word holds this and its offset
_NO_BYTES: Final = bytes(PAGE_SIZE)


class Contents:
    """The bytes each token stands for; 0 is a page of zeros."""

    def __init__(self) -> None:
        self._bytes: dict[int, bytes] = {0: _NO_BYTES}

    def of(self, token: int) -> bytes:
        """Return the bytes of a page that holds a token."""
        found = self._bytes.get(token)
        if found is None:
            raise AssertionError("a store whose bytes nobody has kept")
        return found

    def fresh(self, offset: int) -> bytes:
        """Return what a page of a fresh file holds: in each word its own offset, and a mark."""
        words = np.arange(PAGE_SIZE // 8, dtype=np.uint64) * 8 + offset + FIRST_WORD
        return words.astype("<u8").tobytes()

    def store(self, before: int, after: int, offset: int, data: bytes) -> None:
        """Keep what a store left under its token: what it found, with other bytes at an offset."""
        page = self.of(before)
        self._bytes[after] = page[:offset] + data + page[offset + len(data) :]


def page_token(kernel: Kernel, mm: MmStruct, vpn: int) -> int:
    """Return what a load from a page would find now, without making it."""
    pte = pte_at(*kernel.space, mm.number, vpn)
    if maps_page(pte):
        return int(kernel.mem.pages.token[pte_pfn(pte)])
    if pte & _PAGE_PRESENT:
        return 0
    if pte:
        return slot_token(kernel.mem, kernel.swap, pte_swap_slot(pte))
    vma = mm.map.find_vma_intersection(vpn << PAGE_SHIFT, (vpn + 1) << PAGE_SHIFT)
    if vma is None or vma.file is None or not isinstance(vma.file.opened, OpenFile):
        return 0
    return file_token(kernel, vma.file.opened.inode, vma.index_of(vpn))
