"""The random numbers of the random steps: splitmix64 from the seed the step names.

The recorded program draws them the same way, so both touch the same pages in the same order.

Interface: make a `SplitMix64` with the seed, then draw as many as wanted at once.
Units: numbers are 64 bits, unsigned.
"""

from typing import Any, Final

import attrs
import numpy as np

UINT64_MASK: Final = (1 << 64) - 1
GAMMA: Final = 0x9E3779B97F4A7C15  # what the state grows by


@attrs.define
class SplitMix64:
    """The random numbers of the random steps, 64 bits each.

    Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014
    """

    state: int
    """The seed, then the state of the last number."""

    def draw(self, count: int) -> Any:  # noqa: ANN401 - array
        """Return the next numbers, uint64[count], each 0 … 2**64 - 1."""
        steps = np.arange(1, count + 1, dtype=np.uint64)
        mixed = np.uint64(self.state & UINT64_MASK) + steps * np.uint64(GAMMA)
        self.state = (self.state + count * GAMMA) & UINT64_MASK
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))

    def draw_pages(self, nr_pages: int, count: int) -> Any:  # noqa: ANN401 - array
        """Return the page indices of the next numbers, int64[count], each 0 … nr_pages - 1."""
        return (self.draw(count) % np.uint64(nr_pages)).astype(np.int64)

    def draw_accesses(self, nr_pages: int, write_percent: int, count: int) -> tuple[Any, Any]:
        """Return page indices and whether each is written, both from one number (randtime).

        Returns:
            int64[count] and uint8[count].
        """
        numbers = self.draw(count)
        writes = (numbers >> np.uint64(40)) % np.uint64(100) < np.uint64(write_percent)
        return (numbers % np.uint64(nr_pages)).astype(np.int64), writes.astype(np.uint8)
