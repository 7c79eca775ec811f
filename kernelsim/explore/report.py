"""What a person is told of a run of a plan.

Interface: `summary` in a line, `report` of a failure with the command that repeats it, `comparison`
with what was written down.
"""

from pathlib import Path

from kernelsim.explore.plan import Plan
from kernelsim.explore.run import Result
from kernelsim.report.run_options import shell_command
from kernelsim.units import format_duration


def summary(result: Result) -> str:
    """Return how a run ended, in a line."""
    return (
        f"{result.state}: virtual time {format_duration(result.virtual_ns)}, "
        f"{result.nr_events} steps, digest {result.digest}"
    )


def report(plan: Plan, result: Result, file: Path) -> str:
    """Return how a run failed, its last events, and the command that repeats it."""
    assert result.failure is not None, "it failed"
    return "\n".join(
        [
            f"{result.failure.kind}: {result.failure.text}",
            f"{plan.name}, schedule seed {plan.schedule_seed}",
            "last events:",
            *(f"  {line}" for line in result.last_events),
            f"replay: {replay_command(file)}",
        ]
    )


def replay_command(file: Path) -> str:
    """Return the command that repeats a run."""
    return shell_command(["kernelsim", "replay", str(file)])


def comparison(plan: Plan, result: Result) -> str:
    """Return a line on whether a run left what was written down; empty if nothing was."""
    if not plan.seen_digest:
        return ""
    if plan.seen_digest == result.digest:
        return "the same as when it was written down, to the byte\n"
    return f"differs from when it was written down: {plan.seen_kind}, digest {plan.seen_digest}\n"
