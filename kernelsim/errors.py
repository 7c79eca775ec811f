"""Every exception of kernelsim, by who has to act on it.

`UserError`: wrong use or bad input; `str()` is one line that names what, where and the rule
(exit status 2). `CheckFailedError`: an expectation of the workload failed (exit 1).
`SimulationError`: a bug of ours, also one found by `--check`; `str()` is the report (exit 3).
`OutcomeError` is an outcome of the simulated kernel that a workload may catch: a system call that
failed, a process that has ended, a panic.

Interface: constructors take everything positionally, so that exceptions pickle.
"""

import errno
import os
import re
import signal
from typing import Final

VALUE_CHARS_MAX: Final = 80  # of a bad value, quoted in a message
ESCAPED_BYTE: Final = re.compile(
    r"\\udc([89a-f][0-9a-f])"
)  # how repr writes a byte that is no text


class KernelsimError(Exception):
    """Base of all exceptions raised on purpose."""


class UserError(KernelsimError):
    """Wrong use or bad input; the text is one line and all the user needs."""


class ConfigError(UserError):
    """Refuse a value of a configuration, a command line option or a sysctl.

    Args:
        key: Dotted name of the setting, as the user writes it ("nodes.0.size").
        value: The refused value; shown as written.
        rule: What a good value looks like ("must be 0..200").
        file: The file the value came from; None for the command line or a call.
    """

    def __init__(self, key: str, value: object, rule: str, file: object = None) -> None:
        super().__init__(key, value, rule, file)
        self.key = key
        self.value = value
        self.rule = rule
        self.file = file

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}: "
        return one_line(f"{place}{cut_short(self.key)} = {shown(self.value)}: {self.rule}")


class WorkloadError(UserError):
    """Refuse a workload: a step, a call or a file that cannot mean anything.

    Args:
        rule: What is wrong and what would be right.
        file: The workload's file; None when it was made by a call.
        line: Line in that file, from 1; None when the whole file is meant.
    """

    def __init__(self, rule: str, file: object = None, line: int | None = None) -> None:
        super().__init__(rule, file, line)
        self.rule = rule
        self.file = file
        self.line = line

    def __str__(self) -> str:
        return one_line(f"{place_prefix(self.file, self.line)}{self.rule}")


class ForgottenAwaitError(WorkloadError):
    """An async call of the workload was dropped without being awaited, so it did nothing.

    Args:
        call: Qualified name of what was called.
        file: Where the call was dropped.
        line: Line in that file.
    """

    def __init__(self, call: str, file: object = None, line: int | None = None) -> None:
        super().__init__(f"{call} was called without await and did nothing", file, line)
        self.args = (call, file, line)
        self.call = call


class RecordingError(UserError):
    """Refuse a recorded file (a /proc text, a trace, a case) that is not as its format says.

    Args:
        file: The recorded file.
        line: Line in it, from 1; None when the whole file is meant.
        rule: What the format asks for there.
    """

    def __init__(self, file: object, line: int | None, rule: str) -> None:
        super().__init__(file, line, rule)
        self.file = file
        self.line = line
        self.rule = rule

    def __str__(self) -> str:
        return one_line(f"{place_prefix(self.file, self.line)}{self.rule}")


class OutputError(UserError):
    """Give up a file that cannot be written: disk full, no permission, no such device.

    Args:
        path: The file.
        reason: What the system said ("No space left on device").
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return one_line(f"{self.path}: cannot write: {self.reason}")


class CheckFailedError(KernelsimError):
    """An expectation of the workload, or a check the user asked for, did not hold."""


class SimulationError(KernelsimError):
    """A bug of ours; the text is the report, with seed, time and actor, maybe many lines."""


class StuckError(SimulationError):
    """A run got stuck.

    Attributes:
        mistake: What the workload's author did wrong, with the line; None if it is a bug of ours.
    """

    mistake: WorkloadError | None = None


class DeadlockError(StuckError):
    """No task can ever move again, and the run is not over."""


class LivelockError(StuckError):
    """A process made no progress for the virtual time the run allows."""


class ActorCrashedError(SimulationError):
    """An actor raised an exception; `__cause__` is that exception."""


class EventLimitError(SimulationError):
    """The run reached the number of events it was allowed."""


class InvariantViolation(SimulationError):  # noqa: N818 - the established word, as in "violated"
    """A checker found a state that must never be."""


class OutcomeError(KernelsimError):
    """What the simulated kernel did to the workload's call; the workload may catch it."""


class ProcessEndedError(OutcomeError):
    """A call cannot be served: its process has ended, before the call or during it.

    Args:
        name: Of the process.
        pid: Its number.
        status: Status it exited with, or minus the number of the signal that killed it.
    """

    def __init__(self, name: str, pid: int, status: int) -> None:
        super().__init__(name, pid, status)
        self.name = name
        self.pid = pid
        self.status = status

    @property
    def signal(self) -> int:
        """Number of the signal that killed it; 0 for a process that exited of its own accord."""
        return max(-self.status, 0)

    def __str__(self) -> str:
        how = (
            f"was killed by {signal.Signals(self.signal).name}"
            if self.signal
            else (f"has exited with status {self.status}")
        )
        return f"process {self.name} ({self.pid}) {how} and can do nothing more"


class KernelPanicError(OutcomeError):
    """The simulated kernel panicked; no virtual time passes any more.

    Args:
        why: The kernel's last words, without "Kernel panic - not syncing".
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"kernel panic: {self.why}"


class SyscallError(OutcomeError):
    """A system call failed; raised only where a workload called it.

    Args:
        number: Errno value (`errno.ENOMEM`), positive.
        call: Name of the system call; empty when unknown.
    """

    def __init__(self, number: int, call: str = "") -> None:
        super().__init__(number, call)
        self.errno = number
        self.call = call

    def __str__(self) -> str:
        prefix = f"{self.call}: " if self.call else ""
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{prefix}{name} ({os.strerror(self.errno)})"


def add_remark(error: BaseException, text: str) -> None:
    """Have the user told one thing more about an error: what it did to the run's files.

    Unlike a note of Python's, which says where an exception came through.
    """
    error.__dict__.setdefault("remarks", []).append(text)


def remarks_on(error: BaseException) -> list[str]:
    """Return what else the user is to be told about an error."""
    return list(error.__dict__.get("remarks", ()))


def shown(value: object) -> str:
    """Quote a refused value for a message, cut to `VALUE_CHARS_MAX` characters."""
    return cut_short(ESCAPED_BYTE.sub(r"\\x\1", repr(value)))


def readable(text: str) -> str:
    r"""Return a text that can be written as UTF-8: bytes of a file's name that are none as `\xff`.

    Python keeps such bytes as lone surrogates.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # other surrogates, which no file name gives
        data = text.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def cut_short(text: str) -> str:
    """Cut a key or a value to `VALUE_CHARS_MAX` characters."""
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[: VALUE_CHARS_MAX - 1]}…"


def place_prefix(file: object, line: int | None) -> str:
    """Name a place as `file:line: `; empty without a file and a line."""
    if file is None:
        return "" if line is None else f"line {line}: "
    return f"{file}: " if line is None else f"{file}:{line}: "


def one_line(text: str) -> str:
    """Fold a message into one line."""
    return " ".join(text.split())
