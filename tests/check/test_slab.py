"""The checker of slabs is silent on a sound machine and names each thing that is broken."""

import pytest

from kernelsim.check.page_cache import pages_of_files
from kernelsim.check.slab import check_slabs, slab_pages
from kernelsim.mm.core.kernel_objects import PROCESS_OBJECTS
from kernelsim.mm.core.mem import PG_lru
from kernelsim.mm.core.slab_cache import (
    BIO,
    NODE_PARTIAL,
    RADIX_TREE_NODE,
    SB_INUSE,
    SB_OBJECTS,
    SB_PFN,
    SB_STATE,
    SC_COUNT,
    SC_NR_INUSE,
)
from kernelsim.mm.core.vmstat import NR_SLAB_RECLAIMABLE, NR_SLAB_UNRECLAIMABLE
from tests.small_machine import PAGE, run, small_machine

FIRST = 4 + len(PROCESS_OBJECTS)  # behind one of each cache of a process, its mm, mappings, tree


def lose_an_object(mem):
    """Let a slab have one object less than its owners."""
    mem.slabs.row[FIRST, SB_INUSE] -= 1


def forget_an_object(mem):
    """Let the cache count one less."""
    mem.slabs.cache[RADIX_TREE_NODE, SC_NR_INUSE] -= 1


def overfill(mem):
    """Let a slab have room for none of its objects."""
    mem.slabs.row[FIRST, SB_OBJECTS] = 0


def lose_a_page(mem):
    """Count a page of slabs less."""
    mem.node_stat[0, NR_SLAB_RECLAIMABLE] -= 1


def gain_a_page(mem):
    """Count a page of slabs whose objects are not reclaimable, where there is none."""
    mem.node_stat[0, NR_SLAB_UNRECLAIMABLE] = 7


def share_a_page(mem):
    """Let two slabs have the same pages."""
    mem.slabs.row[FIRST + 1, SB_PFN] = mem.slabs.row[FIRST, SB_PFN]


def forget_a_buffer_head(mem):
    """Let a page that was written have none."""
    pfns = pages_of_files(mem)
    mem.pages.private[pfns[mem.pages.private[pfns] > 0][0]] = 0


def count_a_bio(mem):
    """Let there be a bio of nothing."""
    mem.slabs.cache[BIO, SC_NR_INUSE] += 1


def use_a_page(mem):
    """Let a page of a slab be on an LRU list."""
    mem.pages.flags[slab_pages(mem)[0][0]] |= PG_lru


def list_a_slab(mem):
    """Let a slab say that it is on a list of partial ones."""
    mem.slabs.row[FIRST, SB_STATE] = NODE_PARTIAL


def count_a_partial(mem):
    """Let a list be said to be longer than it is."""
    mem.slabs.cache[RADIX_TREE_NODE, SC_COUNT] += 1


BROKEN = {
    lose_an_object: "slab 11 has 13 objects, not 14",
    forget_an_object: "32 objects are in use, there are 33",
    overfill: "more objects than there is room for",
    forget_a_buffer_head: "buffer_head: 10 objects are in use, there are 9",
    count_a_bio: "bio-184: 1 objects are in use, there are 0",
    lose_a_page: "nr_slab_reclaimable is 6, slabs have 7 pages",
    gain_a_page: "nr_slab_unreclaimable is 7, slabs have ",
    share_a_page: "a page belongs to two slabs",
    use_a_page: "belongs to a slab and has flags",
    list_a_slab: "has 1 partial slabs, not 0",
    count_a_partial: "has 0 partial slabs, not 1",
}


@pytest.mark.parametrize(
    ("breaks", "text"), BROKEN.items(), ids=lambda each: getattr(each, "__name__", "")
)
def test_it_finds_what_is_broken(breaks, text):
    """Each broken figure is told, and nothing before it is broken."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        fd = await process.open("/data")
        await process.read(fd, 2048 * PAGE, offset=0)
        await process.write(fd, 10 * PAGE, offset=0)
        assert check_slabs(machine.mem, machine.kernel) == []
        breaks(machine.mem)
        return check_slabs(machine.mem, machine.kernel)

    spec = small_machine(files={"/data": "8M"}, memory="32M")
    assert any(text in line for line in run(spec, main, sound=False).result)


def drop_objects(tasks):
    """Let a process have none."""
    tasks[0].objects = None


def share_objects(tasks):
    """Let two have the same."""
    tasks[0].objects = tasks[1].objects


def lack_an_object(tasks):
    """Let a process have all but one."""
    tasks[0].objects.rows.pop(PROCESS_OBJECTS[0])


@pytest.mark.parametrize(
    ("breaks", "text"),
    [
        (drop_objects, "p-100 lacks an object of the kernel"),
        (share_objects, "that another one has, too"),
        (lack_an_object, "p-100 lacks an object of the kernel"),
    ],
)
def test_each_process_has_objects_of_its_own(breaks, text):
    """Who has none, or another one's, is told."""

    async def main(machine):
        handles = [await machine.spawn(name) for name in "pq"]
        await machine.sleep("1ms")
        assert check_slabs(machine.mem, machine.kernel) == []
        breaks([machine.kernel.processes[handle.pid].task for handle in handles])
        return check_slabs(machine.mem, machine.kernel)

    assert any(text in line for line in run(small_machine(), main, sound=False).result)
