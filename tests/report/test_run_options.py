"""Tests of what a user may choose for a run."""

from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
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
