"""Hold a run of a trace against the recording of the real allocator, row by row.

What must be the same, and how nearly, is in shared/oracle/malloc/FORMAT.md: all that ptmalloc2 and
dlmalloc ask and where they put blocks; of the others what they obtain, and how many calls it takes.
Interface: `rows_of`. Units: bytes; pages.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from kernelsim.oracle.malloc_run import MallocRecording
from kernelsim.units import PAGE_SIZE

EXACT: Final = ("glibc", "dlmalloc")
EXACT_COLUMNS: Final = ("heap", "mapped", "vmas", "runs", "peak")
FEW_PAGES: Final = 8
CALLS: Final = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect", "clone")
LONG_NAMES: Final = {"vmas": "mappings", "runs": "mappings"}
# Sizes of requests whose usable sizes are one row
MAGNITUDES: Final = (1 << 10, 16 << 10, 128 << 10, 1 << 20, 1 << 62)


@attrs.frozen
class MallocRow:
    """One comparison.

    Attributes:
        topic: What it is about, as the recordings' judge names topics.
        name: Where: an operation, a checkpoint.
        ok: The same, or near enough.
    """

    topic: str
    name: str
    ok: bool


def rows_of(allocator: str, real: MallocRecording, ours: MallocRecording) -> list[MallocRow]:
    """Compare all that is written of a run."""
    rows = [*_call_rows(allocator, real.syscalls, ours.syscalls)]
    rows += _checkpoint_rows(allocator, _checkpoints(real), _checkpoints(ours))
    if real.addresses and allocator in EXACT:
        rows += _address_rows(real, ours)
    elif real.addresses:
        rows += _size_rows(real.addresses, ours.addresses)
    return rows


def _is_near(real: int, ours: int | None, percent: int, at_least: int) -> bool:
    """Tell whether a number is at most so many percent off, or `at_least` if that is more."""
    return ours is not None and abs(real - ours) * 100 <= max(percent * abs(real), at_least * 100)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


# ---- system calls ----


def _call_rows(allocator: str, real: str, ours: str) -> Iterator[MallocRow]:
    if allocator in EXACT:
        one, other = _by_operation(real), _by_operation(ours)
        for number in sorted(one.keys() | other.keys(), key=lambda text: (len(text), text)):
            ok = one.get(number) == other.get(number)
            yield MallocRow("system calls", f"operation {number}", ok)
        return
    counts = [Counter(line.split()[1] for line in _calls(text)) for text in (real, ours)]
    for name in CALLS:
        nr_real, nr_ours = (count[name] for count in counts)
        if nr_real or nr_ours:
            yield MallocRow("system calls", name, _is_near(nr_real, nr_ours, 20, 2))


def _calls(text: str) -> list[str]:
    return [line for line in _lines(text) if not line.startswith("k ")]


def _by_operation(text: str) -> dict[str, list[str]]:
    """Return the calls of each operation; where mappings lie is left out, it is the kernel's."""
    calls: dict[str, list[str]] = {}
    for line in _calls(text):
        number, _, call = line.partition(" ")
        calls.setdefault(number, []).append(re.sub(r" @-?\d+", "", call))
    return calls


# ---- checkpoints ----

Checkpoints = dict[str, dict[str, int]]


def _checkpoints(recording: MallocRecording) -> Checkpoints:
    points: Checkpoints = {}
    seen: Counter[str] = Counter()
    for line in _lines(recording.checkpoints):
        label = line.split()[1]
        seen[label] += 1
        name = label if seen[label] == 1 else f"{label}#{seen[label]}"
        points[name] = {key: int(value) for key, value in re.findall(r"(\w+)=(-?\d+)", line)}
    return points


def _checkpoint_rows(allocator: str, real: Checkpoints, ours: Checkpoints) -> Iterator[MallocRow]:
    for label, one in real.items():
        other = ours.get(label, {})
        if allocator in EXACT:
            for column in EXACT_COLUMNS:
                if column != "heap" and one.get(column) == other.get(column) == 0:
                    continue  # nothing on either side proves nothing
                topic = LONG_NAMES.get(column, "heap and mapped bytes")
                ok = one.get(column) == other.get(column)
                yield MallocRow(topic, f"{label} {column}", ok)
        else:
            for name, columns in (("obtained", ("heap", "mapped")), ("peak", ("peak",))):
                ok = _is_near(_sum(one, columns), _sum(other, columns), 10, FEW_PAGES * PAGE_SIZE)
                yield MallocRow("obtained bytes", f"{label} {name}", bool(other) and ok)
        pages = (
            ("resident pages", "rss", ("heap_rss", "map_rss")),
            ("minor faults", "minflt", ("minflt",)),
        )
        for topic, name, columns in pages:
            expected, found = _sum(one, columns), _sum(other, columns)
            ok = abs(expected - found) * 100 <= 2 * abs(expected) + 100 * FEW_PAGES
            yield MallocRow(topic, f"{label} {name}", bool(other) and ok)


def _sum(point: dict[str, int], columns: Iterable[str]) -> int:
    return sum(point.get(column, 0) for column in columns)


# ---- blocks ----


def _address_rows(real: MallocRecording, ours: MallocRecording) -> Iterator[MallocRow]:
    """Compare the places of blocks: a row for the stretch that ends at each checkpoint."""
    one, other = _blocks(real.addresses), _blocks(ours.addresses)
    begin = 0
    for label, point in _checkpoints(real).items():
        numbers = [number for number in one if begin < number <= point["op"]]
        if numbers:
            ok = all(one[number] == other.get(number) for number in numbers)
            yield MallocRow("addresses", label, ok)
        begin = point["op"]


def _size_rows(real: str, ours: str) -> Iterator[MallocRow]:
    """Compare usable sizes: a row for each magnitude of them."""
    one, other = _usable_sizes(real), _usable_sizes(ours)
    low = 0
    for high in MAGNITUDES:
        numbers = [number for number, size in one.items() if low < size <= high]
        if numbers:
            ok = all(one[number] == other.get(number) for number in numbers)
            yield MallocRow("size classes", f"to {high} bytes", ok)
        low = high


def _blocks(text: str) -> dict[int, Sequence[str]]:
    return {int(words[0]): words[1:] for line in _lines(text) if (words := line.split())}


def _usable_sizes(text: str) -> dict[int, int]:
    return {number: int(words[2]) for number, words in _blocks(text).items() if len(words) > 2}  # noqa: PLR2004 - the third word
