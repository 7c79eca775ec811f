"""Named streams of random integers from one seed.

A stream depends on the seed and its own name alone, so a new consumer never changes what another
one draws. Integers only: a decision taken on a float could differ between machines.

Interface: `Engine.rng(name)` gives the stream of a name, `Machine.rng(name)` one of a workload's.
Every method raises a ConfigError for an argument that is no whole number, or out of its range.
"""

import random
from collections.abc import MutableSequence, Sequence
from hashlib import blake2b
from operator import index
from typing import TypeVar

from kernelsim.errors import ConfigError

T = TypeVar("T")


class Rng:
    """One stream of random integers.

    Args:
        seed: The run's seed.
        name: Of the stream, for example "swap.latency".
    """

    def __init__(self, seed: int, name: str) -> None:
        digest = blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
        self._random = random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - no secrets here

    def bits(self, count: int) -> int:
        """Return `count` random bits as an integer."""
        return self._random.getrandbits(_whole("count", count, 0))

    def below(self, bound: int) -> int:
        """Return an integer in 0 … bound - 1, all equally likely; bound >= 1."""
        bound = _whole("bound", bound, 1)
        count = (bound - 1).bit_length()
        value = self._random.getrandbits(count)
        while value >= bound:
            value = self._random.getrandbits(count)
        return value

    def between(self, low: int, high: int) -> int:
        """Return an integer in low … high, both included."""
        low = _whole("low", low)
        return low + self.below(_whole("high", high, low) - low + 1)

    def chance(self, numerator: int, denominator: int) -> bool:
        """Return True in `numerator` of `denominator` cases."""
        return self.below(denominator) < numerator

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items; there is at least one."""
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Bring the items into a random order, in place."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]


def _whole(key: str, value: object, least: int | None = None) -> int:
    try:
        number = index(value)  # type: ignore[arg-type]  # that it is one is the question
    except TypeError:
        raise ConfigError(key, value, "must be a whole number") from None
    if least is not None and number < least:
        raise ConfigError(key, value, f"must be at least {least}")
    return number
