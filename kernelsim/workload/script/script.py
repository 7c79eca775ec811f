"""Read portable workload scripts: lines that also run on a real Linux.

A line is `memhog STEP STEP … [&]` (one process running its steps in order, `&` in the background;
`memhogdyn` is the same program linked dynamically), `snap NAME`, `sysctl KEY=VALUE`,
`sleep SECONDS`, `kill NAME`, `wait` or `host WORD …`. Blank lines and lines that start with `#`
are skipped. The steps are those of script_steps.py.

Interface: `read_script` and `parse_script` return frozen values or raise a `WorkloadError` that
names file, line, step and rule; `refuse_unsupported` compares what a script needs with what a
runner has.
Units: nanoseconds; lines count from 1.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from kernelsim.errors import WorkloadError
from kernelsim.units import NS_PER_S
from kernelsim.workload.script.script_steps import Step, parse_steps

DEFAULT_NAME: Final = "memhog"
PROGRAMS: Final = ("memhog", "memhogdyn")  # the recorded program, linked statically or not


@attrs.frozen
class Memhog:
    """Run a process."""

    line: int
    text: str
    """The line as written (every command has these two)."""
    steps: tuple[Step, ...]
    background: bool
    dynamic: bool
    """Whether it is the dynamically linked program (memhogdyn)."""

    @property
    def name(self) -> str:
        """Name the process has at its end: that of its last name step."""
        names = [str(step.args[0]) for step in self.steps if step.op == "name"]
        return names[-1] if names else DEFAULT_NAME


@attrs.frozen
class Snap:
    """Write a snapshot directory."""

    line: int
    text: str
    name: str


@attrs.frozen
class Sysctl:
    """Write a sysctl."""

    line: int
    text: str
    key: str
    value: str


@attrs.frozen
class Sleep:
    """Let time pass."""

    line: int
    text: str
    duration_ns: int


@attrs.frozen
class Kill:
    """Kill a background process with SIGKILL."""

    line: int
    text: str
    name: str


@attrs.frozen
class Wait:
    """Wait for every background process."""

    line: int
    text: str


@attrs.frozen
class Host:
    """Change the machine from outside: hot-add or hot-remove."""

    line: int
    text: str
    words: tuple[str, ...]


@attrs.frozen
class ShowBlocks:
    """Print the memory blocks and their states; only the shell of a recording does it."""

    line: int
    text: str


Command: TypeAlias = Memhog | Snap | Sysctl | Sleep | Kill | Wait | Host | ShowBlocks


@attrs.frozen
class Script:
    """A parsed script."""

    file: str
    commands: tuple[Command, ...]


@attrs.frozen
class UnsupportedStep:
    """A step or command that needs what a runner does not have."""

    line: int
    text: str
    need: str


def read_script(path: Path) -> Script:
    """Read a script file.

    Raises:
        WorkloadError: the file cannot be read or breaks a rule; names file, line and step.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WorkloadError(f"must be readable ({error.strerror})", path) from None
    except UnicodeDecodeError:
        raise WorkloadError("must be text (UTF-8)", path) from None
    return parse_script(text, str(path))


def parse_script(text: str, file: str = "script.txt") -> Script:
    """Parse a script.

    Args:
        text: the script; may be empty.
        file: its name, for errors.

    Raises:
        WorkloadError: a line breaks a rule; names file, line and step.
    """
    commands: list[Command] = []
    background: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                command = _parse_command(number, line.strip())
                _check_kill(command, background)
            except WorkloadError as refusal:
                raise WorkloadError(refusal.rule, file, number) from None
            if isinstance(command, Memhog) and command.background:
                background.add(command.name)
            commands.append(command)
    return Script(file, tuple(commands))


def unsupported_steps(script: Script, supported: frozenset[str]) -> list[UnsupportedStep]:
    """List what a script needs beyond `supported`, in order.

    Args:
        script: any script.
        supported: ops, or `op:word` for ops a runner has only partly (`madvise:dontneed`);
            `memhogdyn` and `host WORD` for these commands. The other commands are always there.
    """
    missing = []
    for command in script.commands:
        if isinstance(command, Host):
            needs = [(command.text, f"host {command.words[0]}", "host")]
        elif isinstance(command, Memhog):
            needs = [(step.text, step.need, step.op) for step in command.steps]
            if command.dynamic:
                needs.insert(0, (command.text.split()[0], "memhogdyn", "memhogdyn"))
        else:
            needs = []
        missing += [
            UnsupportedStep(command.line, text, need)
            for text, need, op in needs
            if need not in supported and op not in supported
        ]
    return missing


def refuse_unsupported(script: Script, supported: frozenset[str]) -> None:
    """Raise a one-line `WorkloadError` for the first step that needs what is not there."""
    missing = unsupported_steps(script, supported)
    if missing:
        first = missing[0]
        more = f" (and {len(missing) - 1} more such steps)" if len(missing) > 1 else ""
        rule = f"step {first.text!r} needs {first.need!r}, which is not simulated{more}"
        raise WorkloadError(rule, script.file, first.line)


def _parse_command(number: int, text: str) -> Command:
    """Parse one line that is not blank."""
    word, _, rest = text.partition(" ")
    if word in PROGRAMS:
        words = rest.split()
        background = words[-1:] == ["&"]
        steps = tuple(parse_steps(words[: len(words) - background]))
        return Memhog(number, text, steps, background, dynamic=word == "memhogdyn")
    if word not in COMMANDS:
        names = ", ".join((*PROGRAMS, *COMMANDS))
        raise WorkloadError(f"{word!r} is no command ({names})")
    form, pattern, make = COMMANDS[word]
    match = re.fullmatch(pattern, text)
    if match is None:
        raise WorkloadError(f"{text!r} must be written {form!r}")
    return make(number, text, match)


def _check_kill(command: Command, background: set[str]) -> None:
    """Refuse to kill a process that no line before starts in the background."""
    if isinstance(command, Kill) and command.name not in background:
        rule = f"no background process before it is named {command.name!r}"
        raise WorkloadError(rule)


def _make_sleep(number: int, text: str, match: re.Match[str]) -> Sleep:
    """Turn whole seconds and decimals into nanoseconds, without floats."""
    fraction_ns = int((match[2] or "").ljust(9, "0"))
    return Sleep(number, text, int(match[1]) * NS_PER_S + fraction_ns)


COMMANDS: Final[dict[str, tuple[str, str, Callable[[int, str, re.Match[str]], Command]]]] = {
    # word -> (form for people, pattern, how to make the command)
    "snap": ("snap NAME", r"snap +([A-Za-z0-9_.-]+)", lambda n, t, m: Snap(n, t, m[1])),
    "sysctl": (
        "sysctl KEY=VALUE",
        r"sysctl +([a-z0-9_./-]+)=(.+)",
        lambda n, t, m: Sysctl(n, t, m[1], m[2]),
    ),
    "sleep": ("sleep SECONDS", r"sleep +([0-9]+)(?:\.([0-9]{1,9}))?", _make_sleep),
    "kill": ("kill NAME", r"kill +(\S+)", lambda n, t, m: Kill(n, t, m[1])),
    "wait": ("wait", r"wait", lambda n, t, _: Wait(n, t)),
    "host": ("host WORD …", r"host +(\S.*)", lambda n, t, m: Host(n, t, tuple(m[1].split()))),
}
