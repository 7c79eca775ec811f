"""Invariants of dirty pages: flags, marks, counters, queues and room on the device agree.

Interface: `check_dirty` lists what is wrong. `check_kept` compares what no page holds any more with
the device: what a program wrote must be there.
Cost: a pass over the nodes of all trees and the pages of files.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.lru import count_by_node, count_by_zone
from kernelsim.check.page_cache import FileContents, pages_of_files
from kernelsim.check.tables import cut_short
from kernelsim.mm.core.mem import I64, Mem, PG_dirty, PG_swapbacked, PG_writeback
from kernelsim.mm.core.vmstat import NR_DIRTIED, NR_DIRTY, NR_ZONE_WRITE_PENDING
from kernelsim.mm.core.xarray import (
    PAGECACHE_TAG_DIRTY,
    PAGECACHE_TAG_TOWRITE,
    PAGECACHE_TAG_WRITEBACK,
    XA_CHUNK_SIZE,
    XN_COUNT,
    XN_OFFSET,
    XN_PARENT,
    XN_SHIFT,
    XArray,
)

NAMES = {
    PAGECACHE_TAG_DIRTY: "dirty",
    PAGECACHE_TAG_WRITEBACK: "under writeback",
    PAGECACHE_TAG_TOWRITE: "to be written",
}


def check_dirty(mem: Mem, kernel: Kernel) -> list[str]:
    """Return what is wrong with dirty pages, one line each.

    Args:
        mem: The machine's memory, its counters without those of boot.
        kernel: The machine.
    """
    flags = mem.pages.flags
    of_files = pages_of_files(mem)
    dirty = of_files[flags[of_files] & np.uint32(PG_dirty) != 0]
    files_writing = of_files[flags[of_files] & np.uint32(PG_writeback) != 0]
    writing = np.flatnonzero(flags & np.uint32(PG_writeback) != 0)
    return [
        *check_marks(mem, kernel.spaces.pool.xa),
        *check_counters(mem, dirty, writing),
        *check_devices(mem, kernel, dirty, files_writing),
        *check_room(mem, kernel, np.union1d(dirty, files_writing)),
    ]


def check_marks(mem: Mem, xa: XArray) -> Iterator[str]:
    """Check that pages are marked as their flags say, and nodes as those below them."""
    rows = np.flatnonzero(xa.node[:, XN_COUNT])
    lowest = rows[xa.node[rows, XN_SHIFT] == 0]
    flags = np.where(xa.slots[lowest] > 0, mem.pages.flags[np.maximum(xa.slots[lowest], 0)], 0)
    wanted = {
        # Memory that is shared is written to no device, and has no marks.
        PAGECACHE_TAG_DIRTY: (flags & PG_dirty != 0) & (flags & PG_swapbacked == 0),
        PAGECACHE_TAG_WRITEBACK: flags & PG_writeback != 0,
    }
    for mark, name in NAMES.items():
        bits = mark_bits(xa, lowest, mark)
        if mark in wanted:
            wrong = int(np.count_nonzero(bits != wanted[mark]))
            if wrong:
                yield f"{wrong} pages of files are {name} by flag or by mark, not by both"
        elif (bits & ~wanted[PAGECACHE_TAG_DIRTY]).any():
            yield "pages of files are marked to be written, and are not dirty"
        below = rows[xa.node[rows, XN_PARENT] != 0]
        parent = xa.node[below, XN_PARENT]
        seat = mark_bits(xa, parent, mark)[np.arange(len(below)), xa.node[below, XN_OFFSET]]
        if (seat != (xa.marks[below, mark] != 0)).any():
            yield f"nodes of a page cache disagree about what is {name} below them"


def mark_bits(xa: XArray, rows: I64, mark: int) -> np.ndarray:
    """Return which slots of nodes have a mark, shape (rows, slots)."""
    shifts = np.arange(XA_CHUNK_SIZE, dtype=np.uint64)
    bits: np.ndarray = xa.marks[rows, mark][:, None] >> shifts & np.uint64(1) != 0
    return bits


def check_counters(mem: Mem, dirty: I64, writing: I64) -> Iterator[str]:
    """Check what nodes and zones count."""
    for nid in np.flatnonzero(count_by_node(mem, dirty) != mem.node_stat[:, NR_DIRTY]).tolist():
        counted, found = mem.node_stat[nid, NR_DIRTY], count_by_node(mem, dirty)[nid]
        yield f"node {nid}: nr_dirty is {counted}, {found} pages are dirty"
    pending = count_by_zone(mem, dirty) + count_by_zone(mem, writing)
    counted = mem.zone_stat[:, NR_ZONE_WRITE_PENDING]
    for zone in np.flatnonzero(pending != counted).tolist():
        yield f"zone {zone}: nr_zone_write_pending is {counted[zone]}, found {pending[zone]}"


def check_devices(mem: Mem, kernel: Kernel, dirty: I64, writing: I64) -> Iterator[str]:
    """Check what each device counts, and that dirty files are in its queues."""
    limit = len(kernel.spaces.row)
    by_file = [np.bincount(mem.pages.mapping[pfns], minlength=limit) for pfns in (dirty, writing)]
    for name, bdi in kernel.backing_devs.items():
        own = [inode for inode in kernel.files.inodes.values() if inode.device == name]
        found = [sum(int(counts[inode.number]) for inode in own) for counts in by_file]
        # Pages that a task has taken and not accounted yet are in between: no await parts the two.
        if (bdi.wb.nr_reclaimable, bdi.wb.nr_writeback) != (found[0], found[1]):
            counted = f"{bdi.wb.nr_reclaimable} dirty and {bdi.wb.nr_writeback} being written"
            yield f"{name} counts {counted}, found {found[0]} and {found[1]}"
        queues = (bdi.dirty.b_dirty, bdi.dirty.b_io, bdi.dirty.b_more_io)
        for inode in own:
            queued = [queue for queue in queues if any(each is inode for each in queue)]
            wanted = [] if inode.io_list is None else [inode.io_list]
            if len(queued) != len(wanted) or any(
                queue is not want for queue, want in zip(queued, wanted, strict=True)
            ):
                yield f"file {inode.number} is not in the one queue it says"
            if by_file[0][inode.number] and not queued:
                yield f"file {inode.number} has dirty pages and is in no queue"
    total = sum(bdi.wb.nr_dirtied for bdi in kernel.backing_devs.values())
    if total != int(mem.node_stat[:, NR_DIRTIED].sum()):
        yield f"nr_dirtied is {mem.node_stat[:, NR_DIRTIED].sum()}, devices count {total}"


def check_room(mem: Mem, kernel: Kernel, pfns: I64) -> Iterator[str]:
    """Check that room is set aside for as many pages as have no place yet."""
    wanted = dict.fromkeys(kernel.files.filesystems, 0)
    number, index = mem.pages.mapping[pfns], mem.pages.index[pfns]
    for file in np.unique(number).tolist():
        inode = kernel.files.inodes[file]
        pages = index[number == file]
        placed = sum(
            int(np.count_nonzero((pages >= e.index) & (pages < e.end))) for e in inode.extents
        )
        wanted[inode.device] += len(pages) - placed
    for name, filesystem in kernel.files.filesystems.items():
        if filesystem.nr_reserved != wanted[name]:
            counted = filesystem.nr_reserved
            yield f"{name}: room is set aside for {counted} pages, {wanted[name]} have no place"


def check_kept(mem: Mem, kernel: Kernel, contents: FileContents) -> Iterator[str]:
    """Find pages that no memory holds and whose device holds something else than was written.

    Args:
        mem: Memory.
        kernel: The machine.
        contents: What each page of each file was given last.
    """
    of_files = pages_of_files(mem)
    for number, tokens in sorted(contents.expected.items()):
        inode = kernel.files.inodes.get(number)
        if inode is None or inode.is_shmem:
            continue
        nr = min(len(tokens), inode.nr_pages)
        cached = np.zeros(nr, np.bool_)
        index = mem.pages.index[of_files[mem.pages.mapping[of_files] == number]]
        cached[index[index < nr]] = True
        held = np.zeros(nr, np.uint64)
        held[: min(nr, len(inode.disk))] = inode.disk[:nr]
        pages = np.flatnonzero(~cached)
        wrong = pages[contents.differs(np.full(len(pages), number), pages, held[pages])]
        yield from cut_short(
            f"page {page} of file {number} was dropped, and its device does not hold it"
            for page in wrong.tolist()
        )
