"""Reading files: what a program gets, what is read ahead, who waits, and what stays cached."""

import errno

import numpy as np
import pytest

from kernelsim.check.machine import check_machine
from kernelsim.errors import SyscallError
from kernelsim.mm.core.mem import PG_activating, PG_locked, PG_referenced
from kernelsim.mm.core.vmstat import NR_ACTIVE_FILE, NR_INACTIVE_FILE, WORKINGSET_REFAULT_FILE
from tests.small_machine import PAGE, run, small_machine

FILES = {"/data": "8M", "/odd": "10000", "/empty": "0"}


def machine_with_files(**options):
    """A small machine with files on a disk."""
    return small_machine(**{"files": FILES, **options})


async def reader(machine, path="/data", name="reader"):
    """Start a process that has opened a file."""
    process = await machine.spawn(name)
    return process, await process.open(path)


def test_a_cold_read_waits_for_the_disk_a_second_one_does_not():
    """The first brings four pages and takes the disk's latency, the next finds its page."""

    async def main(machine):
        process, fd = await reader(machine)
        times = []
        for offset in (0, 0):
            began_ns = machine.now_ns
            assert await process.read(fd, PAGE, offset=offset) == PAGE
            times.append(machine.now_ns - began_ns)
        return times, (await process.mincore(fd)).tolist(), process.stats

    done = run(machine_with_files(disk={"read_latency": "90us"}), main)
    (cold, hot), cached, _ = done.result
    assert cold > 90_000
    assert hot < 5_000
    assert cached == [0, 1, 2, 3]
    assert done.vm_events["pgpgin"] == 16


def test_reads_move_the_position_and_end_with_the_file():
    """A read goes on where the last one ended; pread does not move; the end gives 0."""

    async def main(machine):
        process, fd = await reader(machine, "/odd")
        got = [await process.read(fd, 4000) for _ in range(4)]
        got.append(await process.read(fd, 5, offset=9990))
        got.append(await process.read(fd, 100, offset=20_000))
        other = await process.open("/empty")
        got.append(await process.read(other, 100))
        return got, fd, other

    got, fd, other = run(machine_with_files(), main).result
    assert got == [4000, 4000, 2000, 0, 5, 0, 0]
    assert (fd, other) == (3, 4)


def test_wrong_descriptors_paths_and_ranges_are_errnos():
    """ENOENT, EBADF, EINVAL and EFAULT, as the manual has them."""

    async def main(machine):
        process, fd = await reader(machine)
        found = []
        for call in (
            process.open("/none"),
            process.close(99),
            process.read(99, 1),
            process.syscall("read", fd, 1, offset=-2),
            process.syscall("read", fd, 1 << 70),
            process.syscall("read", fd, 1, block=1 << 66),
            process.syscall("read", fd, 1, block=-3),
            process.syscall("read", fd, 1, buffer=4096),
            process.fadvise(99, "normal"),
            process.mincore(99),
            process.syscall("drop_caches", 9),
        ):
            with pytest.raises(SyscallError) as caught:
                await call
            found.append(caught.value.errno)
        await process.close(fd)
        assert await process.open("/data") == fd
        return found

    bad, wrong = errno.EBADF, errno.EINVAL
    wanted = [errno.ENOENT, bad, bad, *[wrong] * 4, errno.EFAULT, bad, bad, wrong]
    assert run(machine_with_files(), main).result == wanted


def test_advice_about_what_lies_outside_of_a_file_is_about_nothing():
    """Offsets before its start or far behind its end bring no page, and drop none."""

    async def main(machine):
        process, fd = await reader(machine)
        for offset in (-50_000, 1 << 62, 1 << 70):
            for advice in ("willneed", "dontneed"):
                await process.syscall("fadvise", fd, advice, offset=offset, length=PAGE)
        return await process.mincore(fd)

    assert not len(run(machine_with_files(), main).result)


def test_pages_read_twice_are_activated_fifteen_at_a_time():
    """The first use marks a page, the second puts it in the CPU's batch; a full one moves."""

    async def main(machine):
        process, fd = await reader(machine)
        stat = machine.mem.node_stat[0]
        seen = []
        for _ in range(2):
            assert await process.read(fd, 40 * PAGE, offset=0) == 40 * PAGE
            seen.append((int(stat[NR_INACTIVE_FILE]), int(stat[NR_ACTIVE_FILE])))
        flags = machine.mem.pages.flags
        return seen, int((flags & np.uint32(PG_activating) != 0).sum())

    done = run(machine_with_files(), main)
    (_, first), (_, second) = done.result[0]
    assert first == 0
    assert second >= 30
    assert done.vm_events["pgactivate"] % 15 == 0
    assert done.result[1] < 15


def test_a_page_read_in_parts_is_used_once():
    """Reads of 1 KiB one after the other mark their page accessed the first time only."""

    async def main(machine):
        process, fd = await reader(machine)
        for _ in range(8):
            await process.read(fd, 1024)
        flags = machine.mem.pages.flags
        return int((flags & np.uint32(PG_referenced) != 0).sum())

    done = run(machine_with_files(), main)
    assert done.result == 2
    assert done.vm_events["pgactivate"] == 0


def test_two_readers_of_a_page_wait_for_one_read():
    """Who finds a page being read sleeps until it has come, and asks for nothing."""

    async def program(process):
        return await process.read(await process.open("/data"), PAGE)

    async def main(machine):
        both = [await machine.spawn(name, program) for name in ("a", "b")]
        for process in both:
            await process.wait()
        return [process.result for process in both]

    done = run(machine_with_files(cpus=("0-1",), memory="32M"), main)
    assert done.result == [PAGE, PAGE]
    assert done.vm_events["pgpgin"] == 16


def test_a_read_error_is_eio_and_the_page_can_be_read_later():
    """A failed read leaves the page not uptodate: the caller gets EIO, a later read works."""

    async def main(machine):
        process, fd = await reader(machine)
        disk = machine.disk("vda")
        disk.fail_reads()
        with pytest.raises(SyscallError) as caught:
            await process.read(fd, PAGE)
        assert check_machine(machine.kernel) == []
        assert (await process.mincore(fd)).tolist() == []
        disk.mend()
        return caught.value.errno, await process.read(fd, PAGE)

    assert run(machine_with_files(), main).result == (errno.EIO, PAGE)


def test_a_bad_sector_fails_its_request_and_then_its_page_alone():
    """The window of a read fails as one; pages are read again one by one, and one is bad."""

    async def main(machine):
        process, fd = await reader(machine)
        inode = machine.kernel.files.by_path["/data"]
        place, _ = inode.map_blocks(2, 1)
        machine.disk("vda").fail_reads(first=place * PAGE, length=PAGE)
        got = await process.read(fd, 2 * PAGE)
        with pytest.raises(SyscallError) as caught:
            await process.read(fd, PAGE)
        assert check_machine(machine.kernel) == []
        return got, caught.value.errno, await process.read(fd, PAGE, offset=3 * PAGE)

    assert run(machine_with_files(), main).result == (2 * PAGE, errno.EIO, PAGE)


def test_dontneed_drops_clean_pages_and_willneed_brings_them():
    """POSIX_FADV_DONTNEED empties the cache of a file; WILLNEED fills it, waiting for none."""

    async def main(machine):
        process, fd = await reader(machine)
        await process.read(fd, 64 * PAGE)
        await machine.sleep("1s")  # until what was read ahead has come
        before = len(await process.mincore(fd))
        await process.fadvise(fd, "dontneed", offset=PAGE + 1, length=10 * PAGE)
        part = (await process.mincore(fd)).tolist()
        await process.fadvise(fd, "dontneed")
        none = len(await process.mincore(fd))
        await process.fadvise(fd, "willneed", length=100 * PAGE)
        at_once = len(await process.mincore(fd))
        await machine.sleep("1s")
        return before, part, none, at_once, len(await process.mincore(fd))

    before, part, none, at_once, later = run(machine_with_files(), main).result
    assert before >= 64
    assert [page for page in range(before) if page not in part] == list(range(2, 11))
    assert (none, at_once, later) == (0, 0, 100)


def test_random_advice_ends_readahead():
    """After POSIX_FADV_RANDOM a read brings what it asks for."""

    async def main(machine):
        process, fd = await reader(machine)
        await process.fadvise(fd, "random")
        await process.read(fd, 2 * PAGE)
        return (await process.mincore(fd)).tolist()

    assert run(machine_with_files(), main).result == [0, 1]


def test_a_stream_larger_than_memory_is_read_with_clean_pages_given_up():
    """Kswapd frees what was read once; nobody is killed, and a second pass refaults."""

    async def main(machine):
        process, fd = await reader(machine)
        for _ in range(2):
            assert await process.read(fd, "64M", offset=0, block="64K") == 64 << 20
        return process.exit_status

    done = run(machine_with_files(files={"/data": "64M"}), main)
    assert done.result is None
    assert done.vm_events["pgsteal_file"] > 2 * (64 << 20) // PAGE * 3 // 4
    assert done.vm_events["oom_kill"] == 0
    assert int(done.machine.mem.node_stat[0, WORKINGSET_REFAULT_FILE]) > 10_000


def test_dropped_caches_are_free_again():
    """vm.drop_caches gives back all clean pages, and forgets evicted ones."""

    async def main(machine):
        process, fd = await reader(machine)
        await process.read(fd, "8M", block="64K")
        free = machine.zone(0, "DMA").free
        await machine.drop_caches()
        assert check_machine(machine.kernel) == []
        return free, machine.zone(0, "DMA").free, len(await process.mincore(fd))

    before, after, cached = run(machine_with_files(), main).result
    assert after - before > 1900
    assert cached == 0


def test_a_reader_that_is_killed_stops():
    """A fatal signal ends a long read at the next page that needs help."""

    async def program(process):
        return await process.read(await process.open("/data"), "64M", block="64K")

    async def main(machine):
        process = await machine.spawn("reader", program)
        await machine.sleep("2ms")
        await process.kill()
        return await process.wait(), machine.now_ns

    status, at_ns = run(machine_with_files(files={"/data": "64M"}), main).result
    assert status == -9
    assert at_ns < 10_000_000


def test_the_same_file_pages_whatever_the_buffer():
    """A buffer is stored to page by page: it is all there, and its pages are the program's."""

    async def main(machine):
        process, fd = await reader(machine)
        buffer = await process.mmap("64K", populate=True)
        rss = process.stats.rss_pages
        await process.read(fd, "1M", block="64K", buffer=buffer)
        return rss, process.stats.rss_pages

    rss, after = run(machine_with_files(), main).result
    assert rss == after >= 16


def test_locked_pages_are_those_being_read():
    """In the middle of a read each locked page of the cache has a queue to wait in."""
    looks = []

    async def main(machine):
        process, fd = await reader(machine)
        clock, kernel = machine.engine.clock, machine.kernel

        def look(_is_time):
            flags = kernel.mem.pages.flags
            locked = int((flags & np.uint32(PG_locked) != 0).sum())
            looks.append((locked, len(kernel.page_reads)))
            clock.set_tick(None, clock.number + 1)

        clock.on_tick = look
        clock.set_tick(None, clock.number + 1)
        await process.read(fd, "1M", block="16K")

    run(machine_with_files(), main)
    assert max(locked for locked, _ in looks) >= 32
    assert all(locked == reading for locked, reading in looks)
