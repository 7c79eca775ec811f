"""The files of one device: which pages of it are free, and which file has which.

Linux: fs/ext4 (balloc.c, mballoc.c), 6.1; files of mkfs are laid out in one run where there is one.
Differs: Blocks are given out first fit, from the start of the device; there are no block groups.

Interface: a `Filesystem` for each device. `allocate` and `release` change which pages a file has;
all or nothing: no space left is an errno.
Units: pages of the device, bytes for sizes of files.
"""

import errno

import attrs

from kernelsim.fs.inode import HOLE, Extent, Inode


@attrs.define
class Filesystem:
    """The files of a device.

    Attributes:
        device: Name of the disk.
        start_page: Its first page; swap areas lie before it.
        end_page: The page behind its last.
        free: Runs of free pages, as (first, behind the last), rising and apart.
        nr_reserved: Free pages set aside for dirty pages that have no place yet.
    """

    device: str
    start_page: int
    end_page: int
    free: list[tuple[int, int]] = attrs.field(factory=list)
    nr_reserved: int = 0

    def __attrs_post_init__(self) -> None:
        """Begin with no file."""
        if self.start_page < self.end_page:
            self.free = [(self.start_page, self.end_page)]

    @property
    def nr_free(self) -> int:
        """Return the free pages."""
        return sum(end - start for start, end in self.free)

    def reserve(self, nr_pages: int) -> int:
        """Set pages aside for dirty pages without a place; return 0 or -ENOSPC.

        Source: Linux 6.1 fs/ext4/inode.c:ext4_da_reserve_space
        """
        if nr_pages > self.nr_free - self.nr_reserved:
            return -errno.ENOSPC
        self.nr_reserved += nr_pages
        return 0

    def unreserve(self, nr_pages: int) -> None:
        """Let pages go that were set aside: they get their places now, or will not be written.

        Source: Linux 6.1 fs/ext4/inode.c:ext4_da_release_space
        """
        self.nr_reserved -= nr_pages

    def allocate(self, inode: Inode, index: int, nr_pages: int) -> int:
        """Give the pages from `index` on places, those that have none yet.

        Returns:
            0, or -ENOSPC, and then nothing has changed.
        """
        holes = []
        at, end = index, index + nr_pages
        while at < end:
            place, nr = inode.map_blocks(at, end - at)
            if place == HOLE:
                holes.append((at, nr))
            at += nr
        if sum(nr for _, nr in holes) > self.nr_free:
            return -errno.ENOSPC
        for first, nr in holes:
            self._fill(inode, first, nr)
        return 0

    def _fill(self, inode: Inode, index: int, nr_pages: int) -> None:
        goal = next((e.device_page + e.nr_pages for e in inode.extents if e.end == index), -1)
        while nr_pages:
            run = self._choose(goal, nr_pages)
            start, end = self.free[run]
            nr = min(nr_pages, end - start)
            self.free[run : run + 1] = [(start + nr, end)] if start + nr < end else []
            _add_extent(inode.extents, Extent(index, nr, start))
            index, nr_pages, goal = index + nr, nr_pages - nr, start + nr

    def _choose(self, goal: int, nr_pages: int) -> int:
        """Return the free run to take from: the one at the goal, or one that holds all, or any."""
        for number, (start, _) in enumerate(self.free):
            if start == goal:
                return number
        for number, (start, end) in enumerate(self.free):
            if end - start >= nr_pages:
                return number
        return 0

    def release(self, inode: Inode, first: int, end: int | None = None) -> None:
        """Take the pages from `first` on from a file, all or those before `end`."""
        kept = []
        for extent in inode.extents:
            low = min(max(first, extent.index), extent.end)
            high = extent.end if end is None else max(low, min(end, extent.end))
            for start, stop in ((extent.index, low), (high, extent.end)):
                place = extent.device_page + start - extent.index
                if start < stop:
                    kept.append(Extent(start, stop - start, place))
            if low < high:
                place = extent.device_page + low - extent.index
                self._give_back(place, place + high - low)
        inode.extents[:] = kept

    def _give_back(self, start: int, end: int) -> None:
        runs = sorted([*self.free, (start, end)])
        merged = [runs[0]]
        for run in runs[1:]:
            if run[0] == merged[-1][1]:
                merged[-1] = (merged[-1][0], run[1])
            else:
                merged.append(run)
        self.free = merged


def _add_extent(extents: list[Extent], new: Extent) -> None:
    """Enter an extent in its place, as part of the one before it if it goes on there."""
    at = sum(extent.index < new.index for extent in extents)
    before = extents[at - 1] if at else None
    if (
        before is not None
        and before.end == new.index
        and before.device_page + before.nr_pages == new.device_page
    ):
        extents[at - 1] = Extent(before.index, before.nr_pages + new.nr_pages, before.device_page)
    else:
        extents.insert(at, new)
