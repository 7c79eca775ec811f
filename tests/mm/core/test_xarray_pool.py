"""Tests of the room that page caches have for their nodes."""

import pytest

from kernelsim.mm.core.xarray import XA_CHUNK_SIZE, xa_store
from kernelsim.mm.core.xarray_pool import XArrayPool


@pytest.mark.parametrize("first", [0, 1, 5000])
def test_what_was_reserved_can_be_stored(first):
    """A long run needs nodes above its lowest ones, too: one for each 64 of them."""
    nr = 1009 * XA_CHUNK_SIZE  # its lowest nodes alone nearly fill what the pool grows to
    pool = XArrayPool()
    pool.reserve(nr)
    for index in range(first, first + nr):
        xa_store(pool.xa, 1, index, 1, 0)
    assert pool.nr_in_use() > 1009 + 1009 // XA_CHUNK_SIZE
