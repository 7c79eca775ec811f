"""Size classes of gperftools' tcmalloc.

Interface: `SizeMap`, `K_PAGE_SHIFT`, `K_PAGE_SIZE`, `K_MAX_SIZE`.
Source: gperftools 2.10 src/common.cc (SizeMap::Init), src/common.h.
"""

from typing import Final

K_PAGE_SHIFT: Final = 13  # tcmalloc's own pages, of 8 KiB
K_PAGE_SIZE: Final = 1 << K_PAGE_SHIFT
K_MAX_SIZE: Final = 256 * 1024  # larger blocks are spans of pages
K_ALIGNMENT: Final = 8
K_MIN_ALIGN: Final = 16  # of blocks of 16 bytes and more
FINE_STEPS_FROM: Final = 128  # from here on eight steps a doubling
K_MAX_SMALL_SIZE: Final = 1024  # up to here the table of classes has an entry every 8 bytes
MOVED_BYTES: Final = 64 * 1024  # about so much goes between thread cache and central list
MOVED_OBJECTS_MAX: Final = 32  # TCMALLOC_TRANSFER_NUM_OBJ
WASTE_SHIFT: Final = 3  # at most an eighth of a span is left over


class SizeMap:
    """From a request to its class, and what belongs to a class.

    Attributes:
        sizes: Block size of each class in bytes; class 0 is none.
        span_pages: Pages a span of the class has.
        num_to_move: Blocks that go between thread cache and central list at once.
        class_of: The class of a request, by `(n + 7) >> 3` up to 1024 bytes and by
            `(n + 127 + (120 << 7)) >> 7` above.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = [0]
        self.span_pages: list[int] = [0]
        size = K_ALIGNMENT
        while size <= K_MAX_SIZE:
            self._add(size)
            size += _alignment(size)
        self.num_to_move = [0, *(_num_move_size(size) for size in self.sizes[1:])]
        self.class_of = self._table()

    def _add(self, size: int) -> None:
        """Make a class, or widen the last one if its spans would hold no more blocks anyway."""
        nr_bytes = K_PAGE_SIZE
        while nr_bytes % size > nr_bytes >> WASTE_SHIFT or nr_bytes // size < (
            _num_move_size(size) // 4
        ):
            nr_bytes += K_PAGE_SIZE
        nr_pages = nr_bytes >> K_PAGE_SHIFT
        if nr_pages == self.span_pages[-1] and nr_bytes // size == nr_bytes // self.sizes[-1]:
            self.sizes[-1] = size
        else:
            self.sizes.append(size)
            self.span_pages.append(nr_pages)

    def _table(self) -> list[int]:
        table: list[int] = []
        for cl, size in enumerate(self.sizes[1:], 1):
            while len(table) <= class_index(size):
                table.append(cl)
        return table


def class_index(nr_bytes: int) -> int:
    """Return where the table has the class of a request of at most K_MAX_SIZE bytes."""
    if nr_bytes <= K_MAX_SMALL_SIZE:
        return (nr_bytes + 7) >> 3
    return (nr_bytes + 127 + (120 << 7)) >> 7


def _alignment(size: int) -> int:
    """Return how far the next size is away, which is also what blocks are aligned to."""
    if size >= FINE_STEPS_FROM:
        return min((1 << (size.bit_length() - 1)) >> 3, K_PAGE_SIZE)
    return K_MIN_ALIGN if size >= K_MIN_ALIGN else K_ALIGNMENT


def _num_move_size(size: int) -> int:
    return min(max(MOVED_BYTES // size, 2), MOVED_OBJECTS_MAX)
