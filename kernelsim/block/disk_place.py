"""Where a request to a disk begins, as the kernel log says it.

Linux: mm/page_io.c:end_swap_bio_write, block/blk-mq.c:blk_update_request, 6.1.
Units: sectors of 512 bytes.
"""

from typing import NamedTuple

from kernelsim.units import SECTORS_PER_PAGE


class DiskPlace(NamedTuple):
    """A sector of a disk.

    Attributes:
        dev: Number of the disk, major << 20 | minor.
        sector: The first of the request.
    """

    dev: int
    sector: int

    def behind(self, page: int) -> str:
        """Say where a page of the request ends: a bio that is done has been advanced that far."""
        sector = self.sector + (page + 1) * SECTORS_PER_PAGE
        return f"{self.dev >> 20}:{self.dev & 0xFFFFF}:{sector}"
