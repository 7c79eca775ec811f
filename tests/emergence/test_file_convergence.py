"""Files in bursts are no model either: what they leave is what message by message leaves.

Pages for readahead and for writes are allocated and entered by the dozen while nobody can notice.
Every file below /proc and /sys, every statistic and the time each program ends are the same for
each `burst_pages`, with others on the CPU, on the locks and on the disk.
"""

import pytest

from kernelsim.check.machine import check_machine
from kernelsim.procfs.tree import render_tree
from tests.small_machine import run, small_machine

pytestmark = pytest.mark.mission("R3")

SPREAD = {"cache_line_spread_permille": 1000}  # the default: ties are rare
DISK = {"bandwidth": "100M"}
MIB = 1 << 20


async def copy(process, number, size):
    """Read a file into memory, write another one, read that again, and look at the first anew."""
    source = await process.open(f"/in{number}")
    target = await process.open(f"/out{number}", create=True)
    buffer = await process.mmap(size)
    await process.read(source, size, block="64K", buffer=buffer)
    for done in range(0, size, MIB):
        await process.write(target, min(MIB, size - done))
    await process.read(target, size, offset=0)
    await process.write(target, size // 2 + 100, offset=50)  # parts of pages, and cached ones
    await process.read(source, size, offset=0, block="1M")
    await process.munmap(buffer)


def outcome(spec, nr_processes, nr_cpus, size, burst_pages):
    """Let processes copy files; return what is left: files, statistics, ends, counters, holds."""

    async def main(machine):
        async def program(process):
            await copy(process, int(process.name[1:]), size)
            ended.append((process.name, machine.now_ns))
            await process.sleep("1000s")

        ended = []
        processes = [
            await machine.spawn(f"p{number}", program, cpu=number % nr_cpus)
            for number in range(nr_processes)
        ]
        while len(ended) < nr_processes:
            assert all(process.exit_status is None for process in processes)
            await machine.sleep("10ms")
        await machine.sleep("40s")  # until all is written back
        assert check_machine(machine.kernel) == []
        files = dict(render_tree(machine.capture(usage=True)))
        locks = [vars_of(lock) for node in machine.kernel.nodes for lock in locks_of(node)]
        number = machine.engine.clock.number
        return files, [process.stats for process in processes], ended, machine.vmstat, locks, number

    return run(spec, main, burst_pages=burst_pages, sound=False).result


def locks_of(node):
    """Return the locks of a node."""
    return [*node.zone_locks.values(), node.lru_lock]


def vars_of(lock):
    """Return what the account of a lock says."""
    account = lock.account
    return lock.name, account.nr_holds, account.nr_waits, account.hold_ns, account.wait_ns


TWO_NODES = ("0-1", "2-3")
MACHINES = {
    "one CPU": ({"memory": "64M"}, 1, 1, 6 * MIB),
    "three programs on a CPU": ({"memory": "96M"}, 3, 1, 6 * MIB),
    "four CPUs": ({"cpus": ("0-3",), "memory": "128M"}, 4, 4, 6 * MIB),
    "two nodes, one too small": ({"cpus": TWO_NODES, "memory": "32M"}, 2, 2, 8 * MIB),
    "one CPU that reclaims": ({"memory": "20M"}, 1, 1, 12 * MIB),
    "four CPUs that reclaim": ({"cpus": ("0-3",), "memory": "32M"}, 4, 4, 6 * MIB),
    "writers that are throttled": ({"cpus": ("0-1",), "memory": "64M"}, 2, 2, 24 * MIB),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_file_bursts_leave_what_messages_leave(name):
    """Not one byte below /proc and /sys, no statistic, no time and no hold is another one."""
    described, nr_processes, nr_cpus, size = MACHINES[name]
    inputs = {f"/in{number}": str(size) for number in range(nr_processes)}
    spec = small_machine(latency=SPREAD, disk=DISK, files=inputs, **described)
    files, stats, ended, vmstat, locks, number = outcome(spec, nr_processes, nr_cpus, size, 1)
    found = outcome(spec, nr_processes, nr_cpus, size, 512)
    assert found[1] == stats
    assert found[2] == ended
    assert found[3] == vmstat
    assert found[4] == locks
    assert found[5] == number
    assert {path for path in files if found[0][path] != files[path]} == set()
