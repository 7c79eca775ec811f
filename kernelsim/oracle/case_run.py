"""Run a recorded case of a real kernel on a simulated machine, and compare row by row.

The machine is built from the case's first snapshot, `before`, in the state the real one was in;
its script runs in virtual time; what comes out is written in the layout of the recording, so that
any program that reads the one reads the other.

Interface: `check_case` refuses what cannot be run, `run_case` runs and compares.
Units: a case is a directory.
"""

from pathlib import Path

from kernelsim.check.machine import require_sound
from kernelsim.check.record import observe
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.sysctl import SYSCTLS
from kernelsim.config.sysctl_write import parse_value
from kernelsim.errors import ConfigError, DeadlockError, RecordingError, WorkloadError
from kernelsim.machine import DEFAULT_BURST_PAGES, Machine
from kernelsim.oracle.case_output import LOGS
from kernelsim.oracle.compare import Comparison, compare_runs
from kernelsim.oracle.compare_rows import rows_of
from kernelsim.oracle.script_process import ScriptProcess, supported_steps, sysctl_of_path
from kernelsim.oracle.script_run import ScriptRun
from kernelsim.report.machine_run import events_between_checks
from kernelsim.report.run_options import SNAPSHOT_NAME
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.script import (
    DEFAULT_NAME,
    Command,
    Host,
    Kill,
    Memhog,
    Script,
    Sleep,
    Snap,
    Sysctl,
    Wait,
    parse_script,
    read_script,
    refuse_unsupported,
)
from kernelsim.workload.script.script_output import command_line, snapshot_lines


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
    refuse_unsupported(script, supported_steps())
    made = [
        str(step.args[0])
        for command in script.commands
        if isinstance(command, Memhog)
        for step in command.steps
        if step.op == "mkfile"
    ]
    for command in script.commands:
        _check_command(script, command, made)
    rows_of(case, real=True)  # what it is to be compared with can be read
    return script


def _check_command(script: Script, command: Command, made: list[str]) -> None:
    """Refuse tunables there are not, waiting for what nobody makes, and names of other files."""
    writes: list[tuple[str, str, str]] = []
    snaps: list[tuple[str, str]] = []
    if isinstance(command, Snap):
        snaps.append((command.name, command.text))
    elif isinstance(command, Memhog):
        snaps += [(str(step.args[0]), step.text) for step in command.steps if step.op == "snap"]
    for name, text in snaps:
        if not SNAPSHOT_NAME.fullmatch(name) or name in LOGS:
            rule = f"step {text!r}: a snapshot's name is letters, digits, _ . and -, no other file"
            raise WorkloadError(rule, script.file, command.line)
    if isinstance(command, Sysctl):
        writes.append((command.key, command.value, command.text))
    elif isinstance(command, Memhog):
        for step in command.steps:
            if step.op == "wait" and step.args[0] not in made:
                rule = f"step {step.text!r} waits for a file that no step makes"
                raise WorkloadError(rule, script.file, command.line)
            if step.op == "poke":
                path, value = map(str, step.args)
                writes.append((sysctl_of_path(path), value, step.text))
    for name, value, text in writes:
        if name not in SYSCTLS:
            rule = f"step {text!r} writes a file that is not simulated"
            raise WorkloadError(rule, script.file, command.line)
        try:
            parse_value(name, value)
        except ConfigError as error:
            raise WorkloadError(f"step {text!r}: {error}", script.file, command.line) from None


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
        burst_pages: Most pages a task touches or faults in one go; 1 is exact.
        check: Check all invariants while the case runs, and at its end.

    Raises:
        UserError: As `check_case`, or a file of the recording is malformed.
        SimulationError: A bug of ours.
    """
    script = check_case(case)

    async def keep(name: str) -> None:
        run.write_snapshot(name)

    machine = Machine(
        machine_from_proc(case / "before"),
        seed=seed,
        burst_pages=burst_pages,
        on_boot=check_often if check else None,
    )
    handle = MachineHandle(machine, keep)
    run = ScriptRun(machine, handle, out, script.file)

    async def main(_handle: MachineHandle) -> None:
        await handle.snapshot("before")
        background: list[ProcessHandle] = []
        for number, command in enumerate(script.commands, start=1):
            run.lines.append(command_line(number, command.text))
            await run_command(run, command, background)
        if check:
            require_sound(machine.kernel)

    try:
        handle.run(main)
    except DeadlockError as error:
        if not run.waiting:
            raise
        line, text = run.waiting[0]
        rule = f"the script never ends: nobody ends step {text!r}"
        raise WorkloadError(rule, script.file, line) from error
    run.write_logs()
    return compare_runs(case, out)


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


async def run_command(run: ScriptRun, command: Command, background: list[ProcessHandle]) -> None:
    """Run one line of a script; processes in the background are added to the list."""
    machine = run.handle
    assert not isinstance(command, Host), "refused before the run"
    if isinstance(command, Memhog):
        handle = await machine.spawn(DEFAULT_NAME, ScriptProcess(run, command))
        if command.background:
            background.append(handle)
        else:
            await handle.wait()
    elif isinstance(command, Snap):
        await machine.snapshot(command.name)
        run.lines += snapshot_lines(DEFAULT_NAME, command.name, 0)
    elif isinstance(command, Sysctl):
        machine.sysctl(command.key, command.value)
    elif isinstance(command, Sleep):
        await machine.sleep(command.duration_ns)
    elif isinstance(command, Kill):
        for handle in background:
            if handle.name == command.name and handle.exit_status is None:
                await handle.kill()
    else:
        assert isinstance(command, Wait), "no other command is left"
        for handle in background:
            await handle.wait()
