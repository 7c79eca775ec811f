"""A compressed disk in memory: what it holds, and in how many pages.

Linux: drivers/block/zram/zram_drv.c, mm/zsmalloc.c, 6.1.
A page of swap becomes an object of its compressed size. Objects of about the same size share a
zspage of one to four pages, chosen so that little is wasted at its end. A page of zeros takes no
memory, one that does not shrink enough takes a whole page.
# Differs from Linux: All pages of a zram disk but those of zeros compress to the same share.
# Differs from Linux: The zspages of a zram disk are not compacted.
Interface: `room` says how many pages the next object needs, `put` stores one in them, `drop`
forgets one and returns the pages that are free then.
Units: bytes; page frame numbers.
"""

from typing import Final

import attrs

from kernelsim.units import PAGE_SIZE

ZS_MIN_ALLOC_SIZE: Final = 32
ZS_SIZE_CLASS_DELTA: Final = PAGE_SIZE >> 8
ZS_HANDLE_SIZE: Final = 8
ZS_MAX_PAGES_PER_ZSPAGE: Final = 4
HUGE_CLASS_SIZE: Final = 3264  # larger objects are stored as they are; zs_huge_class_size


@attrs.define(eq=False)
class Zspage:
    """Pages that objects of one size share."""

    pfns: tuple[int, ...]
    free: int


def size_class(size: int) -> tuple[int, int]:
    """Return the size of the class an object belongs to, and the pages of its zspages.

    Source: Linux 6.1 mm/zsmalloc.c:get_size_class_index, :get_pages_per_zspage
    """
    wanted = max(size, ZS_MIN_ALLOC_SIZE) - ZS_MIN_ALLOC_SIZE
    steps = -(-wanted // ZS_SIZE_CLASS_DELTA)
    chosen = min(ZS_MIN_ALLOC_SIZE + steps * ZS_SIZE_CLASS_DELTA, PAGE_SIZE)
    used = [
        (100 * (nr * PAGE_SIZE - nr * PAGE_SIZE % chosen) // (nr * PAGE_SIZE), -nr)
        for nr in range(1, ZS_MAX_PAGES_PER_ZSPAGE + 1)
    ]
    return chosen, -max(used)[1]


@attrs.define
class ZramStore:
    """What one zram disk holds.

    Attributes:
        compressed_permille: Size of a page when it is compressed, of its own.
        objects: By slot: its zspage, None for a page of zeros.
        pages: Pages it has.
        pages_max: Most it ever had.
        same_pages: Pages of zeros.
    """

    compressed_permille: int
    objects: dict[int, Zspage | None] = attrs.field(factory=dict)
    pages: int = 0
    pages_max: int = 0
    same_pages: int = 0
    _open: list[Zspage] = attrs.field(factory=list)  # with room, the fullest last

    @property
    def object_size(self) -> int:
        """Bytes that a page takes which is not of zeros."""
        size = PAGE_SIZE * self.compressed_permille // 1000
        return PAGE_SIZE if size >= HUGE_CLASS_SIZE else size

    @property
    def _class(self) -> tuple[int, int]:
        size = self.object_size
        return size_class(size if size == PAGE_SIZE else size + ZS_HANDLE_SIZE)

    def room(self, token: int) -> int:
        """Return how many pages have to be given with the next object, 0 … 4."""
        return 0 if token == 0 or self._open else self._class[1]

    def put(self, slot: int, token: int, pfns: tuple[int, ...]) -> None:
        """Store the page of a slot; `pfns` are as many pages as `room` asked for."""
        assert slot not in self.objects, "a slot is written twice and not freed between"
        if token == 0:
            self.objects[slot] = None
            self.same_pages += 1
            return
        if pfns:
            size, _ = self._class
            self._open.append(Zspage(pfns, len(pfns) * PAGE_SIZE // size))
            self.pages += len(pfns)
            self.pages_max = max(self.pages_max, self.pages)
        zspage = self._open[-1]
        zspage.free -= 1
        if not zspage.free:
            self._open.pop()
        self.objects[slot] = zspage

    def drop(self, slot: int) -> tuple[int, ...]:
        """Forget a slot; return the pages that are free now.

        Source: Linux 6.1 drivers/block/zram/zram_drv.c:zram_slot_free_notify
        """
        zspage = self.objects.pop(slot)
        if zspage is None:
            self.same_pages -= 1
            return ()
        if not zspage.free:
            self._open.append(zspage)
        zspage.free += 1
        if zspage.free < len(zspage.pfns) * PAGE_SIZE // self._class[0]:
            self._open.sort(key=lambda each: -each.free)
            return ()
        self._open.remove(zspage)
        self.pages -= len(zspage.pfns)
        return zspage.pfns

    def mm_stat(self) -> tuple[int, ...]:
        """Return the figures of /sys/block/zram0/mm_stat.

        Source: Linux 6.1 drivers/block/zram/zram_drv.c:mm_stat_show
        """
        stored = len(self.objects)
        compressed = (stored - self.same_pages) * self.object_size
        huge = stored - self.same_pages if self.object_size == PAGE_SIZE else 0
        sizes = (stored * PAGE_SIZE, compressed, self.pages * PAGE_SIZE, 0)
        return (*sizes, self.pages_max * PAGE_SIZE, self.same_pages, 0, huge, huge)
