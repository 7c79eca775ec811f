"""Read and write lists of small numbers the way the kernel prints them: `0-3,8`.

Linux: lib/vsprintf.c (%*pbl), used by cpulist, nodes online and the like.
Interface: `parse_number_list` and `format_number_list` are inverse to each other on sorted lists.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["format_number_list", "parse_number_list"]

_NUMBERS_MAX = 1 << 16  # more than NR_CPUS and MAX_NUMNODES; bounds what "0-999999999" may cost


def parse_number_list(text: str) -> tuple[int, ...]:
    """Return the numbers of a list such as `0-3,8`, in the order written; empty text gives ().

    Raises ValueError with the rule when the text is not such a list.
    """
    numbers: list[int] = []
    for part in text.strip().split(",") if text.strip() else []:
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit()) or (
            dash and not (last.isascii() and last.isdigit())
        ):
            message = "must be numbers and ranges such as 0-3,8"
            raise ValueError(message)
        low, high = int(first), int(last) if dash else int(first)
        if high < low or high - low + len(numbers) >= _NUMBERS_MAX:
            message = f"ranges run upwards and hold fewer than {_NUMBERS_MAX} numbers"
            raise ValueError(message)
        numbers.extend(range(low, high + 1))
    return tuple(numbers)


def format_number_list(numbers: Iterable[int]) -> str:
    """Return the kernel's text of a set of numbers: runs as `first-last`, sorted, by commas."""
    ordered = sorted(set(numbers))
    if not ordered:
        return ""
    starts = [ordered[0], *(right for left, right in pairwise(ordered) if right != left + 1)]
    ends = [*(left for left, right in pairwise(ordered) if right != left + 1), ordered[-1]]
    return ",".join(
        str(start) if start == end else f"{start}-{end}"
        for start, end in zip(starts, ends, strict=True)
    )
