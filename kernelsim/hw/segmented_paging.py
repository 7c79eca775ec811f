"""Segmentation and paging together: a segment is a page table of its own.

The descriptor says where the page table of a segment is, and how many bytes the segment has; the
page table says where each page is. So a reference makes three accesses: to the segment table, to
the page table, to the data.
Source: the study's section on segmented paging; Multics (A. Bensoussan, C. T. Clingen, R. C. Daley,
The Multics Virtual Memory, CACM 15(5), 1972).
Interface: `SegmentedPaging`. Units: bytes.
"""

import attrs

from kernelsim.hw.paging import PageTable
from kernelsim.hw.segmentation import SegmentTable, Selector
from kernelsim.hw.translation import READ, Translation


@attrs.frozen
class SegmentedPaging:
    """One address space.

    Attributes:
        segments: Their sizes, kinds and privileges; a base is where the page table of it is.
        pages: The page table of each segment, by its index.
    """

    segments: SegmentTable
    pages: dict[int, PageTable]

    def translate(
        self, selector: Selector, offset: int, access: str = READ, *, cpl: int = 3
    ) -> Translation:
        """Translate a logical address; arguments as those of `SegmentTable.translate`."""
        found = self.segments.translate(selector, offset, access, cpl=cpl)
        if found.exception:
            return found
        page = self.pages[selector.index].translate(offset, access, user=cpl != 0)
        return attrs.evolve(page, steps=found.steps + page.steps)
