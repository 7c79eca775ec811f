"""Tests of who may use a file at the same time: writers, those who cut it off, readers."""

import errno

import pytest

from kernelsim.actors.parts.cpu import Cpu
from kernelsim.check.machine import check_machine
from kernelsim.errors import SyscallError
from kernelsim.units import NS_PER_S
from tests.actors.file.test_file_write import SLOW, inode_of, machine_with_disk, state, writer
from tests.small_machine import PAGE, run


def test_writers_of_a_file_and_those_who_cut_it_go_one_after_the_other():
    """While a page on its way holds up a truncate, a write waits for the lock of the file."""

    async def main(machine):
        process, fd = await writer(machine)
        await process.write(fd, 10 * PAGE)
        await process.syscall("sync_file_range", fd, length=PAGE)
        ended = {}

        async def cut(other):
            handle = await other.open("/f")
            await other.syscall("ftruncate", handle, 0)
            ended["cut"] = machine.now_ns

        async def append(other):
            handle = await other.open("/f")
            await other.write(handle, 2 * PAGE)
            ended["append"] = machine.now_ns

        others = [await machine.spawn("cut", cut, cpu=0), await machine.spawn("app", append, cpu=1)]
        for other in others:
            await other.wait()
        return ended, inode_of(machine).size, state(machine)[:2]

    ended, size, after = run(machine_with_disk(disk=SLOW, cpus=("0-1",)), main).result
    assert ended["append"] > ended["cut"] > 1_000_000
    assert (size, after) == (2 * PAGE, (2, 0))


def test_a_read_ends_where_the_file_is_cut_off_meanwhile():
    """A reader that waits for the disk finds the new end, and does not ask for more for ever."""

    async def main(machine):
        got = []

        async def reads(process):
            got.append(await process.read(await process.open("/old"), "1M", block=PAGE))

        reader = await machine.spawn("reader", reads, cpu=0)
        cutter = await machine.spawn("cutter", cpu=1)
        fd = await cutter.open("/old")
        while not machine.kernel.page_reads:
            await machine.sleep("10us")
        await cutter.syscall("ftruncate", fd, 2 * PAGE)
        await reader.wait()
        return got

    spec = machine_with_disk(files={"/old": "1M"}, disk=SLOW, cpus=("0-1",))
    assert run(spec, main).result == [2 * PAGE]


def test_pages_that_could_not_be_read_stay_cached_until_they_are_dropped():
    """They wait in a CPU's batch like others, and go to their list with it."""

    async def main(machine):
        machine.disk("vda").fail_reads()
        reader = await machine.spawn("reader")
        fd = await reader.open("/old")
        with pytest.raises(SyscallError) as error:
            await reader.read(fd, PAGE)
        await reader.exit()
        machine.disk("vda").mend()
        other = await machine.spawn("other")
        fd = await other.open("/old")
        return error.value.errno, await other.read(fd, 8 * PAGE), check_machine(machine.kernel)

    done = run(machine_with_disk(files={"/old": "1M"}), main)
    assert done.result == (errno.EIO, 8 * PAGE, [])


def test_two_who_read_a_failed_page_again_send_one_request():
    """The second finds it locked, and waits for the first."""

    async def main(machine):
        disk, got = machine.disk("vda"), []
        disk.fail_reads()
        first = await machine.spawn("first")
        with pytest.raises(SyscallError):
            await first.read(await first.open("/old"), 1)
        disk.mend()
        before = disk.stats.nr_reads

        async def again(process):
            got.append(await process.read(await process.open("/old"), PAGE))

        others = [await machine.spawn(f"reader{cpu}", again, cpu=cpu) for cpu in range(2)]
        for other in others:
            await other.wait()
        return got, disk.stats.nr_reads - before, check_machine(machine.kernel)

    spec = machine_with_disk(files={"/old": "4K"}, disk=SLOW, cpus=("0-1",))
    assert run(spec, main).result == ([PAGE] * 2, 1, [])


def test_truncate_drops_dirty_pages_and_waits_for_those_being_written():
    """Pages cut off are never written, their room is free again; one on its way is waited for."""

    async def main(machine):
        process, fd = await writer(machine)
        filesystem = machine.kernel.files.filesystems["vda"]
        free = filesystem.nr_free
        await process.write(fd, 100 * PAGE)
        await process.syscall("sync_file_range", fd, length=PAGE)
        assert state(machine)[:2] == (99, 1)
        began_ns = machine.now_ns
        await process.syscall("ftruncate", fd, 0)
        waited = machine.now_ns - began_ns
        assert (filesystem.nr_free, filesystem.nr_reserved) == (free, 0)
        assert await process.read(fd, PAGE, offset=0) == 0
        await process.syscall("ftruncate", fd, 3 * PAGE)  # a hole: it reads as zeros
        assert await process.read(fd, PAGE, offset=0) == PAGE
        return waited, state(machine)

    waited_ns, after = run(machine_with_disk(disk=SLOW), main).result
    assert waited_ns > 1_000_000
    assert after == (0, 0, 100, 1)


def test_a_full_batch_is_emptied_before_another_reader_fills_it_on(monkeypatch):
    """Two readers of a CPU take turns wherever the kernel may switch: each page counts once."""
    monkeypatch.setattr(Cpu, "must_give_way", lambda cpu: bool(cpu.state.run_queue))

    async def main(machine):
        async def reads_twice(process):
            fd = await process.open(f"/{process.name}")
            await process.read(fd, "2M", block="64K")
            await process.sleep(NS_PER_S - machine.now_ns)
            await process.read(fd, "2M", offset=0, block="64K")

        readers = [await machine.spawn(name, reads_twice) for name in ("a", "b")]
        for reader in readers:
            await reader.wait()
        return machine.vmstat["pgactivate"], check_machine(machine.kernel)

    spec = machine_with_disk(files={"/a": "2M", "/b": "2M"})
    nr_activated, wrong = run(spec, main).result
    assert wrong == []
    assert 2 * 512 - 15 <= nr_activated <= 2 * 512


def test_a_page_that_waits_to_be_activated_is_cut_off():
    """It stays on its list, for the CPU's batch holds it, and is freed when that is emptied."""

    async def main(machine):
        async def cut(process):
            await process.syscall("ftruncate", await process.open("/old"), 0)

        reader = await machine.spawn("reader", cpu=0)
        fd = await reader.open("/old")
        for nr in (15, 10):
            await reader.read(fd, nr * PAGE, offset=0)
        cutter = await machine.spawn("cutter", cut, cpu=1)
        await cutter.wait()
        held = machine.vmstat["nr_inactive_file"], machine.vmstat["nr_file_pages"]
        wrong = check_machine(machine.kernel)
        other = await reader.open("/new")
        for nr in (15, 5):
            await reader.read(other, nr * PAGE, offset=0)
        stat = machine.vmstat
        after = stat["nr_inactive_file"] + stat["nr_active_file"], stat["nr_file_pages"]
        return held, wrong, after, stat["pgactivate"], check_machine(machine.kernel)

    spec = machine_with_disk(cpus=("0-1",), files={"/old": 15 * PAGE, "/new": 15 * PAGE})
    held, wrong, after, activated, wrong_after = run(spec, main).result
    assert (held, wrong) == ((10, 0), [])
    assert after == (15, 15)
    assert (activated, wrong_after) == (15, [])
