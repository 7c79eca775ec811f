"""Measure the engine, the log and memory management beside their peers and print one table.

    python tools/bench [--scale S] [--rounds N] [--json FILE] [--soak [EVENTS]]

Exit status: 0, also when a target is not met, as that is the machine's doing too.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
if str(TOP) not in sys.path:  # run as a directory, not as a module
    sys.path.insert(0, str(TOP))

import attrs  # noqa: E402 - after the path is set
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from tools.bench import (  # noqa: E402
    bench_calls,
    bench_engine,
    bench_files,
    bench_hotplug,
    bench_log,
    bench_malloc,
    bench_memory,
)
from tools.bench.bench_engine import Row  # noqa: E402

SOAK_EVENTS = 50_000_000
SHORT_SOAK_EVENTS = 3_000_000


def main() -> None:
    """Measure, print, write."""
    options = parse_options()
    rows = bench_engine.run(options.scale, options.rounds)
    rows += [log_row(row) for row in bench_log.run(options.scale)]
    rows.append(bench_log.run_row(options.scale, options.rounds))
    rows += bench_memory.run(options.scale, options.rounds)
    rows += bench_files.run(options.scale, options.rounds)
    rows += bench_hotplug.run(options.scale, options.rounds)
    rows += bench_malloc.run(options.scale, options.rounds)
    rows += bench_calls.run(options.scale, options.rounds)
    soak_events = options.soak or int(SHORT_SOAK_EVENTS * options.scale)
    rows.append(bench_engine.soak(soak_events))
    show(rows)
    if options.json is not None:
        record = {"python": platform.python_version(), "rows": [attrs.asdict(row) for row in rows]}
        options.json.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tools/bench", description="Measure beside peers.")
    parser.add_argument("--scale", type=float, default=1.0, help="share of operations, 1.0")
    parser.add_argument("--rounds", type=int, default=5, help="the median of so many, 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument(
        "--soak",
        type=int,
        nargs="?",
        const=SOAK_EVENTS,
        metavar="EVENTS",
        help=f"events of the soak; {SOAK_EVENTS} if no number is given",
    )
    return parser.parse_args()


def log_row(row: dict[str, object]) -> Row:
    """Return a row of bench_log as one of ours."""
    peers = row["peers"]
    ours = row["ours_per_s"]
    assert isinstance(peers, dict)
    assert isinstance(ours, int)
    return Row(str(row["name"]), "/s", ours, peers)


def show(rows: list[Row]) -> None:
    """Print the table: plain where stdout is no terminal, so wide that nothing is cut."""
    table = Table("operation", "ours", "peers (ours is so many times as good)", "target", "met")
    for row in rows:
        peers = "\n".join(
            f"{name}: {figure(value, row.unit)} ({ratio(row, value):.2f})"
            for name, value in row.peers.items()
        )
        met = {None: "", True: "met", False: "\n".join(["NOT MET", *row.missed])}[row.is_met]
        table.add_row(row.name, figure(row.ours, row.unit), peers, row.target, met)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table)


def figure(value: float, unit: str) -> str:
    """Write a rate as a whole number, anything else with two decimals."""
    return f"{value:,.0f} {unit}" if unit == "/s" else f"{value:.2f} {unit}"


def ratio(row: Row, peer: float) -> float:
    """Return how many times as good ours is: faster, or sooner done."""
    return row.ours / peer if row.unit == "/s" else peer / row.ours


if __name__ == "__main__":
    main()
