"""The heap of a process, as its program uses it: blocks from a model of an allocator.

Interface: `Heap`, which `ProcessHandle.malloc` makes. Units: bytes, or text such as "100K".
"""

import errno

from kernelsim.errors import ConfigError, SyscallError, WorkloadError
from kernelsim.units import parse_size
from kernelsim.user.malloc.mallocs import MALLOCS
from kernelsim.user.malloc.protocol import Malloc, System
from kernelsim.workload.arguments import whole_number
from kernelsim.workload.process_system import ProcessSystem
from kernelsim.workload.syscall import MappedRange, require_mapping


def new_malloc(name: object, system: System) -> Malloc:
    """Return a model of an allocator.

    Raises:
        ConfigError: There is none of that name.
    """
    make = MALLOCS.get(name) if isinstance(name, str) else None
    if make is None:
        raise ConfigError("malloc", name, f"must be one of {', '.join(MALLOCS)}")
    return make(system)


class Heap:
    """Blocks of memory, each a range that its process may touch.

    Args:
        allocator: Name of the one they come from.
        system: The kernel of the process.
        max_bytes: Largest block there can be: half of what a size_t counts (PTRDIFF_MAX).

    Raises:
        ConfigError: There is no allocator of that name.
    """

    def __init__(self, allocator: str, system: ProcessSystem, max_bytes: int) -> None:
        self._system = system
        self._max_bytes = max_bytes
        self._allocator = new_malloc(allocator, system)
        self._blocks: dict[int, int] = {}  # bytes by address

    @property
    def nr_calls(self) -> int:
        """System calls that the allocator made so far."""
        return self._system.nr_calls

    async def malloc(self, size: int | str) -> MappedRange:
        """Return a block; nothing of it is resident but what the allocator wrote.

        Raises:
            SyscallError: There is no memory (ENOMEM).
        """
        nr_bytes = self._size("malloc", size)
        return self._block("malloc", await self._allocator.malloc(nr_bytes), nr_bytes)

    async def calloc(self, nr: int, size: int | str) -> MappedRange:
        """Return a block of zeros for `nr` things of a size; raises as `malloc`."""
        nr, nr_bytes = whole_number("nr of calloc", nr, 0), self._size("calloc", size)
        self._size("calloc", nr * nr_bytes)
        return self._block("calloc", await self._allocator.calloc(nr, nr_bytes), nr * nr_bytes)

    async def realloc(self, block: MappedRange, size: int | str) -> MappedRange:
        """Change the size of a block; return it, perhaps in another place; raises as `malloc`.

        A block that cannot grow stays as it was. Of size 0 it may be gone: then its address is 0.
        """
        old = self._known("realloc", block)
        nr_bytes = self._size("realloc", size)
        address = await self._allocator.realloc(old, nr_bytes)
        if address or not nr_bytes:
            del self._blocks[old]
        return self._block("realloc", address, nr_bytes)

    async def free(self, block: MappedRange) -> None:
        """Take a block back."""
        address = self._known("free", block)
        del self._blocks[address]
        await self._allocator.free(address)

    async def trim(self) -> None:
        """Give the kernel what is free, as malloc_trim(0) does where there is one."""
        await self._allocator.trim()

    def usable_size(self, block: MappedRange) -> int:
        """Return how many bytes of a block may be used."""
        return self._allocator.usable_size(self._known("usable_size", block))

    def _size(self, call: str, size: int | str) -> int:
        """Return a size in bytes.

        Raises:
            SyscallError: Nothing can be so large.
        """
        nr_bytes = parse_size(size, key=f"size of {call}")
        if nr_bytes > self._max_bytes:
            raise SyscallError(errno.ENOMEM, call)
        return nr_bytes

    def _block(self, call: str, address: int, nr_bytes: int) -> MappedRange:
        if address:
            self._blocks[address] = nr_bytes
        elif nr_bytes:
            raise SyscallError(errno.ENOMEM, call)
        return MappedRange(address, nr_bytes)

    def _known(self, call: str, block: MappedRange) -> int:
        """Return the address of a block.

        Raises:
            WorkloadError: This heap has no such block, or has it no more.
        """
        address = require_mapping(call, block).address
        if self._blocks.get(address) != block.length:
            raise WorkloadError(
                f"{call} wants a block that malloc gave and free has not: {block!r}"
            )
        return address
