"""The registry of address spaces: numbers, rows, the ring of relatives."""

import numpy as np
import pytest

from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.units import GIB
from tests.commit_account import commit_account


def new_registry() -> MmRegistry:
    """Return a registry of a machine with 4 GB."""
    return MmRegistry(commit_account(GIB // 1024))


def test_numbers_are_reused_lowest_first_and_contexts_never() -> None:
    """A freed number is given out again; ctx_id goes on."""
    registry = new_registry()
    first, second, third = (registry.mm_alloc(pid) for pid in (1, 2, 3))
    assert [mm.number for mm in (first, second, third)] == [1, 2, 3]
    registry.mm_free(second)
    again = registry.mm_alloc(4)
    assert (again.number, again.ctx_id) == (2, 4)


def test_registry_grows() -> None:
    """More address spaces than rows keep what was counted."""
    registry = new_registry()
    registry.mm_alloc(1)
    registry.mms.rss[1, 1] = 5
    numbers = [registry.mm_alloc(pid).number for pid in range(2, 200)]
    assert numbers == list(range(2, 200))
    assert registry.mms.rss[1, 1] == 5
    assert registry.hiwater_rss(registry.by_number[1]) == 5


def test_forgetting_an_mm_with_pages_is_refused() -> None:
    """An mm that still has pages counted cannot end."""
    registry = new_registry()
    mm = registry.mm_alloc(1)
    registry.mms.rss[1, 1] = 1
    with pytest.raises(AssertionError, match="pages"):
        registry.mm_free(mm)


def test_fork_ring_closes_when_a_member_leaves() -> None:
    """Parent and two children form a ring; the middle one's end leaves a ring of two."""
    registry = new_registry()
    parent, one, two = (registry.mm_alloc(pid) for pid in (1, 2, 3))
    ring = registry.mms.fork_next
    ring[[parent.number, one.number, two.number]] = one.number, two.number, parent.number
    registry.mm_free(one)
    assert (ring[1], ring[3], ring[2]) == (3, 1, 0)
    registry.mm_free(parent)
    assert np.flatnonzero(ring).tolist() == [3]
    assert ring[3] == 3
