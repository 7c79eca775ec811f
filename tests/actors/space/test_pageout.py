"""MADV_PAGEOUT and MADV_WILLNEED of anonymous memory, on whole machines that are checked."""

import pytest

from kernelsim.actors.process.calls.access import Touch
from kernelsim.actors.process.calls.forking import Fork
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.config.machine_file import machine_from_toml
from tests.small_machine import PAGE, run

pytestmark = pytest.mark.mission("V12")
NR_PAGES = 100


def machine_that_swaps(kind="ssd"):
    """Describe a machine that swaps to a disk, or to one that is memory."""
    disk = {"name": "disk", "kind": kind}
    return machine_from_toml(
        {
            "name": "pageout",
            "node": [{"cpus": "0-1", "memory": "32M"}],
            "device": [disk],
            "swap": [{"size": "8M", "device": "disk"}],
        }
    )


async def written(machine):
    """Return a process, a region of which it has written each page, and their first address."""
    observe(machine.kernel)
    process = await machine.spawn("p")
    region = await process.mmap(NR_PAGES * PAGE)
    await process.touch(region, write=True)
    return process, region


@pytest.mark.parametrize(("kind", "left_in_memory"), [("zram", 0), ("ssd", NR_PAGES)])
def test_pages_go_to_swap_though_memory_is_plenty(kind, left_in_memory):
    """All are named by slots; those on a slow disk stay in the swap cache until reclaim comes."""

    async def main(machine):
        process, region = await written(machine)
        await process.syscall("madvise", region, "pageout")
        assert process.stats.swap_pages == NR_PAGES
        cached = machine.vmstat["nr_swapcached"]
        result = await process.touch(region)
        assert not check_machine(machine.kernel)
        return cached, result.signal, process.stats.swap_pages

    assert run(machine_that_swaps(kind), main).result == (left_in_memory, 0, 0)


def test_scans_are_not_counted_nor_what_they_steal():
    """Who names the pages is no scanner: pgscan and pgsteal stay, pswpout rises."""

    async def main(machine):
        process, region = await written(machine)
        await process.syscall("madvise", region, "pageout")
        names = ("pgscan_direct", "pgsteal_direct", "pswpout")
        return [machine.vmstat[name] for name in names]

    assert run(machine_that_swaps("zram"), main).result == [0, 0, NR_PAGES]


def test_pages_that_a_child_has_too_are_left_alone():
    """The parent pages out only what it has for itself."""

    async def main(machine):
        process, region = await written(machine)
        parent = machine.kernel.processes[process.pid]
        child = parent.children[await parent.ref.ask(Fork())]
        await parent.ref.ask(Touch(region.address, 10 * PAGE, write=True))
        await process.syscall("madvise", region, "pageout")
        assert not check_machine(machine.kernel)
        return process.stats.swap_pages, child.mm.number != parent.mm.number

    assert run(machine_that_swaps(), main).result == (10, True)


def test_what_will_be_needed_comes_back_before_it_is():
    """After MADV_WILLNEED and the time a disk takes faults are minor."""

    async def main(machine):
        process, region = await written(machine)
        await process.syscall("madvise", region, "pageout")
        await process.syscall("madvise", region, "willneed")
        before = process.stats.pgmajfault
        result = await process.touch(region)
        assert not check_machine(machine.kernel)
        return process.stats.pgmajfault - before, result.minflt

    assert run(machine_that_swaps("zram"), main).result == (0, NR_PAGES)


def test_a_store_to_a_swapped_page_that_others_have_is_one_fault():
    """The copy is made in the fault that reads it: it is major, and no minor one follows."""

    async def main(machine):
        process, region = await written(machine)
        await process.syscall("madvise", region, "pageout")
        parent = machine.kernel.processes[process.pid]
        child = parent.children[await parent.ref.ask(Fork())]
        stored = await child.ref.ask(Touch(region.address, PAGE, write=True))
        assert not check_machine(machine.kernel)
        return stored.minflt, stored.majflt

    assert run(machine_that_swaps("zram"), main).result == (0, 1)
