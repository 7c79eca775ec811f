"""What the kernel knows of the cached pages of each file.

Linux: struct address_space (include/linux/fs.h), 6.1.

Interface: `AddressSpaces`, a row of `rows` and a tree of `pool.xa` for each file, under the file's
number; leaves take `*spaces.arrays`. A page of a file has the number in `Pages.mapping`, and its
place in the file in `Pages.index`.
Units: pages.
"""

from typing import Final, NamedTuple

import attrs
import numpy as np

from kernelsim.mm.core.mem import I64_2D
from kernelsim.mm.core.xarray import XArray
from kernelsim.mm.core.xarray_pool import XArrayPool

# Columns of FileMappings.row
AS_NRPAGES: Final = 0  # cached pages
AS_SWAPPED: Final = 1  # pages of shared memory that are in swap instead
NR_SPACE_FIELDS: Final = 2
NR_SPACES_MIN: Final = 8

SWAP_SPACE: Final = 0  # number of the swap cache, whose indexes are slots
_INDEX_BITS: Final = 36  # of a key, see XA_LEVELS_MAX


class FileMappings(NamedTuple):
    """What leaves need to know of all files; valid until one is made or cached: ask afresh."""

    xa: XArray  # trees by number of the file
    row: I64_2D  # [number, AS_*]


@attrs.define
class AddressSpaces:
    """The address spaces of all files of a machine."""

    pool: XArrayPool
    row: I64_2D = attrs.field(factory=lambda: np.zeros((NR_SPACES_MIN, NR_SPACE_FIELDS), np.int64))

    @property
    def mappings(self) -> FileMappings:
        """Return the arrays, as they are now."""
        return FileMappings(self.pool.xa, self.row)

    def add(self, number: int) -> None:
        """Make sure a file of a number has an address space."""
        self.pool.add_tree(number)
        if number >= len(self.row):
            grown = np.zeros((max(2 * len(self.row), number + 1), NR_SPACE_FIELDS), np.int64)
            grown[: len(self.row)] = self.row
            self.row = grown

    def nrpages(self, number: int) -> int:
        """Return the cached pages of a file."""
        return int(self.row[number, AS_NRPAGES])

    def swapped(self, number: int) -> int:
        """Return the pages of a file of shared memory that are in swap."""
        return int(self.row[number, AS_SWAPPED])


def page_key(space: int, index: int) -> int:
    """Return the key of a page of a file."""
    return space << _INDEX_BITS | index


def space_and_index(key: int) -> tuple[int, int]:
    """Return whose page a key is, and which one."""
    return key >> _INDEX_BITS, key & (1 << _INDEX_BITS) - 1
