"""What `kernelsim inspect` prints of waits: --why, --slowest, --stats.

Interface: `print_waits`.
"""

from pathlib import Path

from kernelsim.cli.explain_why import fault
from kernelsim.errors import ConfigError


def print_waits(directory: Path, why: str | None, slowest: int | None, *, stats: bool) -> None:
    """Print what was asked for of: one operation's tree, a list of slow ones, statistics.

    Raises:
        ConfigError: No operation is named so, or the number is below 1.
    """
    from kernelsim.report.why_stats import statistics_text

    if slowest is not None:
        print_slowest(directory, slowest)
    if why is not None:
        fault(directory, why)
    if stats:
        print(statistics_text(directory), end="")


def print_slowest(directory: Path, nr_rows: int) -> None:
    """Print the slowest operations, each with the word that --why takes."""
    from kernelsim.report.text_table import print_table
    from kernelsim.report.why import each_ns, mostly, read_waits
    from kernelsim.units import format_duration

    if nr_rows < 1:
        raise ConfigError("--slowest", nr_rows, "must be at least 1")
    waits = read_waits(directory)
    rows = []
    for each in waits.operations()[:nr_rows]:
        took = format_duration(each.end_ns - each.start_ns)
        mean = format_duration(each_ns(each))
        why = mostly(waits.why(each))
        rows.append([f"{each.track}@{each.end_ns}", took, each.name, mean, why])
    print_table(["for --why", "took", "what", "each", "mostly"], rows)
