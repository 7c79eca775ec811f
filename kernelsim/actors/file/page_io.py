"""Getting pages of a file from its device: from a run of missing pages to requests to a disk.

Linux: mm/readahead.c:page_cache_ra_unbounded, :read_pages, fs/mpage.c, block/bio.c, 6.1.
Pages are allocated, 32 at most at a time, entered in the page cache, locked, and put in the CPU's
folio_batch; then the run goes to the device in as few requests as its extents allow. Whoever comes
to one of them sleeps until the disk is done (core/page_reads.py).
Units: pages.
"""

import errno
from typing import Final, NamedTuple

import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages
from kernelsim.actors.alloc.slab import settle_slabs
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.lru_add import folio_batch_drain
from kernelsim.actors.core.page_reads import wait_on_page_read
from kernelsim.actors.core.swap_io import submit_bio
from kernelsim.actors.file.cache_burst import CacheBurst
from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.messages.node import EndPageRead
from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.actors.parts.page_read import PageRead
from kernelsim.fs.inode import HOLE, Inode
from kernelsim.mm.core.mem import (
    I64,
    PAGEVEC_SIZE,
    SWAP_CLUSTER_MAX,
    PG_error,
    PG_locked,
    PG_uptodate,
    nid_of,
)
from kernelsim.mm.core.swap import ALL_FLAGS
from kernelsim.mm.core.vmstat import PGPGIN
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.file.address_space import page_key
from kernelsim.mm.file.filemap import filemap_add_run, page_cache_next_miss, page_cache_next_page
from kernelsim.mm.file.readahead import Window
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.mm.swap.swap_area import SS_FREE
from kernelsim.units import SECTORS_PER_PAGE

BIO_MAX_VECS: Final = 256  # pages; include/linux/bio.h


class Entered(NamedTuple):
    """A run of missing pages whose first ones have been entered in the page cache already."""

    start: int
    stop: int
    mark: int
    done: int  # pages entered
    have: int  # pages allocated
    pfns: I64  # these, and room for the others


async def read_window(
    current: Current, inode: Inode, window: Window, context: AllocContext
) -> None:
    """Start reading those pages of a window that are not cached yet, none behind the file's end.

    The mark is as far from where reading ends as it was to be.

    Source: Linux 6.1 mm/readahead.c:do_page_cache_ra, :page_cache_ra_unbounded
    """
    spaces, number = current.kernel.spaces, inode.number
    at, end = window.start, min(window.start + window.nr_pages, inode.nr_pages)
    mark = window.mark - (window.start + window.nr_pages - end)
    while at < end:
        start = page_cache_next_miss(spaces.mappings, number, at, end - at)
        stop = page_cache_next_page(spaces.mappings, number, start, end)
        missing = Entered(start, stop, mark, 0, 0, np.zeros(stop - start, np.int64))
        at = await read_run(current, inode, missing, context)
        if at < stop and page_cache_next_miss(spaces.mappings, number, at, 1) == at:
            return  # no memory


async def read_run(current: Current, inode: Inode, missing: Entered, context: AllocContext) -> int:
    """Read missing pages; return the first one that is not read, since memory or the gap ended.

    Source: Linux 6.1 mm/readahead.c:page_cache_ra_unbounded
    """
    kernel, task = current
    start, stop, mark, done, have, pfns = missing
    queue = PageRead(kernel.engine, f"file page {start} of {inode.number}", task.name)
    burst = CacheBurst(current)
    if done:
        note_reads(kernel, inode, start, done, queue)
        await settle_slabs(current)
    while start + done < stop:
        if done == have:
            entered, nr = burst.fill(inode, start + done, stop, mark, context, pfns[done:])
            note_reads(kernel, inode, start + done, entered, queue)
            done, have = done + entered, have + nr
            await settle_slabs(current)
            if start + done == stop:
                break
        if done == have:
            want = min(stop - start - done, SWAP_CLUSTER_MAX)
            have += (await alloc_pages(current, context, want, pfns[have:])).nr
            if done == have:
                break
        kernel.spaces.pool.reserve(have - done)
        before = done
        kernel.observer.caches(inode, start + done, pfns[done:have])
        done = filemap_add_run(
            kernel.mem, kernel.spaces.mappings, kernel.lruvec, task.cpu.number, inode.number,
            start, pfns, done, have, mark, int(kernel.swap.state[SS_FREE]),
            task.in_lru_fault,
        )  # fmt: skip
        kernel.observer.cached(done - before)
        kernel.placed(done - before)
        note_reads(kernel, inode, start + before, done - before, queue)
        if kernel.mem.lru_batch[task.cpu.number, 0] == PAGEVEC_SIZE:
            await folio_batch_drain(current)
            await settle_slabs(current)
        elif done < have:  # somebody else has read the next one meanwhile
            break
    await settle_slabs(current)
    if done < have:
        await free_frames(current, pfns[done:have].copy(), have - done)
    if done:
        await task.compute(kernel.spec.latency.read_folio_ns * done)
        await submit_read(current, inode, start, pfns[:done])
    return start + done


def note_reads(kernel: Kernel, inode: Inode, index: int, nr_pages: int, queue: PageRead) -> None:
    """Let who comes to one of these pages know where to sleep."""
    first = page_key(inode.number, index)
    kernel.page_reads.update(dict.fromkeys(range(first, first + nr_pages), queue))


async def read_again(current: Current, inode: Inode, index: int, pfn: int) -> int:
    """Read a page once more that could not be read; return EIO if that fails again.

    Source: Linux 6.1 mm/filemap.c:filemap_update_page, :filemap_read_folio
    """
    kernel, key = current.kernel, page_key(inode.number, index)
    flags, alone = kernel.mem.pages.flags, np.array([pfn], np.int64)
    flags[pfn] = flags[pfn] & np.uint32(ALL_FLAGS ^ PG_error) | np.uint32(PG_locked)
    name = f"file page {index} of {inode.number}"
    kernel.page_reads[key] = PageRead(kernel.engine, name, current.task.name)
    await submit_read(current, inode, index, alone)
    await wait_on_page_read(current, key, pfn)
    is_there = xa_load(kernel.spaces.pool.xa, inode.number, index) == pfn
    return errno.EIO if is_there and not flags[pfn] & np.uint32(PG_uptodate) else 0


async def submit_read(current: Current, inode: Inode, index: int, pfns: I64) -> None:
    """Send locked pages of a file to its device, in requests as large as extents and disk allow.

    Pages without a place on the device are filled at once.

    Source: Linux 6.1 fs/mpage.c:do_mpage_readpage, block/bio.c:submit_bio
    """
    kernel, task = current
    device = kernel.devices[inode.device]
    most = max_pages(device)
    done = 0
    while done < len(pfns):
        place, nr = inode.map_blocks(index + done, min(most, len(pfns) - done))
        part = pfns[done : done + nr].copy()
        began_ns = kernel.engine.now_ns
        bio = read_bio(current, inode, index + done, part, place, began_ns)
        done += nr
        if place == HOLE:
            assert bio.receiver is not None, "a read tells somebody"
            await bio.receiver.ask(bio.end_io)
            continue
        kernel.mem.vm_event[PGPGIN] += 4 * nr
        await submit_bio(task, device, bio)


def max_pages(device: BlockDevice) -> int:
    """Return the most pages of one request to a device."""
    return min(device.spec.max_segments, BIO_MAX_VECS)


def read_bio(
    current: Current, inode: Inode, index: int, pfns: I64, place: int, began_ns: int
) -> SubmitBio:
    """Return the request for pages of a file, which lie at a place on its device one by one."""
    kernel, task = current
    return SubmitBio(
        is_write=False,
        sector=place * SECTORS_PER_PAGE,
        nr_pages=len(pfns),
        comm=task.name,
        cpu=task.cpu.number,
        end_io=EndPageRead(inode, index, pfns, inode.device, task.name, began_ns),
        receiver=kernel.nodes[nid_of(kernel.mem, int(pfns[0]))].ref,
    )
