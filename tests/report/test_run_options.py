"""Tests of what a user may choose for a run."""

from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions, replay_command
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


def test_the_replay_command_keeps_every_option():
    """All but the output directory and the report, what was traced included."""
    options = RunOptions(
        machine="tiny-64m", seed=2, schedule_seed=3, settings=("vm.swappiness=1",), burst_pages=4,
        trace=("kmem:*", "actor=cpu0"), check=True, until="1s",
    )  # fmt: skip
    assert replay_command(options, "w.py") == (
        "kernelsim run w.py --machine tiny-64m --seed 2 --schedule-seed 3 --set vm.swappiness=1 "
        "--burst-pages 4 --trace 'kmem:*' --trace actor=cpu0 --until 1s --check"
    )
