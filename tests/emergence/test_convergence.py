"""Bursts are no model: what they leave is what message by message leaves, to the last counter.

The unit in which CPUs meet is one event. A burst does the same events in the same order of virtual
time, so every file below /proc and /sys, every process's statistics and the time each program ends
are the same for each `burst_pages`. Of two events of one instant the same one is first, since those
of a burst take the numbers that messages would take: that holds where all CPUs go in step, too.
"""

from functools import cache, partial

import pytest

import kernelsim.machine
from kernelsim.check.machine import check_machine
from kernelsim.procfs.tree import render_tree
from kernelsim.sim.engine import Engine
from tests.small_machine import run, small_machine

pytestmark = pytest.mark.mission("A2")

SPREAD = {"cache_line_spread_permille": 1000}  # the default: ties are rare
TWO_NODES = ("0-1", "2-3")


def outcome(spec, nr_processes, nr_cpus, size, burst_pages, passes=2):
    """Let processes write and read; return what is left: files, statistics, ends, counters."""

    async def main(machine):
        async def program(process):
            region = await process.mmap(size)
            await process.touch(region, write=True, passes=passes)
            await process.touch(region)
            ended.append((process.name, machine.now_ns))
            await process.sleep("1000s")  # its memory stays to be looked at

        ended = []
        processes = [
            await machine.spawn(f"p{number}", program, cpu=number % nr_cpus)
            for number in range(nr_processes)
        ]
        while len(ended) < nr_processes:
            assert all(process.exit_status is None for process in processes)
            await machine.sleep("1ms")
        assert check_machine(machine.kernel) == []
        files = dict(render_tree(machine.capture(usage=True)))
        return files, [process.stats for process in processes], ended, machine.vmstat

    # Nobody listens, since a burst that is listened to takes one event at a time.
    return run(spec, main, burst_pages=burst_pages, sound=False).result


MACHINES = {
    "one CPU": ({"memory": "16M"}, 1, 1, "6M"),
    "three processes on a CPU": ({"memory": "32M"}, 3, 1, "6M"),
    "four CPUs": ({"cpus": ("0-3",), "memory": "64M"}, 4, 4, "6M"),
    "six processes on four CPUs": ({"cpus": ("0-3",), "memory": "64M"}, 6, 4, "6M"),
    "two nodes, one too small": ({"cpus": TWO_NODES, "memory": "32M"}, 4, 2, "10M"),
    "one CPU that swaps": ({"memory": "16M", "swap": "64M"}, 1, 1, "24M"),
    "three processes that swap": ({"memory": "16M", "swap": "64M"}, 3, 1, "8M"),
    "four CPUs that swap": ({"cpus": ("0-3",), "memory": "16M", "swap": "64M"}, 4, 4, "6M"),
    "16 CPUs that contend": ({"cpus": ("0-15",), "memory": "64M"}, 16, 16, "1M"),
    "16 CPUs that swap": ({"cpus": ("0-15",), "memory": "32M", "swap": "128M"}, 16, 16, "3M"),
    "two nodes that swap": ({"cpus": TWO_NODES, "memory": "16M", "swap": "64M"}, 4, 4, "10M"),
}


def left_on(name, burst_pages):
    """Return the outcome on a machine of the list."""
    described, nr_processes, nr_cpus, size = MACHINES[name]
    spec = small_machine(latency=SPREAD, **described)
    return outcome(spec, nr_processes, nr_cpus, size, burst_pages)


left_in_line = cache(left_on)  # as machines run: two tests compare the same runs with others


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_bursts_leave_what_messages_leave(name):
    """Not one byte below /proc and /sys, no statistic and no time is another one."""
    files, stats, ended, _ = left_in_line(name, 1)
    for burst_pages in (63, 512):
        found = left_in_line(name, burst_pages)
        assert found[1] == stats
        assert found[2] == ended
        assert {path for path in files if found[0][path] != files[path]} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["six processes on four CPUs", "two nodes that swap"])
@pytest.mark.parametrize("burst_pages", [1, 512])
def test_asks_served_in_line_leave_what_switches_leave(name, burst_pages, monkeypatch):
    """Where each message and each sleep is a switch of tasks, all is the same to the last byte."""
    in_line = left_in_line(name, burst_pages)
    monkeypatch.setattr(kernelsim.machine, "Engine", partial(Engine, inline=False))
    assert left_on(name, burst_pages) == in_line


@pytest.mark.slow
def test_cpus_in_step_tie_as_with_messages():
    """Nothing is random, so 16 CPUs that swap do all at the same nanoseconds."""
    spec = small_machine(cpus=("0-15",), memory="32M", swap="128M")
    by_messages, by_bursts = (outcome(spec, 16, 16, "3M", burst) for burst in (1, 512))
    assert by_bursts == by_messages


@pytest.mark.slow
@pytest.mark.parametrize("burst_pages", [1, 512, 4096])
def test_nobody_is_killed_while_swap_is_empty(burst_pages):
    """32 CPUs write 3 MiB each at once on 64 MiB with 1 GiB of swap: they swap."""

    async def main(machine):
        async def program(process):
            await process.sleep(5_000_000 - machine.now_ns)
            await process.touch(await process.mmap("3M"), write=True)

        processes = [await machine.spawn(f"a{cpu}", program, cpu=cpu) for cpu in range(32)]
        statuses = [await process.wait() for process in processes]
        assert check_machine(machine.kernel) == []
        return statuses

    spec = small_machine(cpus=("0-31",), memory="64M", swap="1G", latency=SPREAD)
    done = run(spec, main, burst_pages=burst_pages, sound=False)
    assert done.result == [0] * 32
    assert done.vm_events["oom_kill"] == 0
    assert done.vm_events["pswpout"] > 0
