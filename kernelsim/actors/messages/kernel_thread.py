"""What a kernel thread is asked to do, in its own time and in kernel mode."""

import attrs

from kernelsim.mm.core.mem import I64
from kernelsim.mm.page.gfp import Gfp
from kernelsim.mm.space.vmalloc import VmStruct


@attrs.frozen
class AllocKernelPages:
    """Allocate single pages; answered with their frames, fewer if a request failed.

    Attributes:
        gfp: Bits of the request.
        nr: How many.
    """

    gfp: Gfp
    nr: int


@attrs.frozen(eq=False)
class FreeKernelPages:
    """Give pages back.

    Attributes:
        pfns: Their frames.
    """

    pfns: I64


@attrs.frozen
class AllocKernelBlock:
    """Allocate pages that follow each other; answered with their frames, none if that failed.

    Attributes:
        gfp: Bits of the request.
        order: How many, as a logarithm.
    """

    gfp: Gfp
    order: int


@attrs.frozen(eq=False)
class FreeKernelBlock:
    """Give a block back.

    Attributes:
        pfns: Its frames.
    """

    pfns: I64


@attrs.frozen
class Vmalloc:
    """Allocate memory whose addresses follow each other; answered with a `VmStruct` or None.

    Attributes:
        size: Bytes.
    """

    size: int


@attrs.frozen
class Vfree:
    """Free such memory; answered with whether it was in use.

    Attributes:
        area: What `Vmalloc` was answered with.
    """

    area: VmStruct


@attrs.frozen
class Kmap:
    """Map a page, for as long as it is needed; answered with its address.

    Attributes:
        pfn: Its frame.
    """

    pfn: int


@attrs.frozen
class Kunmap:
    """Give the mapping of a page back; answered with whether it had one, or needs none.

    Attributes:
        pfn: Its frame.
    """

    pfn: int


@attrs.frozen
class CopyHighpage:
    """Copy a page through temporary mappings; answered with their addresses.

    Attributes:
        to: Frame that is written.
        source: Frame that is read.
    """

    to: int
    source: int


@attrs.frozen
class StopThread:
    """End, as kthread_stop has it; the stack is free when this is answered."""
