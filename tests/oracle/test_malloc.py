"""Recorded traces of allocations, run here: what an allocator did as the real one it goes on doing.

`malloc/` has some traces and what five allocators did; malloc_ratchet.json names the rows that are
not as recorded: no others may come.
"""

import re

import pytest

from kernelsim.errors import ConfigError, RecordingError
from kernelsim.oracle.malloc import (
    allocator_names,
    compare_malloc,
    malloc_table,
    run_malloc,
    trace_names,
    write_recording,
)
from kernelsim.oracle.malloc_compare import rows_of
from kernelsim.oracle.malloc_run import MallocRecording
from kernelsim.workload.allocation_trace import Operation, read_trace
from kernelsim.workload.recording_text import read_text
from tools.ratchet import MALLOC, MALLOC_RATCHET, fallen, malloc_rows_outside, read_ratchet

RATCHET = read_ratchet(MALLOC_RATCHET)
QUICK = "first_byte"
PAGES = re.compile(r"^k \w+|(?:minflt|heap_rss|map_rss)=\d+", re.MULTILINE)


@pytest.mark.mission("V14")
@pytest.mark.parametrize("allocator", ["glibc", "dlmalloc"])
def test_the_first_bytes_are_as_recorded(allocator):
    """Around the sizes where an allocator turns to mmap: every call, address, page and fault."""
    case = f"{allocator} {QUICK}"
    assert malloc_rows_outside(case) == (RATCHET.compared[case], [])


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(RATCHET.outside))
def test_no_row_falls_back(case):
    """All rows are compared, and those that were as recorded stay so."""
    nr_rows, outside = malloc_rows_outside(case)
    assert nr_rows == RATCHET.compared[case]
    assert {} == fallen(RATCHET.outside, {case: outside})


@pytest.mark.mission("V15")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case.endswith(QUICK) else pytest.mark.slow)
        for case in sorted(RATCHET.outside)
    ],
)
def test_pages_and_faults_are_as_recorded(case):
    """Not only nearly: at each checkpoint an allocator has the pages, and had the faults."""
    allocator, trace = case.split()
    path = MALLOC / "recordings" / allocator / f"{trace}.checkpoints.gz"
    real = PAGES.findall(read_text(path))
    assert len(real) >= 4 * 2
    assert PAGES.findall(run_malloc(MALLOC, allocator, trace).checkpoints) == real


def test_the_ratchet_knows_every_recording():
    """No trace of an allocator is left out."""
    kept = {
        f"{folder.name} {name}"
        for folder in (MALLOC / "recordings").iterdir()
        if folder.is_dir()
        for name in trace_names(MALLOC)
    }
    assert sorted(RATCHET.outside) == sorted(RATCHET.compared) == sorted(kept)


def test_names_that_are_not_there():
    """One line says which there are."""
    assert trace_names(MALLOC, ["trim"]) == ["trim"]
    with pytest.raises(ConfigError, match=r"--trace = 'x': must be one of .*first_byte"):
        trace_names(MALLOC, ["x"])
    with pytest.raises(ConfigError, match=r"--allocator = 'x': must be one of glibc"):
        allocator_names(["x"])


def test_what_is_written_is_read_again(tmp_path):
    """A recording of ours lies as real ones do, and is as itself; without one there is nothing."""
    ours = run_malloc(MALLOC, "glibc", QUICK)
    write_recording(tmp_path, "glibc", QUICK, ours)
    same = compare_malloc(tmp_path, "glibc", QUICK, ours)
    assert same is not None
    assert (len(same.rows) > 200, same.outside) == (True, [])
    assert compare_malloc(tmp_path, "dlmalloc", QUICK, ours) is None
    assert "glibc" in malloc_table([same])


SYSCALLS = "k main\n1 brk ? = 0\n1 brk 135168 = 135168\n4 mmap 8192 = M1 @-8192\nk end\n"
POINT = "k end op=4 minflt=10 heap=135168 heap_rss=10 vmas=1 runs=1 mapped=8192 map_rss=2 peak=9\n"
ADDRESSES = "1 heap 672 24\n4 map -8176 8176\n"
REAL = MallocRecording(SYSCALLS, POINT, ADDRESSES)


@pytest.mark.parametrize(
    ("allocator", "kind", "old", "new", "outside"),
    [
        ("glibc", "syscalls", "@-8192", "@-4096", []),
        ("glibc", "syscalls", "mmap 8192", "mmap 4096", ["operation 4"]),
        ("glibc", "syscalls", "1 brk ? = 0\n", "", ["operation 1"]),
        ("glibc", "checkpoints", "vmas=1", "vmas=2", ["end vmas"]),
        ("glibc", "checkpoints", "minflt=10", "minflt=18", []),
        ("glibc", "checkpoints", "minflt=10", "minflt=19", ["end minflt"]),
        ("glibc", "checkpoints", POINT, "", ["end heap", "end mapped", "end vmas", "end runs"]),
        ("glibc", "addresses", "672", "688", ["end"]),
        ("jemalloc", "syscalls", "mmap 8192", "mmap 4096", []),
        ("jemalloc", "syscalls", "1 brk ? = 0\n", "1 brk ? = 0\n" * 4, ["brk"]),
        ("jemalloc", "checkpoints", "mapped=8192", "mapped=49152", ["end obtained"]),
        ("jemalloc", "addresses", "8176\n", "8192\n", ["to 16384 bytes"]),
    ],
)
def test_how_near_is_near_enough(allocator, kind, old, new, outside):
    """Exact for two allocators, but for pages and faults; the others have some room."""
    text = getattr(REAL, kind)
    assert old in text
    parts = {"syscalls": SYSCALLS, "checkpoints": POINT, "addresses": ADDRESSES}
    rows = rows_of(allocator, REAL, MallocRecording(**parts | {kind: text.replace(old, new)}))
    found = [row.name for row in rows if not row.ok]
    assert found[: len(outside)] == outside
    assert bool(found) == bool(outside)


def test_traces_are_read(tmp_path):
    """A line is an operation; another is refused with its number."""
    path = tmp_path / "a.trace"
    path.write_text("w 1\nm 0 100\nc 1 10 20\nr 0 200\nt 0\ns 5\nx\nf 0\nk done\n")
    assert read_trace(path) == [
        Operation("w", 1),
        Operation("m", 0, 1, 100),
        Operation("c", 1, 10, 20),
        Operation("r", 0, 1, 200),
        Operation("t", 0),
        Operation("s", 5),
        Operation("x"),
        Operation("f", 0),
        Operation("k", label="done"),
    ]
    for line in ("q 1", "m 1", "m 1 -1", "k", ""):
        path.write_text(f"m 0 1\n{line}\n")
        with pytest.raises(RecordingError, match=r"a\.trace:2: must be an operation"):
            read_trace(path)
