"""`kernelsim report`: a run as one HTML file.

Interface: `report`, a command.
"""

from pathlib import Path


def report(directory: Path, /, *, to: Path | None = None) -> None:
    """Write what happened in a run into one HTML file that opens without a network.

    Sentences first, then pictures over virtual time that are looked at closer together: free pages
    before the watermarks, lists, page cache, swap, reclaim, fault latencies, locks, processes.

    Args:
        directory: What `kernelsim run --out` wrote.
        to: Where to; report.html in the directory by default.
    """
    from kernelsim.report.html.page import write_report

    print(write_report(directory, to=to))
