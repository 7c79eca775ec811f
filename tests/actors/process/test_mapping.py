"""Calls on mappings of files: mmap, madvise, msync, mlock, and what /proc says of them."""

import errno

import pytest

from kernelsim.actors.process.calls.advising import MS_ASYNC
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.errors import SyscallError
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ, PROT_WRITE
from tests.actors.space.test_file_fault import (
    cached,
    events,
    machine_with_file,
    mapper,
    rss,
    since,
    token_of,
)
from tests.small_machine import PAGE, run

BURSTS = [pytest.param({}, id="bursts"), pytest.param({"burst_pages": 1}, id="messages")]


async def incore(process, path="/data"):
    """Return the pages of a file that are in memory."""
    fd = await process.open(path)
    pages = await process.mincore(fd)
    await process.close(fd)
    return pages.tolist()


@pytest.mark.parametrize(
    ("wrong", "number"),
    [({"fd": 9}, errno.EBADF), ({"offset": 100}, errno.EINVAL), ({"offset": -PAGE}, errno.EINVAL)],
)
def test_mmap_refuses(wrong, number):
    """A descriptor that is not open; a place in the file that is no page's."""

    async def main(machine):
        process = await machine.spawn("mapper")
        fd = await process.open("/data")
        with pytest.raises(SyscallError) as refused:
            await process.syscall("mmap", 16 * PAGE, **{"fd": fd, **wrong})
        return refused.value.errno

    assert run(machine_with_file(), main).result == number


def test_a_large_mapping_of_a_file_is_aligned_as_its_huge_pages_would_be():
    """2 MiB of ext4 begin at a multiple of 2 MiB, less where in the file they begin."""

    async def main(machine):
        _, whole = await mapper(machine)
        _, part = await mapper(machine, "other", pages=1024, offset=16 * PAGE)
        return whole.address % (512 * PAGE), part.address % (512 * PAGE)

    assert run(machine_with_file(2048), main).result == (0, 16 * PAGE)


@pytest.mark.mission("V12")
def test_maps_and_smaps_show_the_file():
    """Its name, offset, device and inode; which pages are clean, dirty, anonymous."""

    async def main(machine):
        process = await machine.spawn("mapper")
        fd = await process.open("/data")
        mapping = await process.mmap(
            256 * PAGE, fd=fd, offset=256 * PAGE, prot=PROT_READ | PROT_EXEC
        )
        private = await process.mmap(16 * PAGE, fd=fd)
        await cached(process)
        await process.touch(mapping)
        await process.touch(private, length=4 * PAGE, write=True)
        maps = [line.split() for line in process.proc("maps").splitlines() if "/data" in line]
        smaps = process.proc("smaps").split("/data\n")[1:]
        fields = [dict(line.split(":") for line in part.splitlines()[:22]) for part in smaps]
        return maps, [
            {key: int(each[key].split()[0]) for key in ("Rss", "Private_Clean", "Anonymous")}
            for each in fields
        ]

    maps, smaps = run(machine_with_file(), main).result

    shown = {(perms, offset, device, path) for _, perms, offset, device, _, path in maps}
    assert shown == {
        ("r-xp", "00100000", "08:00", "/data"),
        ("rw-p", "00000000", "08:00", "/data"),
    }
    assert sorted(smaps, key=lambda each: each["Rss"]) == [
        {"Rss": 16, "Private_Clean": 0, "Anonymous": 16},
        {"Rss": 1024, "Private_Clean": 1024, "Anonymous": 0},
    ]


@pytest.mark.parametrize("options", BURSTS)
def test_random_access_reads_single_pages(options):
    """After MADV_RANDOM each miss reads its page alone; after MADV_NORMAL a window again."""

    async def main(machine):
        process, mapping = await mapper(machine)
        await process.syscall("madvise", mapping, "random")
        await process.touch(mapping, stride=64 * PAGE)
        alone = await incore(process)
        assert any("rr" in line for line in process.proc("smaps").splitlines() if "Flags" in line)
        await process.syscall("madvise", mapping, "normal")
        await process.touch(mapping, offset=32 * PAGE, length=PAGE)
        return alone, len(await incore(process)) - len(alone)

    alone, more = run(machine_with_file(), main, **options).result

    assert (alone, more) == (list(range(0, 512, 64)), 32)


def test_sequential_access_reads_what_a_stream_would():
    """After MADV_SEQUENTIAL a cold page brings the window from it on, none before it."""

    async def main(machine):
        process, mapping = await mapper(machine)
        await process.syscall("madvise", mapping, "sequential")
        await process.touch(mapping, offset=100 * PAGE, length=PAGE)
        return await incore(process)

    assert min(run(machine_with_file(), main).result) == 100


def test_willneed_reads_ahead_of_use():
    """Then nothing is missing, and no fault is a major one."""

    async def main(machine):
        process, mapping = await mapper(machine, pages=256)
        await process.syscall("madvise", mapping, "willneed")
        await process.sleep("1s")
        before = events(machine, "pgmajfault")
        await process.touch(mapping)
        return len(await incore(process)), since(before, events(machine, "pgmajfault"))

    assert run(machine_with_file(), main).result == (256, (0,))


@pytest.mark.parametrize("shared", [False, True])
def test_dontneed_forgets_private_copies_and_keeps_the_file(shared):
    """Nothing is resident afterwards; pages stay cached, with what was stored to shared ones."""

    async def main(machine):
        process, mapping = await mapper(machine, shared=shared)
        await process.touch(mapping, length=32 * PAGE, write=True)
        stored = token_of(machine, 0)
        await process.syscall("madvise", mapping, "dontneed")
        gone = rss(machine, process)[0], machine.vmstat["nr_mapped"]
        assert check_machine(machine.kernel) == []
        await process.touch(mapping, length=32 * PAGE)
        return gone, token_of(machine, 0) == stored, (stored >> 32 == process.pid) == shared

    assert run(machine_with_file(), main).result == ((0, 0), True, True)


def test_msync_waits_until_the_disk_has_what_was_stored():
    """MS_SYNC of a part writes that part; MS_ASYNC writes nothing now."""

    async def main(machine):
        process, mapping = await mapper(machine, shared=True)
        await process.touch(mapping, length=32 * PAGE, write=True)
        await process.syscall("msync", mapping, flags=MS_ASYNC)
        before = machine.vmstat["nr_dirty"]
        part = type(mapping)(mapping.address + 8 * PAGE, 8 * PAGE)
        await process.syscall("msync", part)
        disk = machine.kernel.files.by_path["/data"].disk
        held = [token == token_of(machine, index) for index, token in enumerate(disk[:32].tolist())]
        return before, machine.vmstat["nr_dirty"], held

    inside = [8 <= index < 16 for index in range(32)]
    assert run(machine_with_file(), main).result == (32, 24, inside)


def test_msync_of_nothing_is_an_error():
    """ENOMEM for a hole, EINVAL for an address inside a page."""

    async def main(machine):
        process, mapping = await mapper(machine, shared=True)
        numbers = []
        for address in (mapping.address - (1 << 30), mapping.address + 1):
            with pytest.raises(SyscallError) as refused:
                await process.syscall("msync", type(mapping)(address, PAGE))
            numbers.append(refused.value.errno)
        return numbers

    assert run(machine_with_file(), main).result == [errno.ENOMEM, errno.EINVAL]


@pytest.mark.parametrize("options", BURSTS)
@pytest.mark.parametrize("how", [{}, {"shared": True}, {"prot": PROT_READ}])
def test_a_locked_mapping_of_a_file_stays(how, options):
    """Locking brings all of it in, a stream takes none of it; unlocked it is as any other."""

    async def main(machine):
        process, mapping = await mapper(machine, **how)
        await process.syscall("mlock", mapping)
        locked = machine.vmstat["nr_mlock"]
        assert check_machine(machine.kernel) == []
        stream = await machine.spawn("stream")
        fd = await stream.open("/stream")
        await stream.read(fd, 1 << 25)
        before = process.stats
        await process.touch(mapping)
        now, resident = process.stats, sum(rss(machine, process))
        await process.syscall("munlock", mapping)
        return locked, now.pgfault - before.pgfault, resident >= 512, machine.vmstat["nr_mlock"]

    spec = machine_with_file(memory="16M", files={"/data": "2M", "/stream": "32M"})
    assert run(spec, main, **options).result == (512, 0, True, 0)


def test_a_store_to_a_locked_private_mapping_locks_the_copy():
    """Of a mapping locked as it is accessed, read and then stored to: the copies are locked."""

    async def main(machine):
        process, mapping = await mapper(machine)
        await process.syscall("mlock", mapping, onfault=True)
        await process.touch(mapping, length=16 * PAGE)
        read = machine.vmstat["nr_mlock"]
        await process.touch(mapping, length=32 * PAGE, write=True)
        return read >= 1, machine.vmstat["nr_mlock"]

    assert run(machine_with_file(), main).result == (True, 32)


@pytest.mark.parametrize("options", BURSTS)
def test_a_locked_copy_of_a_hole_stays_empty_when_others_fill_the_file(options):
    """A lock copies what is to be stored to; that the copy holds 0 then is right, and known."""

    async def main(machine):
        observe(machine.kernel)
        other = await machine.spawn("other")
        fd = await other.open("/new", create=True)
        await other.syscall("ftruncate", fd, 2 * PAGE)
        process, mapping = await mapper(
            machine, path="/new", pages=2, prot=PROT_READ | PROT_WRITE, locked=True
        )
        await other.write(fd, 2 * PAGE)
        await process.touch(mapping)
        return token_of(machine, 1, "/new"), rss(machine, process)

    token, resident = run(machine_with_file(), main, **options).result
    assert token
    assert resident == (0, 2)
