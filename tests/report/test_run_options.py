"""Tests of what a user may choose for a run."""

import json
import re

import attrs
import pytest

from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions, options_of_record, replay_command
from kernelsim.report.run_record import run_record
from kernelsim.workload.api import Workload


async def idle(machine):
    """Let a second pass."""
    await machine.sleep("1s")


def test_until_is_the_same_number_in_python_and_on_the_command_line():
    """A bare whole number is nanoseconds in both."""
    of_author = Workload(idle, "machine", "tiny-64m", 1000)
    of_user = Workload(idle, "machine", "tiny-64m")
    ends = [
        run_machine(workload, options, name="w.py").machine.now_ns
        for workload, options in ((of_author, RunOptions()), (of_user, RunOptions(until="1000")))
    ]
    assert ends == [1000, 1000]


ALL = RunOptions(
    machine="tiny-64m", seed=2, schedule_seed=3, settings=("vm.swappiness=1",), mempolicy="local",
    burst_pages=4, trace=("kmem:*", "actor=cpu0"), check=True, until="1s", progress=False,
)  # fmt: skip


def test_the_replay_command_keeps_every_option():
    """All but the output directory and the report, what was traced included."""
    assert replay_command(ALL, "w.py") == (
        "kernelsim run w.py --machine tiny-64m --seed 2 --schedule-seed 3 --set vm.swappiness=1 "
        "--mempolicy local --burst-pages 4 --trace 'kmem:*' --trace actor=cpu0 --until 1s --check"
    )


@pytest.mark.parametrize("options", [ALL, RunOptions(progress=False)], ids=["all", "none"])
def test_options_come_back_from_run_json(options):
    """All that decide what happens; what only looks on is left out."""
    machine = Machine(load_machine("tiny-64m"), burst_pages=options.burst_pages or 512)
    record = json.loads(json.dumps(run_record(machine, options, "w.py")))
    expected = attrs.evolve(
        options, trace=(), check=False, burst_pages=machine.kernel.burst_pages
    )  # fmt: skip
    assert options_of_record(record) == expected


async def two_writers(machine):
    """Write 4 MiB each, with the policy of the run, then with its own; return nodes, policies."""
    found = []
    for policy in (None, "bind:0"):
        process = await machine.spawn("writer", cpu=0, mempolicy=policy)
        await process.touch(await process.mmap("4M"), write=True)
        maps = machine.proc(f"{process.pid}/numa_maps")
        pages = re.findall(r"anon=1024 .*?N(\d)=1024", maps)
        found.append((pages, re.findall(r"^[0-9a-f]+ (\S+) anon=1024", maps, re.MULTILINE)))
    return found


def test_the_policy_of_a_run_is_that_of_processes_that_have_none():
    """Pages come from its node, though the CPU is on another; a process's own goes before."""
    workload = Workload(two_writers, "machine", "numa-2x64m")
    done = run_machine(workload, RunOptions(mempolicy="bind:1"), name="w.py")
    assert done.result == [(["1"], ["bind:1"]), (["0"], ["bind:0"])]
