"""Objects of processes in slabs: what each has, until when, and who waits for their pages."""

import attrs
import pytest

from kernelsim.config.era import CLASSIC, LINUX_6_1
from kernelsim.mm.core.kernel_objects import EXIT_OBJECTS, KTHREAD_OBJECTS, PROCESS_OBJECTS
from kernelsim.mm.core.slab_cache import (
    KMEM_CACHES,
    MM_STRUCT,
    NO_PAGE,
    SB_CACHE,
    SB_PFN,
    SC_NR_INUSE,
    SLAB_ROWS,
    TASK_STRUCT,
    VM_AREA_STRUCT,
)
from kernelsim.oracle.case_run import machine_of_case
from kernelsim.workload.syscall import MappedRange
from tests.actors.alloc.test_thread_stack import CASES
from tests.small_machine import pages_of_slabs, run, small_machine

pytestmark = pytest.mark.mission("V11")


def in_use(machine, caches):
    """Return the objects in use, the same number of each of some caches."""
    numbers = {int(machine.mem.slabs.cache[cache, SC_NR_INUSE]) for cache in caches}
    assert len(numbers) == 1
    return numbers.pop()


@pytest.mark.parametrize("era", [LINUX_6_1, CLASSIC])
def test_each_process_has_its_objects(era):
    """Files and mm are free at the end, the rest when the parent has heard of it, or has gone."""

    async def main(machine):
        def counted():
            caches = ((MM_STRUCT,), EXIT_OBJECTS, KTHREAD_OBJECTS)
            return tuple(in_use(machine, each) for each in caches)

        parent = await machine.spawn("p")
        children = [await parent.fork() for _ in range(3)]
        seen = [counted()]
        await children[0].exit()
        await children[1].exit()
        seen.append(counted())
        await parent.waitpid(children[0])
        seen.append(counted())
        await parent.exit()
        seen.append(counted())
        await children[2].exit()
        return [*seen, counted()]

    spec = attrs.evolve(small_machine(memory="32M"), era=era)
    counts = [(4, 4, 4), (2, 2, 4), (2, 2, 3), (1, 1, 1), (0, 0, 0)]
    assert run(spec, main).result == counts


def test_slabinfo_shows_them():
    """Five task_structs share eight pages; a thread of the kernel has no files of its own."""

    async def main(machine):
        process = await machine.spawn("p")
        await machine.kernel_thread("k").alloc_pages(0)
        pages = pages_of_slabs(machine)
        lines = {
            line.split()[0]: line.split()[1:6]
            for line in machine.proc("slabinfo").split("\n")[2:-1]
        }
        await process.exit()
        return lines, pages

    lines, pages = run(small_machine(memory="32M"), main).result
    assert lines["task_struct"] == ["5", "5", "6528", "5", "8"]
    assert lines["sighand_cache"] == ["15", "15", "2112", "15", "8"]
    assert lines["files_cache"] == ["11", "11", "704", "11", "2"]
    shapes = [lines[KMEM_CACHES[cache].name][4] for cache in (*PROCESS_OBJECTS, MM_STRUCT)]
    assert sum(int(nr) for nr in shapes) == pages - 2 == 29  # mappings and trees: one each


@pytest.mark.parametrize(("arch", "node"), [("x86_64", "576 14 2"), ("i386", "304 13 1")])
def test_nodes_of_trees_are_smaller_where_words_are(arch, node):
    """Of i386 a page holds 13, as the growth of the recorded d13_squeeze1g says."""

    async def main(machine):
        return machine.proc("slabinfo")

    told = run(small_machine(memory="64M", arch=arch), main).result
    line = next(line for line in told.splitlines() if line.startswith("radix_tree_node"))
    assert line.split()[3:6] == node.split()


def test_who_forks_waits_for_pages_of_slabs():
    """All memory is in use: its pages go to swap, and every slab gets its own."""

    async def main(machine):
        process = await machine.spawn("p")
        await process.touch(await process.mmap("15M"), write=True)
        for _ in range(12):
            await process.fork(shares_vm=True)
        rows = machine.mem.slabs.row[: machine.mem.slabs.state[SLAB_ROWS]]
        own = rows[rows[:, SB_CACHE] == TASK_STRUCT]
        return len(own), int((own[:, SB_PFN] == NO_PAGE).sum()), machine.vmstat["pswpout"] > 0

    assert run(small_machine(memory="16M", swap="32M"), main).result == (3, 0, True)


def test_a_recorded_machine_has_room_for_some():
    """Processes have ended, and a CPU keeps six task_structs and more of the others."""

    async def main(machine):
        seen = []
        for name in "pqrstuv":
            await machine.spawn(name)
            seen.append(pages_of_slabs(machine))
        return seen

    assert run(machine_of_case(CASES / "s08"), main, sound=False).result == [0] * 6 + [8]


def test_mappings_take_slabs_and_give_them_back():
    """Of 26 vm_area_structs each; the page table apart, mappings without a page cost as much.

    They fill 15 slots of a maple node each, and nodes above have 9: 151, of 16 a page.
    """

    async def main(machine):
        process = await machine.spawn("p")
        before, counts = in_use(machine, (VM_AREA_STRUCT,)), []
        region = await process.mmap(2000 * 4096)
        for number in range(0, 2000, 2):
            await process.syscall("mprotect", MappedRange(region.address + number * 4096, 4096), 0)
        counts.append((in_use(machine, (VM_AREA_STRUCT,)) - before, pages_of_slabs(machine)))
        await process.munmap(region)
        counts.append((in_use(machine, (VM_AREA_STRUCT,)) - before, pages_of_slabs(machine)))
        return before, counts

    before, (full, empty) = run(small_machine(memory="32M"), main).result
    assert full == (2000, 29 + -(-(2000 + before) // 26) + -(-151 // 16))
    assert empty == (0, 29 + 22)  # with empty slabs that the CPU and the node keep
