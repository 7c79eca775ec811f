"""Sending dirty pages of a file to its disk, in the time of the task that wants it.

Linux: mm/page-writeback.c:do_writepages, fs/ext4/inode.c:ext4_writepages,
mpage_map_and_submit_extent, block/blk-wbt.c, 6.1.
Dirty pages that follow each other in the file are taken together, get their places on the device
if they have none, and leave in as few requests as extents and disk allow.
# Differs from Linux: Writeback holds no requests back in a plug; pages that are neighbours on the
# disk but not in the file are not merged.
Interface: `do_writepages`, for the flusher, for fsync, for whoever needs pages clean.
Units: pages of the file.
"""

from typing import Final

import numpy as np

from kernelsim.actors.core.backing_dev import BackingDev
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.swap_io import submit_bio, wbt_wait
from kernelsim.actors.core.tlb_flush import try_to_unmap_flush
from kernelsim.actors.core.writeback_wait import filemap_fdatawait_range
from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.messages.node import EndPageWrite
from kernelsim.block.bio import bio_pages, split_bio
from kernelsim.block.blk_wbt import WBT_RWQ_BG
from kernelsim.fs.fs_writeback import WritebackControl
from kernelsim.fs.inode import HOLE, Inode
from kernelsim.fs.page_write import PageWrite
from kernelsim.mm.core.mem import I64, U64, nid_of
from kernelsim.mm.core.vmstat import PGPGOUT
from kernelsim.mm.core.xarray import PAGECACHE_TAG_DIRTY, PAGECACHE_TAG_TOWRITE
from kernelsim.mm.file.dirty_pages import (
    LAST_INDEX,
    RUN_UNDER_WRITEBACK,
    is_under_writeback,
    tag_pages_for_writeback,
    take_dirty_run,
)
from kernelsim.units import SECTORS_PER_PAGE

MAX_WRITEPAGES_EXTENT_LEN: Final = 2048  # pages mapped in one go; fs/ext4/inode.c


async def do_writepages(current: Current, inode: Inode, wbc: WritebackControl) -> int:
    """Write dirty pages of a file; return how many of `wbc.nr_to_write` are left.

    Source: Linux 6.1 mm/page-writeback.c:do_writepages, fs/ext4/inode.c:ext4_writepages
    """
    kernel = current.kernel
    bdi = kernel.backing_devs[inode.device]
    bdi.state.bandwidth_estimate_start(bdi.wb, bdi.now)
    left, at = wbc.nr_to_write, inode.writeback_index
    ranges = [(wbc.first, min(wbc.last, LAST_INDEX))]
    if wbc.is_cyclic:
        ranges = [(at, LAST_INDEX), (0, at - 1)]
    for first, last in ranges:
        if wbc.is_sync or wbc.is_tagged:
            tag_pages_for_writeback(kernel.spaces.mappings, inode.number, first, last)
        left, at = await _write_range(current, bdi, inode, wbc, first, last, left)
        if left <= 0:
            break
    if wbc.is_cyclic:
        inode.writeback_index = at
    bdi.state.update_bandwidth_if_due(bdi.wb, bdi.now)
    return left


async def _write_range(
    current: Current,
    bdi: BackingDev,
    inode: Inode,
    wbc: WritebackControl,
    first: int,
    last: int,
    left: int,
) -> tuple[int, int]:
    """Write dirty pages of a range; return how many of `left` are left, and where it stopped."""
    kernel, task = current
    mark = PAGECACHE_TAG_TOWRITE if wbc.is_sync or wbc.is_tagged else PAGECACHE_TAG_DIRTY
    at = first
    while left > 0 and at <= last:
        limit = min(left, MAX_WRITEPAGES_EXTENT_LEN)
        pfns = np.zeros(limit, np.int64)
        is_first = not is_under_writeback(kernel.spaces.mappings, inode.number)
        nr, start, why = take_dirty_run(
            *kernel.space, kernel.spaces.mappings, inode.number, at, last, mark, wbc.is_sync,
            pfns, limit,
        )  # fmt: skip
        if nr:
            bdi.submits(nr, is_first=is_first)
            if kernel.mms.mms.tlb_flush_batched.any():
                # Differs from Linux: Mapped pages that are about to be written have one TLB flush
                # for all of a run, not one for each.
                await try_to_unmap_flush(current, 1)
            tokens = kernel.mem.pages.token[pfns[:nr]]  # with stores through entries flushed by now
            await task.compute(kernel.spec.latency.writepage_ns * nr)
            await _submit_run(current, bdi, inode, start, pfns[:nr], tokens, is_sync=wbc.is_sync)
            left, at = left - nr, start + nr
        if why == RUN_UNDER_WRITEBACK:
            await filemap_fdatawait_range(current, inode, start + nr, start + nr)
            at = start + nr
        elif not nr:
            return left, last + 1 if last < LAST_INDEX else at
    return left, at


async def _submit_run(
    current: Current,
    bdi: BackingDev,
    inode: Inode,
    start: int,
    pfns: I64,
    tokens: U64,
    *,
    is_sync: bool,
) -> None:
    """Send pages to their places; those that have none get some first.

    All pages that get their places together end together, else all of a bio.

    Source: Linux 6.1 fs/ext4/inode.c:mpage_map_and_submit_extent
    """
    filesystem = current.kernel.files.filesystems[inode.device]
    done = 0
    while done < len(pfns):
        place, nr = inode.map_blocks(start + done, len(pfns) - done)
        is_new = place == HOLE
        if not is_new:
            nr = bio_pages(pfns[done : done + nr])
        part = slice(done, done + nr)
        write = PageWrite(inode, start + done, pfns[part], tokens[part], nr)
        done += nr
        if is_new:
            filesystem.unreserve(nr)
        if is_new and (error := filesystem.allocate(inode, write.index, nr)):
            await _give_up(current, write, -error)
        else:
            await _submit(current, bdi, write, is_sync=is_sync)


async def _give_up(current: Current, write: PageWrite, status: int) -> None:
    """End the writing of pages that got no place: they stay as they are in memory, clean.

    Source: Linux 6.1 fs/ext4/inode.c:mpage_map_and_submit_extent, where data is lost
    """
    kernel, nr = current.kernel, len(write.pfns)
    receiver = kernel.nodes[nid_of(kernel.mem, int(write.pfns[0]))].ref
    await receiver.ask(EndPageWrite(write, 0, nr, status=status, failed=tuple(range(nr))))


async def _submit(current: Current, bdi: BackingDev, write: PageWrite, *, is_sync: bool) -> None:
    """Send pages that have places to the disk, in as few requests as extents and disk allow.

    Source: Linux 6.1 fs/ext4/page-io.c:ext4_bio_write_page
    """
    inode, done = write.inode, 0
    while done < len(write.pfns):
        place, nr = inode.map_blocks(write.index + done, len(write.pfns) - done)
        nr = bio_pages(write.pfns[done : done + nr])
        await _submit_bio(current, bdi, write, place, done, nr, is_sync=is_sync)
        done += nr


async def _submit_bio(
    current: Current,
    bdi: BackingDev,
    write: PageWrite,
    place: int,
    first: int,
    nr: int,
    *,
    is_sync: bool,
) -> None:
    """Send pages that follow each other on the disk: `nr` from the one numbered `first`.

    Source: Linux 6.1 block/blk-mq.c:blk_mq_submit_bio
    """
    kernel = current.kernel
    for nr_pages, nr_segments in split_bio(write.pfns[first : first + nr], bdi.device.spec):
        throttled = None if bdi.pool is not None else WBT_RWQ_BG  # blk-wbt came with 4.10
        if throttled is not None:
            await wbt_wait(current.task, bdi.device, throttled, is_sync=is_sync)
        kernel.mem.vm_event[PGPGOUT] += 4 * nr_pages
        bio = SubmitBio(
            is_write=True,
            sector=place * SECTORS_PER_PAGE,
            nr_pages=nr_pages,
            nr_segments=nr_segments,
            comm=current.task.name,
            cpu=current.task.cpu.number,
            end_io=EndPageWrite(write, first, nr_pages),
            receiver=kernel.nodes[nid_of(kernel.mem, int(write.pfns[first]))].ref,
            throttled=throttled,
        )
        place, first = place + nr_pages, first + nr_pages
        await submit_bio(current.task, bdi.device, bio)
