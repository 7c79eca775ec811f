"""The VMA map of one address space: which page numbers mean what.

Linux: mm/mmap.c, 6.1.
Differs: Holes between the areas of a process are looked for in a sorted list of them, beside the
maple tree in which Linux finds the same ones by the gaps that its nodes keep.

Interface: `VmaMap` knows only intervals and which of them become one; limits and accounting are in
mm_struct.py. A range that came from `remove` keeps no reference to the map.
Units: addresses and lengths in bytes, multiples of PAGE_SIZE; `end` is the first address behind.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Protocol

import attrs

from kernelsim.mm.core.maple_tree import MapleTree
from kernelsim.mm.space.anon_vma import AnonVma, is_mergeable_anon_vma
from kernelsim.mm.space.mmap import TASK_SIZE, VmArea


class MappingsOfMms(Protocol):
    """What wants to know which mappings come and go, above all those of files."""

    def vm_area_alloc(self) -> int:
        """Take a vm_area_struct; return the row of the slab that it lies in."""

    def vm_area_free(self, row: int) -> None:
        """Give one back."""

    def vma_link_file(self, mm: int, vma: VmArea) -> None:
        """Enter a mapping of an address space."""

    def vma_unlink_file(self, mm: int, vma: VmArea) -> None:
        """Remove one."""


@attrs.define
class VmaMap:
    """The mappings of an address space, sorted, never overlapping."""

    areas: list[VmArea] = attrs.Factory(list)
    starts: list[int] = attrs.Factory(list)
    """`areas[i].start`, for bisect."""
    tree: MapleTree[VmArea] = attrs.Factory(MapleTree)
    """The same areas (mm_mt), where that of an address is looked up."""
    task_size: int = TASK_SIZE
    """First address behind those of a process."""
    # Searching from the top: every hole above `hole_cursor` is smaller than `hole_below_bytes`
    # or has been given away. Only `remove` makes holes, so a search may start at the cursor.
    hole_cursor: int = attrs.Factory(lambda self: self.task_size, takes_self=True)
    hole_below_bytes: int = 0
    mm: int = 0
    """Number of the address space."""
    mms: MappingsOfMms | None = None
    """Is told of mappings."""
    rows: list[int] = attrs.Factory(list)
    """Of slabs that vm_area_structs lie in, as many as areas."""
    nr_of_files: int = 0
    """Mappings of files that have a page cache."""

    def __len__(self) -> int:
        return len(self.areas)

    def __iter__(self) -> Iterator[VmArea]:
        return iter(self.areas)

    def find_vma(self, address: int) -> VmArea | None:
        """Return the first mapping that ends above an address; it may start above it too.

        Source: Linux 6.1 mm/mmap.c:find_vma
        """
        return self.tree.find(address)

    def find_vma_intersection(self, start: int, end: int) -> VmArea | None:
        """Return the first mapping that has an address in [start, end)."""
        vma = self.find_vma(start)
        return vma if vma is not None and vma.start < end else None

    def find_vma_prev(self, address: int) -> VmArea | None:
        """Return the last mapping that ends at or below an address."""
        index = self.index_above(address)
        return self.areas[index - 1] if index else None

    def index_above(self, address: int) -> int:
        """Return the position of the first mapping that ends above an address."""
        index = bisect_right(self.starts, address)
        if index and self.areas[index - 1].end > address:
            return index - 1
        return index

    def overlapping(self, start: int, end: int) -> list[VmArea]:
        """Return the pieces of mappings inside [start, end), ascending."""
        pieces: list[VmArea] = []
        if start >= end:
            return pieces
        for index in range(self.index_above(start), bisect_left(self.starts, end)):
            vma = self.areas[index]
            pieces.append(vma.part(max(vma.start, start), min(vma.end, end)))
        return pieces

    def covers(self, start: int, end: int) -> bool:
        """Tell whether every address of [start, end) is mapped."""
        return sum(vma.end - vma.start for vma in self.overlapping(start, end)) == end - start

    def insert(self, vma: VmArea) -> VmArea:
        """Add a new mapping where there is none, as part of its neighbours if that can be.

        The mapping above is looked at first: what lies between two that cannot become one joins it.

        Returns:
            What it became.

        Source: Linux 6.1 mm/mmap.c:mmap_region, :vma_expand
        """
        before, after = self._neighbours(vma.start, vma.end)
        if after is not None and not (
            vma.merges_with(after) and is_mergeable_anon_vma(None, after.anon_vma, after.anon_chain)
        ):
            after = None
        other = after.anon_vma if after is not None else None
        if before is not None and not (
            before.merges_with(vma)
            and is_mergeable_anon_vma(other, before.anon_vma, before.anon_chain)
        ):
            before = None
        return self._join(before, vma, after)

    def append(self, vma: VmArea) -> VmArea:
        """Add to the heap: as part of the mapping below if that can be, never of that above.

        Source: Linux 6.1 mm/mmap.c:do_brk_flags
        """
        before, _ = self._neighbours(vma.start, vma.end)
        if before is not None and not (
            before.merges_with(vma)
            and is_mergeable_anon_vma(None, before.anon_vma, before.anon_chain)
        ):
            before = None
        return self._join(before, vma, None)

    def anon_vma_prepare(self, vma: VmArea) -> VmArea:
        """Let a mapping have an anon_vma, that of a neighbour which may once be one with it.

        Returns:
            The mapping with it.

        Source: Linux 6.1 mm/rmap.c:__anon_vma_prepare, mm/mmap.c:find_mergeable_anon_vma
        """
        if vma.anon_vma is not None:
            return vma
        before, after = self._neighbours(vma.start, vma.end)
        anon_vma = AnonVma()
        if before is not None and before.is_compatible(vma) and len(before.anon_chain) == 1:
            anon_vma = before.anon_chain[0]
        if after is not None and vma.is_compatible(after) and len(after.anon_chain) == 1:
            anon_vma = after.anon_chain[0]
        prepared = attrs.evolve(vma, anon_vma=anon_vma, anon_chain=(anon_vma,))
        index = bisect_left(self.starts, vma.start)
        self.areas[index] = prepared
        self._store(prepared)
        return prepared

    def vma_merge(self, vma: VmArea) -> VmArea | None:
        """Let a piece of a mapping, or a new one, have other flags, as part of its neighbours.

        Returns:
            What they became; None, with nothing done, if it can become part of neither.

        Source: Linux 6.1 mm/mmap.c:vma_merge
        """
        before, after = self._neighbours(vma.start, vma.end)
        if before is not None and not (
            before.merges_with(vma)
            and is_mergeable_anon_vma(vma.anon_vma, before.anon_vma, before.anon_chain)
        ):
            before = None
        if after is not None and not (
            vma.merges_with(after)
            and is_mergeable_anon_vma(vma.anon_vma, after.anon_vma, after.anon_chain)
        ):
            after = None
        if before is None and after is None:
            return None
        if before is not None and after is not None:
            if not is_mergeable_anon_vma(before.anon_vma, after.anon_vma, None):
                after = None
        self.remove(vma.start, vma.end)
        return self._join(before, vma, after)

    def _neighbours(self, start: int, end: int) -> tuple[VmArea | None, VmArea | None]:
        """Return the mapping that ends at `start`, and the one that starts at `end`."""
        index = bisect_left(self.starts, start)
        before = self.areas[index - 1] if index else None
        above = bisect_left(self.starts, end)
        after = self.areas[above] if above < len(self.areas) else None
        return (
            before if before is not None and before.end == start else None,
            after if after is not None and after.start == end else None,
        )

    def _join(self, before: VmArea | None, vma: VmArea, after: VmArea | None) -> VmArea:
        """Put a mapping into a hole, together with those of its neighbours that are given."""
        index = bisect_left(self.starts, vma.start)
        assert not index or self.areas[index - 1].end <= vma.start, "it overlaps the one below"
        is_free = index == len(self.areas) or vma.end <= self.areas[index].start
        assert is_free, "a mapping overlaps the one above"
        whole = [part for part in (before, vma, after) if part is not None]
        first, last = index - (before is not None), index + (after is not None)
        anon = next((part for part in whole if part.anon_vma is not None), vma)
        joined = attrs.evolve(
            whole[0], end=whole[-1].end, anon_vma=anon.anon_vma, anon_chain=anon.anon_chain
        )
        self._replace(first, last, [joined])
        return joined

    def place(self, vma: VmArea) -> VmArea:
        """Put a mapping in place of what is there, joined with none of its neighbours."""
        self.remove(vma.start, vma.end)
        return self._join(None, vma, None)

    def split(self, address: int) -> bool:
        """Cut the mapping in two that an address lies inside of; tell whether there is one.

        Source: Linux 6.1 mm/mmap.c:__split_vma
        """
        index = self.index_above(address)
        if index == len(self.areas) or self.areas[index].start >= address:
            return False
        vma = self.areas[index]
        pieces = [vma.part(vma.start, address), vma.part(address, vma.end)]
        self._replace(index, index + 1, pieces)
        return True

    def _replace(self, first: int, last: int, vmas: list[VmArea]) -> None:
        """Put mappings in place of others."""
        before = [vma for vma in self.areas[first:last] if vma.file_number]
        after = [vma for vma in vmas if vma.file_number]
        self.nr_of_files += len(after) - len(before)
        if self.mms is not None:
            for vma in before:
                self.mms.vma_unlink_file(self.mm, vma)
            for vma in after:
                self.mms.vma_link_file(self.mm, vma)
            nr_kept = min(last - first, len(vmas))
            for row in self.rows[first + nr_kept : last]:
                self.mms.vm_area_free(row)
            self.rows[first + nr_kept : last] = [self.mms.vm_area_alloc() for _ in vmas[nr_kept:]]
        self.areas[first:last] = vmas
        self.starts[first:last] = [vma.start for vma in vmas]
        for vma in vmas:
            self._store(vma)

    def _store(self, vma: VmArea) -> None:
        """Put a mapping into the tree.

        Source: Linux 6.1 mm/mmap.c:vma_mas_store
        """
        self.tree.store(vma.start, vma.end - 1, vma)

    def unmap(self, start: int, end: int) -> list[VmArea]:
        """Remove [start, end); files lead to what was removed until `unlink_file` of each piece."""
        removed = self.remove(start, end)
        if self.mms is not None:
            for vma in removed:
                if vma.file_number:
                    self.mms.vma_link_file(self.mm, vma)
        return removed

    def unlink_file(self, vma: VmArea) -> None:
        """Let its file not lead to a piece any more, whose page-table entries are gone.

        Source: Linux 6.1 mm/mmap.c:unlink_file_vma
        """
        if self.mms is not None and vma.file_number:
            self.mms.vma_unlink_file(self.mm, vma)

    def remove(self, start: int, end: int) -> list[VmArea]:
        """Remove [start, end); mappings at the ends are split. Return the pieces removed.

        Source: Linux 6.1 mm/mmap.c:do_mas_align_munmap
        """
        first, last = self.index_above(start), bisect_left(self.starts, end)
        if first >= last:
            return []
        removed = self.overlapping(start, end)
        kept = []
        if self.areas[first].start < start:
            kept.append(self.areas[first].part(self.areas[first].start, start))
        if self.areas[last - 1].end > end:
            kept.append(self.areas[last - 1].part(end, self.areas[last - 1].end))
        self._replace(first, last, kept)
        self.tree.store(removed[0].start, removed[-1].end - 1, None)
        above = self.find_vma(end)
        self.hole_cursor = max(self.hole_cursor, above.start if above else self.task_size)
        return removed

    def unmapped_area_topdown(self, length: int, low: int, high: int) -> int:
        """Find the highest hole of `length` bytes in [low, high); return its address or 0.

        One right below a stack must leave its guard gap free: what reaches into that is passed
        over, other holes in the gap, too. They are taken if the hole itself is not below a stack.

        Source: Linux 6.1 mm/mmap.c:unmapped_area_topdown
        """
        start = self._highest_hole(length, low, high)
        while start:
            above = self.find_vma(start)
            if above is None or above.start_gap >= start + length:
                return start
            start = self._highest_hole(length, low, above.start_gap)
            self.hole_cursor, self.hole_below_bytes = self.task_size, 0
        return 0

    def _highest_hole(self, length: int, low: int, high: int) -> int:
        """Find the highest hole of `length` bytes in [low, high), also one below a stack; or 0."""
        if length <= self.hole_below_bytes or self.hole_cursor > high:
            self.hole_cursor, self.hole_below_bytes = high, 0
        ceiling = self.hole_cursor
        index = bisect_left(self.starts, ceiling)
        while index >= 0:
            floor = max(self.areas[index - 1].end if index else 0, low)
            if ceiling - floor >= length:
                return ceiling - length
            index -= 1
            if index < 0:
                break
            self.hole_below_bytes = max(self.hole_below_bytes, ceiling - floor)
            self.hole_cursor = ceiling = self.areas[index].start
        return 0

    def unmapped_area_bottomup(self, length: int, low: int, high: int) -> int:
        """Find the lowest hole of `length` bytes in [low, high); return its address or 0."""
        floor = low
        for index in range(self.index_above(low), len(self.areas)):
            if min(self.areas[index].start_gap, high) - floor >= length:
                return floor
            floor = max(floor, self.areas[index].end)
        return floor if high - floor >= length else 0
