"""Run families of recorded programs of system calls, and say how many answer as the real kernel.

A directory of them has `programs/FAMILY.txt` and, for what was recorded, `recordings/FAMILY.out`,
either of them also compressed (shared/oracle/syscalls/FORMAT.md).
Interface: `family_names`, `run_family_of`, `compare_recordings`, `table_of`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from kernelsim.errors import ConfigError, RecordingError
from kernelsim.machine import DEFAULT_BURST_PAGES
from kernelsim.oracle.vmaprog_program import read_programs
from kernelsim.oracle.vmaprog_run import run_family
from kernelsim.workload.recording_text import read_text

SUFFIXES: Final = ("", ".gz")
Steps = Mapping[str, Sequence[str]]  # by program, what was written of each step


@attrs.frozen
class Likeness:
    """How much of a recording is the same here.

    Attributes:
        family: Its name.
        nr_programs: Programs of the recording.
        nr_run: Those that ran here to their last step.
        apart: Those of which a step differs, or that did not run, by name.
        nr_steps: Steps, the report at the end counted as one.
        nr_same: Those that are the same.
    """

    family: str
    nr_programs: int
    nr_run: int
    apart: tuple[str, ...]
    nr_steps: int
    nr_same: int


def has_programs(directory: Path) -> bool:
    """Tell whether a directory holds programs of system calls, not a case."""
    return (directory / "programs").is_dir()


def family_names(directory: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the families of a directory, or those of them that are wanted.

    Raises:
        ConfigError: One that is wanted is not there.
    """
    known = sorted(
        {path.name.partition(".")[0] for path in (directory / "programs").glob("*.txt*")}
    )
    for name in wanted:
        if name not in known:
            raise ConfigError("--family", name, f"must be one of {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


def run_family_of(
    directory: Path,
    family: str,
    *,
    seed: int = 1,
    burst_pages: int = DEFAULT_BURST_PAGES,
    check: bool = False,
) -> str:
    """Run the programs of a family, as `run_family` does; return the recording of it.

    Raises:
        RecordingError: They cannot be read.
    """
    programs = read_programs(_file(directory / "programs", f"{family}.txt"))
    return run_family(programs, seed=seed, burst_pages=burst_pages, check=check)


def compare_recordings(directory: Path, family: str, ours: str) -> Likeness | None:
    """Compare a recording of ours with that of the real kernel; None if it has none.

    Raises:
        RecordingError: That cannot be read.
    """
    path = _file(directory / "recordings", f"{family}.out")
    if not path.is_file():
        return None
    real, found = steps_of(read_text(path)), steps_of(ours)
    if not real:
        raise RecordingError(str(path), None, "has no program")
    nr_same = sum(
        one == other
        for name, steps in real.items()
        for one, other in zip(steps, found.get(name, ()), strict=False)
    )
    nr_run = sum(len(found.get(name, ())) >= len(steps) for name, steps in real.items())
    apart = tuple(name for name, steps in real.items() if found.get(name) != steps)
    return Likeness(family, len(real), nr_run, apart, sum(map(len, real.values())), nr_same)


def steps_of(recording: str) -> Steps:
    """Return what a recording says of each step, without what is not to be compared."""
    programs: dict[str, list[str]] = {}
    steps: list[str] | None = None
    for line in recording.split("\n"):
        if line.startswith("prog "):
            steps = programs.setdefault(line[5:], [])
        elif not line:
            steps = None
        elif steps is not None and not line.startswith(("#", "@")):
            text = " ".join(word for word in line.split(" ") if not word.startswith("~"))
            if line.startswith(" ") and steps:
                steps[-1] += f"\n{text}"
            else:
                steps.append(text)
    return programs


def table_of(rows: Sequence[Likeness]) -> str:
    """Return a table of how much is the same, by family and in all."""
    total = Likeness(
        "all",
        sum(row.nr_programs for row in rows),
        sum(row.nr_run for row in rows),
        tuple(name for row in rows for name in row.apart),
        sum(row.nr_steps for row in rows),
        sum(row.nr_same for row in rows),
    )
    lines = [f"{'family':12}{'programs':>10}{'same':>8}{'':>8}{'steps':>10}{'same':>8}"]
    for row in (*rows, total):
        same = row.nr_programs - len(row.apart)
        lines.append(
            f"{row.family:12}{row.nr_programs:10}{same:8}{_percent(same, row.nr_programs)}"
            f"{row.nr_steps:10}{row.nr_same:8}{_percent(row.nr_same, row.nr_steps)}"
        )
    return "".join(f"{line}\n" for line in lines)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:7.1f}%" if whole else "       -"


def _file(folder: Path, name: str) -> Path:
    """Return a file, or the compressed one of that name if there is one."""
    found = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in found if path.is_file()), found[0])
