"""What the OOM killer and the OOM reaper hear."""

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
    """

    gfp: Gfp
    task: str
    pid: int
    nodemask: tuple[int, ...] | None = None
    cpu: int = 0


@attrs.frozen
class ReapLater:
    """A victim was told to die; if it does not, its memory is to be taken.

    Attributes:
        pid: The victim.
        due_ns: When it has had time enough.
    """

    pid: int
    due_ns: int
