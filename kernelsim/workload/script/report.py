"""What a process of a script reads and prints, and the time that it takes.

A line of the report goes out as the step says it; the process spends the time of its reads and
writes when the step is over, or before it goes on.

Interface: `Report.say`, `Report.has_read`; `spend` at the end of a step.
Units: bytes.
"""

from typing import Final

from kernelsim.procfs.vmstat import render_vmstat
from kernelsim.procfs.zones import render_zoneinfo
from kernelsim.units import KIB
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.script_output import fields_line

SCANNED: Final = ("pgscan_kswapd", "pgscan_direct", "pswpout")


class Report:
    """The output of one process.

    Args:
        machine: Where its lines are printed.
    """

    def __init__(self, machine: MachineHandle) -> None:
        self._machine = machine
        self._has_printed = False
        self._nr_read = 0
        self._lines: list[str] = []

    async def start(self, handle: ProcessHandle) -> None:
        """Do what a C program does when it first prints."""
        if not self._has_printed:
            self._has_printed = True
            await handle.start_printing()

    def say(self, *lines: str) -> None:
        """Print lines."""
        self._machine.print(*lines)
        self._lines += lines

    def has_read(self, text: str) -> None:
        """Note that a file of /proc was read."""
        self._nr_read += len(text)

    async def has_grown(self, handle: ProcessHandle, proc: str, total: int, *, zones: bool) -> None:
        """Say how many bytes a process has by now, and perhaps what its machine has left."""
        fields: list[tuple[str, int]] = [("grown_kB", total // KIB)]
        if zones:
            await handle.syscall("stat_refresh")
            snapshot = self._machine.capture()
            self.has_read(render_zoneinfo(snapshot))
            self.has_read((1 + len(SCANNED)) * render_vmstat(snapshot))  # the program reads it anew
            fields += [
                (f"free_{node.nid}_{zone.name}", zone.stats.get("nr_free_pages", 0))
                for node, zone in snapshot.zones()
            ]
            fields += [(name, snapshot.vm_events[name]) for name in SCANNED]
        self.say(fields_line(f"proc={proc}", fields))
        await self.spend(handle)

    async def spend(self, handle: ProcessHandle) -> None:
        """Spend the time of what was read and printed since the last time."""
        if self._nr_read or self._lines:
            nr_printed = sum(len(line) + 1 for line in self._lines)
            await handle.report(self._nr_read, len(self._lines), nr_printed)
            self._nr_read = 0
            self._lines.clear()
