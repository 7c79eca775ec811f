"""Run traces of allocations through models of allocators, and say how many do as the real ones.

A directory of them has `traces/NAME.trace` and, for what was recorded,
`recordings/ALLOCATOR/NAME.{syscalls,checkpoints,addresses}`, all of them perhaps compressed
(shared/oracle/malloc/FORMAT.md).
Interface: `allocator_names`, `trace_names`, `run_malloc`, `write_recording`, `compare_malloc`,
`malloc_table`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from kernelsim.errors import ConfigError
from kernelsim.machine import DEFAULT_BURST_PAGES
from kernelsim.oracle.malloc_compare import MallocRow, rows_of
from kernelsim.oracle.malloc_run import ALLOCATORS, MallocRecording, run_trace
from kernelsim.user.malloc.mallocs import MALLOCS
from kernelsim.workload.allocation_trace import read_trace
from kernelsim.workload.recording_text import read_text

KINDS: Final = ("syscalls", "checkpoints", "addresses")
SUFFIXES: Final = ("", ".gz")


@attrs.frozen
class MallocLikeness:
    """How a run of a trace compares with its recording.

    Attributes:
        allocator: Directory of the recording.
        trace: Name of the trace.
        rows: All comparisons.
    """

    allocator: str
    trace: str
    rows: tuple[MallocRow, ...]

    @property
    def outside(self) -> list[str]:
        """Topics and names of the rows that are not as recorded."""
        return [f"{row.topic}: {row.name}" for row in self.rows if not row.ok]


def has_traces(directory: Path) -> bool:
    """Tell whether a directory holds traces of allocations, not a case."""
    return (directory / "traces").is_dir()


def allocator_names(wanted: Sequence[str] = ()) -> list[str]:
    """Return the allocators of which there is a model, or those of them that are wanted.

    Raises:
        ConfigError: One that is wanted is not there.
    """
    known = [name for name, (model, _) in ALLOCATORS.items() if model in MALLOCS]
    return _chosen("--allocator", known, wanted)


def trace_names(directory: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the traces of a directory, or those of them that are wanted.

    Raises:
        ConfigError: One that is wanted is not there.
    """
    paths = (directory / "traces").glob("*.trace*")
    return _chosen("--trace", sorted({path.name.partition(".")[0] for path in paths}), wanted)


def _chosen(option: str, known: list[str], wanted: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in known:
            raise ConfigError(option, name, f"must be one of {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


def run_malloc(
    directory: Path,
    allocator: str,
    trace: str,
    *,
    seed: int = 1,
    burst_pages: int = DEFAULT_BURST_PAGES,
) -> MallocRecording:
    """Run a trace of a directory through the model of an allocator; return what is written of it.

    Raises:
        RecordingError: The trace cannot be read.
    """
    operations = read_trace(_file(directory / "traces", f"{trace}.trace"))
    return run_trace(allocator, operations, seed=seed, burst_pages=burst_pages)


def write_recording(out: Path, allocator: str, trace: str, ours: MallocRecording) -> None:
    """Write what a run gave below a directory, as real recordings lie there."""
    folder = out / "recordings" / allocator
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / f"{trace}.{kind}").write_text(getattr(ours, kind), encoding="utf-8")


def compare_malloc(
    directory: Path, allocator: str, trace: str, ours: MallocRecording
) -> MallocLikeness | None:
    """Compare a run with the recording of the real allocator; None if it has none.

    Rows that the real one does not repeat (recordings/unrepeatable.tsv) are left out.

    Raises:
        RecordingError: That cannot be read.
    """
    folder = directory / "recordings" / allocator
    paths = [_file(folder, f"{trace}.{kind}") for kind in KINDS]
    if not all(path.is_file() for path in paths[:2]):
        return None
    real = MallocRecording(*(read_text(path) if path.is_file() else "" for path in paths))
    skipped = set(_unrepeatable(directory / "recordings", allocator, trace))
    rows = rows_of(allocator, real, ours)
    kept = tuple(row for row in rows if (row.topic, row.name) not in skipped)
    return MallocLikeness(allocator, trace, kept)


def _unrepeatable(folder: Path, allocator: str, trace: str) -> Iterator[tuple[str, str]]:
    path = folder / "unrepeatable.tsv"
    if path.is_file():
        for line in read_text(path).splitlines():
            words = line.split("\t")
            if words[:2] == [allocator, trace]:
                yield words[2], words[3]


def malloc_table(rows: Sequence[MallocLikeness]) -> str:
    """Return a table of how much is as recorded, by allocator, and the first row that is not."""
    lines = [f"{'allocator':18}{'rows':>8}{'inside':>8}{'':>9}{'traces':>8}{'inside':>8}{'':>9}"]
    for name in dict.fromkeys(row.allocator for row in rows):
        mine = [row for row in rows if row.allocator == name]
        nr_rows = sum(len(row.rows) for row in mine)
        nr_inside = nr_rows - sum(len(row.outside) for row in mine)
        nr_whole = sum(not row.outside for row in mine)
        lines.append(
            f"{name:18}{nr_rows:8}{nr_inside:8}{_percent(nr_inside, nr_rows)}"
            f"{len(mine):8}{nr_whole:8}{_percent(nr_whole, len(mine))}"
        )
    for row in rows:
        if row.outside:
            first, *others = row.outside
            more = f", and {len(others)} more" if others else ""
            lines.append(f"outside: {row.allocator} {row.trace}: {first}{more}")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):7.1f} %"


def _file(folder: Path, name: str) -> Path:
    """Return a file, or its compressed form if only that is there."""
    found = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in found if path.is_file()), found[0])
