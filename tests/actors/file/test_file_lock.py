"""Tests of who may use a file at the same time: writers, those who cut it off, readers."""

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
