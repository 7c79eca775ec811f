"""Tests of what is expected of pages that fork shares, mremap moves and MADV_FREE gives up."""

import errno

import attrs
import numpy as np
import pytest

from kernelsim.actors.alloc.page_allocator import NOTHING
from kernelsim.actors.process.calls import protecting
from kernelsim.actors.process.calls.forking import Fork
from kernelsim.actors.process.calls.life import Sleep
from kernelsim.actors.space import fork
from kernelsim.check.content import Content
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.errors import SyscallError
from kernelsim.mm.space.mremap import MREMAP_FIXED, MREMAP_MAYMOVE
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from tests.small_machine import PAGE, run, small_machine

pytestmark = pytest.mark.mission("B3")
MEMORY = {"memory": "32M"}
TARGET = 0x1000_0000_0000


def held(content, first=0, nr=8):
    """Return what pages hold."""
    return content.read(np.arange(first, first + nr, dtype=np.int64)).tolist()


def test_a_child_has_a_range_as_it_is_now():
    """What the parent stores later, or had outside of the range, is not the child's."""
    parent, child = Content(), Content()
    parent.write_run(0, 8, 1, 7)
    child.copy_from(parent, 2, 6)
    parent.write_run(3, 1, 1, 9)

    assert [0, 0, 7, 7, 7, 7, 0, 0] == held(child)


def test_what_is_given_up_stays_so_where_it_moves_until_it_is_stored_to():
    """A store takes it back, and so does a drop."""
    content = Content()
    content.write_run(0, 4, 1, 7)
    content.free_lazily(1, 4)
    content.write_run(2, 1, 1, 9)
    content.move(0, 4, 600)
    content.drop(603, 604)

    assert [7, 7, 9, 0] == held(content, 600, 4)
    assert [601] == content.lazy.tolist()


async def process_with_pages(machine):
    """Return a checked process, and a region that it has written."""
    observe(machine.kernel)
    process = await machine.spawn("p")
    region = await process.mmap(8 * PAGE)
    await process.touch(region, write=True)
    return machine.kernel.processes[process.pid], process, region


def spoil(machine, mm, address):
    """Let the page at an address hold something else."""
    pfn = pte_pfn(pte_at(*machine.kernel.space, mm.number, address >> 12))
    machine.kernel.mem.pages.token[pfn] ^= np.uint64(1)


def test_a_page_that_a_child_found_spoilt_is_told():
    """The child's content is known from its first moment."""

    async def main(machine):
        entry, _, region = await process_with_pages(machine)
        child = entry.children[await entry.ref.ask(Fork())]
        clean = check_machine(machine.kernel)
        spoil(machine, child.mm, region.address)
        pids = {line.split()[1] for line in check_machine(machine.kernel) if "expected" in line}
        return clean, pids == {str(entry.pid), str(child.pid)}

    assert run(small_machine(**MEMORY), main, sound=False).result == ([], True)


def test_pages_are_expected_where_mremap_has_moved_them():
    """Nothing is wrong after the move, and a spoilt page is told at its new place."""

    async def main(machine):
        entry, process, region = await process_with_pages(machine)
        fixed = MREMAP_MAYMOVE | MREMAP_FIXED
        length = 8 * PAGE
        await process.syscall("mremap", region, length, flags=fixed, new_address=TARGET)
        clean = check_machine(machine.kernel)
        spoil(machine, entry.mm, TARGET + PAGE)
        told = [line for line in check_machine(machine.kernel) if "expected" in line]
        return clean, [f"{(TARGET >> 12) + 1:#x}" in line for line in told]

    assert run(small_machine(**MEMORY), main, sound=False).result == ([], [True])


def test_a_child_that_lacks_a_mapping_is_told(monkeypatch):
    """What a child has follows from the answer of fork, whatever the kernel copied."""
    monkeypatch.setattr(fork, "needs_copy", lambda _vma: False)

    async def main(machine):
        entry, _, _ = await process_with_pages(machine)
        child = await entry.ref.ask(Fork())
        await entry.children[child].ref.ask(Sleep(1))
        told = [line for line in check_machine(machine.kernel) if "expected" in line]
        return [line.startswith(f"pid {child} ") for line in told[:8]]

    assert run(small_machine(**MEMORY), main, sound=False).result == [True] * 8


def test_pages_that_mremap_leaves_behind_are_told(monkeypatch):
    """Which pages moved follows from the answer, whatever the kernel moved."""
    do_mremap = protecting.do_mremap

    def moves_less(*arguments):
        remap = do_mremap(*arguments)
        remap.move = attrs.evolve(remap.move, nr_pages=7)
        return remap

    monkeypatch.setattr(protecting, "do_mremap", moves_less)

    async def main(machine):
        _, process, region = await process_with_pages(machine)
        fixed = MREMAP_MAYMOVE | MREMAP_FIXED
        await process.syscall("mremap", region, 8 * PAGE, flags=fixed, new_address=TARGET)
        return [line for line in check_machine(machine.kernel) if "pages are moved" in line]

    assert len(run(small_machine(**MEMORY), main, sound=False).result) == 1


def test_pages_come_back_if_there_is_no_memory_to_move_them_all(monkeypatch):
    """Of a process killed in mremap the threads find each page where it was (mremap.c:move_vma)."""
    alloc_pages, grants = protecting.alloc_pages, []

    async def runs_out(*arguments):
        grants.append(arguments)
        if len(grants) > 1:
            return NOTHING
        return await alloc_pages(*arguments)

    monkeypatch.setattr(protecting, "alloc_pages", runs_out)
    half = TARGET - 4 * PAGE  # the other half needs a table of its own

    async def main(machine):
        _, process, region = await process_with_pages(machine)
        before = process.proc("maps")
        await process.fork(lambda thread: thread.sleep("1s"), shares_vm=True)
        fixed = MREMAP_MAYMOVE | MREMAP_FIXED
        with pytest.raises(SyscallError) as told:
            await process.syscall("mremap", region, 16 * PAGE, flags=fixed, new_address=half)
        read = await process.touch(region)
        writers = {process.writer_of(region.address + at * PAGE) for at in range(8)}
        assert (writers, read.minflt) == ({process.pid}, 0)
        assert (len(grants), process.proc("maps")) == (2, before)
        return told.value.errno

    assert run(small_machine(**MEMORY), main).result == errno.ENOMEM


def test_pages_given_up_may_read_as_zero_and_as_nothing_else():
    """MADV_FREE lets a page go, not change."""

    async def main(machine):
        entry, process, region = await process_with_pages(machine)
        await process.syscall("madvise", region, "free")
        pfn = pte_pfn(pte_at(*machine.kernel.space, entry.mm.number, region.address >> 12))
        machine.kernel.mem.pages.token[pfn] = 0
        clean = check_machine(machine.kernel)
        spoil(machine, entry.mm, region.address + PAGE)
        return clean, len(check_machine(machine.kernel))

    assert run(small_machine(**MEMORY), main, sound=False).result == ([], 1)
