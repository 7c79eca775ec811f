"""How much is read ahead: the windows of Linux's ondemand algorithm, with nothing but the index."""

import numpy as np
import pytest

from kernelsim.mm.core.xarray import xa_store
from kernelsim.mm.core.xarray_pool import XArrayPool
from kernelsim.mm.file.address_space import AddressSpaces
from kernelsim.mm.file.filemap import page_cache_next_miss, page_cache_prev_miss
from kernelsim.mm.file.readahead import (
    FileRa,
    Window,
    async_readahead,
    forced_windows,
    mmap_read_around,
    sync_readahead,
)

FILE = 1
PFN = 77


class Reader:
    """A program that reads a file of which nothing is cached at first, call by call."""

    def __init__(self, nr_pages=4096):
        self.spaces = AddressSpaces(XArrayPool())
        self.spaces.add(FILE)
        self.spaces.pool.reserve(nr_pages)
        self.cached = set()
        self.marks = set()

    def put(self, window):
        """Enter the pages of a window that are not there yet."""
        for index in range(window.start, window.start + window.nr_pages):
            if index not in self.cached:
                self.cached.add(index)
                xa_store(self.spaces.pool.xa, FILE, index, PFN, 0)
                if index == window.mark:
                    self.marks.add(index)

    def read(self, ra, index, nr=1):
        """Read pages as filemap_read does; return the windows it asked for."""
        asked = []
        for at in range(index, index + nr):
            files, wanted = self.spaces.mappings, index + nr - at
            if at not in self.cached:
                asked.append(sync_readahead(files, FILE, ra, at, wanted))
                self.put(asked[-1])
            if at in self.marks:
                self.marks.remove(at)
                window = async_readahead(files, FILE, ra, at, wanted)
                if window is not None:
                    asked.append(window)
                    self.put(window)
            ra.prev_pos = (at + 1) * 4096
        return asked


def growth(reader, ra, nr_reads, nr=1, stride=1):
    """Read on; return how many pages were cached after each read that brought some."""
    cached = []
    for number in range(nr_reads):
        before = len(reader.cached)
        reader.read(ra, number * stride, nr)
        if len(reader.cached) != before:
            cached.append(len(reader.cached))
    return cached


def test_a_sequential_reader_gets_growing_windows():
    """A cold 4 KiB read brings 16 KiB; then 12, 28, 60, 92 … pages are cached: recorded d06."""
    assert growth(Reader(), FileRa(), 120) == [4, 12, 28, 60, 92, 124, 156]


def test_reads_of_64_kib_get_the_largest_window_at_once():
    """32 pages in front, 32 more at each mark: recorded d06."""
    assert growth(Reader(), FileRa(), 10, nr=16, stride=16) == [32, 64, 96, 128, 160, 192]


def test_a_read_larger_than_the_window_may_take_a_whole_request():
    """256 KiB at a time: 128 pages with the first, then 64 each: recorded d06."""
    assert growth(Reader(), FileRa(), 6, nr=64, stride=64) == [128, 192, 256, 320, 384, 448]


def test_random_and_strided_reads_bring_what_they_ask_for():
    """Only the read at the start of the file brings more: recorded d06, steps of 1 MiB."""
    assert growth(Reader(), FileRa(), 10, stride=256) == [4, *range(5, 14)]


def test_backward_reads_bring_what_they_ask_for():
    """The page before the last one read is no sequential read."""
    reader, ra = Reader(), FileRa()
    for index in range(400, 380, -1):
        assert reader.read(ra, index) == [Window(index, 1, -1)]


def test_interleaved_streams_are_recognised_by_their_traces():
    """Two streams of one open file spoil each other's state; pages cached before a miss tell."""
    reader, ra = Reader(), FileRa()
    for step in range(40):
        reader.read(ra, 100 + step)
        reader.read(ra, 1000 + step)
    brought = [sum(start <= page < start + 900 for page in reader.cached) for start in (100, 1000)]
    assert min(brought) > 60  # far more than the 40 that were read


def test_a_stream_from_the_start_of_the_file_is_read_twice_as_far():
    """History that reaches to page 0 counts twice."""
    reader = Reader()
    reader.put(Window(0, 6, -1))
    ra = FileRa(prev_pos=900 * 4096)
    assert reader.read(ra, 6) == [Window(6, 13, 18)]


def test_without_readahead_each_page_is_read_alone():
    """ra_pages 0, as read_ahead_kb 0 has it."""
    assert growth(Reader(), FileRa(ra_pages=0), 3) == [1, 2, 3]


def test_a_forced_range_is_cut_to_one_request():
    """POSIX_FADV_WILLNEED reads no more than the device takes in one request."""
    assert forced_windows(10, 100, 32) == [Window(10, 100, -1)]
    assert forced_windows(0, 5000, 32) == [Window(0, 320, -1)]


@pytest.mark.parametrize("seed", range(5))
def test_misses_are_found_as_by_looking_one_by_one(seed):
    """The first gap upwards and downwards, or the index behind the range."""
    reader, rng = Reader(), np.random.default_rng(seed)
    for index in rng.integers(0, 90, 60).tolist():
        reader.put(Window(index, 1, -1))
    files = reader.spaces.mappings
    for index in range(90):
        up = next((at for at in range(index, index + 16) if at not in reader.cached), index + 16)
        assert page_cache_next_miss(files, FILE, index, 16) == up
        low = max(index - 16, -1)
        down = next((at for at in range(index, low, -1) if at not in reader.cached), low)
        assert page_cache_prev_miss(files, FILE, index, 16) == down


def test_a_mapping_reads_around_a_page():
    """Half of the window lies before the page, none before the file; the last quarter is ahead."""
    ra = FileRa()
    assert mmap_read_around(ra, 100) == Window(84, 32, 108)
    assert (ra.start, ra.size, ra.async_size) == (84, 32, 8)
    assert mmap_read_around(ra, 3) == Window(0, 32, 24)


def test_a_window_that_is_larger_than_it_may_be_shrinks():
    """A mark that no window expects: what is left behind it and what is wanted, up to 32 pages."""
    reader = Reader()
    reader.put(Window(0, 32, 24))
    ra = FileRa(start=2032, size=32, async_size=8)
    files = reader.spaces.mappings
    assert async_readahead(files, FILE, ra, 24, 32) == Window(32, 32, 32)
