"""Tests of the requests that pages of a file become."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.block.bio import BIO_MAX_VECS, bio_pages, split_bio
from kernelsim.config.disks import MAX_REQUEST_PAGES, UNLIMITED_SEGMENT_BYTES, BlockDeviceSpec
from kernelsim.units import PAGE_SIZE

VIRTIO = BlockDeviceSpec(
    name="vda", max_segments=254, max_segment_bytes=UNLIMITED_SEGMENT_BYTES
)  # a disk of the recorded machines
SATA = BlockDeviceSpec(name="sda")


def test_neighbours_in_memory_leave_in_requests_of_1280_kb():
    """An 8 MiB extent: six and a rest, as block_split shows on a recorded machine."""
    pfns = np.arange(5000, 5000 + 2048)
    assert bio_pages(pfns) == 2048
    assert split_bio(pfns, VIRTIO) == [(320, 1)] * 6 + [(128, 1)]


def test_scattered_pages_fill_the_segments_first():
    """Each page is a piece: a bio holds 256 of them, a request of the recorded disk 254."""
    pfns = np.arange(0, 2 * 600, 2)
    assert bio_pages(pfns) == BIO_MAX_VECS
    assert split_bio(pfns[:BIO_MAX_VECS], VIRTIO) == [(254, 254), (2, 2)]


def test_a_long_piece_is_several_segments_of_a_sata_disk():
    """64 KiB each: a request of 1280 KiB has 20."""
    assert split_bio(np.arange(400), SATA) == [(320, 20), (80, 5)]


def naive_split(pfns, spec):
    """Take page by page, as long as the request so far has room for it."""
    requests, pages, segments, length = [], 0, 0, 0
    for i, pfn in enumerate(pfns):
        follows = i > 0 and pages > 0 and pfn == pfns[i - 1] + 1
        grows = follows and (length + 1) * PAGE_SIZE <= spec.max_segment_bytes
        if pages == MAX_REQUEST_PAGES or (not grows and segments == spec.max_segments):
            requests.append((pages, segments))
            pages, segments, grows = 0, 0, False
        pages, segments, length = pages + 1, segments + (not grows), length + 1 if grows else 1
    return [*requests, (pages, segments)]


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 3)), min_size=1, max_size=40),
    st.sampled_from((1, 2, 16, 1 << 19)),
    st.integers(1, 30),
)
def test_requests_are_those_of_a_page_by_page_model(runs, segment_pages, max_segments):
    """Whatever runs of neighbours there are; nothing is lost."""
    pfns, at = [], 0
    for length, gap in runs:
        pfns += range(at, at + length)
        at += length + gap
    spec = BlockDeviceSpec(
        name="vda", max_segments=max_segments, max_segment_bytes=segment_pages * PAGE_SIZE
    )
    requests = split_bio(np.array(pfns), spec)
    assert requests == naive_split(pfns, spec)
    assert sum(pages for pages, _ in requests) == len(pfns)


@pytest.mark.parametrize("nr", [1, 5])
def test_a_few_pages_are_one_request(nr):
    """However they lie."""
    assert split_bio(np.arange(0, 3 * nr, 3), SATA) == [(nr, nr)]
