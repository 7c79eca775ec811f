"""How long a path may take at most: the bound that bursts rely on."""

import numpy as np
import pytest

from kernelsim.hw.spread import longest_ns, spread_ns


@pytest.mark.parametrize("mean_ns", [0, 1, 30, 450, 2520, 100_000])
@pytest.mark.parametrize("spread", [0, 300, 1000])
def test_no_draw_is_longer_than_the_longest(mean_ns, spread):
    """Of many draws the longest comes close to it and none is longer."""
    draws = np.zeros(1, np.int64)
    drawn = [spread_ns(7, draws, 0, mean_ns, 30, spread) for _ in range(20_000)]
    longest = longest_ns(mean_ns, 30, spread)
    assert max(drawn) <= longest
    assert max(drawn) >= 0.9 * longest
