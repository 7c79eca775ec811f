"""Steps of portable scripts that write files, or watch how they are written.

Interface: a `WriteSteps` a process; `WRITE_STEPS` says which method does which step.
Units: bytes, ns; ms where the recorded lines say so.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from kernelsim.errors import SyscallError
from kernelsim.procfs.vmstat import render_vmstat, vmstat_counters
from kernelsim.units import NS_PER_MS
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.script.file_steps import FileSteps
from kernelsim.workload.script.report import Report
from kernelsim.workload.script.script_output import Fields, fields_line
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.state import ScriptState
from kernelsim.workload.script.step_work import Outcome, number_of

SLOW_NS: Final = 10 * NS_PER_MS  # a write that takes longer is counted
SAMPLED: Final = (
    "nr_free_pages", "nr_dirty", "nr_writeback", "nr_dirtied", "nr_written",
    "nr_dirty_threshold", "nr_dirty_background_threshold", "nr_inactive_file", "nr_active_file",
    "nr_inactive_anon", "nr_active_anon", "pswpin", "pswpout", "pgscan_kswapd", "pgscan_direct",
    "pgmajfault",
)  # fmt: skip


@attrs.define
class WriteTimes:
    """How long the writes of a step took."""

    worst_ns: int = 0
    nr_slow: int = 0
    slow_ns: int = 0

    def add(self, took_ns: int) -> None:
        """Count one write."""
        self.worst_ns = max(self.worst_ns, took_ns)
        if took_ns > SLOW_NS:
            self.nr_slow += 1
            self.slow_ns += took_ns


@attrs.define
class WriteSteps:
    """The writing steps of one process.

    Attributes:
        handle: The process.
        state: What the script's processes share.
        files: Its other file steps.
        report: Where its lines go.
    """

    handle: ProcessHandle
    state: ScriptState
    files: FileSteps
    report: Report

    async def writef(self, step: Step) -> Outcome:
        """Write a new file in blocks, and perhaps wait until the disk has it."""
        path, size, block, word = step.args
        await self.files.make_buffer()
        machine, wanted, each = self.state.machine, number_of(size), number_of(block)
        began_ns = machine.now_ns
        fd = await self.handle.open(str(path), create=True, truncate=True)
        times, total, outcome = WriteTimes(), 0, Outcome()
        while total < wanted and self.handle.exit_status is None:
            call_ns = machine.now_ns
            try:
                total += await self.handle.write(fd, each)
            except SyscallError as error:
                outcome = Outcome(-1, error.errno)
                break
            finally:
                times.add(machine.now_ns - call_ns)
        fields: list[tuple[str, int | str]] = [
            ("bytes", total),
            ("write_ms", _ms(machine.now_ns - began_ns)),
            ("worst_write_ms", f"{times.worst_ns / NS_PER_MS:.1f}"),
            ("writes_over_10ms", times.nr_slow),
            ("ms_in_them", _ms(times.slow_ns)),
        ]
        if word is not None:
            outcome, took_ns = await self._fsync(fd, outcome)
            fields.append(("fsync_ms", _ms(took_ns)))
        await self.handle.close(fd)
        return attrs.evolve(outcome, fields=tuple(fields))

    async def fsync(self, step: Step) -> Outcome:
        """Wait until the disk has a file."""
        fd = await self.handle.open(str(step.args[0]))
        outcome, _ = await self._fsync(fd, Outcome())
        await self.handle.close(fd)
        return outcome

    async def truncate(self, step: Step) -> Outcome:
        """Cut a file, or let it grow by a hole; one that is not there begins empty."""
        path, size = step.args
        fd = await self.handle.open(str(path), create=True)
        await self.handle.syscall("ftruncate", fd, number_of(size))
        await self.handle.close(fd)
        return Outcome()

    async def _fsync(self, fd: int, outcome: Outcome) -> tuple[Outcome, int]:
        began_ns = self.state.machine.now_ns
        try:
            await self.handle.fsync(fd)
        except SyscallError as error:
            outcome = Outcome(-1, error.errno)
        return outcome, self.state.machine.now_ns - began_ns

    async def sample(self, step: Step) -> Outcome:
        """Print counters again and again, so many times or until a file is there."""
        interval, count, stop = step.args
        machine = self.state.machine
        began_ns = machine.now_ns
        for number in range(number_of(count)):
            snapshot = machine.capture()
            self.report.has_read(render_vmstat(snapshot))
            counters = vmstat_counters(snapshot)
            fields: Fields = [
                ("t_ms", _ms(machine.now_ns - began_ns)),
                *((key, counters[key]) for key in SAMPLED),
            ]
            self.report.say(fields_line("sample", fields))
            await self.report.spend(self.handle)
            if stop is not None and self.state.has_file(str(stop)):
                break
            due_ns = began_ns + (number + 1) * number_of(interval)
            await self.handle.sleep(max(0, due_ns - machine.now_ns))
            if self.handle.exit_status is not None:
                break
        return Outcome()


def _ms(ns: int) -> int:
    return (ns + NS_PER_MS // 2) // NS_PER_MS


WRITE_STEPS: Final[dict[str, Callable[[WriteSteps, Step], Awaitable[Outcome]]]] = {
    "writef": WriteSteps.writef,
    "fsync": WriteSteps.fsync,
    "truncate": WriteSteps.truncate,
    "sample": WriteSteps.sample,
}
