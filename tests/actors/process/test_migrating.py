"""Pages that move to other nodes: by mbind, move_pages and migrate_pages."""

import errno

import pytest

from kernelsim.actors.process.calls.forking import Fork
from kernelsim.actors.process.calls.mapping import Munmap
from kernelsim.errors import SyscallError
from tests.actors.process.test_mempolicy import fails, nodes_of, spec
from tests.small_machine import PAGE, run

THREE = ("0", "1", "2")


@pytest.mark.mission("P9")
def test_mbind_moves_what_lies_elsewhere():
    """With MOVE pages go to where the policy wants them, with what they hold; without, none."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(PAGE * 100)
        await process.touch(region, write=True)
        await process.syscall("mbind", region, "bind", 1)
        assert [0] * 100 == await nodes_of(process, region)
        await process.syscall("mbind", region, "interleave", "0-1", move=True)
        first = region.address // PAGE % 2
        # Those that are on one of its nodes already stay.
        assert [0] * 100 == await nodes_of(process, region)
        await process.syscall("mbind", region, "bind", 1, move=True)
        assert [1] * 100 == await nodes_of(process, region)
        await process.syscall("mbind", region, "interleave", [0, 2], move=True)
        places = [0, 2]
        assert [places[(first + n) % 2] for n in range(100)] == await nodes_of(process, region)
        result = await process.touch(region)  # the checks compare what it reads
        assert (result.minflt, result.majflt) == (0, 0)
        assert 200 == machine.vmstat["pgmigrate_success"]
        assert 0 == machine.vmstat["pgmigrate_fail"]

    run(spec(THREE), main)


def test_strict_alone_finds_misplaced_pages():
    """EIO, and the mapping has no policy then; nothing is wrong with pages in their place."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(PAGE * 8)
        await process.touch(region, write=True)
        await fails(process, errno.EIO, "mbind", region, "bind", 1, strict=True)
        assert "bind" not in process.proc("numa_maps")
        await process.syscall("mbind", region, "bind", 0, strict=True)
        process.uid = 1
        await fails(process, errno.EPERM, "mbind", region, "bind", 1, move_all=True)

    run(spec(), main)


def test_strict_says_what_could_not_be_moved():
    """Pages that find no room stay: EIO with STRICT, nothing without."""

    async def main(machine):
        hog = await machine.spawn("hog", cpu=1, mempolicy="bind:1")
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap("4M")
        await process.touch(region, write=True)
        await hog.syscall("mlock", await hog.mmap("9M"))
        await fails(process, errno.EIO, "mbind", region, "bind", 1, strict=True, move=True)
        left = (await nodes_of(process, region)).count(0)
        assert 0 < left == machine.vmstat["pgmigrate_fail"]
        await process.syscall("mbind", region, "bind", 1, move=True)

    run(spec(memory="16M"), main)


@pytest.mark.mission("P9")
def test_move_pages_tells_and_moves_page_by_page():
    """Status: the node, EFAULT where nothing is, ENOENT for a page in swap."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(PAGE * 4)
        pages = [region.address + PAGE * n for n in range(4)]
        await process.touch(region, write=True, length=2 * PAGE)
        await process.touch(region, offset=2 * PAGE, length=PAGE)  # the zero page
        told = await process.syscall("move_pages", 0, [*pages, PAGE])
        assert [0, 0, -errno.EFAULT, -errno.EFAULT, -errno.EFAULT] == told.status.tolist()
        moved = await process.syscall("move_pages", 0, pages, [1, 0, 1, 1])
        assert [1, 0, -errno.EFAULT, -errno.EFAULT] == moved.status.tolist()
        assert 0 == moved.nr_left
        await fails(process, errno.ENODEV, "move_pages", 0, pages[:1], [7])
        await fails(process, errno.ESRCH, "move_pages", 4711, pages)
        process.uid = 1
        await fails(process, errno.EPERM, "move_pages", 0, pages, move_all=True)

    run(spec(), main)


async def shared(machine):
    """Return a process with a child, and four pages on node 0: two of both, two of its own."""
    process = await machine.spawn("p", cpu=0)
    region = await process.mmap(PAGE * 4)
    await process.touch(region, write=True)
    await machine.kernel.processes[process.pid].ref.ask(Fork())
    await process.touch(region, write=True, offset=2 * PAGE)
    return process, region


def test_pages_that_others_have_too_are_not_moved():
    """EACCES, or EBUSY if they are asked for; mbind finds fault with them only then."""

    async def main(machine):
        process, region = await shared(machine)
        pages = [region.address + PAGE * n for n in range(4)]
        told = await process.syscall("move_pages", 0, pages[:1], [1], move_all=True)
        assert [-errno.EBUSY] == told.status.tolist()
        told = await process.syscall("move_pages", 0, pages[:1], [1])
        assert [-errno.EACCES] == told.status.tolist()
        told = await process.syscall("move_pages", 0, pages[:1], [0])
        assert [0] == told.status.tolist()
        assert 2 == await process.syscall("migrate_pages", 0, 0, 1)
        assert [0, 0, 1, 1] == await nodes_of(process, region)
        await process.syscall("migrate_pages", 0, 1, 0)
        await process.syscall("mbind", region, "bind", 1, strict=True, move=True)
        assert [0, 0, 1, 1] == await nodes_of(process, region)
        await fails(
            process, errno.EIO, "mbind", region, "bind", 1, strict=True, move=True, move_all=True
        )
        assert 0 == machine.vmstat["pgmigrate_fail"]  # nobody tries what cannot be

    run(spec(), main)


def test_a_page_of_a_file_that_is_not_there():
    """ENOENT, for a read would bring it in; where it is there it is told of, and stays."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(PAGE * 2, fd=await process.open("/data"))
        pages = [region.address, region.address + PAGE]
        told = await process.syscall("move_pages", 0, pages)
        assert [-errno.ENOENT] * 2 == told.status.tolist()
        await process.touch(region)
        told = await process.syscall("move_pages", 0, pages, [1, 0])
        assert [-errno.EBUSY, 0] == told.status.tolist()

    run(spec(files={"/data": "8K"}), main)


def test_pages_on_swap_are_not_there():
    """ENOENT; those that are there move, and are found again when they are swapped out."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0, mempolicy="bind:0")
        region = await process.mmap("20M")
        await process.touch(region, write=True)
        pages = [region.address + PAGE * n for n in range(region.length // PAGE)]
        told = (await process.syscall("move_pages", 0, pages)).status.tolist()
        assert -errno.ENOENT in told
        moved = await process.syscall("move_pages", 0, pages, [1] * len(pages))
        gone = moved.status.tolist().count(-errno.ENOENT)
        assert told.count(-errno.ENOENT) == gone
        assert moved.status.tolist().count(1) > 1000
        await process.touch(region)
        await process.touch(region, write=True)

    run(spec(memory="16M", swap="64M"), main)


def test_another_process_is_moved_while_it_runs():
    """migrate_pages of a process that goes on storing loses nothing of what it stores."""

    async def main(machine):
        async def program(process):
            region = await process.mmap("4M")
            for _ in range(200):
                await process.touch(region, write=True)
            await process.touch(region)
            return await nodes_of(process, region)

        busy = await machine.spawn("busy", program, cpu=0)
        mover = await machine.spawn("mover", cpu=1)
        await machine.sleep("1ms")
        for turn in range(4):
            old, new = (0, 1) if turn % 2 == 0 else (1, 0)
            assert 0 <= await mover.syscall("migrate_pages", busy.pid, old, new)
        await busy.wait()
        assert 1000 < machine.vmstat["pgmigrate_success"]
        assert set(busy.result) <= {0, 1}

    for pages in (1, 512):
        run(spec(), main, burst_pages=pages)


def test_a_page_that_is_unmapped_meanwhile_keeps_no_other_one():
    """A task of the same memory gives it up while mbind moves; all others move."""

    async def main(machine):
        regions = []

        async def program(process):
            region = await process.mmap("1M")
            await process.touch(region, write=True)
            await machine.kernel.processes[process.pid].ref.ask(Fork(shares_vm=True))
            regions.append(region)
            await process.syscall("mbind", region, "bind", 1, move=True)
            return await nodes_of(process, region)

        mover = await machine.spawn("mover", program, cpu=[0, 1])
        while not regions:
            await machine.sleep("1us")
        await machine.sleep("50us")  # a part of what the moves take
        child = next(iter(machine.kernel.processes[mover.pid].children.values()))
        await child.ref.ask(Munmap(regions[0].address + PAGE * 224, PAGE))
        await mover.wait()
        assert [1] * 224 + [None] + [1] * 31 == mover.result

    run(spec(), main)


def test_migrate_pages_keeps_the_order_of_nodes():
    """The first old node goes to the first new one; nodes that are in both sets stay."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap(PAGE * 12)
        await process.syscall("mbind", region, "interleave", "0-1")
        await process.touch(region, write=True)
        before = await nodes_of(process, region)
        await process.syscall("migrate_pages", 0, "0-1", "1-2")
        assert [nid + 1 for nid in before] == await nodes_of(process, region)
        await process.syscall("migrate_pages", 0, "1-2", 2)
        assert [2] * 12 == await nodes_of(process, region)
        await fails(process, errno.EINVAL, "migrate_pages", 0, 2, 9)
        await fails(process, errno.ESRCH, "migrate_pages", 4711, 0, 1)
        process.uid = 1
        await fails(process, errno.EPERM, "migrate_pages", 0, 2, "1,9")
        other = await machine.spawn("root")
        with pytest.raises(SyscallError, match="EPERM"):
            await process.syscall("migrate_pages", other.pid, 0, 1)

    run(spec(THREE), main)


def test_locked_pages_move_and_stay_locked():
    """They are on the unevictable list of their new node, and munlock lets them go."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0)
        region = await process.mmap("1M")
        await process.syscall("mlock", region)
        assert 0 == await process.syscall("migrate_pages", 0, 0, 1)
        assert [1] * 256 == await nodes_of(process, region)
        assert 256 == machine.vmstat["nr_mlock"] == machine.vmstat["nr_unevictable"]
        await process.syscall("munlock", region)
        assert 0 == machine.vmstat["nr_mlock"] == machine.vmstat["nr_unevictable"]

    run(spec(), main)


def test_a_process_that_ends_while_it_is_moved_gives_all_back():
    """Whoever moves its pages lets go of its memory last."""

    async def main(machine):
        async def program(process):
            await process.touch(await process.mmap("8M"), write=True)

        victim = await machine.spawn("victim", program, cpu=0)
        mover = await machine.spawn("mover", cpu=1)
        await machine.sleep("1ms")
        assert victim.exit_status is None
        free = machine.vmstat["nr_free_pages"]
        await mover.syscall("migrate_pages", victim.pid, 0, 1)
        assert victim.exit_status == 0
        assert machine.vmstat["nr_free_pages"] > free + 500

    run(spec(), main)
