"""What a program can ask of its process: system calls and accesses to memory.

Each is answered as it says.
Units: bytes for addresses and lengths, ns.
"""

import attrs

from kernelsim.mm.core.mem import I64, U8
from kernelsim.units import PAGE_SIZE


@attrs.frozen
class Mmap:
    """Map anonymous private memory; answered with the address, or a negative errno.

    Attributes:
        length: Bytes.
        noreserve: MAP_NORESERVE.
        address: Where, replacing what is there (MAP_FIXED); 0 for where the kernel likes.
    """

    length: int
    noreserve: bool = False
    address: int = 0


@attrs.frozen
class Munmap:
    """Unmap a range; answered with 0 or a negative errno."""

    address: int
    length: int


@attrs.frozen
class Brk:
    """Move the end of the heap by so many bytes; answered with the new end."""

    increment: int


@attrs.frozen
class Madvise:
    """MADV_DONTNEED on a range; answered with 0 or a negative errno."""

    address: int
    length: int


@attrs.frozen
class Touch:
    """Access a range, one byte each stride, `passes` times; answered with a `TouchResult`."""

    address: int
    length: int
    write: bool
    stride: int = PAGE_SIZE
    passes: int = 1


@attrs.frozen(eq=False)
class TouchPages:
    """Access pages in the order given; answered with a `TouchResult`.

    Attributes:
        vpns: Virtual page numbers, shape (n,).
        writes: 1 for a store, shape (n,).
    """

    vpns: I64
    writes: U8


@attrs.frozen
class StartImage:
    """Do what a C program does before its main: load its pages, ask for a heap."""


@attrs.frozen
class StartPrinting:
    """Touch what a C program touches when it first prints: the buffers of its output."""


@attrs.frozen
class Sleep:
    """Sleep off the CPU."""

    ns: int


@attrs.frozen
class TakeSignal:
    """Act on the fatal signal that is pending; answered with None."""


@attrs.frozen
class Exit:
    """End with a status."""

    status: int = 0


@attrs.define
class TouchResult:
    """What an access did.

    Attributes:
        minflt: Faults served without I/O.
        majflt: Faults that waited for I/O.
        latency_ns: Virtual time it took.
        signal: Signal that ended the process meanwhile, 0 for none.
    """

    minflt: int = 0
    majflt: int = 0
    latency_ns: int = 0
    signal: int = 0
