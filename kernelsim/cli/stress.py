"""`kernelsim stress`: run random mixes of processes on random machines and look for bugs of ours.

Exit status: 0 all runs were clean, 2 an option is wrong, 3 a run failed; each failure is told with
the command that repeats it. 130 interrupted; the same command goes on where it was.
"""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from kernelsim.cli.options import Whole
from kernelsim.errors import ConfigError

if TYPE_CHECKING:
    from kernelsim.explore.campaign import CampaignOptions, Tally

EXIT_OUR_BUG: Final = 3
RUNS: Final = 100  # unless the user says how many, or how long
PLAIN_SECONDS: Final = 30  # between two lines of progress where stderr is no terminal
SECONDS_A_MINUTE: Final = 60


def stress(
    *,
    runs: Whole | None = None,
    seed: Whole = 1,
    jobs: Whole | None = None,
    minutes: Whole | None = None,
    out: Path = Path("stress"),
    check_determinism: Annotated[bool, Parameter(negative="")] = False,
    kind: Annotated[tuple[str, ...], Parameter(negative="")] = (),
) -> int:
    """Run random mixes of processes on random machines, with all invariants checked.

    Args:
        runs: How many; 100 unless --minutes is given. What an earlier call left in --out counts.
        seed: Machines, processes and faults are drawn from it, run by run.
        jobs: Worker processes; one for each CPU by default.
        minutes: No new run begins after so many minutes.
        out: Directory for what was run, and for the runs that failed: each as it was drawn, and
            cut down.
        check_determinism: Do each run twice, in processes with different hash seeds, and compare
            bytes.
        kind: Each run has a process of this kind, beside those that are drawn: threads, remapper,
            forker, churner …; a wrong one is told which there are. May be given several times.
    """
    from kernelsim.explore.campaign import CampaignOptions, run_campaign
    from kernelsim.explore.draw import WANTED_KINDS

    for name, value in (("--runs", runs), ("--jobs", jobs), ("--minutes", minutes)):
        if value is not None and value < 1:
            raise ConfigError(name, value, "must be 1 or more")
    for each in kind:
        if each not in WANTED_KINDS:
            raise ConfigError("--kind", each, f"must be one of {', '.join(WANTED_KINDS)}")
    options = CampaignOptions(
        seed=seed,
        runs=RUNS if runs is None and minutes is None else runs,
        jobs=jobs or os.cpu_count() or 1,
        seconds=None if minutes is None else minutes * SECONDS_A_MINUTE,
        out=out,
        check_determinism=check_determinism,
        kinds=tuple(sorted(set(kind))),
    )
    progress = StressProgress(options)
    try:
        tally = run_campaign(options, progress.look)
    finally:
        progress.stop()
    print_tally(tally)
    return EXIT_OUR_BUG if tally.found else 0


class StressProgress:
    """A line on stderr that says how far a campaign is and how long the rest will take."""

    def __init__(self, options: "CampaignOptions") -> None:
        self._options = options
        self._is_terminal = sys.stderr.isatty()
        self._shown = time.monotonic()
        self._is_open = False

    def look(self, tally: "Tally") -> None:
        """Show the line, if it is time to."""
        now = time.monotonic()
        if not self._is_terminal and now - self._shown < PLAIN_SECONDS:
            return
        self._shown = now
        text = progress_text(self._options, tally)
        if self._is_terminal:
            self._is_open = True
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Remove the line."""
        if self._is_open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_text(options: "CampaignOptions", tally: "Tally") -> str:
    """Return how far a campaign is."""
    rate = tally.nr_new / tally.seconds if tally.seconds else 0.0
    of = "" if options.runs is None else f" of {options.runs}"
    parts = [f"{tally.nr_runs}{of} runs", f"{rate:.1f} a second", f"{len(tally.found)} failed"]
    left = [] if options.seconds is None else [max(0.0, options.seconds - tally.seconds)]
    if options.runs is not None and rate:
        left.append((options.runs - tally.nr_runs) / rate)
    if left:
        minutes, seconds = divmod(round(min(left)), SECONDS_A_MINUTE)
        parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)


def print_tally(tally: "Tally") -> None:
    """Print what came out: how runs ended, which paths were reached, what failed."""
    from kernelsim.explore.probes import PROBES
    from kernelsim.explore.report import replay_command
    from kernelsim.report.text_table import print_table

    print_table(["ended", "runs"], [[state, str(nr)] for state, nr in sorted(tally.states.items())])
    print()
    rows = [(probe.name, tally.probes[probe.name]) for probe in PROBES]
    print_table(["path", "runs that took it"], [[name, str(nr or "none")] for name, nr in rows])
    if tally.nr_new:
        per_second = tally.nr_new / max(tally.seconds, 1e-9)
        print(f"\n{tally.nr_new} runs in {tally.seconds:.0f} s, {per_second:.1f} a second")
    for found in sorted(tally.found, key=lambda found: found.run):
        print(f"\nrun {found.run} failed: {found.kind}: {found.sign}")
        print(f"  {replay_command(found.file)}")
        if found.small:
            print(f"  cut down: {found.small}")
