"""How pages of a file that follow each other on a disk are cut into requests.

Linux: block/bio.c:bio_add_page, block/blk-merge.c:bio_split_rw, 6.1.
A bio has pieces of memory, and pages that are neighbours in memory are one piece. What a disk
takes at a time is limited twice: in bytes, and in segments, of which a long piece is several.
So a file written to memory that was free in one block leaves in fewer, larger requests.
Interface: `bio_pages`, then `split_bio` of those.
Units: pages.
"""

from itertools import pairwise
from typing import Final

import numpy as np

from kernelsim.config.disks import MAX_REQUEST_PAGES, BlockDeviceSpec
from kernelsim.mm.core.mem import I64
from kernelsim.units import PAGE_SIZE

BIO_MAX_VECS: Final = 256  # include/linux/bio.h


def pieces(pfns: I64) -> list[int]:
    """Return how long the runs of neighbours among pages are, in their order."""
    ends = np.flatnonzero(np.diff(pfns) != 1) + 1
    bounds = [0, *ends.tolist(), len(pfns)]
    return [end - start for start, end in pairwise(bounds)]


def bio_pages(pfns: I64) -> int:
    """Return how many of the pages, one or more, fit in one bio.

    Source: Linux 6.1 block/bio.c:bio_add_page, fs/ext4/page-io.c:io_submit_add_bh
    """
    return sum(pieces(pfns)[:BIO_MAX_VECS])


def split_bio(pfns: I64, spec: BlockDeviceSpec) -> list[tuple[int, int]]:
    """Return the requests a bio's pages become: how many pages and segments each has.

    Source: Linux 6.1 block/blk-merge.c:bio_split_rw, :bvec_split_segs
    """
    segment_pages = spec.max_segment_bytes // PAGE_SIZE
    requests, nr_pages, nr_segments = [], 0, 0
    for piece in pieces(pfns):
        left = piece
        while left:
            if nr_pages == MAX_REQUEST_PAGES or nr_segments == spec.max_segments:
                requests.append((nr_pages, nr_segments))
                nr_pages = nr_segments = 0
            taken = min(left, segment_pages, MAX_REQUEST_PAGES - nr_pages)
            nr_pages, nr_segments, left = nr_pages + taken, nr_segments + 1, left - taken
    return [*requests, (nr_pages, nr_segments)]
