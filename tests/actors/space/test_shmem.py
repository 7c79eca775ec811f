"""Memory that processes share, on whole machines: holes and ends, while others touch it, too."""

import pytest

from kernelsim.actors.process.calls.access import Touch
from kernelsim.actors.process.calls.advising import Madvise
from kernelsim.actors.process.calls.file_write import Ftruncate, SyncFileRange, Write
from kernelsim.actors.process.calls.files import Read
from kernelsim.actors.process.calls.life import Exit
from kernelsim.actors.space import shmem
from kernelsim.check.machine import check_machine
from tests.shared_file import both, parent_and_child
from tests.small_machine import PAGE, run, small_machine

NR = 256  # pages of the files
TWO_CPUS = {"cpus": ("0-1",), "memory": "32M"}


@pytest.mark.parametrize("write", [False, True])
def test_a_hole_is_punched_while_another_process_touches_it(write):
    """A page that it touches meanwhile is gone, or is a fresh one: none is freed that is mapped."""

    async def main(machine):
        parent, child, _, address = await parent_and_child(machine, "/dev/shm/file", NR)
        await child.ref.ask(Touch(address, NR * PAGE, write=write))
        touch = Touch(address, NR * PAGE, write=write, passes=20)
        answers = await both(
            machine, (child, touch), (parent, Madvise(address, NR * PAGE, "remove"))
        )
        assert check_machine(machine.kernel) == []
        return answers[0].fault, answers[1], answers[0].minflt > 0

    assert run(small_machine(**TWO_CPUS), main).result == (None, 0, True)


@pytest.fixture
def slow_memory(monkeypatch):
    """Let each page of shared memory be waited for, as when memory is short."""
    alloc_pages = shmem.alloc_pages

    async def after_a_while(current, *rest):
        grant = await alloc_pages(current, *rest)
        await current.task.compute(10_000)
        return grant

    monkeypatch.setattr(shmem, "alloc_pages", after_a_while)


@pytest.mark.usefixtures("slow_memory")
def test_a_file_is_cut_off_while_another_process_fills_it():
    """It gets SIGBUS, and no page stays behind the end; what was promised is given back."""

    async def main(machine):
        parent, child, fd, address = await parent_and_child(machine, "/dev/shm/file", NR)
        await parent.ref.ask(Madvise(address, NR * PAGE, "remove"))
        touch = Touch(address, NR * PAGE, write=True)
        touched, cut = await both(machine, (child, touch), (parent, Ftruncate(fd, 0)))
        inode = parent.files[fd].inode
        return touched.fault is not None, cut, machine.kernel.spaces.nrpages(inode.number)

    assert run(small_machine(**TWO_CPUS), main).result == (True, 0, 0)


@pytest.mark.usefixtures("slow_memory")
def test_who_cuts_a_file_off_waits_for_who_writes_it():
    """One of them holds the lock of the file: all that was written goes."""

    async def main(machine):
        parent, child, fd, _ = await parent_and_child(machine, "/dev/shm/file", NR)
        await parent.ref.ask(Ftruncate(fd, 0))
        answers = await both(machine, (child, Write(fd, 8 * PAGE, 0)), (parent, Ftruncate(fd, 0)))
        inode = parent.files[fd].inode
        return answers, inode.nr_pages, machine.kernel.spaces.nrpages(inode.number)

    assert run(small_machine(**TWO_CPUS), main).result == ([8 * PAGE, 0], 0, 0)


def test_what_is_written_is_seen_through_a_mapping_and_the_reverse():
    """A file below /dev/shm is known to the checks; no disk hears of it."""

    async def main(machine):
        parent, child, fd, address = await parent_and_child(machine, "/dev/shm/file", NR)
        await child.ref.ask(Touch(address, NR * PAGE, write=False))
        await child.ref.ask(Touch(address, 2 * PAGE, write=True))
        await parent.ref.ask(Write(fd, PAGE, PAGE))
        assert check_machine(machine.kernel) == []
        range_of_file = SyncFileRange(fd, 0, 0, "wait_before write wait_after")
        return (
            await parent.ref.ask(range_of_file),
            await parent.ref.ask(Read(fd, NR * PAGE, 0)),
            await parent.ref.ask(Ftruncate(fd, PAGE)),
            check_machine(machine.kernel),
        )

    assert run(small_machine(**TWO_CPUS), main).result == (0, NR * PAGE, 0, [])


def test_pages_that_wait_to_be_activated_on_another_cpu_are_not_freed_twice():
    """The batch of the CPU on which the last mapping of them went has a reference.

    A fault maps 16 pages; a batch has room for 15.
    """

    async def main(machine):
        parent, child, fd, address = await parent_and_child(machine, "/dev/shm/file", NR)
        await child.ref.ask(Touch(address, 8 * PAGE, write=False))
        await child.ref.ask(Exit(0))
        batches = machine.kernel.mem.activate_batch[:, 0]
        waiting = int(batches.sum() - batches[parent.task.cpu.number])
        await parent.ref.ask(Ftruncate(fd, 0))
        return waiting, check_machine(machine.kernel)

    assert run(small_machine(**TWO_CPUS), main).result == (1, [])
