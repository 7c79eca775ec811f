"""Holes punched into files on disks, on whole machines, while others use the files."""

import pytest

from kernelsim.actors.process.calls.access import Touch
from kernelsim.actors.process.calls.advising import Madvise
from kernelsim.actors.process.calls.file_write import Fsync
from kernelsim.actors.process.calls.files import Fadvise, Open, Read
from kernelsim.actors.process.calls.mapping import Mmap
from kernelsim.check.machine import check_machine
from kernelsim.check.page_cache import file_token
from kernelsim.fs.inode import HOLE
from tests.shared_file import both, parent_and_child
from tests.small_machine import PAGE, run, small_machine

NR = 64  # pages of the file
TWO_CPUS = {"cpus": ("0-1",), "memory": "32M", "files": {"/old": NR * PAGE}}


def places(inode):
    """Return which pages of a file have none on the disk."""
    return [index for index in range(inode.nr_pages) if inode.map_blocks(index, 1)[0] == HOLE]


def test_a_hole_takes_pages_and_blocks_and_reads_as_zeros():
    """What is dirty is written first; the disk has room again; pages around it stay."""

    async def main(machine):
        parent, _, fd, address = await parent_and_child(machine, "/file", NR)
        inode, kernel = parent.files[fd].inode, machine.kernel
        free = kernel.files.filesystems[inode.device]
        answer = await parent.ref.ask(Madvise(address + 8 * PAGE, 16 * PAGE, "remove"))
        assert check_machine(kernel) == []
        assert len(places(inode)) == NR, "what lies around it waits to be written"
        await parent.ref.ask(Fsync(fd))
        assert places(inode) == list(range(8, 24))
        before = sum(end - start for start, end in free.free)
        cached = kernel.spaces.nrpages(inode.number)
        read = await parent.ref.ask(Read(fd, NR * PAGE, 0))
        tokens = [file_token(kernel, inode, index) for index in range(NR)]
        await parent.ref.ask(Touch(address + 8 * PAGE, PAGE, write=True))
        await parent.ref.ask(Fsync(fd))
        await parent.ref.ask(Madvise(address, NR * PAGE, "remove"))
        after = sum(end - start for start, end in free.free)
        empty = [index for index, token in enumerate(tokens) if not token]
        return answer, cached, read, empty, after - before, places(inode) == list(range(NR))

    told = run(small_machine(**TWO_CPUS), main).result
    assert told == (0, NR - 16, NR * PAGE, list(range(8, 24)), NR - 16, True)


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("is_cached", [False, True])
def test_a_hole_is_punched_while_another_process_touches_it(write, is_cached):
    """It waits for pages that are being read or written; none is freed that is mapped."""

    async def main(machine):
        parent, child, fd, address = await parent_and_child(machine, "/file", NR)
        await parent.ref.ask(Fsync(fd))
        if not is_cached:
            await parent.ref.ask(Fadvise(fd, "dontneed"))
        touch = Touch(address, NR * PAGE, write=write, passes=20)
        remove = Madvise(address, NR * PAGE, "remove")
        asks = (child, touch), (parent, remove), (parent, remove), (parent, remove)
        touched, *holes = await both(machine, *asks)
        assert check_machine(machine.kernel) == []
        return touched.fault, holes, touched.minflt + touched.majflt > 0

    assert run(small_machine(**TWO_CPUS), main).result == (None, [0, 0, 0], True)


def test_private_copies_stay():
    """A page that a private mapping has made its own is no page of the file any more."""

    async def main(machine):
        handle = await machine.spawn("p")
        process = machine.kernel.processes[handle.pid]
        fd = await process.ref.ask(Open("/old"))
        private = await process.ref.ask(Mmap(NR * PAGE, fd=fd))
        await process.ref.ask(Touch(private, 4 * PAGE, write=True))
        await process.ref.ask(Touch(private + 4 * PAGE, 4 * PAGE, write=False))
        shared = await process.ref.ask(Mmap(NR * PAGE, fd=fd, shared=True))
        answer = await process.ref.ask(Madvise(shared, 8 * PAGE, "remove"))
        again = await process.ref.ask(Touch(private, 8 * PAGE, write=False))
        assert check_machine(machine.kernel) == []
        return answer, again.minflt + again.majflt

    assert run(small_machine(**TWO_CPUS), main).result == (0, 1)
