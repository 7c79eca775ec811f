"""Tests of what is expected of memory that several tasks use: nothing of it is left unwatched."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from kernelsim.actors.process.calls.executing import Execve
from kernelsim.actors.process.calls.forking import Fork
from kernelsim.check.content import Content, PageRange, UnderWay
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.errors import SyscallError
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from kernelsim.mm.space.static_program import DEFAULT_PROGRAM
from kernelsim.workload.syscall import MappedRange
from tests.small_machine import PAGE, run, small_machine

pytestmark = pytest.mark.mission("B3")
ELF = runpy.run_path(str(Path(__file__).parents[2] / "workloads" / "elf_program.py"))["elf_file"]()
MACHINE = {"cpus": ("0-3",), "memory": "32M"}


def spoil(machine, mm, address):
    """Let the page at an address hold something else."""
    pfn = pte_pfn(pte_at(*machine.kernel.space, mm.number, address >> 12))
    machine.kernel.mem.pages.token[pfn] ^= np.uint64(1)


def told(machine):
    """Return the pages that do not hold what was written."""
    return [line.split()[3] for line in check_machine(machine.kernel) if "expected" in line]


async def process_with_pages(machine):
    """Return a checked process, and a region that it has written."""
    observe(machine.kernel)
    process = await machine.spawn("p")
    region = await process.mmap(8 * PAGE)
    await process.touch(region, write=True)
    return machine.kernel.processes[process.pid], process, region


async def thread_ends(process, region):
    """Have a thread store beside its process, and end."""
    thread = await process.fork(lambda each: each.touch(region, write=True), shares_vm=True)
    await process.touch(region, write=True, passes=20)
    await process.waitpid(thread)


async def thread_is_killed(process, region):
    """Have a thread killed in the middle of its stores."""
    del region

    async def stray(thread):
        await thread.access(0x4000, write=True)

    await process.waitpid(await process.fork(stray, shares_vm=True))


async def child_runs_a_program(process, _region):
    """Lend the memory to a child until it runs a program of its own."""
    await process.vfork(lambda child: child.exec("other"))


@pytest.mark.parametrize("ends", [thread_ends, thread_is_killed, child_runs_a_program])
def test_a_page_is_watched_when_who_shared_it_is_gone(ends):
    """However the other one went, what was written before and after is known."""

    async def main(machine):
        entry, process, region = await process_with_pages(machine)
        await ends(process, region)
        await process.touch(region, write=True)
        await process.touch(region)
        clean = check_machine(machine.kernel)
        spoil(machine, entry.mm, region.address + PAGE)
        return clean, told(machine) == [f"{(region.address >> 12) + 1:#x}:"]

    assert run(small_machine(**MACHINE), main, sound=False).result == ([], True)


@pytest.mark.parametrize("owner_lives", [True, False])
def test_a_page_is_watched_while_several_store(owner_lives):
    """The last store is the one that counts, whoever did it; also when who made the space ended."""

    async def main(machine):
        entry, process, region = await process_with_pages(machine)
        mm = entry.mm

        async def work(thread):
            await thread.touch(region, write=True, passes=50)
            await thread.sleep("10ms")

        threads = [await process.fork(work, shares_vm=True) for _ in range(2)]
        await process.touch(region, write=True)
        if not owner_lives:
            await process.exit()
        clean = check_machine(machine.kernel)
        assert threads[0].exit_status is None
        spoil(machine, mm, region.address + PAGE)
        return clean, told(machine) == [f"{(region.address >> 12) + 1:#x}:"]

    assert run(small_machine(**MACHINE), main, sound=False).result == ([], True)


def test_pages_that_went_beside_others_are_believed_once_and_watched_again():
    """MADV_DONTNEED beside stores: what is there at the next look must stay there."""

    async def main(machine):
        entry, process, region = await process_with_pages(machine)
        thread = await process.fork(
            lambda each: each.touch(region, write=True, passes=200), shares_vm=True
        )
        await process.madvise_dontneed(region)
        await process.waitpid(thread)
        clean = check_machine(machine.kernel)
        spoil(machine, entry.mm, region.address + PAGE)
        return clean, told(machine) == [f"{(region.address >> 12) + 1:#x}:"]

    assert run(small_machine(**MACHINE), main, sound=False).result == ([], True)


def test_a_child_of_a_task_beside_another_is_watched_from_the_next_look():
    """What it found is what it has to keep."""

    async def main(machine):
        entry, process, region = await process_with_pages(machine)
        thread = await process.fork(
            lambda each: each.touch(region, write=True, passes=400), shares_vm=True
        )
        child = entry.children[await entry.ref.ask(Fork())]
        assert thread.exit_status is None
        clean = check_machine(machine.kernel)
        spoil(machine, child.mm, region.address + PAGE)
        return clean, bool(told(machine))

    assert run(small_machine(**MACHINE), main, sound=False).result == ([], True)


def test_calls_beside_each_other():
    """Only pages that one of them takes are in doubt, and only until somebody has looked."""
    content, pages = Content(), np.arange(8, dtype=np.int64)
    content.begin(1, UnderWay())
    assert content.is_known(1, pages)
    content.begin(2, UnderWay((PageRange(3, 4),)))
    content.stores[2] = (6, 7)

    assert [n for n in range(8) if not content.is_known(1, pages[n : n + 1])] == [3, 6]
    assert [n for n in range(8) if not content.is_known(2, pages[n : n + 1])] == [3]
    child = Content(unknown=(PageRange(5, 6),))
    child.copy_from(content, 0, 8)
    assert not child.is_known(3, pages[5:6])


def test_a_program_of_its_own_leaves_the_old_memory_to_those_that_have_it():
    """Execve ends in another address space than it began in."""

    async def main(machine):
        entry, process, region = await process_with_pages(machine)
        thread = entry.children[await entry.ref.ask(Fork(shares_vm=True))]
        await thread.ref.ask(Execve("other", DEFAULT_PROGRAM))
        await process.touch(region, write=True)
        spoil(machine, entry.mm, region.address)
        return told(machine) == [f"{region.address >> 12:#x}:"]

    assert run(small_machine(**MACHINE), main, sound=False).result


def test_who_shared_it_begins_something_while_the_other_one_loads_its_program():
    """Execve of a program from a file ends well after it has let the old memory go."""

    async def main(machine):
        entry, process, region = await process_with_pages(machine)
        child = await process.vfork(lambda child: child.exec("other", exe=ELF))
        assert entry.children[child.pid].exit_status is None
        await process.touch(region, write=True, passes=100)
        await process.waitpid(child)
        clean = check_machine(machine.kernel)
        spoil(machine, entry.mm, region.address)
        return clean, told(machine) == [f"{region.address >> 12:#x}:"]

    spec = small_machine(**MACHINE, files={"/data": "4K"})
    assert run(spec, main, sound=False).result == ([], True)


def test_advice_that_is_refused_half_way_has_dropped_what_lies_before():
    """MADV_DONTNEED stops at what is locked, with EINVAL."""

    async def main(machine):
        _, process, region = await process_with_pages(machine)
        locked = MappedRange(region.address + 4 * PAGE, PAGE)
        await process.syscall("mlock", locked)
        with pytest.raises(SyscallError, match="Invalid"):
            await process.madvise_dontneed(region)
        return check_machine(machine.kernel), process.stats.rss_pages

    assert run(small_machine(**MACHINE), main, sound=False).result == ([], 4)
