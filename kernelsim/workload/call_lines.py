"""Read what strace printed: calls with their arguments and results, who made whom, files' sizes.

    17 mmap(NULL, 52432896, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7fdbfe000000
    17 munmap(0x7fdbfe000000, 52432896)   = 0

With or without `-f`, `-o`, `-t`, `-tt`, `-ttt`, `-r`, `-T` and `-y`.
Interface: `call_of` a line, `KNOWN` names; `read_calls`, `processes_of`, `files_of` a recording.
Units: bytes.
"""

import errno
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from kernelsim.units import PAGE_SIZE

PREFIX: Final = r"\s*(?:\[pid\s+(?P<bracket>\d+)\]\s+|(?P<pid>\d+)\s+)?(?:[\d:.]+\s+)?"
LINE: Final = re.compile(
    PREFIX + r"(?P<name>[a-z_][a-z0-9_]*)"
    r"\((?P<words>.*)\)\s+=\s+(?P<result>-?(?:0x[0-9a-f]+|\d+)|\?)(?: (?P<errno>E[A-Z0-9]+))?.*"
)
UNFINISHED: Final = re.compile(r"(?P<head>.*\S)\s*<unfinished \.\.\.>\s*")
RESUMED: Final = re.compile(PREFIX + r"<\.\.\. \w+ resumed>\s*(?P<rest>.*)")
ENDED: Final = re.compile(PREFIX + r"\+\+\+ (?:exited with|killed by) .*")
WHO: Final = re.compile(PREFIX)
WORD: Final = re.compile(r'(?:"(?:\\.|[^"\\])*"(?:\.\.\.)?|[^,"\[{]|\[[^\]]*\]|\{[^}]*\})+')
OPENS: Final = ("open", "openat", "creat")
ON_FILES: Final = ("read", "write", "pread64", "pwrite64", "close", "fsync", "fdatasync", "lseek")
KNOWN: Final = ("brk", "mmap", "munmap", "mremap", "mprotect", "madvise", *OPENS, *ON_FILES)
BIRTHS: Final = ("fork", "vfork", "clone", "clone3")
END: Final = "+++"  # the name that the end of a process has among its calls
NO_FILES: Final = ("/dev/", "/proc/", "/sys/")
NR_WORDS: Final = {"mmap": 6, "munmap": 2, "madvise": 3, "openat": 2, "pread64": 4, "pwrite64": 4}


@attrs.frozen
class RecordedCall:
    """One call.

    Attributes:
        pid: Who made it; 0 where the recording names nobody.
        name: Its name.
        words: Its arguments as printed.
        result: What it returned; the negative errno of an error, None if it never did.
    """

    pid: int
    name: str
    words: tuple[str, ...]
    result: int | None


@attrs.frozen
class Birth:
    """How a process or thread came to be.

    Attributes:
        parent: Who called.
        is_thread: It is a thread of the parent's process (CLONE_THREAD).
        shares_vm: It has its parent's memory, not a copy, until it runs another program.
    """

    parent: int
    is_thread: bool
    shares_vm: bool


@attrs.frozen
class Processes:
    """Who of a recording is a thread of whom, and who was made by whom.

    Attributes:
        births: By pid; none of one that was there before the recording.
        first: Who made the first call, 0 if strace did not yet name it.
    """

    births: dict[int, Birth]
    first: int

    def process_of(self, pid: int) -> int:
        """Return the pid of the process that a thread belongs to.

        strace without `-o` names nobody before there are two: who is named later and was not
        born meanwhile has been there from the start.
        """
        seen = {pid}
        while (birth := self.births.get(pid)) is not None and birth.is_thread:
            pid = birth.parent
            if pid in seen:  # a number that was used twice
                break
            seen.add(pid)
        return 0 if self.first == 0 and pid not in self.births else pid

    def birth_of(self, process: int) -> Birth | None:
        """Return how a process came to be, its parent a process; None if it was there before."""
        birth = self.births.get(process)
        return None if birth is None else attrs.evolve(birth, parent=self.process_of(birth.parent))


def call_of(line: str) -> RecordedCall | None:
    """Read a line; None if it is no whole call."""
    match = LINE.fullmatch(line.rstrip())
    if match is None:
        return None
    words = tuple(word.strip() for word in WORD.findall(match["words"]))
    if len(words) < NR_WORDS.get(match["name"], 0):
        return None
    result = None if match["result"] == "?" else number(match["result"])
    if match["errno"] and result is not None and result < 0:
        result = -getattr(errno, match["errno"], 1)
    return RecordedCall(_pid_of(match), match["name"], words, result)


def _pid_of(match: re.Match[str]) -> int:
    return int(match["bracket"] or match["pid"] or 0)


def read_calls(path: Path) -> Iterator[RecordedCall]:
    """Yield the calls of a recording in the order in which they returned, and ends (`END`)."""
    begun: dict[int, str] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for raw in lines:
            line = raw.rstrip("\n")
            who = WHO.match(line)
            pid = _pid_of(who) if who else 0
            if match := UNFINISHED.fullmatch(line):
                begun[pid] = match["head"]
                continue
            if ENDED.fullmatch(line):
                yield RecordedCall(pid, END, (), 0)
                continue
            if match := RESUMED.fullmatch(line):
                line = begun.pop(pid, "") + match["rest"]
            call = call_of(line)
            if call is not None:
                yield call


def processes_of(calls: Iterable[RecordedCall]) -> Processes:
    """Return who made whom in a recording.

    A child may be heard of before the call that made it returns: this is read first.
    """
    births: dict[int, Birth] = {}
    first = None
    for call in calls:
        if first is None:
            first = call.pid
        if call.name in BIRTHS and call.result is not None and call.result > 0:
            flags = " ".join(call.words)
            shares_vm = "CLONE_VM" in flags or call.name == "vfork"
            births[call.result] = Birth(call.pid, "CLONE_THREAD" in flags, shares_vm)
    return Processes(births, first or 0)


def files_of(path: Path) -> dict[str, int]:
    """Return how long each file must be that a recording reads or maps, by its path."""
    processes = processes_of(read_calls(path))
    sizes: dict[str, int] = {}
    opened: dict[int, dict[int, str]] = {}
    places: Counter[tuple[int, int]] = Counter()
    for call in read_calls(path):
        pid = processes.process_of(call.pid)
        result = -1 if call.result is None else call.result
        if pid not in opened:
            birth = processes.birth_of(pid)
            opened[pid] = dict(opened.get(birth.parent, {})) if birth else {}
        name = opened_path(call)
        if name is not None and result >= 0:
            opened[pid][result] = name
            places[pid, result] = 0
            sizes.setdefault(name, PAGE_SIZE)
            continue
        fd = number(call.words[4 if call.name == "mmap" else 0]) if call.words else None
        if fd is None or fd not in opened[pid] or result < 0:
            continue
        end = _end_of(call, places, (pid, fd), result)
        sizes[opened[pid][fd]] = max(sizes[opened[pid][fd]], end)
    return sizes


def _end_of(
    call: RecordedCall, places: Counter[tuple[int, int]], at: tuple[int, int], result: int
) -> int:
    """Return how far into its file a call reaches; note where the next read goes on."""
    if call.name in {"read", "write"}:
        places[at] += result
        return places[at]
    if call.name in {"pread64", "pwrite64"}:
        return (number(call.words[-1]) or 0) + result
    if call.name == "lseek":
        places[at] = result
        return result
    if call.name == "mmap":
        return (number(call.words[1]) or 0) + (number(call.words[5]) or 0)
    return 0


def opened_path(call: RecordedCall) -> str | None:
    """Return the path that a call opens, if it is one of a disk's file."""
    if call.name not in OPENS:
        return None
    words = [word for word in call.words[:2] if word.startswith('"/')]
    name = words[0].strip('"') if words else ""
    return name if name and " " not in name and not name.startswith(NO_FILES) else None


def number(word: str) -> int | None:
    """Return a number as printed, with the path that `strace -y` puts behind it; or None."""
    match = re.match(r"(-?)(?:0x([0-9a-f]+)|(0[0-7]+)(?!\d)|(\d+))", word)
    if match is None:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal or octal or decimal, 16 if hexadecimal else 8 if octal else 10)
    return -value if sign else value
