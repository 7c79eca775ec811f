"""The random numbers of the random steps: splitmix64 from the seed the step names.

The recorded program draws them the same way, so both touch the same pages in the same order.

Interface: make a `SplitMix64` with the seed, then draw.
Units: numbers are 64 bits, unsigned.
"""

from typing import Final

import attrs

UINT64_MASK: Final = (1 << 64) - 1


@attrs.define
class SplitMix64:
    """The random numbers of the random steps, 64 bits each.

    Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014
    """

    state: int
    """The seed, then the state of the last number."""

    def next_u64(self) -> int:
        """Return the next number, 0 … 2**64 - 1."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & UINT64_MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & UINT64_MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & UINT64_MASK
        return mixed ^ (mixed >> 31)

    def next_page(self, nr_pages: int) -> int:
        """Return the page index the next number stands for, 0 … nr_pages - 1."""
        return self.next_u64() % nr_pages

    def next_access(self, nr_pages: int, write_percent: int) -> tuple[int, bool]:
        """Return page index and whether it is written, both from one number (randtime)."""
        value = self.next_u64()
        return value % nr_pages, (value >> 40) % 100 < write_percent
