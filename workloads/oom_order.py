"""Whom the OOM killer takes first, second and third, and what it never takes.

Four processes hold memory on a machine without swap: two ordinary ones, a small one that asked to
go first (oom_score_adj 500) and a protected one (-1000). A fifth grows until it has everything.
Each kill brings back what the victim had, and growth goes on; in the end the growing process is
itself the largest. The reports are in the kernel log: `kernelsim show DIR dmesg`.
"""

import re

import attrs

from kernelsim.config.machine_file import load_machine
from kernelsim.workload import MachineHandle, ProcessHandle, workload

SIGKILL = 9


@workload(machine=attrs.evolve(load_machine("small-512m"), swaps=()))
async def main(machine: MachineHandle) -> None:
    """Fill the machine, and look who is left."""
    small = await holder(machine, "small", "100M")
    large = await holder(machine, "large", "150M")
    first = await holder(machine, "first", "50M", oom_score_adj=500)
    spared = await holder(machine, "spared", "120M", oom_score_adj=-1000)
    for process in (small, large, first, spared):
        machine.note(f"oom_score of {process.name}: {process.proc('oom_score').strip()}")

    grows = await machine.spawn("grows")
    grown = await grows.touch(await grows.mmap("400M"), write=True)

    killed = re.findall(r"Killed process \d+ \((\w+)\)", machine.dmesg)
    machine.note(f"killed, in this order: {' '.join(killed)}")
    machine.expect(killed == ["first", "large", "grows"], "the worst score goes first")
    machine.expect(grown.signal == SIGKILL, "in the end it is itself the largest")
    machine.expect(small.exit_status is None, "the small one was never the worst")
    machine.expect(spared.exit_status is None, "-1000 is never killed")
    machine.expect(machine.vmstat["oom_kill"] == len(killed), "each kill is counted")


async def holder(
    machine: MachineHandle, name: str, size: str, *, oom_score_adj: int = 0
) -> ProcessHandle:
    """Start a process that holds so much memory."""
    process = await machine.spawn(name, oom_score_adj=oom_score_adj)
    await process.touch(await process.mmap(size), write=True)
    return process
