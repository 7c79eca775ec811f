"""What a process does with files, as its handle spells it.

Interface: `FileCalls`, which `ProcessHandle` is one of.
Units: bytes, or text such as "64M".
"""

from abc import ABC, abstractmethod
from typing import Any

from kernelsim.actors.process.calls.files import HERE
from kernelsim.mm.core.mem import I64
from kernelsim.units import parse_size
from kernelsim.workload.syscall import MappedRange, require_mapping


class FileCalls(ABC):
    """The calls on files; each raises `SyscallError` with the errno when it fails."""

    @abstractmethod
    async def syscall(self, name: str, *arguments: object, **fields: object) -> Any:  # noqa: ANN401 - by the call
        """Make any call of the table of system calls by its name."""

    async def open(self, path: str, *, create: bool = False, truncate: bool = False) -> int:
        """Open a file, perhaps made for it (O_CREAT) or made empty (O_TRUNC); return its fd."""
        return int(await self.syscall("open", path, create=create, truncate=truncate))

    async def write(self, fd: int, size: int | str, *, offset: int | str | None = None) -> int:
        """Write at an offset, or where the last call ended; return the bytes: all if they fit."""
        where = HERE if offset is None else parse_size(offset, key="offset")
        return int(await self.syscall("write", fd, size, offset=where))

    async def fsync(self, fd: int) -> None:
        """Wait until the disk has what is written to a file."""
        await self.syscall("fsync", fd)

    async def close(self, fd: int) -> None:
        """Close a descriptor."""
        await self.syscall("close", fd)

    async def read(
        self,
        fd: int,
        size: int | str,
        *,
        offset: int | str | None = None,
        block: int | str = 0,
        buffer: MappedRange | None = None,
    ) -> int:
        """Read from a file; return how many bytes came, fewer than asked for only at its end.

        It goes on where the last read ended unless an offset is given (pread). With a block the
        program reads in a loop, so many bytes a call. With a buffer it is stored there.
        """
        where = HERE if offset is None else parse_size(offset, key="offset")
        bytes_a_call = parse_size(block, key="block")
        address = 0 if buffer is None else require_mapping("read", buffer).address
        nr: int = await self.syscall(
            "read", fd, size, offset=where, block=bytes_a_call, buffer=address
        )
        return nr

    async def fadvise(
        self, fd: int, advice: str, *, offset: int | str = 0, length: int | str = 0
    ) -> None:
        """Say how a file will be used: normal, random, sequential, willneed, dontneed.

        From the offset on, to its end unless a length is given.
        """
        start = parse_size(offset, key="offset")
        await self.syscall("fadvise", fd, advice, offset=start, length=parse_size(length))

    async def mincore(self, fd: int) -> I64:
        """Return the pages of an open file that are in memory, rising."""
        pages: I64 = await self.syscall("mincore", fd)
        return pages
