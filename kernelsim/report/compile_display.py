"""Says on stderr how far compiling is: a line that moves on a terminal, some plain lines elsewhere.

Interface: `CompileDisplay`. Units: weights are those of the jobs; ns of wall time.
"""

import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from kernelsim.units import NS_PER_S

SAY_NS: Final = 10 * NS_PER_S  # between two lines where there is no terminal
NS_PER_WEIGHT: Final = 280_000  # on a processor of 2020; only until the first tenth is done
TENTH: Final = 10


class CompileDisplay:
    """How far compiling is.

    Args:
        console: Where to say it.
        enabled: False says nothing.
    """

    def __init__(self, console: Console, *, enabled: bool) -> None:
        self.enabled = enabled
        self._console = console
        self._bar: Progress | None = None
        self._said_waiting = False
        self._jobs = self._jobs_done = self._weight = self._weight_done = 0
        self._workers = 1
        self._began_ns = self._said_ns = 0

    def wait_for_other(self) -> None:
        """Say once that another process compiles."""
        if not self._said_waiting:
            self._say("another kernelsim is compiling the same; waiting for it")
        self._said_waiting = True

    def keep_nothing(self, folder: Path) -> None:
        """Say that nothing compiled can be kept, and where it should be."""
        self._say(f"every run has to compile what it calls: {folder} cannot be written")

    def start(self, jobs: int, weight: int, workers: int) -> None:
        """Begin: so many functions, of a weight in all, in some processes."""
        self._jobs, self._weight, self._workers = jobs, weight, workers
        self._began_ns = self._said_ns = time.perf_counter_ns()
        if not self._console.is_terminal:
            self._say(f"compiling {jobs} functions, only this once: about {self._left()}")

    def done(self, weight: int) -> None:
        """Count a function of some weight as done."""
        self._jobs_done += 1
        self._weight_done += weight

    def look(self) -> None:
        """Show how far it is, if it is time to."""
        if not self.enabled:
            return
        if self._console.is_terminal:
            self._show_bar()
        elif time.perf_counter_ns() - self._said_ns > SAY_NS:
            self._say(f"compiled {self._jobs_done} of {self._jobs}, about {self._left()} left")
            self._said_ns = time.perf_counter_ns()

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def tell_end(self) -> None:
        """Say how long it took, or that it was given up."""
        took_ns = time.perf_counter_ns() - self._began_ns
        if self._jobs_done < self._jobs:
            done = f"{self._jobs_done} of {self._jobs}"
            self._say(f"compiled {done} functions ahead; the run compiles what it calls")
        elif self._jobs:
            self._say(f"compiled {self._jobs} functions in {took_ns // NS_PER_S} s")

    def _show_bar(self) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("compiling, only this once"),
                BarColumn(),
                TextColumn(
                    "{task.fields[nr]} of {task.fields[of]}, about {task.fields[left]} left"
                ),
                console=self._console,
                auto_refresh=False,
                transient=True,
            )
            self._bar.add_task("", total=self._weight, nr=0, of=self._jobs, left=self._left())
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(
            task, completed=self._weight_done, nr=self._jobs_done, left=self._left(), refresh=True
        )

    def _left(self) -> str:
        """Tell how long it will take still."""
        left = self._weight - self._weight_done
        if self._weight_done * TENTH < self._weight:
            left_ns = left * NS_PER_WEIGHT // self._workers
        else:
            left_ns = left * (time.perf_counter_ns() - self._began_ns) // self._weight_done
        return f"{left_ns // NS_PER_S + 1} s"

    def _say(self, text: str) -> None:
        if self.enabled:
            self._console.print(f"kernelsim: {text}", highlight=False, markup=False, soft_wrap=True)
