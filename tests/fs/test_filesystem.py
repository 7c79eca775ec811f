"""Tests of files on a device: places are given all or none, in runs, and come back."""

import errno

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.fs.filesystem import Filesystem
from kernelsim.fs.inode import HOLE, Extent, Inode
from kernelsim.fs.namespace import Namespace


def places(inode, nr_pages):
    """Look each page up by itself."""
    return [inode.map_blocks(index, 1)[0] for index in range(nr_pages)]


def test_a_new_file_lies_in_one_run():
    """Files get the first run that holds them; what follows goes on where it ended."""
    fs = Filesystem("sda", 10, 110)
    first, second = Inode(1, "/a", "sda"), Inode(2, "/b", "sda")
    assert fs.allocate(first, 0, 20) == 0
    assert fs.allocate(second, 0, 5) == 0
    assert fs.allocate(second, 5, 5) == 0
    assert first.extents == [Extent(0, 20, 10)]
    assert second.extents == [Extent(0, 10, 30)]
    assert second.map_blocks(3, 100) == (33, 7)
    assert second.map_blocks(10, 6) == (HOLE, 6)


def test_no_space_left_changes_nothing():
    """A request that does not fit is refused whole."""
    fs = Filesystem("sda", 0, 10)
    inode = Inode(1, "/a", "sda")
    assert fs.allocate(inode, 0, 8) == 0
    assert fs.allocate(inode, 6, 5) == -errno.ENOSPC
    assert (fs.nr_free, inode.extents) == (2, [Extent(0, 8, 0)])


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 30), st.integers(1, 12)),
        max_size=40,
    )
)
def test_no_page_of_a_device_has_two_owners(steps):
    """Whatever is allocated and released, each page is free or belongs to one place of a file."""
    fs = Filesystem("sda", 0, 64)
    files = [Inode(number, "", "sda") for number in range(4)]
    wanted = [set() for _ in files]
    for is_new, number, index, nr in steps:
        inode = files[number]
        if is_new:
            fits = len(set(range(index, index + nr)) - wanted[number]) <= fs.nr_free
            assert (fs.allocate(inode, index, nr) == 0) == fits
            wanted[number] |= set(range(index, index + nr)) if fits else set()
        else:
            fs.release(inode, index)
            wanted[number] = {page for page in wanted[number] if page < index}
    owned = []
    for inode, pages in zip(files, wanted, strict=True):
        found = places(inode, 60)
        assert {index for index, place in enumerate(found) if place != HOLE} == pages
        owned += [place for place in found if place != HOLE]
    free = [page for start, end in fs.free for page in range(start, end)]
    assert sorted(owned + free) == list(range(64))


def test_names_and_numbers_of_files():
    """A file is found by its path until it is unlinked, and its pages come back when forgotten."""
    names = Namespace({"sda": Filesystem("sda", 0, 100)})
    made = names.create_full("/mnt/a", 5 * 4096 + 1, "sda")
    assert (made.number, made.nr_pages, made.extents) == (1, 6, [Extent(0, 6, 0)])
    assert len(np.unique(made.disk)) == 6
    assert names.create("/mnt/a") == -errno.EEXIST
    assert names.create_full("/mnt/b", 95 * 4096, "sda") == -errno.ENOSPC
    assert sorted(names.inodes) == [1]
    assert names.unlink("/mnt/b") == -errno.ENOENT
    assert names.unlink("/mnt/a") == 0
    names.forget(made)
    assert names.filesystems["sda"].nr_free == 100
