"""Named streams of random integers from one seed.

A stream depends on the seed and its own name alone, so a new consumer never changes what another
one draws. Integers only: a decision taken on a float could differ between machines.

Interface: `Engine.rng(name)` gives the stream of a name.
"""

import random
from collections.abc import MutableSequence, Sequence
from hashlib import blake2b
from typing import TypeVar

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
        return self._random.getrandbits(count)

    def below(self, bound: int) -> int:
        """Return an integer in 0 … bound - 1, all equally likely; bound >= 1."""
        if bound < 1:
            msg = f"bound(={bound}) must be >= 1"
            raise ValueError(msg)
        count = (bound - 1).bit_length()
        value = self._random.getrandbits(count)
        while value >= bound:
            value = self._random.getrandbits(count)
        return value

    def between(self, low: int, high: int) -> int:
        """Return an integer in low … high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, numerator: int, denominator: int) -> bool:
        """Return True in `numerator` of `denominator` cases."""
        return self.below(denominator) < numerator

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Bring the items into a random order, in place."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
