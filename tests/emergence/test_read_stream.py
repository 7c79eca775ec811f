"""Reads that come from a disk in compiled code, window after window, are no model either.

What a lone reader leaves is what it leaves by messages, with others on the disk, on the CPUs and in
its file: every file below /proc and /sys, every statistic, each event of the log and its number.
"""

import pytest

from kernelsim.actors.file.read_stream import ReadStream
from kernelsim.check.machine import check_machine
from kernelsim.mm.burst.stream_steps import ST_NR_SLEEPS
from kernelsim.procfs.tree import render_tree
from tests.small_machine import run, small_machine
from tools.convergence import BY_BURST

pytestmark = pytest.mark.mission("R3")

MIB = 1 << 20
SPREAD = {"cache_line_spread_permille": 1000}  # the default: ties are rare


async def stream(process, path, size, block):
    """Read a file from end to end, its middle again, and some of it back and forth."""
    fd = await process.open(path)
    await process.read(fd, size, offset=0, block=block)
    await process.fadvise(fd, "dontneed", offset=size // 4, length=size // 2)
    await process.read(fd, size, offset=4096, block=block)
    for start in (size // 2, 12288, size // 3):
        await process.fadvise(fd, "dontneed")
        await process.read(fd, size // 8, offset=start, block=block)


async def write(process, path, size, _block):
    """Write a file and wait for it, now and then."""
    fd = await process.open(path, create=True)
    for _ in range(0, size, MIB):
        await process.write(fd, MIB)
        await process.fsync(fd)
        await process.sleep("3ms")


async def touch(process, _path, size, _block):
    """Use memory, and give it back."""
    for _ in range(4):
        memory = await process.mmap(size)
        await process.touch(memory, write=True)
        await process.sleep("7ms")
        await process.munmap(memory)


def outcome(spec, programs, size, block, burst_pages):
    """Run programs side by side, one a CPU; return all they leave."""

    async def main(machine):
        async def program(process):
            number = int(process.name[1:])
            await programs[number](process, f"/in{number}", size, block)
            ended.append((process.name, machine.now_ns))
            await process.sleep("1000s")

        ended = []
        nr_cpus = len(machine.kernel.cpus)
        processes = [
            await machine.spawn(f"p{number}", program, cpu=number % nr_cpus)
            for number in range(len(programs))
        ]
        while len(ended) < len(programs):
            assert all(process.exit_status is None for process in processes)
            await machine.sleep("10ms")
        assert check_machine(machine.kernel) == []
        files = dict(render_tree(machine.capture(usage=True)))
        locks = [vars_of(lock) for node in machine.kernel.nodes for lock in locks_of(node)]
        disks = [device.statistics for device in machine.kernel.devices.values()]
        depths = [device.throttle.depth for device in machine.kernel.devices.values()]
        number = machine.engine.clock.number
        stats = [process.stats for process in processes]
        return files, stats, ended, machine.vmstat, locks, disks, str(depths), number

    ran = run(spec, main, burst_pages=burst_pages, sound=False)
    return ran.result, [event for event in ran.log.events if event.event not in BY_BURST]


def locks_of(node):
    """Return the locks of a node."""
    return [*node.zone_locks.values(), node.lru_lock]


def vars_of(lock):
    """Return what the account of a lock says."""
    account = lock.account
    return lock.name, account.nr_holds, account.nr_waits, account.hold_ns, account.wait_ns


async def follow(process, _path, size, block):
    """Read the file of the first program a little behind it."""
    await process.sleep("300us")
    await stream(process, "/in0", size, block)


TWO = ("0-1",)
DISK = {"scheduler": "mq-deadline", "queue_depth": 3, "latency_spread_permille": 500}
CASES = {  # programs, the machine, bytes of a call, sleeps that are compiled at least
    "alone": ((stream,), {"memory": "64M"}, "64K", 80),
    "large calls": ((stream,), {"memory": "64M"}, "8M", 15),
    "beside a writer": ((stream, write), {"cpus": TWO, "memory": "64M"}, "64K", 20),
    "a writer on the CPU": ((stream, write), {"memory": "64M", "disk": DISK}, "96K", 20),
    "beside a user": ((stream, touch), {"cpus": TWO, "memory": "64M", "disk": DISK}, "64K", 20),
    "two readers": ((stream, stream), {"cpus": TWO, "memory": "64M"}, "64K", 5),
    "readers of one file": ((stream, follow), {"cpus": TWO, "memory": "64M"}, "64K", 0),
    "that reclaims": ((stream, touch), {"cpus": TWO, "memory": "13M", "swap": "32M"}, "64K", 20),
    "two nodes": ((stream, write), {"cpus": ("0", "1"), "memory": "12M"}, "1M", 10),
    "a slow interrupt": ((stream,), {"memory": "64M", "disk": {"bandwidth": "4G"}}, "1K", 20),
}


@pytest.mark.parametrize("name", CASES)
def test_streams_leave_what_messages_leave(name, monkeypatch):
    """Not one byte, statistic, event, time or hold differs; and most windows were compiled ones."""
    programs, described, block, nr_windows = CASES[name]
    size = 6 * MIB
    inputs = {f"/in{number}": str(size) for number in range(len(programs))}
    spec = small_machine(latency=SPREAD, files=inputs, **described)
    slept = []
    end = ReadStream._end

    def noted(self, *arguments):
        slept.append(int(self.stream.state[ST_NR_SLEEPS]))
        end(self, *arguments)

    monkeypatch.setattr(ReadStream, "_end", noted)
    expected, events = outcome(spec, programs, size, block, 1)
    assert slept == []
    found, found_events = outcome(spec, programs, size, block, 512)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one == other
    assert {path for path in expected[0] if found[0][path] != expected[0][path]} == set()
    assert found_events == events
    assert sum(slept) >= nr_windows
