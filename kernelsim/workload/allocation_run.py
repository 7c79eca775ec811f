"""Replay what a program allocated on every allocator, side by side.

Each allocator gets a process of its own, one after the other, and the same operations. What it has
then is told where its blocks held most, at each checkpoint of the trace, and at the end.
Interface: `allocations_workload` of a file, `allocations_machine` a machine with room for it;
`run_on_allocators` for operations that a workload makes up, each an `Operation`.
Units: KiB of memory, percent of the bytes asked for.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import attrs

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.units import KIB, MIB, NS_PER_MS, PAGE_SIZE
from kernelsim.user.malloc.mallocs import MALLOCS
from kernelsim.workload.allocation_trace import Operation, read_allocations
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.heap import Heap
from kernelsim.workload.syscall import MappedRange

BAR_WIDTH: Final = 40
PERCENT: Final = 100
ROOM: Final = 64 * MIB  # of a machine, beside what is allocated
ROOM_PER_BYTE: Final = 2  # what the least thrifty allocator takes


class AllocatingMachine(Protocol):
    """The part of a machine that a replay needs."""

    async def spawn(self, name: str) -> ProcessHandle:
        """Start a process."""
        ...

    def print(self, *lines: str) -> None:
        """Print lines."""
        ...

    def note(self, text: str) -> None:
        """Keep a line for the summary."""
        ...


@attrs.frozen
class Moment:
    """What a process has at a moment; sizes in KiB, fragmentation in percent of what was asked.

    Internal fragmentation is the rounding up to size classes; external what is resident and free.
    Of less than a page that was asked for, neither means anything: then they are 0.
    """

    vsz: int
    rss: int
    calls: int
    faults: int
    internal: int
    external: int


class AllocatorProgram:
    """A process that performs operations on a heap.

    Args:
        process: It has not allocated anything.
        heap: Of the process.

    Attributes:
        nr_failed: Allocations for which there was no memory.
    """

    def __init__(self, process: ProcessHandle, heap: Heap) -> None:
        self.nr_failed = 0
        self._process = process
        self._heap = heap
        self._blocks: dict[int, MappedRange] = {}
        self._writes_all = False
        self._base = self._sizes()

    def _sizes(self) -> tuple[int, int]:
        """Return VSZ and RSS in KiB, to the page."""
        status = dict(line.split(":", 1) for line in self._process.proc("status").splitlines())
        rollup = self._process.proc("smaps_rollup").split("Rss:")[1]
        return int(status["VmSize"].split()[0]), int(rollup.split()[0])

    async def perform(self, operation: Operation) -> None:
        """Perform one operation; one on a block that there is not does nothing."""
        kind, block = operation.kind, operation.block
        if kind in "mcr":
            await self._allocate(operation)
        elif kind == "f" and block in self._blocks:
            await self._heap.free(self._blocks.pop(block))
        elif kind in "tT" and block in self._blocks:
            await self._write(self._blocks[block])
        elif kind == "w":
            self._writes_all = bool(block)
        elif kind == "x":
            await self._heap.trim()
        elif kind == "s":
            await self._process.sleep(block * NS_PER_MS)

    async def _allocate(self, operation: Operation) -> None:
        kind, number, nr, nr_bytes, _ = operation
        old = self._blocks.get(number)
        try:
            if kind == "c":
                block = await self._heap.calloc(nr, nr_bytes)
            elif kind == "r" and old is not None:
                block = await self._heap.realloc(old, nr_bytes)
            else:
                block = await self._heap.malloc(nr_bytes)
        except SyscallError:
            self.nr_failed += 1
            return
        self._blocks[number] = block
        if not block.address:
            del self._blocks[number]
        elif self._writes_all:
            await self._write(block)

    async def _write(self, block: MappedRange) -> None:
        if block.length:
            await self._process.touch(block, write=True)

    def moment(self) -> Moment:
        """Return what there is now."""
        vsz, rss = (now - before for now, before in zip(self._sizes(), self._base, strict=True))
        asked = sum(block.length for block in self._blocks.values())
        usable = sum(self._heap.usable_size(block) for block in self._blocks.values())
        internal, external = usable - asked, rss * KIB - max(usable, asked)
        shares = [
            max(0, each) * PERCENT // asked if asked >= PAGE_SIZE else 0
            for each in (internal, external)
        ]
        return Moment(vsz, rss, self._heap.nr_calls, self._process.stats.pgfault, *shares)


def allocator_table(title: str, moments: Mapping[str, Moment]) -> list[str]:
    """Return lines: what each allocator has, and its resident memory as a bar."""
    widest = max([1, *(moment.rss for moment in moments.values())])
    lines = [f"{title:16}{'VSZ':>9}{'RSS':>9}{'calls':>7}{'faults':>8}{'int %':>7}{'ext %':>7}"]
    for name, each in moments.items():
        bar = "#" * (each.rss * BAR_WIDTH // widest)
        row = f"{name:16}{each.vsz:9}{each.rss:9}{each.calls:7}{each.faults:8}"
        lines.append(f"{row}{each.internal:7}{each.external:7}  {bar}".rstrip())
    return [*lines, ""]


def bytes_asked(operations: Sequence[Operation]) -> list[int]:
    """Return how many bytes all blocks have together, after each operation."""
    blocks: dict[int, int] = {}
    total, found = 0, []
    for kind, block, nr, nr_bytes, _ in operations:
        if kind in "mcrf":
            total -= blocks.pop(block, 0)
        if kind in "mcr":
            blocks[block] = nr * nr_bytes
            total += nr * nr_bytes
        found.append(total)
    return found


def allocations_machine(path: Path) -> MachineSpec:
    """Return a machine without swap that has room for a recording on any allocator.

    Raises:
        RecordingError: As `read_allocations`.
    """
    peak = max(bytes_asked(read_allocations(path)), default=0)
    memory = ROOM + ROOM_PER_BYTE * -(-peak // MIB) * MIB
    return machine_from_toml({"name": "recording", "node": [{"cpus": "0", "memory": memory}]})


def allocations_workload(
    path: Path,
) -> Callable[[AllocatingMachine], Awaitable[Mapping[str, Mapping[str, Moment]]]]:
    """Return the workload that replays a recording; it returns what each allocator had when."""

    async def main(machine: AllocatingMachine) -> Mapping[str, Mapping[str, Moment]]:
        operations = read_allocations(path)
        asked = bytes_asked(operations)
        peak = 1 + asked.index(max(asked))
        most, end = Operation("k", label="most bytes"), Operation("k", label="end")
        operations = [*operations[:peak], most, *operations[peak:], end]
        return await run_on_allocators(machine, operations)

    return main


async def run_on_allocators(
    machine: AllocatingMachine, operations: Sequence[Operation]
) -> dict[str, dict[str, Moment]]:
    """Perform operations on every allocator, one after the other; print a table a checkpoint.

    Returns:
        What each allocator had at each checkpoint, by its name and the checkpoint's label. One
        whose process was killed has only what it came to.
    """
    found: dict[str, dict[str, Moment]] = {}
    for name in MALLOCS:
        process = await machine.spawn(name)
        program = AllocatorProgram(process, process.malloc(name))
        found[name] = {}
        nr_begun = await _perform_all(program, process, operations, found[name])
        if process.exit_status is None:
            await process.exit()
        else:
            machine.note(f"{name} was ended in operation {nr_begun} of {len(operations)}")
        if program.nr_failed:
            machine.note(f"{name} had no memory for {program.nr_failed} blocks")
    for label in dict.fromkeys(each.label for each in operations if each.kind == "k"):
        reached = {name: own[label] for name, own in found.items() if label in own}
        machine.print(*allocator_table(label, reached))
    return found


async def _perform_all(
    program: AllocatorProgram,
    process: ProcessHandle,
    operations: Sequence[Operation],
    moments: dict[str, Moment],
) -> int:
    """Perform operations as long as the process lives; return how many were begun."""
    for number, operation in enumerate(operations, start=1):
        if operation.kind == "k":
            moments[operation.label] = program.moment()
        else:
            with suppress(ProcessEndedError):  # a store of the allocator got no page
                await program.perform(operation)
        if process.exit_status is not None:
            return number
    return len(operations)
