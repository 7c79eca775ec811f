"""`kernelsim top`: run a workload and watch its machine, with keys for the virtual clock.

Exit status: as of `kernelsim run`; 130 when the person ended the run.
"""

import io
import sys
from contextlib import ExitStack, redirect_stdout, suppress
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
from kernelsim.errors import UserError, readable

if TYPE_CHECKING:
    from rich.console import Console

    from kernelsim.actors.core.kernel import Kernel
    from kernelsim.live.pace import Pace
    from kernelsim.report.machine_run import RunOutcome
    from kernelsim.report.run_options import RunOptions
    from kernelsim.workload.api import Workload

NO_TERMINAL: Final = "top needs a terminal, to draw on and for keys; `kernelsim run` needs none"


def top(
    workload: Path,
    /,
    *,
    words: RunWords = NO_WORDS,
    speed: str | None = None,
    step: str = "1ms",
    paused: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run a workload and watch its machine: processes, zones, kswapd, locks and the clock.

    Keys: space pauses and goes on, s lets one step of virtual time pass, [ and ] make steps
    shorter and longer, - and + change the speed, c goes on at full speed, arrows scroll the
    processes, q ends the run. Watching changes nothing in the run.

    Args:
        workload: As of `kernelsim run`.
        words: Of the run.
        speed: Virtual time that passes in a second, such as 10ms; as much as can by default.
        step: Virtual time of a step.
        paused: Begin with a pause, when the machine has booted.
    """
    from rich.console import Console

    from kernelsim.live.pace import Pace

    loaded = on_a_machine(read_workload(workload, words.machine), workload)
    options = words.options()
    pace = Pace(
        speed_ns=None if speed is None else positive_ns("--speed", speed),
        step_ns=positive_ns("--step", step),
        is_paused=paused,
    )
    terminal = Console(file=sys.stdout)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or terminal.is_dumb_terminal:
        raise UserError(NO_TERMINAL)
    tell_outcome(watched(loaded, options, workload, pace, terminal), options)


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
