"""A TLB that is nobody's, for tests."""

import numpy as np

from kernelsim.hw.tlb import NR_TLB_SETS, NR_TLB_WAYS, Tlb


def make_tlb(nr_sets: int = NR_TLB_SETS, nr_ways: int = NR_TLB_WAYS) -> Tlb:
    """Return an empty TLB; `nr_sets` must be a power of two."""
    assert nr_sets > 0, "a TLB has at least one set"
    assert nr_sets & (nr_sets - 1) == 0, "the set is picked by the low bits of the page number"
    return Tlb(np.zeros((nr_sets, nr_ways), np.int64), np.zeros(nr_sets, np.int64))
