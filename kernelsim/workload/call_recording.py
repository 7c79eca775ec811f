"""Replay the system calls that strace recorded: memory, and files read and written.

The calls are made one after the other in the order of the recording, each by the process that made
it; mappings get the addresses they had. What it reads lies on a disk of the machine's.
Interface: `calls_workload`. Units: bytes.
"""

# Differs from Linux: The replay of a recording made by strace makes its calls one after the other,
# without the time between them, and accesses no page, as strace does not tell which pages a program
# accessed. It leaves out mprotect, mremap and calls that copy descriptors, and says how many.

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from kernelsim.actors.process.calls.table import CALLS
from kernelsim.errors import ProcessEndedError, RecordingError, SyscallError
from kernelsim.units import PAGE_SIZE, format_size
from kernelsim.workload.call_lines import (
    BIRTHS,
    END,
    OPENS,
    Birth,
    Processes,
    RecordedCall,
    number,
    opened_path,
    processes_of,
    read_calls,
)
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.syscall import MappedRange

PROT: Final = {"PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4}
ENDS: Final = (END, "exit", "exit_group")  # the calls are followed by a line of their own
ADVICE: Final = CALLS.by_name["madvise"].words


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


@attrs.define
class Caller:
    """A recorded process, and who plays it."""

    handle: ProcessHandle
    brk: int | None = None
    files: dict[int, int] = attrs.field(factory=dict)  # descriptor there to the one here
    nr_threads: int = 1

    async def fork(self, birth: Birth) -> "Caller":
        """Make a child that has this one's memory, or a copy of it, and its files.

        Raises:
            SyscallError: It failed here.
        """
        child = await self.handle.fork(shares_vm=birth.shares_vm)
        return Caller(child, self.brk, dict(self.files))

    async def make(self, call: RecordedCall) -> bool | None:
        """Make a call; tell whether it answered as recorded, or None for one that is left out.

        Raises:
            SyscallError: It failed here.
        """
        handle, words, result = self.handle, call.words, call.result or 0
        values = [number(word) or 0 for word in words]
        if call.name == "execve":
            return await self._execve(words, result)
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
            if advice not in ADVICE:
                return None
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

    async def _execve(self, words: tuple[str, ...], result: int) -> bool | None:
        if result < 0 or not words:
            return None
        name = words[0].strip('"').rpartition("/")[2]
        await self.handle.exec(name if name.strip() and name.isprintable() else "execve")
        self.brk, self.nr_threads = None, 1
        return True

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


@attrs.define
class Replay:
    """A replay in progress: who plays whom, and what was done."""

    machine: NotingMachine
    name: str
    processes: Processes
    callers: dict[int, Caller] = attrs.field(factory=dict)
    left_out: Counter[str] = attrs.field(factory=Counter)
    nr_made: int = 0
    nr_other: int = 0

    async def step(self, call: RecordedCall) -> None:
        """Make one call, or let a thread or process begin or end."""
        if call.name == END:
            await self._end(call.pid)
        if call.name in ENDS:
            return
        try:
            caller = await self._caller_of(call.pid)
            if call.name in BIRTHS and call.result is not None and call.result > 0:
                await self._born(call.result, caller)
                return
            answer = await caller.make(call)
        except SyscallError as error:
            answer = call.result is not None and call.result == -error.errno
        except ProcessEndedError:  # killed here: nobody makes its calls
            answer = None
        if answer is None:
            self.left_out[call.name] += 1
        else:
            self.nr_made += 1
            self.nr_other += not answer

    async def _caller_of(self, pid: int) -> Caller:
        """Return who plays a thread's process, begun by its parent where that is known."""
        process = self.processes.process_of(pid)
        if process not in self.callers:
            birth = self.processes.birth_of(process)
            if birth is not None and birth.parent in self.callers:
                self.callers[process] = await self.callers[birth.parent].fork(birth)
            else:
                self.callers[process] = Caller(await self.machine.spawn(self.name))
        return self.callers[process]

    async def _born(self, pid: int, parent: Caller) -> None:
        if self.processes.process_of(pid) == pid:
            await self._caller_of(pid)
        else:
            parent.nr_threads += 1

    async def _end(self, pid: int) -> None:
        """Let a process end with its last thread; the last one stays: one sees what it had."""
        caller = self.callers.get(self.processes.process_of(pid))
        if caller is None:
            return
        caller.nr_threads -= 1
        alive = [each for each in self.callers.values() if each.handle.exit_status is None]
        if caller.nr_threads < 1 and caller.handle.exit_status is None and len(alive) > 1:
            await caller.handle.exit()


def calls_workload(path: Path) -> Callable[[NotingMachine], Awaitable[CallReplay]]:
    """Return the workload that makes the calls of a recording."""

    async def main(machine: NotingMachine) -> CallReplay:
        name = path.name.split(".")[0][:15]
        replay = Replay(machine, name, processes_of(read_calls(path)))
        for call in read_calls(path):
            await replay.step(call)
        nr_made, left_out = replay.nr_made, replay.left_out
        if not nr_made:
            raise RecordingError(path, None, "has no call that is made here: mmap, brk, read …")
        sizes = [caller.handle.stats for caller in replay.callers.values()]
        resident = format_size(sum(each.rss_pages for each in sizes) * PAGE_SIZE)
        machine.note(
            f"{nr_made} calls made, {replay.nr_other} of them answered otherwise; {resident} held"
        )
        if left_out:
            names = ", ".join(f"{name} {nr}" for name, nr in left_out.most_common())
            machine.note(f"left out: {names}")
        return CallReplay(nr_made, replay.nr_other, dict(left_out))

    return main
