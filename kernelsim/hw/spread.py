"""How long a path through the kernel takes this time: its mean, and what cache misses add or spare.

A path touches some cache lines; each is there, or comes from memory. So the same path takes another
time each time it runs, and a long path, being the sum of many such accesses, varies less for its
length than a short one.

Interface: `spread_ns`, and `longest_ns` for the most it gives; the same numbers in compiled code
and from Python. Numbers are drawn from a counter, so what one CPU draws depends on nothing the
others do.
Units: ns; the spread is a coefficient of variation in 1/1000.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernelsim.hw.leaf import leaf

_BITS: Final = 10
_ONE: Final = 1 << 16
# Quantiles of the exponential distribution with mean 1, in 1/65536: integers, so that a run does
# not depend on the last bit of a logarithm.
_QUANTILE: Final[NDArray[np.int64]] = np.array(
    [round(-math.log((i + 0.5) / (1 << _BITS)) * _ONE) for i in range(1 << _BITS)], np.int64
)
_MEAN: Final = int(_QUANTILE.sum()) >> _BITS


@leaf
def mixed_bits(seed: int, number: int) -> int:
    """Mix a seed and a number into 62 bits that look random, as a non-negative number.

    Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014 (SplitMix64).
    """
    bits = np.uint64(seed) * np.uint64(0xD1342543DE82EF95)
    bits += np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return int(bits >> np.uint64(2))


@leaf
def spread_ns(
    seed: int, nr_draws: NDArray[np.int64], cpu: int, mean_ns: int, line_ns: int, spread: int
) -> int:
    """Return how long a path of a mean takes a CPU this time.

    It is taken for n accesses to cache lines, n its mean over theirs, but at least one; its
    coefficient of variation is theirs over the root of n. What varies is exponential.

    Args:
        seed: Of the machine.
        nr_draws: Numbers drawn so far, by CPU.
        cpu: The CPU.
        mean_ns: Of the path.
        line_ns: Mean of one access to a cache line.
        spread: Its coefficient of variation in 1/1000, at most 1000.
    """
    if spread == 0 or mean_ns == 0:
        return mean_ns
    nr_draws[cpu] += 1
    drawn = _QUANTILE[mixed_bits(seed + cpu, nr_draws[cpu]) >> (62 - _BITS)]
    nr_lines = max(mean_ns / line_ns, 1.0)
    varies = int(mean_ns * spread / np.sqrt(nr_lines))
    return mean_ns + varies * (drawn - _MEAN) // (1000 * _ONE)


@leaf
def longest_ns(mean_ns: int, line_ns: int, spread: int) -> int:
    """Return the longest time that `spread_ns` gives for a path of a mean."""
    if spread == 0 or mean_ns == 0:
        return mean_ns
    varies = int(mean_ns * spread / np.sqrt(max(mean_ns / line_ns, 1.0)))
    return mean_ns + varies * (_QUANTILE[0] - _MEAN) // (1000 * _ONE)
