"""`kernelsim top`: watch a machine while a workload runs, with keys for the virtual clock.

Exit status: of a workload that it runs as of `kernelsim run`; 130 when the person ended the run. Of
a run that others started 0.
"""

import io
import sys
from contextlib import ExitStack, closing, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from kernelsim.cli.run import tell_outcome
from kernelsim.cli.run_words import (
    NO_WORDS,
    RunWords,
    on_a_machine,
    positive_ns,
    read_workload,
)
from kernelsim.errors import ConfigError, UserError, readable

if TYPE_CHECKING:
    from rich.console import Console

    from kernelsim.actors.core.kernel import Kernel
    from kernelsim.live.pace import Pace
    from kernelsim.report.machine_run import RunOutcome
    from kernelsim.report.run_options import RunOptions
    from kernelsim.workload.api import Workload

NO_TERMINAL: Final = "top needs a terminal, to draw on and for keys; `kernelsim run` needs none"


def top(
    what: Path,
    /,
    *,
    words: RunWords = NO_WORDS,
    speed: str | None = None,
    step: str | None = None,
    paused: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Watch a machine: processes, zones, kswapd, locks and the clock.

    Keys: space pauses and goes on, s lets one step of virtual time pass, [ and ] make steps
    shorter and longer, - and + change the speed, c goes on at full speed, arrows scroll the
    processes, q ends the run. Watching changes nothing in the run. One that goes on elsewhere
    can be watched, too: the keys are the same, but q leaves it alone, and on it goes.

    Args:
        what: A workload, as of `kernelsim run`; or the directory that such a run writes to.
        words: Of the run.
        speed: Virtual time that passes in a second, such as 10ms; as much as can by default.
        step: Virtual time of a step; 1ms by default.
        paused: Begin with a pause, when the machine has booted.
    """
    from kernelsim.live.pace import Pace

    if what.is_dir():
        given = {"--speed": speed, "--step": step, "--paused": paused or None}
        given["DIRECTORY"] = None if words == NO_WORDS else str(what)
        for name, value in given.items():
            if value is not None:
                raise ConfigError(
                    name, value, "options are for a run that top starts; this one goes on elsewhere"
                )
        visit(what)
        return
    loaded = on_a_machine(read_workload(what, words.machine), what)
    options = words.options()
    pace = Pace(
        speed_ns=None if speed is None else positive_ns("--speed", speed),
        step_ns=positive_ns("--step", step or "1ms"),
        is_paused=paused,
    )
    tell_outcome(watched(loaded, options, what, pace, terminal_of_person()), options)


def terminal_of_person() -> "Console":
    """Return the terminal that top is called at.

    Raises:
        UserError: There is none.
    """
    from rich.console import Console

    terminal = Console(file=sys.stdout)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or terminal.is_dumb_terminal:
        raise UserError(NO_TERMINAL)
    return terminal


def visit(directory: Path) -> None:
    """Watch a run that goes on elsewhere.

    Raises:
        ConfigError: There is none to be watched.
    """
    from kernelsim.live.door import knock
    from kernelsim.live.terminal import Keyboard, Screen
    from kernelsim.live.visit import watch_elsewhere
    from kernelsim.report.rundir import EVENTS, RUN

    if not (directory / EVENTS).is_file():
        raise ConfigError("DIRECTORY", str(directory), f"must hold a run; there is no {EVENTS}")
    if (directory / RUN).exists():
        raise ConfigError("DIRECTORY", str(directory), "must be of a run that goes on: it is over")
    terminal = terminal_of_person()
    try:
        lines = knock(directory)
    except OSError:
        rule = "must be of a run that goes on: nobody is behind its door"
        raise ConfigError("DIRECTORY", str(directory), rule) from None
    with closing(lines), Keyboard(sys.stdin.fileno()) as keys, Screen(terminal) as screen:
        answered = watch_elsewhere(lines, keys, screen)
    if not answered:
        rule = "has somebody who watches it already, or takes long to look"
        raise ConfigError("DIRECTORY", str(directory), rule)


def watched(
    workload: "Workload", options: "RunOptions", path: Path, pace: "Pace", terminal: "Console"
) -> "RunOutcome":
    """Run a workload with somebody watching, until it has ended and the person has left.

    What the workload prints comes out when the screen is as it was.
    """
    from kernelsim.live.terminal import Keyboard, Screen
    from kernelsim.live.watch import Watch
    from kernelsim.report.machine_run import run_machine

    printed = io.StringIO()
    watches: list[Watch] = []

    with ExitStack() as stack:
        stack.callback(lambda: sys.stdout.write(printed.getvalue()))
        keys = stack.enter_context(Keyboard(sys.stdin.fileno()))
        screen = Screen(terminal)

        def comes(kernel: "Kernel") -> Watch:
            title = f"{readable(str(path))} on {kernel.spec.name}, seed {options.seed}"
            stack.enter_context(screen)
            stack.enter_context(redirect_stdout(printed))
            watches.append(Watch(kernel, keys=keys, canvas=screen, pace=pace, title=title))
            return watches[0]

        outcome = run_machine(workload, options, name=str(path), onlooker=comes)
        with suppress(KeyboardInterrupt):
            watches[0].hold()
    return outcome
