"""The `kernelsim` command: finds the command, runs it, turns its outcome into an exit status.

Interface: `main` is the program's entry point. A command is a function, or a group of
them, in a file of its own; to add one, give it a row in `COMMANDS`. It returns None or an exit
status, and reports mistakes by raising `UserError` or `CheckFailedError`.
Exit status: 0 done, 1 a check failed, 2 wrong use or bad input (one line on stderr), 3 a bug of
ours (a report on stderr), 130 interrupted.
"""

import codecs
import contextlib
import errno
import gc
import io
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from cyclopts import App, CycloptsError

from kernelsim import __version__
from kernelsim.errors import (
    CheckFailedError,
    KernelsimError,
    SimulationError,
    one_line,
    remarks_on,
)
from kernelsim.sim.signals import endings_interrupt, must_leave_at_once

EXIT_DONE: Final = 0
EXIT_CHECK_FAILED: Final = 1
EXIT_WRONG_USE: Final = 2
EXIT_OUR_BUG: Final = 3
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it
EXIT_PIPE_CLOSED: Final = 141  # 128 + SIGPIPE
SELDOM: Final = (50_000, 20, 50)  # objects and rounds between looks for garbage in cycles
ESCAPE: Final = "kernelsim.escape"  # name of an error handler of Python's codecs
BYTES_AS_SURROGATES: Final = range(0xDC80, 0xDD00)  # PEP 383


class Command(NamedTuple):
    """A row of the command table."""

    name: str
    function: str  # module:function, imported when the command is called
    help: str  # one line for `kernelsim --help`


COMMANDS: Final = (
    Command("run", "kernelsim.cli.run:run", "Run a workload and print a summary."),
    Command(
        "top",
        "kernelsim.cli.top:top",
        "Watch a run, new or under way: pause, step, speed of the virtual clock.",
    ),
    Command(
        "serve",
        "kernelsim.cli.serve:serve",
        "Serve a run's metrics to Prometheus, under node_exporter's names.",
    ),
    Command(
        "show",
        "kernelsim.cli.show:show",
        "Print what /proc, /sys and the usual tools would have shown of a run.",
    ),
    Command(
        "inspect",
        "kernelsim.cli.inspect:inspect",
        "Print a run's events, or query its events and counters with SQL.",
    ),
    Command(
        "report",
        "kernelsim.cli.report:report",
        "Write what happened in a run into one HTML file.",
    ),
    Command(
        "compare",
        "kernelsim.cli.compare:compare",
        "Say what is different between runs, and what exceeds the spread over seeds.",
    ),
    Command(
        "record",
        "kernelsim.cli.record:record",
        "Say how to record a program so that `run` replays it.",
    ),
    Command(
        "oracle",
        "kernelsim.cli.oracle:oracle",
        "Run recorded cases of a real kernel here and compare, row by row.",
    ),
    Command(
        "cache",
        "kernelsim.cli.cache:cache",
        "Run a trace of accesses through replacement policies and compare their hits.",
    ),
    Command(
        "sweep",
        "kernelsim.cli.sweep:sweep",
        "Run a workload under many settings, machines and seeds, and compare.",
    ),
    Command(
        "stress",
        "kernelsim.cli.stress:stress",
        "Run random mixes of processes on random machines, looking for bugs of ours.",
    ),
    Command(
        "replay",
        "kernelsim.cli.replay:replay",
        "Run a random run of `kernelsim stress` again, to the byte.",
    ),
    Command(
        "explain",
        "kernelsim.cli.explain:explain",
        "Say why, step by step: one access, one address, one fault, one OOM kill.",
    ),
    Command(
        "events",
        "kernelsim.cli.events:events",
        "List the events that a run may log, with their fields.",
    ),
    Command(
        "tour",
        "kernelsim.cli.tour:tour",
        "Show what the simulator is to do, row by row: run it, and say what to look at.",
    ),
    Command(
        "differences",
        "kernelsim.cli.differences:differences",
        "List where the simulator knowingly differs from Linux.",
    ),
    Command(
        "machine",
        "kernelsim.cli.machine:machine",
        "List machines, show one, or make one from a running kernel.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status.

    Args:
        arguments: Words after the program's name; None takes those of the process.
    """
    collect_seldom()
    status = exit_status(sys.argv[1:] if arguments is None else list(arguments))
    if must_leave_at_once():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def collect_seldom() -> None:
    """Have Python look for garbage in cycles less often: a run makes few, and looks cost 6 %.

    What is imported stays to the end, so it is not looked at again.
    """
    gc.freeze()
    gc.set_threshold(*SELDOM)


def exit_status(arguments: list[str]) -> int:
    """Run one command and map what it raises to an exit status, with its message on stderr."""
    if not __debug__:
        return complain("python -O switches our assertions off; run without it", EXIT_WRONG_USE)
    open_streams()
    try:
        status = run_command(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        error.verbose = False
        return complain(f"{error} (see --help)", EXIT_WRONG_USE)
    except SimulationError as error:
        print("\n".join([str(error), *remarks_on(error)]), file=sys.stderr)
        return EXIT_OUR_BUG
    except CheckFailedError as error:
        return complain(with_remarks(str(error), error), EXIT_CHECK_FAILED)
    except KernelsimError as error:
        return complain(with_remarks(str(error), error), EXIT_WRONG_USE)
    except KeyboardInterrupt as error:
        return complain(with_remarks("interrupted", error), EXIT_INTERRUPTED)
    except BrokenPipeError:
        drop_stdout()
        return EXIT_PIPE_CLOSED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich leaves with a status of its own
            return EXIT_PIPE_CLOSED
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:  # files of ours have names
            drop_stdout()
            error.filename = "standard output"
        return complain(system_complaint(error), EXIT_WRONG_USE)
    except MemoryError as error:
        text = f"this computer has not enough memory for it: {error or 'allocation failed'}"
        return complain(text, EXIT_WRONG_USE)
    except Exception:  # noqa: BLE001 - Python's own status would be 1, which means a failed check
        traceback.print_exc()
        return complain("this is a bug of ours, please report the lines above", EXIT_OUR_BUG)
    return status


def run_command(arguments: list[str]) -> int:
    """Parse the words, import the command they name and run it; signals that end it interrupt."""
    with endings_interrupt():
        result = command_line()(arguments, exit_on_error=False, print_error=False)
    return result if isinstance(result, int) else EXIT_DONE


def command_line() -> App:
    """Build the command line from `COMMANDS` without importing any of them."""
    app = App(
        name="kernelsim",
        help="A deterministic simulator of Linux memory management.",
        version=__version__,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for command in COMMANDS:
        app.command(command.function, name=command.name, help=command.help)
    return app


def complain(text: str, status: int) -> int:
    """Write one line to stderr and give the status back."""
    with contextlib.suppress(OSError):  # nobody reads stderr any more
        print(f"kernelsim: {one_line(text)}", file=sys.stderr)
    return status


def system_complaint(error: OSError) -> str:
    """Name the file and the reason of a failed system call of the host."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def with_remarks(text: str, error: BaseException) -> str:
    """Return a message with the remarks on its error behind it."""
    return "; ".join([text, *remarks_on(error)])


def open_streams() -> None:
    """Make standard streams that take whatever we print.

    The null device takes the place of one that was closed before we began. What a stream's
    encoding has no place for, as on an ASCII terminal, is written as an escape.
    """
    codecs.register_error(ESCAPE, escaped)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            null = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end
            setattr(sys, name, null)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPE)


def escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Write characters that cannot be encoded as JSON does, a byte of a file's name as `\xff`."""
    assert isinstance(error, UnicodeEncodeError)
    shown = ""
    for char in error.object[error.start : error.end]:
        number = ord(char)
        is_byte = number in BYTES_AS_SURROGATES
        shown += f"\\x{number & 0xFF:02x}" if is_byte else json.dumps(char).strip('"')
    return shown, error.end


def drop_stdout() -> None:
    """Let nothing more go to stdout: its reader went away as `head` does, or its disk is full.

    What is still in Python's buffer would fail once more when the program ends.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
