"""What a disk hears, and what moves its data.

Units: sectors of 512 bytes, pages, ns.
"""

import msgspec

from kernelsim.block.mq_deadline import Request
from kernelsim.sim.actor import ActorRef


class EndIo(msgspec.Struct, frozen=True, eq=False, gc=False, kw_only=True):
    """What a disk tells at completion; the message of each kind of request adds its own.

    Attributes:
        status: 0, or the errno that the request failed with; the disk fills it in.
        failed: The pages of the request that failed, by their number in it; so it does this.
    """

    status: int = 0
    failed: tuple[int, ...] = ()


class SubmitBio(msgspec.Struct, frozen=True, eq=False):
    """One request.

    Attributes:
        is_write: Direction.
        sector: First sector.
        nr_pages: Length in pages.
        comm: Name of the task that submits it.
        cpu: Number of the CPU it does so on, which takes the interrupt at completion.
        end_io: What to tell when it is done, with its status; None for nothing.
        receiver: Whom to tell it.
        nr_segments: Pieces of memory it moves; 0 for one for each page.
        throttled: WBT_RWQ_* that a throttled write was counted as when it began; None if it was
            not.
        wait: Answer at completion, with the status, instead of acceptance.
    """

    is_write: bool
    sector: int
    nr_pages: int
    comm: str
    cpu: int
    end_io: EndIo | None = None
    receiver: ActorRef | None = None
    nr_segments: int = 0
    throttled: int | None = None
    wait: bool = False

    @property
    def rwbs(self) -> str:
        """What block tracepoints call the direction."""
        return "W" if self.is_write else "R"


class MoveData(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Move the data of a request between a disk and memory.

    Attributes:
        request: Which.
        size_bytes: How much.
        ready_ns: When the disk has read or written it all, if nothing holds it up.
    """

    request: Request
    size_bytes: int
    ready_ns: int


class DataMoved(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The data of a request has been moved; attributes as in `MoveData`."""

    request: Request
    ready_ns: int
