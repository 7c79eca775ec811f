"""Tests of the score by which kcompactd finds free memory too fragmented."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.core.mem import MAX_ORDER, Z_FREE, Z_PRESENT
from kernelsim.mm.page import fragmentation_score
from kernelsim.mm.page.fragmentation_score import (
    fragmentation_score_node,
    fragmentation_score_wmark,
    fragmentation_score_zone,
)


class FakeMem:
    """Zones of which only the sizes and the free blocks are known."""

    def __init__(self, zones):
        self.blocks = [blocks for blocks, _ in zones]
        self.zone = np.zeros((len(zones), max(Z_FREE, Z_PRESENT) + 1), np.int64)
        for row, (blocks, present) in enumerate(zones):
            self.zone[row, Z_FREE] = sum(nr << order for order, nr in enumerate(blocks))
            self.zone[row, Z_PRESENT] = present


@pytest.fixture(autouse=True)
def _counts(monkeypatch):
    counts = lambda mem, zone: np.array(mem.blocks[zone])[:, None]  # noqa: E731
    monkeypatch.setattr(fragmentation_score, "free_area_counts", counts)


BLOCKS = st.lists(st.integers(0, 50), min_size=MAX_ORDER, max_size=MAX_ORDER)


def naive_score(blocks):
    """Go through the free pages one by one."""
    sizes = [1 << order for order, nr in enumerate(blocks) for _ in range(nr << order)]
    return 100 * sum(size < 512 for size in sizes) // len(sizes) if sizes else 0


@given(BLOCKS)
def test_the_score_is_the_share_of_free_pages_in_small_blocks(blocks):
    """As counted page by page; 0 without any."""
    assert fragmentation_score_zone(FakeMem([(blocks, 1)]), 0) == naive_score(blocks)


def test_a_node_is_judged_by_its_large_zones():
    """A whole DMA zone of 4 % lets a node of pieces have 95, and not 96: shares are cut off."""
    whole, pieces = [0] * 10 + [3], [900] + [0] * 10
    mem = FakeMem([(whole, 4000), (pieces, 96_000)])
    assert fragmentation_score_node(mem, (0, 1)) == 95


@pytest.mark.parametrize(
    ("proactiveness", "low", "high"), [(20, 80, 90), (100, 5, 15), (5, 95, 100), (1, 99, 100)]
)
def test_compaction_begins_ten_above_where_it_ends(proactiveness, low, high):
    """The more proactive the lower; never below 5."""
    wmarks = [fragmentation_score_wmark(proactiveness, low=each) for each in (True, False)]
    assert wmarks == [low, high]
