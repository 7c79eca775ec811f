"""The invariants of the page cache: each is broken once and seen."""

import numpy as np
import pytest

from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.mm.core.mem import PG_activating, PG_locked, PG_lru, PG_uptodate
from kernelsim.mm.core.vmstat import NR_FILE_PAGES, WORKINGSET_NODES
from kernelsim.mm.core.xarray import XN_COUNT
from kernelsim.mm.file.address_space import AS_NRPAGES
from tests.small_machine import PAGE, run, small_machine

FILE = 1


def broken(how):
    """Read a file, break something, and return what is found wrong."""

    async def main(machine):
        process = await machine.spawn("reader")
        await process.read(await process.open("/data"), 64 * PAGE)
        await machine.sleep("1s")
        assert check_machine(machine.kernel) == []
        flags, mapping = machine.mem.pages.flags, machine.mem.pages.mapping
        is_cached = (mapping == FILE) & (flags & np.uint32(PG_lru) != 0)
        how(machine.kernel, np.flatnonzero(is_cached))
        return check_machine(machine.kernel)

    spec = small_machine(files={"/data": "1M"})
    return run(spec, main, sound=False).result


def other_index(kernel, pfns):
    """A page says it is another one."""
    kernel.mem.pages.index[pfns[0]] = 9999


def lost(kernel, pfns):
    """A file forgets a page that still says it is its own."""
    xa = kernel.spaces.pool.xa
    row = int(xa.root[FILE])
    below = int(xa.slots[row, 0]) if xa.node[row, 0] else row
    slot = int(np.flatnonzero(xa.slots[below] > 0)[0])
    xa.slots[below, slot] = 0
    xa.node[below, XN_COUNT] -= 1
    assert len(pfns)


def more_pages(kernel, _pfns):
    """Nrpages is one too many."""
    kernel.spaces.row[FILE, AS_NRPAGES] += 1


def more_on_the_node(kernel, _pfns):
    """nr_file_pages is one too many."""
    kernel.mem.node_stat[0, NR_FILE_PAGES] += 1


def shadow_nodes(kernel, _pfns):
    """workingset_nodes counts a node there is not."""
    kernel.mem.node_stat[0, WORKINGSET_NODES] += 1


def corrupt_node(kernel, _pfns):
    """A node counts a slot too many."""
    xa = kernel.spaces.pool.xa
    xa.node[xa.root[FILE], XN_COUNT] += 1


def content(kernel, pfns):
    """A clean page holds something else than the device."""
    kernel.mem.pages.token[pfns[3]] += 1


def locked_for_ever(kernel, pfns):
    """A page is locked and nobody reads it."""
    kernel.mem.pages.flags[pfns[3]] |= np.uint32(PG_locked)
    kernel.mem.pages.flags[pfns[3]] &= ~np.uint32(PG_uptodate)


def in_no_batch(kernel, pfns):
    """A page says it waits to be activated, and is in no batch."""
    kernel.mem.pages.flags[pfns[0]] |= np.uint32(PG_activating)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (other_index, "which is page 9999 of 1"),
        (lost, "says it is page"),
        (more_pages, "nrpages is"),
        (more_on_the_node, "nr_file_pages is"),
        (shadow_nodes, "workingset_nodes is 1"),
        (corrupt_node, "of a page cache is corrupt"),
        (content, "holds something else than its device"),
        (locked_for_ever, "is locked, and nobody reads it"),
        (in_no_batch, "are to be activated"),
    ],
)
def test_a_broken_page_cache_is_found(how, text):
    """Each fault is told in a line of its own."""
    found = broken(how)
    assert any(text in line for line in found), found


def test_a_read_that_brings_something_else_is_found():
    """What read() delivers is compared with what the file holds."""

    async def main(machine):
        observe(machine.kernel)
        process = await machine.spawn("reader")
        fd = await process.open("/data")
        await process.read(fd, PAGE)
        await machine.sleep("1s")
        pages = machine.mem.pages
        pfn = int(np.flatnonzero((pages.mapping == FILE) & (pages.index == 2))[0])
        right = int(pages.token[pfn])
        pages.token[pfn] = 5
        await process.read(fd, PAGE, offset=2 * PAGE)
        pages.token[pfn] = right
        return check_machine(machine.kernel)

    found = run(small_machine(files={"/data": "1M"}), main, sound=False).result
    assert len(found) == 1
    assert "a read of file 1 page 2 brought 0x5" in found[0]
