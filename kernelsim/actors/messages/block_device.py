"""What a disk hears.

Units: sectors of 512 bytes, pages.
"""

from collections.abc import Callable

import attrs


@attrs.frozen(eq=False)
class SubmitBio:
    """One request.

    Attributes:
        is_write: Direction.
        sector: First sector.
        nr_pages: Length in pages.
        comm: Name of the task that submits it.
        on_done: Called at the virtual time of completion; None when nobody wants to know.
        wait: Answer at completion instead of acceptance.
    """

    is_write: bool
    sector: int
    nr_pages: int
    comm: str
    on_done: Callable[[], None] | None = None
    wait: bool = False

    @property
    def rwbs(self) -> str:
        """What block tracepoints call the direction."""
        return "W" if self.is_write else "R"
