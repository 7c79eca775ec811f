"""What a disk hears.

Units: sectors of 512 bytes, pages.
"""

import attrs

from kernelsim.sim.actor import ActorRef


@attrs.frozen(eq=False)
class SubmitBio:
    """One request.

    Attributes:
        is_write: Direction.
        sector: First sector.
        nr_pages: Length in pages.
        comm: Name of the task that submits it.
        end_io: What to tell when it is done; None for nothing.
        receiver: Whom to tell it.
        throttled: WBT_RWQ_* that a throttled write was counted as when it began; None if it was
            not.
        wait: Answer at completion instead of acceptance.
    """

    is_write: bool
    sector: int
    nr_pages: int
    comm: str
    end_io: object | None = None
    receiver: ActorRef | None = None
    throttled: int | None = None
    wait: bool = False

    @property
    def rwbs(self) -> str:
        """What block tracepoints call the direction."""
        return "W" if self.is_write else "R"
