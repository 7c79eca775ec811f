"""How much of a file to read ahead of a reader.

Linux: mm/readahead.c (6.1, with the fixes of its stable series).

A file that is read from its start, or on from where the last read ended, gets a window of pages;
one page in it is marked. A reader that comes to the mark starts the next window, twice as large,
before it needs it. Small reads elsewhere are served as they are, unless the cached pages before
them show that a stream came along there.

    |<----------------- size ------------------>|
    |==================#========================|
    ^start             ^marked    |<-async_size->

Interface: an open file has a `FileRa`. `sync_readahead` is asked at a page that is not cached,
`async_readahead` at one that is marked; both return the window to read, or None.
Units: pages; bytes for positions.
"""

from typing import Final, NamedTuple

import attrs

from kernelsim.hw.leaf import leaf
from kernelsim.mm.file.address_space import FileMappings
from kernelsim.mm.file.filemap import page_cache_next_miss, page_cache_prev_miss

VM_READAHEAD_PAGES: Final = 32  # read_ahead_kb 128; include/linux/mm.h
FORCED_CHUNK_PAGES: Final = 512  # 2 MiB
MMAP_LOTSAMISS: Final = 100  # then a mapping is not read around any more; mm/filemap.c
BLK_DEF_MAX_SECTORS: Final = 2560  # include/linux/blkdev.h; max_sectors_kb 1280
IO_PAGES: Final = BLK_DEF_MAX_SECTORS >> 3  # bdi->io_pages


@attrs.define
class FileRa:
    """Readahead state of an open file; Linux's `struct file_ra_state`.

    Attributes:
        start: First page of the last window.
        size: Its length.
        async_size: Pages behind its mark.
        ra_pages: Largest window; 0 for no readahead.
        prev_pos: Where the last read ended, in bytes; -1 for none yet.
        mmap_miss: Faults of mappings that found no page, less those that found one.
    """

    start: int = 0
    size: int = 0
    async_size: int = 0
    ra_pages: int = VM_READAHEAD_PAGES
    prev_pos: int = -1
    mmap_miss: int = 0


class Window(NamedTuple):
    """Pages to read; that at `mark` gets marked, if it is not cached yet; -1 for none."""

    start: int
    nr_pages: int
    mark: int


def get_init_ra_size(size: int, largest: int) -> int:
    """Return the first window for a read of `size` pages.

    Source: Linux 6.1 mm/readahead.c:get_init_ra_size
    """
    newsize = 1 << (size - 1).bit_length()
    if newsize <= largest // 32:
        return newsize * 4
    return newsize * 2 if newsize <= largest // 4 else largest


@leaf
def get_next_ra_size(size: int, largest: int) -> int:
    """Return the window after one of a size.

    Source: Linux 6.1 mm/readahead.c:get_next_ra_size
    """
    if size < largest // 16:
        return 4 * size
    return 2 * size if size <= largest // 2 else largest


def sync_readahead(
    files: FileMappings, number: int, ra: FileRa, index: int, nr_wanted: int
) -> Window:
    """Choose the window for a read that found its page missing.

    Args:
        files: All files.
        number: The file.
        ra: Of the open file.
        index: The page.
        nr_wanted: Pages the read wants from there on.

    Source: Linux 6.1 mm/readahead.c:page_cache_sync_ra, :ondemand_readahead
    """
    if not ra.ra_pages:
        return Window(index, 1, -1)
    largest = largest_window(ra.ra_pages, nr_wanted)
    if is_expected(ra.start, ra.size, ra.async_size, index):
        return _next_window(ra, index, largest)
    previous = ra.prev_pos >> 12 if ra.prev_pos >= 0 else -2
    is_sequential = 0 <= index - previous <= 1
    if index and nr_wanted <= largest and not is_sequential:
        if _try_context_readahead(files, number, ra, index, nr_wanted, largest):
            return _window(ra, index, largest)
        return Window(index, nr_wanted, -1)  # a small read of its own
    return _initial_window(ra, index, nr_wanted, largest)


def async_readahead(
    files: FileMappings, number: int, ra: FileRa, index: int, nr_wanted: int
) -> Window | None:
    """Choose the window for a read that came to a marked page.

    Source: Linux 6.1 mm/readahead.c:page_cache_async_ra, :ondemand_readahead
    """
    if not ra.ra_pages:
        return None
    largest = largest_window(ra.ra_pages, nr_wanted)
    if not index:
        return _initial_window(ra, index, nr_wanted, largest)
    if is_expected(ra.start, ra.size, ra.async_size, index):
        return _next_window(ra, index, largest)
    start = page_cache_next_miss(files, number, index + 1, largest)
    if start - index > largest:
        return None
    ra.start = start
    ra.size = start - index + nr_wanted  # what was ahead of the mark, and what is wanted
    ra.size = ra.async_size = get_next_ra_size(ra.size, largest)
    return _window(ra, index, largest)


def mmap_read_around(ra: FileRa, index: int) -> Window:
    """Return the window around a page that a mapping needs and that is not cached.

    Source: Linux 6.1 mm/filemap.c:do_sync_mmap_readahead
    """
    ra.start = max(0, index - ra.ra_pages // 2)
    ra.size, ra.async_size = ra.ra_pages, ra.ra_pages // 4
    return Window(ra.start, ra.size, ra.start + ra.size - ra.async_size)


def forced_windows(index: int, nr_wanted: int, ra_pages: int) -> list[Window]:
    """Cut a range that is to be read whatever the state of the file into pieces.

    Source: Linux 6.1 mm/readahead.c:force_page_cache_ra
    """
    nr = min(nr_wanted, max(IO_PAGES, ra_pages))
    return [
        Window(at, min(FORCED_CHUNK_PAGES, index + nr - at), -1)
        for at in range(index, index + nr, FORCED_CHUNK_PAGES)
    ]


@leaf
def largest_window(ra_pages: int, nr_wanted: int) -> int:
    """Return the most pages that one window may have: a large read may take a whole request."""
    if nr_wanted > ra_pages and ra_pages < IO_PAGES:
        return min(nr_wanted, IO_PAGES)
    return ra_pages


@leaf
def is_expected(start: int, size: int, async_size: int, index: int) -> bool:
    """Tell whether a reader comes to a page that says it goes on after its last window."""
    return index != 0 and (index == start + size - async_size or index == start + size)


@leaf
def next_window(start: int, size: int, index: int, largest: int) -> tuple[int, int, int]:
    """Return the window behind one: its start, its length, and how many lie behind its mark.

    Source: Linux 6.1 mm/readahead.c:ondemand_readahead
    """
    start += size
    size = max(size, get_next_ra_size(size, largest))
    if index == start:
        size, async_size = grown_window(size, largest)
        return start, size, async_size
    return start, size, size


@leaf
def grown_window(size: int, largest: int) -> tuple[int, int]:
    """Return a window with the next one, which its reader is about to need: length, behind mark.

    Source: Linux 6.1 mm/readahead.c:ondemand_readahead
    """
    more = get_next_ra_size(size, largest)
    if size + more <= largest:
        return size + more, more
    return largest, largest >> 1


def _next_window(ra: FileRa, index: int, largest: int) -> Window:
    """Go on where the last window ended; one that is larger than it may be keeps its size.

    Source: Linux 6.1 (stable) mm/readahead.c:ondemand_readahead
    """
    ra.start, ra.size, ra.async_size = next_window(ra.start, ra.size, index, largest)
    return Window(ra.start, ra.size, ra.start + ra.size - ra.async_size)


def _initial_window(ra: FileRa, index: int, nr_wanted: int, largest: int) -> Window:
    ra.start = index
    ra.size = get_init_ra_size(nr_wanted, largest)
    ra.async_size = ra.size - nr_wanted if ra.size > nr_wanted else ra.size
    return _window(ra, index, largest)


def _try_context_readahead(
    files: FileMappings, number: int, ra: FileRa, index: int, nr_wanted: int, largest: int
) -> bool:
    """Set a window if the cached pages before a read look like the traces of a stream.

    Source: Linux 6.1 mm/readahead.c:try_context_readahead, :count_history_pages
    """
    size = index - 1 - page_cache_prev_miss(files, number, index - 1, largest)
    if size <= nr_wanted:
        return False
    if size >= index:  # cached from the beginning of the file: it will be read whole
        size *= 2
    ra.start = index
    ra.size = min(size + nr_wanted, largest)
    ra.async_size = 1
    return True


def _window(ra: FileRa, index: int, largest: int) -> Window:
    """Return the window, grown by the next one if the reader is about to come to its mark."""
    if index == ra.start and ra.size == ra.async_size:
        ra.size, ra.async_size = grown_window(ra.size, largest)
    return Window(ra.start, ra.size, ra.start + ra.size - ra.async_size)
