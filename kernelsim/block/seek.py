"""How long the arm and the platter of a hard disk take to come to a sector.

The time to move grows with the square root of the distance as long as the arm speeds up and slows
down, see C. Ruemmler and J. Wilkes, "An introduction to disk drive modeling" (IEEE Computer 27(3),
1994). Two figures of a data sheet fix the curve: from one track to the next, and on the average,
which is what a third of the way over the disk takes.
# Differs from Linux: A disk does not move slower over its last third, and all its tracks are equal.
Interface: `seek_ns`.
Units: ns, bytes.
"""

from math import isqrt
from typing import Final

SCALE: Final = 1 << 20  # of the square root, which is taken of whole numbers


def seek_ns(distance: int, capacity: int, *, track_to_track_ns: int, average_ns: int) -> int:
    """Return how long the arm moves.

    Args:
        distance: From where it is to where it goes, bytes; 0 for no move.
        capacity: Of the disk, bytes.
        track_to_track_ns: From a track to the next.
        average_ns: Over a third of the disk.
    """
    if not distance:
        return 0
    root = isqrt(3 * distance * SCALE * SCALE // capacity)  # of the share of the average way
    return track_to_track_ns + (average_ns - track_to_track_ns) * root // SCALE
