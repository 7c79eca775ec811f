"""What the OOM killer hears."""

import attrs

from kernelsim.mm.page.gfp import Gfp


@attrs.frozen
class OutOfMemory:
    """A request found nothing to reclaim.

    Attributes:
        gfp: Bits of the request.
        task: Who asks.
        pid: Its pid.
        nodemask: Nodes a memory policy confines the request to; None for none.
        cpu: Number of the CPU it runs on.
        order: Of the request.
    """

    gfp: Gfp
    task: str
    pid: int
    nodemask: tuple[int, ...] | None = None
    cpu: int = 0
    order: int = 0
