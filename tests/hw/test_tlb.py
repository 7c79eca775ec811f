"""The TLB of a CPU."""

import numpy as np
import pytest

from kernelsim.hw.tlb import (
    NR_TLB_SETS,
    NR_TLB_WAYS,
    TLB_TAG_SHIFT,
    flush_page_everywhere,
    tlb_enter,
    tlb_flush_asid,
    tlb_flush_range,
    tlb_lookup,
)
from tests.tlb_box import make_tlb, tlb_access
from tests.tlb_look import in_tlb

REACH = NR_TLB_SETS * NR_TLB_WAYS


def hits_of_second_pass(nr_pages: int) -> int:
    """Walk over pages twice and count the hits of the second walk."""
    tlb = make_tlb()
    for vpn in range(nr_pages):
        tlb_access(tlb, 1, vpn)
    return sum(tlb_access(tlb, 1, vpn) for vpn in range(nr_pages))


@pytest.mark.mission("V5")
def test_working_set_within_reach_hits_always() -> None:
    """A working set of exactly the TLB's reach is found again completely."""
    assert REACH == 1536
    assert hits_of_second_pass(REACH) == REACH


@pytest.mark.mission("V5")
def test_working_set_beyond_reach_misses() -> None:
    """A cyclic working set larger than every set never hits, as round robin replaces it."""
    assert hits_of_second_pass(REACH + NR_TLB_SETS) == 0


def test_address_spaces_do_not_share_entries() -> None:
    """An entry of one asid is no hit for another."""
    tlb = make_tlb()
    assert not tlb_access(tlb, 1, 77)
    assert in_tlb(tlb, 1, 77)
    assert not in_tlb(tlb, 2, 77)


def test_page_number_zero_is_not_there_before_it_is_entered() -> None:
    """An empty way never looks like an entry."""
    assert not tlb_access(make_tlb(), 1, 0)


def test_an_entry_says_what_it_was_entered_with_until_it_is_entered_anew() -> None:
    """What is held is replaced in its place; nothing else is."""
    tlb = make_tlb()
    for vpn, entry in ((5, 10), (5 + NR_TLB_SETS, 12)):
        tlb_access(tlb, 1, vpn, entry)
    tlb_enter(tlb, 1, 5, 11, tlb_lookup(tlb, 1, 5))
    assert [tlb_lookup(tlb, 1, vpn) for vpn in (5, 5 + NR_TLB_SETS)] == [11, 12]
    assert (tlb.tag != 0).sum() == 2


def test_flush_range_drops_exactly_its_pages() -> None:
    """A short flush drops the named pages of that address space and nothing else."""
    tlb = make_tlb()
    for vpn in range(40):
        tlb_access(tlb, 1, vpn)
        tlb_access(tlb, 2, vpn)
    tlb_flush_range(tlb, 1, 10, 5)
    assert [vpn for vpn in range(40) if not in_tlb(tlb, 1, vpn)] == [10, 11, 12, 13, 14]
    assert all(in_tlb(tlb, 2, vpn) for vpn in range(40))


def test_a_page_leaves_the_tlbs_of_all_cpus() -> None:
    """Each loses that page of that address space, and nothing else."""
    tlbs = [make_tlb() for _ in range(3)]
    for tlb in tlbs[:2]:
        for asid, vpn in ((1, 7), (1, 7 + NR_TLB_SETS), (2, 7)):
            tlb_access(tlb, asid, vpn)
    tags = np.stack([tlb.tag for tlb in tlbs])
    flush_page_everywhere(tags, 1, 7)
    assert [int((before.tag != after).sum()) for before, after in zip(tlbs, tags, strict=True)] == [
        1, 1, 0,
    ]  # fmt: skip
    assert not (tags == 1 << TLB_TAG_SHIFT | 7).any()


def test_flush_asid_drops_one_address_space() -> None:
    """Flushing an asid counts what it drops and keeps the others."""
    tlb = make_tlb()
    for vpn in range(7):
        tlb_access(tlb, 1, vpn)
    tlb_access(tlb, 2, 3)
    assert tlb_flush_asid(tlb, 1) == 7
    assert not any(in_tlb(tlb, 1, vpn) for vpn in range(7))
    assert in_tlb(tlb, 2, 3)
