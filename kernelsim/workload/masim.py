"""Run a configuration of masim, the access generator of DAMON's authors, as a process.

    #regions
    hot, 10000000           name, bytes
    <empty line>
    warm up                 a phase: its name, how long in ms, then what is accessed
    1000
    hot, 0, 4096, 1         region, 1 for random order, stride in bytes, weight[, ro | wo | rw]

As in masim, each turn of a phase draws one of its patterns by weight.
Differs: In the run of a configuration of masim, a turn accesses a page once, however often its
stride meets it, and goes on after 4096 accesses where masim goes over the whole region.

Interface: `is_masim` a text; `read_masim`; `masim_workload`. Units: bytes, ns.
"""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import attrs
import numpy as np

from kernelsim.errors import RecordingError
from kernelsim.sim.rng import Rng
from kernelsim.units import NS_PER_MS, PAGE_SHIFT, PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle

TURN_PAGES: Final = 4096  # pages accessed by one turn of a pattern
MODES: Final = ("ro", "wo", "rw")


class DrawingMachine(Protocol):
    """The part of a machine that a configuration needs."""

    @property
    def now_ns(self) -> int:
        """The virtual time."""
        ...

    async def spawn(self, name: str) -> ProcessHandle:
        """Start a process."""
        ...

    def rng(self, name: str) -> Rng:
        """Return a stream of random integers."""
        ...


@attrs.frozen
class Pattern:
    """How a region is accessed in a phase."""

    region: str
    random: bool
    stride: int
    weight: int
    mode: str


@attrs.frozen
class Phase:
    """A time in which regions are accessed."""

    name: str
    ns: int
    patterns: tuple[Pattern, ...]


@attrs.frozen
class Masim:
    """A configuration: bytes of each region, then phases."""

    regions: dict[str, int]
    phases: tuple[Phase, ...]


def is_masim(text: str) -> bool:
    """Return whether a text begins like a configuration: a region, later a phase with its time."""
    paragraphs = paragraphs_of(text)
    if len(paragraphs) < 2:  # noqa: PLR2004 - regions and a phase
        return False
    _, first = paragraphs[0][0]
    words = [word.strip() for word in first.split(",")]
    _, time = paragraphs[1][1] if len(paragraphs[1]) > 1 else (0, "")
    return len(words) in {2, 3} and words[1].isdecimal() and time.strip().isdecimal()


def paragraphs_of(text: str) -> list[list[tuple[int, str]]]:
    """Return the lines between empty lines, each with its number; those with # are left out."""
    found: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            continue
        if line.strip():
            found[-1].append((number, line.strip()))
        elif found[-1]:
            found.append([])
    return [part for part in found if part]


def read_masim(path: Path) -> Masim:
    """Read a configuration.

    Raises:
        RecordingError: A line is wrong.
    """
    regions: dict[str, int] = {}
    first, *rest = paragraphs_of(path.read_text(encoding="utf-8", errors="replace"))
    for number, line in first:
        name, *sizes = (word.strip() for word in line.split(","))
        if not sizes or not sizes[0].isdecimal() or not int(sizes[0]):
            raise RecordingError(path, number, "a region must be NAME, BYTES")
        regions[name] = int(sizes[0])
    phases = []
    for lines in rest:
        (_, name), *others = lines
        number, time = others[0] if others else (lines[0][0], "")
        if not time.isdecimal() or len(others) == 1:
            raise RecordingError(path, number, "a phase must be a name, its ms, then its patterns")
        patterns = tuple(pattern_of(path, number, line, regions) for number, line in others[1:])
        phases.append(Phase(name, int(time) * NS_PER_MS, patterns))
    return Masim(regions, tuple(phases))


def pattern_of(path: Path, number: int, line: str, regions: dict[str, int]) -> Pattern:
    """Read one pattern of a phase."""
    region, *words = (word.strip() for word in line.split(","))
    mode = words.pop() if words and words[-1] in MODES else "wo"
    if region not in regions or len(words) != 3 or not all(w.isdecimal() for w in words):  # noqa: PLR2004
        rule = "a pattern must be REGION, 0 or 1, STRIDE, WEIGHT, with ro, wo or rw behind it"
        raise RecordingError(path, number, rule)
    random, stride, weight = map(int, words)
    return Pattern(region, bool(random), stride or 1, weight, mode)


def masim_workload(path: Path) -> Callable[[DrawingMachine], Awaitable[dict[str, int]]]:
    """Return the workload of a configuration; it returns the turns of each phase by its name."""

    async def main(machine: DrawingMachine) -> dict[str, int]:
        masim = read_masim(path)
        process, rng = await machine.spawn("masim"), machine.rng("masim")
        first = {
            name: (await process.mmap(size)).address >> PAGE_SHIFT
            for name, size in masim.regions.items()
        }
        cursors = dict.fromkeys(masim.regions, 0)
        turns: dict[str, int] = {}
        for phase in masim.phases:
            end_ns = machine.now_ns + phase.ns
            turns[phase.name] = 0
            while machine.now_ns < end_ns and process.exit_status is None:
                pattern = drawn(phase.patterns, rng)
                offsets = list(offsets_of(pattern, masim.regions[pattern.region], cursors, rng))
                vpns = np.array(offsets, np.int64) // PAGE_SIZE + first[pattern.region]
                await process.touch_pages(vpns, np.full(len(vpns), pattern.mode != "ro", np.uint8))
                turns[phase.name] += 1
        if process.exit_status is None:
            await process.exit()
        return turns

    return main


def drawn(patterns: tuple[Pattern, ...], rng: Rng) -> Pattern:
    """Draw one of a phase's patterns by weight."""
    number = rng.below(max(sum(each.weight for each in patterns), 1))
    for each in patterns:
        number -= each.weight
        if number < 0:
            return each
    return patterns[-1]


def offsets_of(pattern: Pattern, size: int, cursors: dict[str, int], rng: Rng) -> Iterator[int]:
    """Yield the offsets of one turn, one a page: a stride below a page stays on it for a while."""
    nr_pages = min(TURN_PAGES, -(-size // PAGE_SIZE))
    for _ in range(nr_pages):
        if pattern.random:
            yield rng.below(size)
            continue
        yield cursors[pattern.region]
        step = -(-PAGE_SIZE // pattern.stride) * pattern.stride
        cursors[pattern.region] = (cursors[pattern.region] + step) % size
