"""Which mappings show a file: from a page of the file to where it may be mapped.

Linux: i_mmap of struct address_space (include/linux/fs.h), mm/interval_tree.c, 6.1.
Differs: The mappings of a file are a chain, not an interval tree.

Interface: `IMmap` enters and removes mappings as they come and go; leaves walk its chains through
`Mms.file_vma` and `Mms.i_mmap`. Mappings of files that have no page cache (number 0) are not here.
What is unmapped stays here, piece by piece, until its page-table entries are gone.
Units: virtual page numbers, pages of the file.
"""

from typing import Final

import attrs
import numpy as np

from kernelsim.mm.core.mem import I64, I64_2D
from kernelsim.mm.space.mmap import VmArea

# Columns of Mms.file_vma; row 0 is never a mapping
FV_MM: Final = 0  # number of the address space
FV_VPN: Final = 1  # first page number
FV_NR_PAGES: Final = 2
FV_PGOFF: Final = 3  # page of the file at the first page
FV_FLAGS: Final = 4  # VM_*
FV_NEXT: Final = 5  # next row of the chain of the file, or of free rows; 0 at the end
NR_FV_FIELDS: Final = 6
NR_ROWS_MIN: Final = 8


@attrs.define
class IMmap:
    """The mappings of all files of a machine.

    Attributes:
        vma: A row a mapping, FV_*.
        first: By number of the file, the first row of its chain; 0 for none.
        free: First of the rows that are free.
    """

    vma: I64_2D = attrs.field(factory=lambda: np.zeros((1, NR_FV_FIELDS), np.int64))
    first: I64 = attrs.field(factory=lambda: np.zeros(NR_ROWS_MIN, np.int64))
    free: int = 0

    def link(self, mm: int, vma: VmArea) -> None:
        """Enter a mapping of a file.

        Source: Linux 6.1 mm/mmap.c:__vma_link_file
        """
        number = vma.file_number
        if not self.free:
            self._grow()
        if number >= len(self.first):
            grown = np.zeros(max(2 * len(self.first), number + 1), np.int64)
            grown[: len(self.first)] = self.first
            self.first = grown
        row = self.free
        self.free = int(self.vma[row, FV_NEXT])
        self.vma[row] = (mm, vma.vpn, vma.nr_pages, vma.pgoff, vma.flags, self.first[number])
        self.first[number] = row

    def unlink(self, mm: int, vma: VmArea) -> None:
        """Remove a mapping of a file.

        Source: Linux 6.1 mm/mmap.c:__remove_shared_vm_struct
        """
        number = vma.file_number
        wanted = [mm, vma.vpn, vma.nr_pages, vma.pgoff, int(vma.flags)]
        before, row = 0, int(self.first[number])
        while self.vma[row, FV_MM : FV_FLAGS + 1].tolist() != wanted:
            before, row = row, int(self.vma[row, FV_NEXT])
            assert row, "a mapping of a file is not in its chain"
        after = self.vma[row, FV_NEXT]
        if before:
            self.vma[before, FV_NEXT] = after
        else:
            self.first[number] = after
        self.vma[row] = 0
        self.vma[row, FV_NEXT] = self.free
        self.free = row

    def mappings(self, number: int) -> list[list[int]]:
        """Return the rows of the mappings of a file."""
        found, row = [], int(self.first[number]) if number < len(self.first) else 0
        while row:
            found.append(self.vma[row].tolist())
            row = int(self.vma[row, FV_NEXT])
        return found

    def _grow(self) -> None:
        nr = len(self.vma)
        grown = np.zeros((max(2 * nr, NR_ROWS_MIN), NR_FV_FIELDS), np.int64)
        grown[:nr] = self.vma
        grown[nr:-1, FV_NEXT] = np.arange(nr + 1, len(grown))
        self.vma, self.free = grown, nr
