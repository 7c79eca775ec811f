"""Run a recorded case of a real kernel on a simulated machine, and compare row by row.

The machine is built from the case's first snapshot, `before`, in the state the real one was in;
its script runs in virtual time; what comes out is written in the layout of the recording, so that
any program that reads the one reads the other.

Interface: `check_case` refuses what cannot be run, `run_case` runs and compares.
Units: a case is a directory.
"""

from pathlib import Path

import attrs

from kernelsim.check.machine import require_sound
from kernelsim.check.record import observe
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine import MachineSpec
from kernelsim.config.toml_text import read_toml
from kernelsim.errors import DeadlockError, RecordingError, WorkloadError
from kernelsim.machine import DEFAULT_BURST_PAGES, Machine
from kernelsim.oracle.block_prints import with_block_prints
from kernelsim.oracle.case_output import LOGS
from kernelsim.oracle.compare import Comparison, compare_runs
from kernelsim.oracle.compare_rows import rows_of
from kernelsim.oracle.recording_files import write_logs, write_snapshot
from kernelsim.report.machine_run import events_between_checks
from kernelsim.report.run_options import SNAPSHOT_NAME
from kernelsim.units import parse_size
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.run import check_script, run_script
from kernelsim.workload.script.script import (
    Command,
    Memhog,
    Script,
    Snap,
    parse_script,
    read_script,
)
from kernelsim.workload.script.state import ScriptState


def check_case(case: Path) -> Script:
    """Return the script of a case, empty when it has none; nothing has run yet.

    Raises:
        RecordingError: The directory is no case.
        WorkloadError: The script breaks a rule or needs what is not simulated: one line that
            names file, line and step.
    """
    if not (case / "before").is_dir():
        raise RecordingError(str(case), None, "a case is a directory with a snapshot `before`")
    path = case / "script.txt"
    script = read_script(path) if path.exists() else parse_script("", str(path))
    check_script(script)
    toml = case / "case.toml"
    shell = read_toml(toml).get("workload", []) if toml.exists() else []
    script = with_block_prints(script, shell)
    for command in script.commands:
        _check_snaps(script, command)
    rows_of(case, real=True)  # what it is to be compared with can be read
    return script


def _check_snaps(script: Script, command: Command) -> None:
    """Refuse names of snapshots that are names of other files."""
    snaps: list[tuple[str, str]] = []
    if isinstance(command, Snap):
        snaps.append((command.name, command.text))
    elif isinstance(command, Memhog):
        snaps += [(str(step.args[0]), step.text) for step in command.steps if step.op == "snap"]
    for name, text in snaps:
        if not SNAPSHOT_NAME.fullmatch(name) or name in LOGS:
            rule = f"step {text!r}: a snapshot's name is letters, digits, _ . and -, no other file"
            raise WorkloadError(rule, script.file, command.line)


def run_case(
    case: Path,
    out: Path,
    *,
    seed: int = 1,
    burst_pages: int = DEFAULT_BURST_PAGES,
    check: bool = False,
) -> Comparison:
    """Run a case and compare it with its recording.

    Args:
        case: Directory of the recording.
        out: Directory our run is written to; made if it is not there.
        seed: Of the run.
        burst_pages: Most pages a task touches before the log gets its events; see Machine.
        check: Check all invariants while the case runs, and at its end.

    Raises:
        UserError: As `check_case`, or a file of the recording is malformed.
        SimulationError: A bug of ours.
    """
    script = check_case(case)

    lines: list[str] = []

    async def keep(name: str) -> None:
        write_snapshot(machine, out, name)

    machine = Machine(
        machine_of_case(case),
        seed=seed,
        burst_pages=burst_pages,
        on_boot=check_often if check else None,
    )
    handle = MachineHandle(machine, keep, lines.append)
    state = ScriptState(handle, script.file)

    async def main(_handle: MachineHandle) -> None:
        await handle.snapshot("before")
        await run_script(state, script)
        if check:
            require_sound(machine.kernel)

    try:
        handle.run(main)
    except DeadlockError as error:
        stuck = state.stuck()
        if stuck is None:
            raise
        raise stuck from error
    write_logs(machine, out, lines)
    return compare_runs(case, out)


def machine_of_case(case: Path) -> MachineSpec:
    """Return the machine of a case: that of its first snapshot, with the slots case.toml tells."""
    spec = machine_from_proc(case / "before")
    path = case / "case.toml"
    dimm = read_toml(path).get("dimm", {}) if path.exists() else {}
    if "maxmem" not in dimm:
        return spec
    return attrs.evolve(spec, maxmem_bytes=parse_size(dimm["maxmem"], key="dimm.maxmem"))


def check_often(machine: Machine) -> None:
    """Check all invariants of a machine again and again, from now on."""
    clock = machine.engine.clock
    every = events_between_checks(machine)

    def look(_is_time: bool) -> None:
        require_sound(machine.kernel)
        clock.set_tick(None, clock.number + every)

    observe(machine.kernel)
    clock.on_tick = look
    clock.set_tick(None, clock.number + every)
