"""In which order dirty files are written."""

import pytest

from kernelsim.fs.fs_writeback import (
    LONG_MAX,
    DirtyInodes,
    WbReason,
    WbWork,
    WritebackControl,
)
from kernelsim.fs.inode import Inode
from kernelsim.mm.file.backing_dev import BdiWriteback, WbDomain


@pytest.fixture
def dirty() -> DirtyInodes:
    """Return queues with files 1, 2, 3 that became dirty at 10, 20, 30."""
    queues = DirtyInodes()
    for number in (1, 2, 3):
        queues.mark_inode_dirty(Inode(number, f"/f{number}", "sda"), 10 * number)
    return queues


def numbers(queue) -> list[int]:
    """List the files of a queue, the one that is next first."""
    return [inode.number for inode in reversed(queue)]


def test_the_first_dirty_file_of_a_device_is_told():
    """Only the first dirty file of a device sets its flusher's timer; being dirty again is none."""
    queues, one, other = DirtyInodes(), Inode(1, "/a", "sda"), Inode(2, "/b", "sda")
    assert queues.mark_inode_dirty(one, 5)
    assert not queues.mark_inode_dirty(one, 6)
    assert not queues.mark_inode_dirty(other, 7)
    assert one.dirtied_when == 5


def test_old_files_come_first(dirty):
    """What has been dirty for long enough is queued, the oldest first."""
    assert dirty.queue_io(20) == 2
    assert numbers(dirty.b_io) == [1, 2]
    assert numbers(dirty.b_dirty) == [3]


def test_what_was_written_in_part_goes_on_whatever_its_age(dirty):
    """A file whose slice was used up comes before those that are old, and needs not be old."""
    dirty.queue_io(30)
    young = dirty.b_io[0]
    dirty.requeue_inode(young, WritebackControl(), 0, 40, has_dirty_pages=True)
    for inode in list(reversed(dirty.b_io)):
        dirty.redirty_tail(inode, 40)
    dirty.queue_io(10)
    assert numbers(dirty.b_io) == [3, 1]


def test_a_clean_file_leaves_the_queues(dirty):
    """A file that is clean after its turn is in no queue."""
    dirty.queue_io(10)
    inode = dirty.b_io[-1]
    inode.is_dirty = False
    dirty.requeue_inode(inode, WritebackControl(), 5, 40, has_dirty_pages=False)
    assert inode.io_list is None
    assert numbers(dirty.b_io) == []


def test_a_file_dirtied_while_it_is_queued_keeps_its_place(dirty):
    """Its writer finds it dirty when it is done; it then is as old as the queue allows."""
    dirty.queue_io(10)
    inode = dirty.b_io[-1]
    inode.is_dirty = False
    assert not dirty.mark_inode_dirty(inode, 35)
    assert numbers(dirty.b_io) == [1]
    dirty.requeue_inode(inode, WritebackControl(), 5, 40, has_dirty_pages=True)
    assert numbers(dirty.b_dirty) == [2, 3, 1]
    assert inode.dirtied_when == 40


def test_a_sync_does_not_meet_the_same_file_twice(dirty):
    """A file that is dirty again after a sync wrote it counts as newly dirty."""
    dirty.queue_io(LONG_MAX)
    inode = dirty.b_io[-1]
    dirty.requeue_inode(inode, WritebackControl(is_sync=True), 0, 50, has_dirty_pages=False)
    assert inode.dirtied_when == 50


def test_a_turn_is_half_a_second_of_writing_at_most_an_eighth_of_the_limit():
    """25600 pages/s and a limit of 21264: 2658 pages, rounded up past the next 1024."""
    wb, dom = BdiWriteback("8:0"), WbDomain(dirty_limit=21264)
    work = WbWork(reason=WbReason.WB_REASON_BACKGROUND, for_background=True)
    assert work.chunk_size(wb, dom) == 3072
    dom.dirty_limit = 1 << 20
    assert work.chunk_size(wb, dom) == 13 * 1024
    work.nr_pages = 7
    assert work.chunk_size(wb, dom) == 1024
    sync = WbWork(reason=WbReason.WB_REASON_SYNC, is_sync=True)
    assert sync.chunk_size(wb, dom) == LONG_MAX
