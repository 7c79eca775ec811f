"""An error that is told once to each who asks, however many ask and however often it happens.

Linux: lib/errseq.c, 6.1.
A value holds the latest errno, whether anybody has seen it, and how often a new one came after one
that was seen. Who asks keeps the value of the last time; a different one is an error unheard of.
Interface: `errseq_set` records an error in a file's value, `errseq_sample` begins to listen when a
file is opened, `errseq_check_and_advance` asks. Values in, values out.
"""

from typing import Final

MAX_ERRNO: Final = 4095
ERRSEQ_SEEN: Final = 1 << 12
ERRSEQ_CTR_INC: Final = 1 << 13


def errseq_set(value: int, error: int) -> int:
    """Return the value after an error, a positive errno.

    Source: Linux 6.1 lib/errseq.c:errseq_set
    """
    assert 0 < error <= MAX_ERRNO, "no errno"
    new = value & ~(MAX_ERRNO | ERRSEQ_SEEN) | error
    return new + ERRSEQ_CTR_INC if value & ERRSEQ_SEEN else new


def errseq_sample(value: int) -> int:
    """Return since when to listen: an error nobody has heard of yet is still to be told.

    Source: Linux 6.1 lib/errseq.c:errseq_sample
    """
    return value if value & ERRSEQ_SEEN else 0


def errseq_check_and_advance(value: int, since: int) -> tuple[int, int]:
    """Return the error that came since, 0 for none, and the value, now seen: both sides keep it.

    Source: Linux 6.1 lib/errseq.c:errseq_check_and_advance
    """
    if value == since:
        return 0, value
    return value & MAX_ERRNO, value | ERRSEQ_SEEN
