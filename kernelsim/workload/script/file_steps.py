"""Steps of portable scripts that work on files: reading them, and what of them is cached.

Interface: a `FileSteps` a process; `FILE_STEPS` says which method does which step.
Units: bytes, pages of a file.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from kernelsim.mm.core.mem import I64
from kernelsim.units import MIB, NS_PER_MS
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.script_output import cached_lines, fields_line
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.step_work import Outcome, map_file, number_of
from kernelsim.workload.syscall import MappedRange

BUFFER_BYTES: Final = 4 * MIB  # what the recorded program reads into
PAUSE_NS: Final = 20 * NS_PER_MS  # it lets reads ahead end before it counts
DROP_ALL: Final = 3
MOST_BYTES: Final = 1 << 62


@attrs.define
class FileSteps:
    """The file steps of one process.

    Attributes:
        handle: The process.
        machine: What it runs on.
        regions: What it has mapped, by name.
        name: Returns its name in the output.
        say: Prints lines.
    """

    handle: ProcessHandle
    machine: MachineHandle
    regions: dict[str, MappedRange]
    name: Callable[[], str]
    say: Callable[..., None]
    _buffer: MappedRange | None = None

    async def readf(self, step: Step) -> Outcome:
        """Read a file in blocks, whole or until so many bytes have come."""
        path, block, length = step.args
        size, before = number_of(block), self._pgpgin_kb()
        buffer = await self.make_buffer()
        most = MOST_BYTES if length is None else -(-number_of(length) // size) * size
        fd = await self.handle.open(str(path))
        total = await self.handle.read(fd, most, block=size, buffer=buffer)
        if total < most:
            await self.handle.read(fd, size)  # which finds the end
        await self.handle.close(fd)
        fields = (("bytes", total), ("pgpgin_kB", self._pgpgin_kb() - before))
        return Outcome(fields=fields)

    async def readsteps(self, step: Step) -> Outcome:
        """Read blocks at equal distances, and tell after each how much is cached."""
        path, block, count, stride = step.args
        size, distance = number_of(block), number_of(stride or block)
        buffer = await self.make_buffer()
        fd = await self.handle.open(str(path))
        for number in range(number_of(count)):
            before, offset = self._pgpgin_kb(), number * distance
            nr_bytes = await self.handle.read(fd, size, offset=offset, buffer=buffer)
            await self.handle.sleep(PAUSE_NS)
            head = f"proc={self.name()} readstep={number + 1}"
            fields = (
                ("off", offset),
                ("bytes", nr_bytes),
                ("pgpgin_kB", self._pgpgin_kb() - before),
                ("cached_pages", len(await self._cached_pages(str(path)))),
            )
            self.say(fields_line(head, fields))
        await self.handle.close(fd)
        return Outcome()

    async def cached(self, step: Step) -> Outcome:
        """Tell how many pages of a file are cached, and which."""
        path, verbose = step.args
        pages = await self._cached_pages(str(path))
        if verbose is not None:
            self.say(*cached_lines(pages))
        nr = len(pages)
        return Outcome(nr, fields=(("cached_pages", nr), ("cached_kB", 4 * nr)))

    async def dontneed(self, step: Step) -> Outcome:
        """Say that a file is not needed any more."""
        fd = await self.handle.open(str(step.args[0]))
        await self.handle.fadvise(fd, "dontneed")
        await self.handle.close(fd)
        return Outcome()

    async def drop(self, _step: Step) -> Outcome:
        """Drop all that is cached."""
        await self.handle.syscall("drop_caches", DROP_ALL)
        return Outcome()

    async def mapfile(self, step: Step) -> Outcome:
        """Map a whole file."""
        self.regions[str(step.args[0])] = await map_file(self.handle, step)
        return Outcome()

    async def _cached_pages(self, path: str) -> I64:
        fd = await self.handle.open(path)
        pages = await self.handle.mincore(fd)
        await self.handle.close(fd)
        return pages

    async def make_buffer(self) -> MappedRange:
        """Return the buffer of the program's reads; it is mapped when it is first needed."""
        if self._buffer is None:
            self._buffer = await self.handle.mmap(BUFFER_BYTES, populate=True)
        return self._buffer

    def _pgpgin_kb(self) -> int:
        return self.machine.vmstat["pgpgin"]


FILE_STEPS: Final[dict[str, Callable[[FileSteps, Step], Awaitable[Outcome]]]] = {
    "readf": FileSteps.readf,
    "readsteps": FileSteps.readsteps,
    "cached": FileSteps.cached,
    "dontneed": FileSteps.dontneed,
    "drop": FileSteps.drop,
    "mapfile": FileSteps.mapfile,
}
