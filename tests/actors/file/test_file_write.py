"""Writing files: what becomes dirty, who waits, what fsync promises, what a fault leaves behind."""

import errno

import numpy as np
import pytest

from kernelsim.check.machine import check_machine
from kernelsim.errors import EventLimitError, SyscallError
from kernelsim.mm.core.mem import PG_dirty, PG_error, PG_uptodate
from kernelsim.mm.core.xarray import xa_load
from tests.small_machine import PAGE, OpenMachine, run, small_machine

STATE = ("nr_dirty", "nr_writeback", "nr_dirtied", "nr_written")
SLOW = {"bandwidth": "4M", "write_latency": "1ms"}


def machine_with_disk(**options):
    """A small machine with a disk and the files it is given."""
    return small_machine(**{"files": {}, "memory": "32M", **options})


async def writer(machine, path="/f", name="writer"):
    """Start a process that has made a file."""
    process = await machine.spawn(name)
    return process, await process.open(path, create=True)


def state(machine):
    """Return the counters of dirty pages."""
    vmstat = machine.vmstat
    return tuple(vmstat[name] for name in STATE)


def inode_of(machine, path="/f"):
    """Return a file."""
    return machine.kernel.files.by_path[path]


def test_a_write_makes_pages_dirty_and_returns_at_once():
    """Ten pages written in 2 calls: dirty, nothing on its way, no place on the disk yet."""

    async def main(machine):
        process, fd = await writer(machine)
        got = [await process.write(fd, 5 * PAGE) for _ in range(2)]
        return got, state(machine), inode_of(machine).extents, inode_of(machine).size

    assert run(machine_with_disk(), main).result == ([5 * PAGE] * 2, (10, 0, 10, 0), [], 10 * PAGE)


def test_pages_written_twice_are_dirty_once():
    """A second write to a dirty page changes what it holds and no counter."""

    async def main(machine):
        process, fd = await writer(machine)
        for _ in range(2):
            await process.write(fd, 3 * PAGE, offset=0)
        return state(machine)

    assert run(machine_with_disk(), main).result == (3, 0, 3, 0)


@pytest.mark.mission("R3")
def test_fsync_returns_when_the_disk_has_all_of_the_file():
    """Afterwards nothing is dirty or on its way, and the disk holds what was written."""

    async def main(machine):
        process, fd = await writer(machine)
        await process.write(fd, 40 * PAGE)
        before = inode_of(machine).disk.any()
        await process.fsync(fd)
        inode, machine_mem = inode_of(machine), machine.mem.pages
        pfns = [int(xa_load(machine.kernel.spaces.pool.xa, inode.number, i)) for i in range(40)]
        assert (inode.disk[:40] == machine_mem.token[pfns]).all()
        return before, state(machine)

    assert run(machine_with_disk(disk=SLOW), main).result == (False, (0, 0, 40, 40))


def test_what_the_disk_holds_changes_when_it_is_done_not_before():
    """While a write is under way the disk holds nothing of it."""

    async def main(machine):
        process, fd = await writer(machine)
        await process.write(fd, 4 * PAGE)
        await process.syscall("sync_file_range", fd)
        assert state(machine)[1] == 4
        on_its_way = inode_of(machine).disk.any()
        await process.syscall("sync_file_range", fd, flags="wait_after")
        return on_its_way, bool(inode_of(machine).disk[:4].all()), state(machine)

    assert run(machine_with_disk(disk=SLOW), main).result == (False, True, (0, 0, 4, 4))


def test_a_page_stored_to_while_it_is_being_written_is_dirty_again():
    """The disk gets what the page held when it was taken; the rest is written next time."""

    async def main(machine):
        process, fd = await writer(machine)
        await process.write(fd, PAGE)
        await process.syscall("sync_file_range", fd)
        await process.write(fd, PAGE, offset=0)
        assert state(machine) == (1, 1, 2, 0)
        await process.syscall("sync_file_range", fd, flags="wait_after")
        first = int(inode_of(machine).disk[0])
        await process.fsync(fd)
        return first, int(inode_of(machine).disk[0])

    first, second = run(machine_with_disk(disk=SLOW), main).result
    assert 0 < first < second


def test_part_of_a_page_is_read_before_it_is_written():
    """A write of 100 bytes to a page on the disk waits for its read; behind the end it does not."""

    async def main(machine):
        process = await machine.spawn("p")
        fd = await process.open("/data")
        await process.write(fd, 100, offset=PAGE + 7)
        read = machine.vmstat["pgpgin"]
        await process.write(fd, 100, offset=100 * PAGE + 7)
        return read, machine.vmstat["pgpgin"], inode_of(machine, "/data").size

    result = run(machine_with_disk(files={"/data": "64K"}), main).result
    assert result == (4, 4, 100 * PAGE + 107)


@pytest.mark.mission("A5")
def test_old_pages_are_written_by_the_flusher():
    """A disk with history: after 30 to 35 s; one without has no share, so after 5."""

    async def main(machine):
        process, fd = await writer(machine)
        await process.write(fd, 10 * PAGE)
        seen = []
        for _ in range(2):
            began_ns = machine.now_ns
            while state(machine)[0]:
                await machine.sleep("0.5s")
            seen.append((machine.now_ns - began_ns) // 10**9)
            await process.write(fd, 10 * PAGE)
            await process.fsync(fd)
            await process.write(fd, 1 * PAGE)
            for _ in range(60):  # history stays while the disk is written to
                await machine.sleep("0.5s")
                await process.write(fd, PAGE, offset=0)
                await process.syscall("sync_file_range", fd, flags="write wait_after")
                await process.write(fd, PAGE, offset=40 * PAGE)
        return seen

    first, later = run(machine_with_disk(), main).result
    assert first == 5
    assert 0 <= later <= 35


@pytest.mark.mission("R13")
def test_a_writer_faster_than_the_disk_is_made_to_wait():
    """Dirty pages stay below the limit, the writer's rate becomes the disk's."""

    async def main(machine):
        machine.sysctl("vm.dirty_bytes", 2 << 20)
        machine.sysctl("vm.dirty_background_bytes", 1 << 20)
        process, fd = await writer(machine)
        began_ns, most = machine.now_ns, 0
        for _ in range(256):
            await process.write(fd, 65536)
            dirty, writing, _, _ = state(machine)
            most = max(most, dirty + writing)
        slept_ns = machine.kernel.devices["vda"].throttle.dirty_sleep_ns
        return most, machine.now_ns - began_ns, slept_ns - began_ns

    done = run(machine_with_disk(disk={"bandwidth": "10M"}, memory="64M"), main)
    most, took_ns, slept_ns = done.result
    assert most <= 512 + 32
    assert 0 < slept_ns < took_ns  # blk-wbt heard of it
    rate = (16 << 20) * 10**9 / took_ns
    assert 9.0e6 < rate < 14e6
    assert done.log.named("balance_dirty_pages")


def test_sync_writes_all_files():
    """Files of several processes; it comes back when nothing is dirty."""

    async def main(machine):
        for name in ("a", "b", "c"):
            process, fd = await writer(machine, f"/{name}", name)
            await process.write(fd, 30 * PAGE)
        await process.syscall("sync")
        return state(machine)

    assert run(machine_with_disk(disk=SLOW), main).result == (0, 0, 90, 90)


def test_errors_of_calls():
    """A bad descriptor, a negative or too large position, a length below 0."""

    async def main(machine):
        process, fd = await writer(machine)
        found = []
        for name, *arguments in (
            ("write", 99, 1), ("fsync", 99), ("fdatasync", 99), ("ftruncate", 99, 0),
            ("sync_file_range", 99),
        ):  # fmt: skip
            with pytest.raises(SyscallError) as error:
                await process.syscall(name, *arguments)
            found.append(error.value.errno)
        for where in (1 << 44, 1 << 64):
            with pytest.raises(SyscallError) as error:
                await process.write(fd, 1, offset=where)
            found.append(error.value.errno)
        return found

    assert run(machine_with_disk(), main).result == [
        *[errno.EBADF] * 5,
        errno.EFBIG,
        errno.EINVAL,
    ]


def test_a_write_error_is_told_once_to_each_open_file():
    """EIO once for each; the page stays in memory, clean; who opens later hears nothing."""

    async def main(machine):
        process, fd = await writer(machine)
        other = await process.open("/f")
        await process.write(fd, 3 * PAGE)
        machine.disk("vda").fail_writes(first=PAGE, length=PAGE)
        heard = []
        for each in (fd, fd, other, other):
            try:
                await process.fsync(each)
                heard.append(0)
            except SyscallError as error:
                heard.append(error.errno)
        late = await process.open("/f")
        await process.fsync(late)
        inode = inode_of(machine)
        pfn = int(xa_load(machine.kernel.spaces.pool.xa, inode.number, 1))
        flags = int(machine.mem.pages.flags[pfn])
        assert flags & PG_uptodate
        assert flags & PG_error
        assert not flags & PG_dirty
        held = inode.disk[:3] != 0
        machine.disk("vda").mend()
        await process.write(fd, PAGE, offset=PAGE)
        await process.fsync(fd)
        return heard, held.tolist(), bool(inode.disk[1])

    result = run(machine_with_disk(), main).result
    assert result == ([errno.EIO, 0, errno.EIO, 0], [True, False, True], True)


def test_a_disk_that_stalls_for_a_minute_only_delays():
    """Fsync waits, other files are read from memory meanwhile, nothing is lost."""

    async def main(machine):
        process, fd = await writer(machine)
        await process.write(fd, 20 * PAGE)
        machine.disk("vda").stall("60s")
        reader = await machine.spawn("reader")
        other = await reader.open("/f")
        began_ns = machine.now_ns
        assert await reader.read(other, 20 * PAGE) == 20 * PAGE
        assert machine.now_ns - began_ns < 10**8
        await process.fsync(fd)
        return round((machine.now_ns - began_ns) / 10**9), state(machine)

    assert run(machine_with_disk(), main).result == (60, (0, 0, 20, 20))


@pytest.mark.mission("R3")
def test_dirty_pages_are_written_before_they_are_evicted():
    """A program that needs all of memory: the file's pages go to the disk, and come back."""

    async def main(machine):
        process, fd = await writer(machine)
        await process.write(fd, 200 * PAGE)
        hog = await machine.spawn("hog")
        region = await hog.mmap("28M")
        for _ in range(3):
            await hog.touch(region, write=True)
        return await process.read(fd, 200 * PAGE, offset=0), machine.vmstat["nr_written"]

    read, written = run(machine_with_disk(swap="64M", sysctl={"vm.swappiness": 60}), main).result
    assert read == 200 * PAGE
    assert written >= 200


def test_dirty_marks_that_do_not_fit_are_found():
    """The checker sees a page that is dirty by its flag only, and one lost on the disk."""

    async def main(machine):
        process, fd = await writer(machine)
        await process.write(fd, 2 * PAGE)
        inode = inode_of(machine)
        pfn = int(xa_load(machine.kernel.spaces.pool.xa, inode.number, 0))
        machine.mem.pages.flags[pfn] &= ~np.uint32(PG_dirty)
        found = check_machine(machine.kernel)
        machine.mem.pages.flags[pfn] |= np.uint32(PG_dirty)
        await process.fsync(fd)
        await process.fadvise(fd, "dontneed")
        assert check_machine(machine.kernel) == []
        inode.disk[1] ^= np.uint64(1)
        lost = check_machine(machine.kernel)
        inode.disk[1] ^= np.uint64(1)
        return found, lost

    dirty, lost = run(machine_with_disk(), main).result
    assert any("by flag or by mark" in line for line in dirty)
    assert any("nr_dirty is 2, 1 pages" in line for line in dirty)
    assert [line for line in lost if "was dropped" in line]


def acknowledged_writes(events):
    """Run a small workload until so many events; return what fsync promised, and the disk."""
    promised = {}

    async def main(machine):
        process, fd = await writer(machine)
        other = await process.open("/g", create=True)
        for step in range(3):
            await process.write(fd, 3 * PAGE, offset=step * 2 * PAGE)
            await process.write(other, PAGE, offset=0)
            inode = inode_of(machine)
            pfns = [
                int(xa_load(machine.kernel.spaces.pool.xa, inode.number, page))
                for page in range(inode.nr_pages)
            ]
            tokens = machine.mem.pages.token[pfns].copy()
            await process.fsync(fd)
            promised["/f"] = tokens

    machine = OpenMachine(
        machine_with_disk(disk={"bandwidth": "1M"}), max_events=events, burst_pages=1
    )
    is_cut = False
    try:
        machine.run(lambda _: main(machine))
    except EventLimitError:
        is_cut = True
    disk = {path: inode.disk for path, inode in machine.kernel.files.by_path.items()}
    return promised, disk, is_cut


def test_a_power_cut_at_any_event_loses_nothing_that_fsync_acknowledged():
    """The machine is stopped after each event of a workload; the disk holds what was promised.

    Pages written after the promise may be there too: the disk then holds a later write.
    """
    events, nr_promises, is_cut = 1, 0, True
    while is_cut:
        promised, disk, is_cut = acknowledged_writes(events)
        for path, tokens in promised.items():
            held = disk[path][: len(tokens)]
            assert (held >= tokens).all(), f"power cut after event {events}"
            nr_promises += 1
        events += 1
    assert events > 50
    assert nr_promises > 20
