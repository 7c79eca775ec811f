"""Replay a recorded memory trace (valgrind's lackey) as a process.

A trace has addresses but no system calls: its regions are mapped first, found by one pass over the
file; a second pass replays the accesses in their order. Both stream, so the length of a trace
costs time, not memory.
Differs: In the replay of a recording, a page visited again and again without a change of page in
between is accessed once for each visit.

Interface: `recording_workload` makes the workload, `recording_machine` a machine that is a little
too small for it; `replay` is the program of the process, for workloads that start it beside others.
Units: virtual page numbers, pages, bytes.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import attrs
import numpy as np

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import RecordingError
from kernelsim.mm.space.mmap import MMAP_MIN_ADDR
from kernelsim.units import MIB, PAGE_SHIFT, PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.lackey import lackey_footprint, read_lackey, regions_of
from kernelsim.workload.lackey_lines import LeftOut
from kernelsim.workload.program import Program

BATCH_ACCESSES: Final = 8192  # accesses handed to the process at once
RESIDENT_SHARE: Final = 3, 4  # of a recording's pages that its machine has room for
KERNEL_BYTES: Final = MIB  # the first megabyte, which no process gets


class SpawningMachine(Protocol):
    """The part of a machine a replay needs."""

    async def spawn(self, name: str, program: Program | None = None) -> ProcessHandle:
        """Start a process."""
        ...

    def note(self, text: str) -> None:
        """Keep a line for the summary."""
        ...


@attrs.frozen
class ReplayResult:
    """What a replay did.

    Attributes:
        nr_runs: Runs of the trace replayed.
        nr_accesses: Page visits made.
        minflt: Faults served without I/O.
        majflt: Faults that waited for I/O.
        signal: Signal that ended the process before the end of the trace; 0 for none.
    """

    nr_runs: int
    nr_accesses: int
    minflt: int
    majflt: int
    signal: int


def recording_machine(path: Path) -> MachineSpec:
    """Return a machine with room for three quarters of a recording's pages, and swap for all.

    Raises:
        RecordingError: As `read_lackey`.
    """
    return machine_for(lackey_footprint(path).nr_pages * PAGE_SIZE)


def machine_for(wanted: int, files: Mapping[str, int] | None = None) -> MachineSpec:
    """Return a machine with room for three quarters of so many bytes, and swap for all.

    Args:
        wanted: Bytes.
        files: Those on its disk, with their sizes.
    """
    share, whole = RESIDENT_SHARE
    memory = KERNEL_BYTES + -(-wanted * share // whole // MIB) * MIB
    return machine_from_toml(
        {
            "name": "recording",
            "node": [{"cpus": "0", "memory": memory}],
            "device": [{"name": "sda", "kind": "ssd"}],
            "swap": [{"size": 2 * wanted + MIB, "device": "sda"}],
            "files": [
                {"path": path, "size": -(-size // PAGE_SIZE) * PAGE_SIZE, "device": "sda"}
                for path, size in (files or {}).items()
            ],
        }
    )


def recording_workload(path: Path) -> Callable[[SpawningMachine], Awaitable[ReplayResult]]:
    """Return the workload that replays a recording as one process named after the file.

    The machine's run raises RecordingError where the trace is malformed.
    """

    async def main(machine: SpawningMachine) -> ReplayResult:
        handle = await machine.spawn(path.name.split(".")[0])
        left_out = LeftOut()
        await map_regions(path, handle, left_out)
        result = await replay_accesses(path, handle)
        if left_out.nr:
            machine.note(
                f"{left_out.nr} lines of the recording are no accesses, as line {left_out.line}: "
                f"{left_out.text!r}"
            )
        if handle.exit_status is None:
            await handle.exit()
        return result

    return main


def replay(path: Path) -> Callable[[ProcessHandle], Awaitable[ReplayResult]]:
    """Return the program that replays a recording; its result is a `ReplayResult`."""

    async def program(handle: ProcessHandle) -> ReplayResult:
        await map_regions(path, handle)
        return await replay_accesses(path, handle)

    return program


async def map_regions(path: Path, handle: ProcessHandle, left_out: LeftOut | None = None) -> None:
    """Map what a recording touches where it touches it."""
    task_size = handle.task_size
    for region in regions_of(path, left_out=left_out):
        start = region.vpn << PAGE_SHIFT
        end = start + (region.nr_pages << PAGE_SHIFT)
        if start < MMAP_MIN_ADDR or end > task_size:
            rule = (
                f"accesses must lie in {MMAP_MIN_ADDR:#x} to {task_size:#x}, where a process has "
                f"memory; some lie in {start:#x} to {end:#x}"
            )
            raise RecordingError(path, None, rule)
        await handle.mmap(end - start, noreserve=True, address=start)


async def replay_accesses(path: Path, handle: ProcessHandle) -> ReplayResult:
    """Make the accesses of a recording, a batch at a time."""
    vpns = np.zeros(BATCH_ACCESSES, np.int64)
    writes = np.zeros(BATCH_ACCESSES, np.uint8)
    fill = nr_runs = nr_accesses = signal = 0

    async def flush() -> int:
        nonlocal fill, nr_accesses
        result = await handle.touch_pages(vpns[:fill].copy(), writes[:fill].copy())
        nr_accesses += fill
        fill = 0
        return result.signal

    # Differs from Linux: What a recorded program read from files is anonymous memory in its replay,
    # so the first access to each page counts as a store: it brings a page, not the shared zero
    # page.
    seen: set[int] = set()
    for run in read_lackey(path):
        nr_runs += 1
        for vpn in range(run.vpn, run.vpn + run.nr_pages):
            vpns[fill] = vpn
            writes[fill] = run.write or vpn not in seen
            seen.add(vpn)
            fill += 1
            if fill == BATCH_ACCESSES:
                signal = await flush()
                if signal:
                    break
        if signal:
            break
    if fill and not signal:
        signal = await flush()
    stats = handle.stats
    return ReplayResult(
        nr_runs, nr_accesses, stats.pgfault - stats.pgmajfault, stats.pgmajfault, signal
    )
