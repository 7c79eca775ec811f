"""Shared memory that goes to swap and comes back, on whole machines, with all their checks."""

import errno

import pytest

from kernelsim.actors.process.calls.access import Touch
from kernelsim.actors.process.calls.advising import Madvise, MincoreRange
from kernelsim.actors.process.calls.file_write import Ftruncate, Write
from kernelsim.actors.process.calls.files import Open, Read
from kernelsim.actors.process.calls.forking import Fork
from kernelsim.actors.process.calls.life import Exit, Sigaction
from kernelsim.actors.process.calls.mapping import Mmap, Munmap
from kernelsim.actors.process.calls.swapping import Swapoff
from kernelsim.check.machine import check_machine
from kernelsim.mm.swap.swap_area import SWAP_MAP_BAD, SWAP_MAP_COUNT
from kernelsim.procfs.capture_process import capture_process
from tests.small_machine import PAGE, run, small_machine

NR = 256
ZRAM = {"kind": "zram"}
SPEC = {"memory": "32M", "swap": "64M"}


async def sharing(machine):
    """Return a process that has written a file below /dev/shm, its descriptor, and where."""
    handle = await machine.spawn("p")
    process = machine.kernel.processes[handle.pid]
    await process.ref.ask(Sigaction())
    fd = await process.ref.ask(Open("/dev/shm/file", create=True))
    await process.ref.ask(Ftruncate(fd, NR * PAGE))
    address = await process.ref.ask(Mmap(NR * PAGE, fd=fd, shared=True))
    return process, fd, address


async def swapped_out(machine):
    """Return a process whose file is in swap, all of it written, its descriptor, and where."""
    process, fd, address = await sharing(machine)
    await process.ref.ask(Touch(address, NR * PAGE, write=True))
    await process.ref.ask(Madvise(address, NR * PAGE, "pageout"))
    await machine.sleep("100ms")
    hog = await machine.spawn("hog")  # takes what stays in the swap cache
    await hog.touch(await hog.mmap("40M"), write=True)
    await hog.exit()
    await hog.wait()
    return process, fd, address


def in_swap(machine, process, fd):
    """Return how many pages of a file are in memory, and in swap."""
    spaces, number = machine.kernel.spaces, process.files[fd].inode.number
    return spaces.nrpages(number), spaces.swapped(number)


def nr_named(machine):
    """Return how many slots hold something that is wanted."""
    users = machine.kernel.swap.map & SWAP_MAP_COUNT
    return int(((users != 0) & (users != SWAP_MAP_BAD)).sum())


@pytest.mark.mission("R4")
@pytest.mark.parametrize("disk", [None, ZRAM, {"kind": "hdd"}])
def test_a_file_goes_to_swap_and_comes_back_with_its_content(disk):
    """No page stays in memory; a load brings each back, with what its neighbours share."""

    async def main(machine):
        process, fd, address = await swapped_out(machine)
        out = in_swap(machine, process, fd)
        assert check_machine(machine.kernel) == []
        touched = await process.ref.ask(Touch(address, NR * PAGE, write=False))
        assert check_machine(machine.kernel) == []
        return out, in_swap(machine, process, fd), touched.majflt > 0, nr_named(machine)

    spec = small_machine(**SPEC, disk=disk)
    assert run(spec, main).result == ((0, NR), (NR, 0), True, 0)


@pytest.mark.mission("R4")
def test_kswapd_swaps_what_processes_share():
    """More is shared than there is memory; parent and child read it in turn, and lose nothing."""

    async def main(machine):
        handle = await machine.spawn("p")
        parent = machine.kernel.processes[handle.pid]
        size = 20 << 20
        address = await parent.ref.ask(Mmap(size, shared=True))
        child = parent.children[await parent.ref.ask(Fork())]
        await parent.ref.ask(Touch(address, size, write=True))
        await child.ref.ask(Touch(address, size, write=False))
        await parent.ref.ask(Touch(address, size, write=True))
        assert check_machine(machine.kernel) == []
        await parent.ref.ask(Exit(0))
        await child.ref.ask(Exit(0))
        await machine.sleep("1s")
        return nr_named(machine), check_machine(machine.kernel)

    assert run(small_machine(memory="16M", swap="64M"), main).result == (0, [])


def test_pages_of_zeros_need_no_swap():
    """A page that was only read is dropped, and what was promised for it is given back later."""

    async def main(machine):
        process, fd, address = await sharing(machine)
        await process.ref.ask(Touch(address, NR * PAGE, write=False))
        await process.ref.ask(Madvise(address, NR * PAGE, "pageout"))
        out = in_swap(machine, process, fd)
        inode, before = process.files[fd].inode, process.files[fd].inode.alloced
        await process.ref.ask(Touch(address, PAGE, write=True))
        return out, before, inode.alloced, check_machine(machine.kernel)

    assert run(small_machine(**SPEC), main).result == ((0, 0), NR, 1, [])


def test_read_and_write_bring_pages_back():
    """A read of a file brings what it reads; a write to a page finds it first."""

    async def main(machine):
        process, fd, _ = await swapped_out(machine)
        nr_read = await process.ref.ask(Read(fd, 2 * PAGE, 0))
        nr_written = await process.ref.ask(Write(fd, PAGE, 100 * PAGE))
        in_memory, swapped = in_swap(machine, process, fd)
        assert check_machine(machine.kernel) == []
        return nr_read, nr_written, in_memory, swapped

    assert run(small_machine(**SPEC), main).result == (2 * PAGE, PAGE, 3, NR - 3)


def test_what_is_cut_off_or_unmapped_leaves_swap():
    """A hole, an end and the end of the last mapping free their slots."""

    async def main(machine):
        process, fd, address = await swapped_out(machine)
        await process.ref.ask(Madvise(address, 6 * PAGE, "remove"))
        hole = in_swap(machine, process, fd)
        await process.ref.ask(Ftruncate(fd, 100 * PAGE + 5))  # the page it ends in is zeroed
        end = in_swap(machine, process, fd)
        memory = await process.ref.ask(Mmap(NR * PAGE, shared=True))
        await process.ref.ask(Touch(memory, NR * PAGE, write=True))
        await process.ref.ask(Madvise(memory, NR * PAGE, "pageout"))
        await machine.sleep("50ms")
        await process.ref.ask(Munmap(memory, NR * PAGE))
        return hole, end, nr_named(machine), check_machine(machine.kernel)

    assert run(small_machine(**SPEC), main).result == ((0, NR - 6), (1, 94), 94, [])


def test_swapoff_brings_shared_memory_back():
    """All of it is in memory afterwards, and swap is empty."""

    async def main(machine):
        process, fd, _ = await swapped_out(machine)
        answer = await process.ref.ask(Swapoff("/dev/vda"))
        return answer, in_swap(machine, process, fd), check_machine(machine.kernel)

    assert run(small_machine(**SPEC), main).result == (0, (NR, 0), [])


def test_mincore_willneed_and_smaps_know_what_is_in_swap():
    """Nothing is in memory; smaps counts it; willneed reads it ahead, and then mincore sees it.

    As in Linux willneed reads one page more than it is told of.
    """

    async def main(machine):
        process, fd, address = await swapped_out(machine)
        before = sum(await process.ref.ask(MincoreRange(address, NR * PAGE)))
        snapshot = capture_process(machine.kernel, process, usage=True)
        swap = [vma.usage.swap for vma in snapshot.vmas if vma.start == address]
        await process.ref.ask(Madvise(address, 16 * PAGE, "willneed"))
        await machine.sleep("50ms")
        after = sum(await process.ref.ask(MincoreRange(address, NR * PAGE)))
        return before, swap, after, in_swap(machine, process, fd), check_machine(machine.kernel)

    wanted = (0, [NR * PAGE], 17, (0, NR), [])
    assert run(small_machine(**SPEC), main).result == wanted


def test_what_cannot_be_read_from_swap():
    """A load is a SIGBUS, a read ends before it, and swapoff gives up; nobody else is hurt."""

    async def main(machine):
        process, fd, address = await swapped_out(machine)
        machine.disk("vda").fail_reads()
        touched = await process.ref.ask(Touch(address, PAGE, write=False))
        nr_read = await process.ref.ask(Read(fd, 2 * PAGE, 0))
        answer = await process.ref.ask(Swapoff("/dev/vda"))
        return touched.fault is not None, nr_read, answer, in_swap(machine, process, fd)

    result = run(small_machine(**SPEC), main).result
    assert result == (True, -errno.EIO, -errno.EIO, (0, NR))
