"""What the OOM reaper hears."""

import attrs


@attrs.frozen
class ReapLater:
    """A victim was told to die; if it does not, its memory is to be taken.

    Attributes:
        pid: The victim.
        due_ns: When it has had time enough.
    """

    pid: int
    due_ns: int
