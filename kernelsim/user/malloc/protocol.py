"""The door between a program, its allocator and the kernel.

Interface: `Malloc`, `System`.
Units: bytes; ns.
"""

from typing import Protocol


class System(Protocol):
    """What an allocator may ask of the kernel, in the time of its process.

    Every call is one that the process makes; answers are those of the system calls.
    """

    @property
    def now_ns(self) -> int:
        """The clock."""
        ...

    async def brk(self, address: int) -> int:
        """Move the end of the heap to an address; return where it is then. 0 asks where it is."""
        ...

    async def mmap(
        self, nr_bytes: int, *, prot: str = "rw", noreserve: bool = False, fixed: int = 0
    ) -> int:
        """Map private memory; return its address, or a negative errno.

        Args:
            nr_bytes: Length.
            prot: Letters of r, w, x; "none" for no access.
            noreserve: MAP_NORESERVE.
            fixed: Replace what is at this address (MAP_FIXED); 0 for anywhere.
        """
        ...

    async def munmap(self, address: int, nr_bytes: int) -> int:
        """Unmap a range; return 0 or a negative errno."""
        ...

    async def mremap(self, address: int, old_bytes: int, new_bytes: int, *, maymove: bool) -> int:
        """Change the length of a mapping; return its address, or a negative errno."""
        ...

    async def madvise(self, address: int, nr_bytes: int, advice: str) -> int:
        """Advise about a range: "dontneed", "free"; return 0 or a negative errno."""
        ...

    async def mprotect(self, address: int, nr_bytes: int, prot: str) -> int:
        """Change what a range permits; return 0 or a negative errno."""
        ...

    async def write(self, address: int, nr_bytes: int) -> None:
        """Store to these bytes; pages that are not there, or not to be written to yet, fault."""
        ...

    async def read(self, address: int, nr_bytes: int) -> None:
        """Load from these bytes; pages that are not there fault."""
        ...


class Malloc(Protocol):
    """An allocator, as its program calls it. Addresses are 0 for NULL."""

    async def malloc(self, nr_bytes: int) -> int:
        """Return a block of at least so many bytes; 0 if there is no memory."""
        ...

    async def calloc(self, nr: int, nr_bytes: int) -> int:
        """Return a block that reads as zeros, for `nr` things of `nr_bytes` each; 0 for none."""
        ...

    async def realloc(self, address: int, nr_bytes: int) -> int:
        """Change the size of a block, perhaps by moving what is in it; return it, or 0."""
        ...

    async def free(self, address: int) -> None:
        """Take a block back; 0 is none."""
        ...

    async def trim(self) -> None:
        """Give what is free to the kernel (malloc_trim(0)), where the allocator has that."""
        ...

    def usable_size(self, address: int) -> int:
        """Return how many bytes of a block may be used."""
        ...
