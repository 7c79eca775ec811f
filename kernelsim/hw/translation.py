"""How address translation ends: a physical address, or an exception, and what it read on the way.

Interface: `Translation`, the answer of `segmentation.py`, `paging.py` and `segmented_paging.py`.
Units: bytes.
"""

from typing import Final

import attrs

GP: Final = "#GP"  # general protection
NP: Final = "#NP"  # segment not present
SS: Final = "#SS"  # stack fault
PF: Final = "#PF"  # page fault
READ: Final = "read"
WRITE: Final = "write"
EXECUTE: Final = "execute"


@attrs.frozen
class Step:
    """A read of memory by the translation unit.

    Attributes:
        table: What it reads an entry of, such as "segment table" or "PGD".
        index: Number of the entry.
        address: Physical address of the entry.
    """

    table: str
    index: int
    address: int


@attrs.frozen
class Translation:
    """What has come of a translation.

    Attributes:
        address: The physical address; -1 after an exception.
        steps: Entries that were read, in order.
        exception: "#GP", "#NP", "#SS" or "#PF"; "" if there is an address.
        why: What was wrong, in words.
    """

    address: int
    steps: tuple[Step, ...] = ()
    exception: str = ""
    why: str = ""

    @property
    def accesses(self) -> int:
        """Memory accesses of the reference: the entries read, and the data itself if there is."""
        return len(self.steps) + int(not self.exception)


def refused(exception: str, why: str, steps: tuple[Step, ...] = ()) -> Translation:
    """Return a translation that ended in an exception."""
    return Translation(-1, steps, exception, why)
