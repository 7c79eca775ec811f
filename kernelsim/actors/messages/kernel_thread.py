"""What a kernel thread is asked to do, in its own time and in kernel mode."""

import attrs

from kernelsim.mm.core.mem import I64
from kernelsim.mm.page.gfp import Gfp


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
