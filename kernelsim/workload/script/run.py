"""Run a portable script on a machine: its lines one after the other, its processes beside them.

Interface: `check_script` refuses what cannot be run, before anything runs; `run_script` runs;
`script_workload` makes a workload of a file.
Units: ns.
"""

from pathlib import Path
from typing import Final

import attrs

from kernelsim.config.sysctl import SYSCTLS
from kernelsim.config.sysctl_write import parse_value
from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.workload.api import Workload
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.host import HOST_WORDS, check_host
from kernelsim.workload.script.memhogdyn import MEMHOGDYN
from kernelsim.workload.script.process import ScriptProcess, supported_steps
from kernelsim.workload.script.script import (
    DEFAULT_NAME,
    Command,
    Host,
    Kill,
    Memhog,
    Script,
    ShowBlocks,
    Sleep,
    Snap,
    Sysctl,
    Wait,
    read_script,
    refuse_unsupported,
)
from kernelsim.workload.script.script_output import block_lines, command_line, snapshot_lines
from kernelsim.workload.script.state import ScriptState
from kernelsim.workload.script.step_work import ACTIONS, is_sysfs, sysctl_of_path

SLEEP: Final = "sleep"
DEFAULT_MACHINE: Final = "small-512m"  # of a script, which names none


def check_script(script: Script) -> None:
    """Refuse what cannot be run.

    Raises:
        WorkloadError: A step needs what is not simulated, writes a tunable there is not or a value
            that it refuses, or waits for a file that no step makes: one line that names the step.
    """
    refuse_unsupported(script, supported_steps() | HOST_WORDS)
    check_host(script)
    steps = [
        (command, step)
        for command in script.commands
        if isinstance(command, Memhog)
        for step in command.steps
    ]
    made = [step.args[0] for _, step in steps if step.op == "mkfile"]
    for command, step in steps:
        if step.op == "wait" and step.args[0] not in made:
            rule = f"step {step.text!r} waits for a file that no step makes"
            raise WorkloadError(rule, script.file, command.line)
        if step.op == "poke":
            path, value = map(str, step.args)
            if not is_sysfs(path):
                _check_write(script, command, sysctl_of_path(path), value, step.text)
    for each in script.commands:
        if isinstance(each, Sysctl):
            _check_write(script, each, each.key, each.value, each.text)


def script_workload(path: Path) -> Workload:
    """Return the workload that runs a script file.

    Raises:
        WorkloadError: It breaks a rule, or as `check_script`.
    """
    script = read_script(path)
    check_script(script)

    states: list[ScriptState] = []

    async def main(machine: MachineHandle) -> None:
        states.append(ScriptState(machine, script.file))
        await run_script(states[-1], script)

    def stuck() -> WorkloadError | None:
        return states[-1].stuck() if states else None

    return Workload(main, "machine", DEFAULT_MACHINE, stuck=stuck)


@attrs.frozen
class Nap:
    """What the program `sleep` does, which a shell runs for such a line.

    Attributes:
        duration_ns: For how long.
    """

    duration_ns: int

    async def __call__(self, process: ProcessHandle) -> None:
        """Sleep."""
        await process.start_image()
        await process.sleep(self.duration_ns)


async def run_script(state: ScriptState, script: Script) -> None:
    """Run a script to its end."""
    background: list[ProcessHandle] = []
    for number, command in enumerate(script.commands, start=1):
        state.machine.print(command_line(number, command.text))
        await _run_command(state, command, background)
    await state.hypervisor.finish()
    await state.drivers.stop()


def _check_write(script: Script, command: Command, name: str, value: str, text: str) -> None:
    if name in ACTIONS:
        words = ACTIONS[name][1]
        if value not in words:
            rule = f"step {text!r}: {name} must be one of {', '.join(words)}"
            raise WorkloadError(rule, script.file, command.line)
        return
    if name not in SYSCTLS:
        rule = f"step {text!r} writes a file that is not simulated"
        raise WorkloadError(rule, script.file, command.line)
    try:
        parse_value(name, value)
    except ConfigError as error:
        raise WorkloadError(f"step {text!r}: {error}", script.file, command.line) from None


async def _run_command(
    state: ScriptState, command: Command, background: list[ProcessHandle]
) -> None:
    """Run one line; processes in the background are added to the list."""
    machine = state.machine
    if isinstance(command, Host):
        await state.hypervisor.run(command)
    elif isinstance(command, Memhog):
        exe = MEMHOGDYN if command.dynamic else None
        handle = await machine.spawn(DEFAULT_NAME, ScriptProcess(state, command), exe=exe)
        if command.background:
            background.append(handle)
        else:
            await handle.wait()
    elif isinstance(command, Snap):
        await machine.snapshot(command.name)
        machine.print(*snapshot_lines(DEFAULT_NAME, command.name, 0))
    elif isinstance(command, ShowBlocks):
        machine.print(*block_lines(machine.capture().memory_blocks))
    elif isinstance(command, Sysctl) and command.key in ACTIONS:
        await machine.write_action(ACTIONS[command.key][0], int(command.value))
    elif isinstance(command, Sysctl):
        machine.sysctl(command.key, command.value)
    elif isinstance(command, Sleep):
        handle = await machine.spawn(SLEEP, Nap(command.duration_ns))
        await handle.wait()
    elif isinstance(command, Kill):
        for handle in background:
            if handle.name == command.name and handle.exit_status is None:
                await handle.kill()
    else:
        assert isinstance(command, Wait), "no other command is left"
        for handle in background:
            await handle.wait()
