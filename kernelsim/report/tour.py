"""Runs the rows of the tour, and tells what they show.

A row's command runs as a program of its own, once for all rows that it shows, in a directory that
goes afterwards and shows what lies around the workloads. A row holds if the command ends with exit
status 0 and prints the row's figure.
Interface: `run_rows` yields the outcomes in the order of the rows; `block_of` and `list_of` give
text.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import attrs

from kernelsim.report.text_table import filled
from kernelsim.report.tour_table import TourRow

WORDS: Final = {
    "en": {
        "note": "the note",
        "ours": "here",
        "linux": "Linux 6.1",
        "look": "look at",
        "missing": "missing",
        "run": "run",
        "holds": "holds",
        "broken": "DOES NOT HOLD",
        "open": "nothing shows it yet",
        "state": "state",
        "row": "row",
        "what": "what",
        "shown": "shown by",
        "works": "works",
        "partly": "partly",
        "is_open": "open",
        "status": "exit status",
        "unlike": "nothing it printed is like",
        "failing": "rows that do not hold",
    },
    "zh": {
        "note": "笔记",
        "ours": "此处",
        "linux": "Linux 6.1",
        "look": "看点",
        "missing": "尚缺",
        "run": "运行",
        "holds": "成立",
        "broken": "不成立",
        "open": "还没有可运行的演示",
        "state": "状态",
        "row": "条目",
        "what": "内容",
        "shown": "演示",
        "works": "可用",
        "partly": "部分",
        "is_open": "待做",
        "status": "退出状态",
        "unlike": "输出中没有一行像",
        "failing": "不成立的条目",
    },
}
LABEL_COLUMNS: Final = 10
SHOWN_FOLDERS: Final = ("workloads", "tests")  # that commands name
AND: Final = " && "  # between the commands of a row


@attrs.frozen
class Ran:
    """How a command ended: exit status, what it printed, and the last line of its complaints."""

    status: int
    output: str
    complaint: str


@attrs.frozen
class Outcome:
    """What has come of a row.

    Attributes:
        row: The row.
        figure: The lines that are its figure.
        why_not: Why it does not hold; "" if it does, or is open.
    """

    row: TourRow
    figure: list[str]
    why_not: str


def run_rows(rows: Sequence[TourRow], folder: Path, jobs: int, language: str) -> Iterator[Outcome]:
    """Run what shows some rows, `jobs` commands at a time; yield each outcome in turn."""
    commands = list(dict.fromkeys(row.run for row in rows if row.run))
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(jobs) as pool:
        for name in SHOWN_FOLDERS:
            (Path(place) / name).symlink_to(folder.parent / name)
        futures: dict[str, Future[Ran]] = {}
        try:
            for command in commands:
                futures[command] = pool.submit(run_command, command, place)
            for row in rows:
                yield outcome_of(row, futures[row.run].result() if row.run else None, language)
        finally:
            for future in futures.values():
                future.cancel()


def run_command(command: str, place: str) -> Ran:
    """Run a command of ours in a directory; of several, joined by `&&`, up to one that fails."""
    output = ""
    for each in command.split(AND):
        words = [sys.executable, "-m", "kernelsim", *shlex.split(each)]
        done = subprocess.run(  # noqa: S603 - words of tour.toml
            words, cwd=place, capture_output=True, text=True, encoding="utf-8", check=False
        )
        output += done.stdout
        if done.returncode:
            complaints = done.stderr.strip().splitlines()
            return Ran(done.returncode, output, complaints[-1] if complaints else "")
    return Ran(0, output, "")


def outcome_of(row: TourRow, ran: Ran | None, language: str) -> Outcome:
    """Judge what a row's command did; None if nothing shows the row."""
    words = WORDS[language]
    if ran is None:
        return Outcome(row, [], "")
    lines = [match[0] for match in re.finditer(row.ours, ran.output, re.MULTILINE)]
    found = [row.line(line, language) for line in lines]
    if ran.status:
        return Outcome(row, found, f"{words['status']} {ran.status}: {ran.complaint}")
    if row.ours and not found:
        return Outcome(row, [], f"{words['unlike']} {row.ours}")
    return Outcome(row, found if row.ours else [], "")


def block_of(outcome: Outcome, language: str) -> str:
    """Return what to read about a row that was run."""
    row, words = outcome.row, WORDS[language]
    lines = [f"{row.name}  {row.text('what', language)}"]
    told = [(words["note"], row.text("note", language))]
    told += [(words["ours"] if not i else "", line) for i, line in enumerate(outcome.figure)]
    told += [(words[kind], row.text(kind, language)) for kind in ("linux", "look", "missing")]
    told += [(words["run"], shell_command(row))]
    verdict = words["broken"] if outcome.why_not else words["holds"] if row.run else words["open"]
    lines += [f"  {filled(label, LABEL_COLUMNS)} {text}" for label, text in told if text]
    lines.append(f"  {verdict}{': ' if outcome.why_not else ''}{outcome.why_not}")
    return "\n".join(lines) + "\n"


def shell_command(row: TourRow) -> str:
    """Return what a user types to see a row; "" if nothing shows it."""
    return AND.join(f"kernelsim {each}" for each in row.run.split(AND)) if row.run else ""


def list_of(rows: Sequence[TourRow], language: str) -> tuple[list[str], list[list[str]]]:
    """Return all rows as a table: its headers, and its lines."""
    words = WORDS[language]
    states = {"works": words["works"], "partly": words["partly"], "open": words["is_open"]}
    header = [words[name] for name in ("row", "state", "what", "shown")]
    body = [[row.name, states[row.state], row.text("what", language), row.run] for row in rows]
    return header, body


def markdown_of(rows: Sequence[TourRow], language: str = "en") -> str:
    """Return all rows as the table of the README."""
    words, (_, body) = WORDS[language], list_of(rows, language)
    header = " | ".join(words[name] for name in ("row", "what", "state", "shown"))
    lines = [f"| {header} |", "|---|---|---|---|"]
    colon = ": " if language == "en" else "："
    for row, (name, state, what, _) in zip(rows, body, strict=True):
        missing = row.text("missing", language)
        told = f"{state}{colon}{missing}" if missing else state
        shown = f"`{shell_command(row)}`" if row.run else ""
        lines.append(f"| {name} | {what} | {told} | {shown} |")
    return "\n".join(lines) + "\n"
