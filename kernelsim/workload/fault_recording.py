"""Replay page faults that perf or ftrace recorded, each process for itself.

    app 17  2367.027985:     1   page-faults:  5640978361e0            perf script
    0.047 ( 0.000 ms): app/17 majfault [main+0x29a] => 0x7f67e16a9110 (?k)   perf trace -F all
    app-17 [001] d..1. 100.01: page_fault_user: address=0x7f0000001000 ip=0x401000 error_code=0x6

Each fault is an access at its address, no earlier after the first one than it was recorded. What
was mapped is not recorded: addresses near each other are one anonymous mapping.
Interface: `fault_of` a line, `read_faults` of a file, `faults_workload`. Units: ns, pages.
"""

# Differs from Linux: In the replay of recorded page faults, what was read from files is anonymous
# memory; a fault whose kind is not recorded is a store.

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

from kernelsim.errors import RecordingError
from kernelsim.mm.space.mmap import MMAP_MIN_ADDR
from kernelsim.units import NS_PER_MS, PAGE_SHIFT
from kernelsim.workload.handle import ProcessHandle

if TYPE_CHECKING:
    from kernelsim.workload.replay import SpawningMachine

USER_END: Final = 1 << 47  # addresses above are the kernel's
WRITE_BIT: Final = 2  # X86_PF_WRITE of error_code
GAP_PAGES: Final = 16  # nearer addresses become one mapping
TOGETHER_NS: Final = NS_PER_MS  # faults closer to each other are made in one go
DSO_BASE: Final = 1 << 40  # where files of `perf trace` are put, which it gives offsets of
DSO_STEP: Final = 1 << 34
FORMS: Final = (
    re.compile(
        r"\s*(?P<comm>.+?)[ /]+(?P<pid>\d+)(?:/\d+)?\s+(?:\[\d+\]\s+)?(?P<s>\d+)\.(?P<f>\d+):\s+"
        r"(?:\d+\s+)?(?:page-faults|minor-faults|major-faults)(?::\w+)?:\s+(?P<at>[0-9a-f]+)\b.*"
    ),
    re.compile(
        r"\s*(?P<ms>\d+)\.(?P<f>\d+) \(.*?\): (?P<comm>.+?)/(?P<pid>\d+) (?:min|maj)fault "
        r"\[.*?\] => (?:(?P<dso>[^@]+)@)?(?:\S+\+)?0x(?P<at>[0-9a-f]+).*"
    ),
    re.compile(
        r"\s*(?P<comm>.+?)(?:-|\s+)(?P<pid>\d+)\s+(?:\([\s\d-]+\)\s+)?(?:\[\d+\]\s+)?"
        r"(?:[^\s:]{4,6}\s+)?(?P<s>\d+)\.(?P<f>\d+): (?:exceptions:)?page_fault_user:\s+"
        r"address=(?:0x)?(?P<at>[0-9a-f]+) ip=\S+ error_code=(?:0x)?(?P<code>[0-9a-f]+).*"
    ),
)


@attrs.frozen
class Fault:
    """One recorded page fault.

    Attributes:
        t_ns: When.
        pid: Of the task.
        comm: Its name.
        address: What it accessed.
        write: Whether it was a store, as far as is known.
    """

    t_ns: int
    pid: int
    comm: str
    address: int
    write: bool


@attrs.frozen
class FaultReplay:
    """What a replay did: accesses made, faults there were, and of these with I/O."""

    nr_recorded: int
    minflt: int
    majflt: int


def fault_of(line: str, files: dict[str, int]) -> Fault | None:
    """Read a line; None if it is no page fault of a user's address.

    Args:
        line: Of the recording.
        files: Where each file of `perf trace` is put; what is new is added.
    """
    for form in FORMS:
        match = form.fullmatch(line.rstrip())
        if match is None:
            continue
        found = match.groupdict()
        address = int(found["at"], 16)
        if found.get("dso"):
            address += files.setdefault(found["dso"], DSO_BASE + len(files) * DSO_STEP)
        if address >= USER_END:
            return None
        unit = 10**6 if found.get("ms") else 10**9
        whole, part = int(found.get("ms") or found["s"]), found["f"]
        t_ns = whole * unit + int(part) * unit // 10 ** len(part)
        code = found.get("code")
        write = code is None or bool(int(code, 16) & WRITE_BIT)
        return Fault(t_ns, int(found["pid"]), found["comm"].strip(), address, write)
    return None


def read_faults(path: Path) -> dict[int, list[Fault]]:
    """Return the page faults of each process, in the order of the file.

    Raises:
        RecordingError: There are none.
    """
    found: dict[int, list[Fault]] = {}
    files: dict[str, int] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fault = fault_of(line, files)
            if fault is not None:
                found.setdefault(fault.pid, []).append(fault)
    if not found:
        raise RecordingError(path, None, "has no page faults of programs")
    return found


def nr_fault_pages(path: Path) -> int:
    """Return how many pages a recording touches, over all processes."""
    pages = {(f.pid, f.address >> PAGE_SHIFT) for own in read_faults(path).values() for f in own}
    return len(pages)


def faults_workload(path: Path) -> Callable[["SpawningMachine"], Awaitable[FaultReplay]]:
    """Return the workload that replays the page faults of a file."""

    async def main(machine: "SpawningMachine") -> FaultReplay:
        recorded = read_faults(path)
        start_ns = min(own[0].t_ns for own in recorded.values())
        handles = []
        for own in recorded.values():
            program = fault_program(path, own, start_ns)
            handles.append(await machine.spawn(own[0].comm[:15] or "app", program))
        for handle in handles:
            await handle.wait()
        stats = [handle.stats for handle in handles]
        major = sum(each.pgmajfault for each in stats)
        minor = sum(each.pgfault for each in stats) - major
        return FaultReplay(sum(map(len, recorded.values())), minor, major)

    return main


def fault_program(
    path: Path, faults: list[Fault], start_ns: int
) -> Callable[[ProcessHandle], Awaitable[None]]:
    """Return the program of one process: map what it touches, then touch it."""

    async def program(handle: ProcessHandle) -> None:
        pages = np.unique(np.array([fault.address >> PAGE_SHIFT for fault in faults], np.int64))
        cuts = np.flatnonzero(np.diff(pages) > GAP_PAGES + 1)
        for part in np.split(pages, cuts + 1):
            at, nr_pages = int(part[0]) << PAGE_SHIFT, int(part[-1] - part[0]) + 1
            if at < MMAP_MIN_ADDR:
                rule = f"faults must lie above {MMAP_MIN_ADDR:#x}; there is one at {at:#x}"
                raise RecordingError(path, None, rule)
            await handle.mmap(nr_pages << PAGE_SHIFT, noreserve=True, address=at)
        place, slept_ns = 0, 0
        while place < len(faults):
            first = faults[place]
            end = place + 1
            while end < len(faults) and faults[end].t_ns - first.t_ns < TOGETHER_NS:
                end += 1
            due_ns = first.t_ns - start_ns
            if due_ns > slept_ns:
                await handle.sleep(due_ns - slept_ns)
                slept_ns = due_ns
            vpns = [fault.address >> PAGE_SHIFT for fault in faults[place:end]]
            await handle.touch_pages(vpns, [int(fault.write) for fault in faults[place:end]])
            place = end

    return program
