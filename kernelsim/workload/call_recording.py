"""Replay the system calls that strace recorded: memory, and files read and written.

    17 mmap(NULL, 52432896, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7fdbfe000000
    17 munmap(0x7fdbfe000000, 52432896)   = 0

The calls are made one after the other in the order of the recording, each by the process that made
it; mappings get the addresses they had. What it reads lies on a disk of the machine's.
Interface: `call_of` a line, `KNOWN` names; `read_calls`, `files_of` a recording, `calls_workload`.
Units: bytes.
"""

# Differs from Linux: The replay of a recording made by strace makes its calls and accesses no page,
# as strace does not tell which pages a program accessed.

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from kernelsim.errors import RecordingError, SyscallError
from kernelsim.units import PAGE_SIZE, format_size
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.syscall import MappedRange

LINE: Final = re.compile(
    r"(?:\[pid\s+(?P<bracket>\d+)\]\s+|(?P<pid>\d+)\s+)?(?:[\d:.]+\s+)?(?P<name>[a-z_][a-z0-9_]*)"
    r"\((?P<words>.*)\)\s+=\s+(?P<result>-?(?:0x[0-9a-f]+|\d+)|\?).*"
)
UNFINISHED: Final = re.compile(r"(?P<head>.*\S)\s*<unfinished \.\.\.>\s*")
RESUMED: Final = re.compile(r"(?P<who>\D*\d+\D+?)?<\.\.\. (?P<name>\w+) resumed>\s*(?P<rest>.*)")
WHO: Final = re.compile(r"(?:\[pid\s+)?(?P<pid>\d+)\]?\s")
WORD: Final = re.compile(r'(?:"(?:\\.|[^"\\])*"(?:\.\.\.)?|[^,"\[{]|\[[^\]]*\]|\{[^}]*\})+')
PROT: Final = {"PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4}
OPENS: Final = ("open", "openat", "creat")
ON_FILES: Final = ("read", "write", "pread64", "pwrite64", "close", "fsync", "fdatasync", "lseek")
KNOWN: Final = ("brk", "mmap", "munmap", "mremap", "mprotect", "madvise", *OPENS, *ON_FILES)
NO_FILES: Final = ("/dev/", "/proc/", "/sys/")


@attrs.frozen
class RecordedCall:
    """One call.

    Attributes:
        pid: Who made it; 0 in a recording of one process.
        name: Its name.
        words: Its arguments as printed.
        result: What it returned; negative for an error, None if it never did.
    """

    pid: int
    name: str
    words: tuple[str, ...]
    result: int | None


@attrs.frozen
class CallReplay:
    """What a replay did: calls made, those that answered otherwise, those left out by name."""

    nr_made: int
    nr_other: int
    left_out: dict[str, int]


class NotingMachine(Protocol):
    """The part of a machine that a replay of calls needs."""

    async def spawn(self, name: str) -> ProcessHandle:
        """Start a process."""
        ...

    def note(self, text: str) -> None:
        """Add a line to the summary."""
        ...


def call_of(line: str) -> RecordedCall | None:
    """Read a line; None if it is no whole call."""
    match = LINE.fullmatch(line.rstrip())
    if match is None:
        return None
    pid = match["bracket"] or match["pid"] or 0
    words = tuple(word.strip() for word in WORD.findall(match["words"]))
    result = None if match["result"] == "?" else int(match["result"], 0)
    return RecordedCall(int(pid), match["name"], words, result)


def read_calls(path: Path) -> Iterator[RecordedCall]:
    """Yield the calls of a recording in the order in which they returned."""
    begun: dict[str, str] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for raw in lines:
            line = raw.rstrip("\n")
            who = WHO.match(line)
            pid = who["pid"] if who else ""
            if match := UNFINISHED.fullmatch(line):
                begun[pid] = match["head"]
                continue
            if match := RESUMED.fullmatch(line):
                line = begun.pop(pid, "") + match["rest"]
            call = call_of(line)
            if call is not None:
                yield call


def files_of(path: Path) -> dict[str, int]:
    """Return how long each file must be that a recording reads or maps, by its path."""
    sizes: dict[str, int] = {}
    opened: dict[tuple[int, int], str] = {}
    places: Counter[tuple[int, int]] = Counter()
    for call in read_calls(path):
        result = -1 if call.result is None else call.result
        name = opened_path(call)
        if name is not None and result >= 0:
            opened[call.pid, result] = name
            places[call.pid, result] = 0
            sizes.setdefault(name, PAGE_SIZE)
            continue
        fd = number(call.words[4 if call.name == "mmap" else 0]) if call.words else None
        if fd is None or (call.pid, fd) not in opened or result < 0:
            continue
        at = (call.pid, fd)
        if call.name in {"read", "write"}:
            places[at] += result
            end = places[at]
        elif call.name in {"pread64", "pwrite64"}:
            end = (number(call.words[-1]) or 0) + result
        elif call.name == "lseek":
            places[at] = end = result
        elif call.name == "mmap":
            end = (number(call.words[1]) or 0) + (number(call.words[5]) or 0)
        else:
            continue
        sizes[opened[at]] = max(sizes[opened[at]], end)
    return sizes


def opened_path(call: RecordedCall) -> str | None:
    """Return the path that a call opens, if it is one of a disk's file."""
    if call.name not in OPENS:
        return None
    words = [word for word in call.words[:2] if word.startswith('"/')]
    name = words[0].strip('"') if words else ""
    return name if name and " " not in name and not name.startswith(NO_FILES) else None


def number(word: str) -> int | None:
    """Return a number as printed, with the path that `strace -y` puts behind it; or None."""
    match = re.match(r"-?(?:0x[0-9a-f]+|\d+)", word)
    return int(match[0], 0) if match else None


@attrs.define
class Caller:
    """A recorded process, and who plays it."""

    handle: ProcessHandle
    brk: int | None = None
    files: dict[int, int] = attrs.field(factory=dict)  # descriptor there to the one here

    async def make(self, call: RecordedCall) -> bool | None:
        """Make a call; tell whether it answered as recorded, or None for one that is left out.

        Raises:
            SyscallError: It failed here.
        """
        handle, words, result = self.handle, call.words, call.result or 0
        values = [number(word) or 0 for word in words]
        if call.name == "brk":
            before, self.brk = self.brk, result
            if before is not None and result != before:
                await handle.brk(result - before)
            return True
        if call.name == "mmap":
            return await self._mmap(words, values, result)
        if call.name == "munmap":
            await handle.munmap(MappedRange(values[0], values[1]))
        elif call.name == "madvise":
            advice = words[2].removeprefix("MADV_").lower()
            await handle.syscall("madvise", MappedRange(values[0], values[1]), advice)
        elif call.name in OPENS:
            name = opened_path(call)
            if name is None or result < 0:
                return None
            create = "O_CREAT" in " ".join(words) or call.name == "creat"
            self.files[result] = await handle.open(name, create=create)
        elif words and values[0] in self.files:
            return await self._on_file(call, values, result)
        else:
            return None
        return result >= 0

    async def _mmap(self, words: tuple[str, ...], values: list[int], result: int) -> bool | None:
        if result < PAGE_SIZE:  # an error
            return None
        how: dict[str, Any] = {"noreserve": "MAP_NORESERVE" in words[3]}
        how["prot"] = sum(bit for name, bit in PROT.items() if name in words[2])
        if "MAP_POPULATE" in words[3]:
            how["populate"] = True
        if "MAP_ANONYMOUS" not in words[3]:
            if values[4] not in self.files:
                return None
            how |= {"fd": self.files[values[4]], "offset": values[5]}
        if "MAP_SHARED" in words[3]:
            how["shared"] = True
        await self.handle.mmap(values[1], address=result, **how)
        return True

    async def _on_file(self, call: RecordedCall, values: list[int], result: int) -> bool | None:
        handle, fd = self.handle, self.files[values[0]]
        if call.name == "close":
            await handle.close(self.files.pop(values[0]))
            return result == 0
        if call.name in {"fsync", "fdatasync"}:
            await handle.fsync(fd)
            return result == 0
        if call.name not in {"read", "write", "pread64", "pwrite64"} or result < 0:
            return None
        offset = values[-1] if call.name.startswith("p") else None
        if "read" in call.name:
            done = await handle.read(fd, result, offset=offset) if result else 0
        else:
            done = await handle.write(fd, result, offset=offset) if result else 0
        return int(done) == result


def calls_workload(path: Path) -> Callable[[NotingMachine], Awaitable[CallReplay]]:
    """Return the workload that makes the calls of a recording."""

    async def main(machine: NotingMachine) -> CallReplay:
        callers: dict[int, Caller] = {}
        left_out: Counter[str] = Counter()
        nr_made = nr_other = 0
        for call in read_calls(path):
            if call.name in {"clone", "clone3", "vfork"} and call.pid in callers and call.result:
                if "CLONE_VM" in " ".join(call.words):  # a thread: one address space
                    callers[call.result] = callers[call.pid]
                continue
            if call.pid not in callers:
                callers[call.pid] = Caller(await machine.spawn(path.name.split(".")[0][:15]))
            try:
                answer = await callers[call.pid].make(call)
            except SyscallError as error:
                answer = call.result is not None and call.result == -error.errno
            if answer is None:
                left_out[call.name] += 1
            else:
                nr_made += 1
                nr_other += not answer
        if not nr_made:
            raise RecordingError(path, None, "has no call that is made here: mmap, brk, read …")
        sizes = [process.handle.stats for process in callers.values()]
        resident = format_size(sum(each.rss_pages for each in sizes) * PAGE_SIZE)
        machine.note(
            f"{nr_made} calls made, {nr_other} of them answered otherwise; {resident} held"
        )
        if left_out:
            names = ", ".join(f"{name} {nr}" for name, nr in left_out.most_common())
            machine.note(f"left out: {names}")
        return CallReplay(nr_made, nr_other, dict(left_out))

    return main
