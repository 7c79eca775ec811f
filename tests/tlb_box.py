"""A TLB that is nobody's, for tests."""

import numpy as np

from kernelsim.hw.tlb import NR_TLB_SETS, NR_TLB_WAYS, TLB_MISS, Tlb, tlb_enter, tlb_lookup


def make_tlb(nr_sets: int = NR_TLB_SETS, nr_ways: int = NR_TLB_WAYS) -> Tlb:
    """Return an empty TLB; `nr_sets` must be a power of two."""
    assert nr_sets > 0, "a TLB has at least one set"
    assert nr_sets & (nr_sets - 1) == 0, "the set is picked by the low bits of the page number"
    ways = np.zeros((nr_sets, nr_ways), np.int64)
    return Tlb(ways, ways.copy(), np.zeros(nr_sets, np.int64))


def tlb_access(tlb: Tlb, asid: int, vpn: int, entry: int = 2) -> bool:
    """Look a page up and enter it when it is missing; True for a hit."""
    held = tlb_lookup(tlb, asid, vpn)
    if held == TLB_MISS:
        tlb_enter(tlb, asid, vpn, entry, held)
    return held != TLB_MISS
