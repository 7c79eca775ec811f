"""Who gets no bio for a write to swap: how long it waits, and where its pages come from at last."""

import numpy as np
import pytest

from kernelsim.actors.alloc import mempool
from kernelsim.actors.core.bio_pool import BIO_POOL_SIZE, is_used_up
from kernelsim.mm.core.mem import Slabs
from kernelsim.mm.core.slab_cache import (
    BIO,
    NO_PAGE,
    NR_KMEM_CACHES,
    SB_CACHE,
    SB_INUSE,
    SB_PFN,
    SC_NR_INUSE,
    SC_NR_OBJECTS,
    new_slabs,
)
from kernelsim.units import NS_PER_S
from tests.small_machine import PAGE, run, small_machine


def nr_pageless(slabs: Slabs) -> int:
    """Return the slabs with bios in use that lie on no page."""
    rows = slabs.row
    of_bios = (rows[:, SB_CACHE] == BIO) & (rows[:, SB_PFN] == NO_PAGE)
    return int(np.count_nonzero(of_bios & (rows[:, SB_INUSE] > 0)))


@pytest.mark.parametrize("nr_more", [BIO_POOL_SIZE, BIO_POOL_SIZE + 1])
def test_two_bios_are_kept_for_when_there_is_no_memory(nr_more):
    """Whatever node they are of: those that slabs have room for do not count."""
    slabs = new_slabs(10, 2, 2)
    slabs.cache[BIO, [SC_NR_INUSE, SC_NR_OBJECTS]] = 40, 42
    slabs.cache[NR_KMEM_CACHES + BIO, SC_NR_INUSE] = 2 + nr_more
    assert is_used_up(slabs) == (nr_more > BIO_POOL_SIZE)


def test_writers_without_bios_wait_for_a_slow_disk(monkeypatch):
    """Nobody goes on while more are in use than there is memory for; slabs get pages later."""
    waits, got, retry_slabs = [], [], mempool.retry_slabs

    async def watched(current, number):
        slabs, before = current.kernel.mem.slabs, nr_pageless(current.kernel.mem.slabs)
        await retry_slabs(current, number)
        got.append(before - nr_pageless(slabs))

    async def main(machine):
        alloc = machine.kernel.mempool_alloc

        async def timed(task):
            began_ns = machine.now_ns
            await alloc(task)
            waits.append(machine.now_ns - began_ns)
            assert not is_used_up(machine.mem.slabs)

        machine.kernel.mempool_alloc = timed
        process = await machine.spawn("p")
        result = await process.touch(await process.mmap(4500 * PAGE), write=True)
        await machine.sleep("30s")
        return result.signal, nr_pageless(machine.mem.slabs)

    monkeypatch.setattr(mempool, "retry_slabs", watched)
    spec = small_machine(swap="32M", disk={"bandwidth": "2M"})
    assert run(spec, main).result == (0, 0)
    assert max(waits) > NS_PER_S // 10  # a fifth of a MiB takes the disk that long
    assert sum(got) > 0
