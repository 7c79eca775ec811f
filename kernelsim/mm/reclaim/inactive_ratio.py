"""How much shorter than the active list an inactive list may be.

Apart from what needs compiled code, so that a comparison of policies loads without it.

Interface: `inactive_ratio`.
"""

from math import isqrt
from typing import Final

_GB_SHIFT: Final = 18  # pages to GB


def inactive_ratio(nr_pages: int) -> int:
    """Return how many active pages there may be for each inactive one, on both lists together.

    The larger memory is, the smaller the inactive share may be: the ratio is the square root of
    ten times the GB on both lists, at least 1.

    Source: Linux 6.1 mm/vmscan.c:inactive_is_low
    """
    gb = nr_pages >> _GB_SHIFT
    return isqrt(10 * gb) if gb else 1
