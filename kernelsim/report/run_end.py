"""Why a run ended, for a person: a mistake of the author's, a bug of ours, or what was expected.

Interface: `RunEnd.explained` for what a run raised, `failure` for what makes its exit status,
`unreached` for expectations the run ended before. Units: ns.
"""

from pathlib import Path

import attrs

from kernelsim.actors.core.kernel import PANIC
from kernelsim.errors import (
    CheckFailedError,
    KernelsimError,
    OutputError,
    ProcessEndedError,
    SimulationError,
    StuckError,
    add_remark,
)
from kernelsim.machine import Machine
from kernelsim.report.run_options import RunOptions, replay_command
from kernelsim.report.sinks import RingSink
from kernelsim.sim.signals import Interrupted
from kernelsim.units import format_duration
from kernelsim.workload.api import Workload, telling, workload_mistake
from kernelsim.workload.machine import MachineHandle


@attrs.frozen
class RunEnd:
    """The end of one run on a machine.

    Attributes:
        machine: It runs, or has ended.
        handle: What its workload had of it.
        workload: What runs on it.
        options: What the user chose.
        name: The workload's file, as given on the command line.
        ring: The last events.
    """

    machine: Machine
    handle: MachineHandle
    workload: Workload
    options: RunOptions
    name: str
    ring: RingSink

    @property
    def ended_ns(self) -> int:
        """Virtual time of the end; stopping the actors takes some more, which is no part of it."""
        ended = self.machine.ended
        return self.machine.now_ns if ended is None else ended.now_ns

    def explained(self, error: BaseException) -> BaseException:
        """Return what to raise: the error itself, or one that says what a person needs to know."""
        told = telling(error)
        if isinstance(told, Interrupted | CheckFailedError | OutputError):
            return told
        if isinstance(told, ProcessEndedError):
            failure = CheckFailedError(str(workload_mistake(error, Path(self.name))))
            failure.__cause__ = error
            return failure
        mistake = self.workload.stuck() if isinstance(told, StuckError) else None
        mistake = mistake or workload_mistake(error, Path(self.name))
        if mistake is not None:
            if mistake is not error:
                mistake.__cause__ = error
            return mistake
        if isinstance(told, SimulationError):
            return self._reported(error if isinstance(error, SimulationError) else told)
        if isinstance(error, SimulationError):
            return self._reported(error)
        if isinstance(told, KernelsimError):
            return told
        crash = SimulationError(f"main crashed at {self.ended_ns} ns: {error!r}")
        crash.__cause__ = error
        return self._reported(crash)

    def failure(self, error: BaseException | None) -> BaseException | None:
        """Return what to tell at the end, given why the run ended: expectations that failed too."""
        ended = self.machine.ended
        told = [f"FAILED {each.told()}" for each in self.handle.expectations.failed]
        if error is not None and not isinstance(error, CheckFailedError):
            for text in told:
                add_remark(error, text)
            return error
        if error is not None:
            told.insert(0, str(error))
        if ended is not None and ended.state == PANIC:
            when = format_duration(ended.now_ns)
            told = [f"kernel panic: {ended.detail} (at {when})", *told]
        if not told:
            return None
        failure = CheckFailedError("; ".join(told))
        failure.__cause__ = error
        return failure

    def unreached(self) -> tuple[int, ...]:
        """Return the lines of expectations that the run ended before."""
        ended = self.machine.ended
        if ended is None or ended.state == "done":
            return ()
        reached = [each.line for each in self.handle.expectations if each.file == self.name]
        spans = self.workload.expect_lines
        return tuple(a for a, b in spans if not any(a <= line <= b for line in reached))

    def _reported(self, error: SimulationError) -> SimulationError:
        options = self.options
        lines = [
            str(error),
            f"seed {options.seed}, schedule seed {options.schedule_seed}",
            f"virtual time {self.ended_ns} ns",
            "last events:",
            *(f"  {line}" for line in self.ring.lines()),
            f"replay: {replay_command(options, self.name)}",
        ]
        reported = type(error)("\n".join(lines))
        reported.__cause__ = error.__cause__ or error
        return reported
