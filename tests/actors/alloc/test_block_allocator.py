"""Requests of more than one page: blocks that lie together, and what happens when none is left."""

import numpy as np
import pytest

from kernelsim.actors.alloc import block_allocator
from kernelsim.check.machine import check_machine
from kernelsim.check.record import observe
from kernelsim.errors import ConfigError, WorkloadError
from kernelsim.mm.core.mem import Z_FREE
from kernelsim.mm.core.vmstat import PGALLOC_DMA, PGFREE
from kernelsim.mm.page.free_area import free_area_counts
from tests.small_machine import PAGE, run, small_machine

NR_PAGES = 1500
TUNABLES = {"vm.watermark_boost_factor": 0, "vm.min_free_kbytes": 1024}


async def in_pieces(machine, nr_pages=NR_PAGES, cpu=0, piece=1):
    """Have a process keep every other piece of what it takes; return it, and what it keeps."""
    process = await machine.spawn("pieces", cpu=cpu)
    goes, stays = [await process.mmap(nr_pages * PAGE) for _ in range(2)]
    first = np.array([goes.address, stays.address]) // PAGE
    turns = (np.arange(nr_pages).reshape(-1, 1, piece) + first[:, None]).ravel()
    await process.touch_pages(turns, np.ones(2 * nr_pages, np.int64))
    await process.munmap(goes)
    return process, stays


def test_a_block_is_aligned_and_one_request():
    """Of 16 pages, all of them counted, numa_hit by one; given back, it merges as it was."""

    async def main(machine):
        mem, driver = machine.mem, machine.kernel_thread("driver", cpu=0)
        await driver.free_pages(await driver.alloc_pages(1))
        before, hits = mem.vm_event.copy(), machine.vmstat["numa_hit"]
        whole = free_area_counts(mem, 0)
        pages = await driver.alloc_block(4, "GFP_KERNEL | __GFP_ZERO")
        assert pages.tolist() == list(range(pages[0], pages[0] + 16))
        assert not pages[0] % 16
        counted = mem.vm_event - before
        assert (counted[PGALLOC_DMA], machine.vmstat["numa_hit"] - hits) == (16, 1)
        await driver.free_block(pages)
        assert mem.vm_event[PGFREE] - before[PGFREE] == 16
        return bool((free_area_counts(mem, 0) == whole).all())

    assert run(small_machine(), main).result


def test_a_request_that_may_not_wait_fails_on_memory_in_pieces():
    """Half of memory is free, no two pages of it together: the log says which order failed."""

    async def main(machine):
        driver = machine.kernel_thread("driver", cpu=0)
        await driver.alloc_pages(1)
        await in_pieces(machine)
        free = machine.zone(0, "DMA").free
        block = await driver.alloc_block(4, "GFP_ATOMIC")
        while block is not None:
            block = await driver.alloc_block(4, "GFP_ATOMIC | __GFP_NOWARN")
            free = machine.zone(0, "DMA").free
        await driver.alloc_block(4, "GFP_ATOMIC")
        return free, machine.dmesg

    free, dmesg = run(small_machine(sysctl=TUNABLES), main).result
    failures = [line for line in dmesg.splitlines() if "page allocation failure" in line]
    assert free > 1200
    assert len(failures) == 1
    assert "driver: page allocation failure: order:4, mode:0xa20(GFP_ATOMIC)" in failures[0]


def test_kswapd_is_told_of_the_order():
    """Its wake-up and its round say for which blocks they are."""

    async def main(machine):
        driver = machine.kernel_thread("driver", cpu=0)
        await in_pieces(machine)
        while await driver.alloc_block(3, "GFP_NOWAIT | __GFP_NOWARN") is not None:
            pass
        await machine.sleep("10ms")

    log = run(small_machine(swap="16M", sysctl=TUNABLES), main).log
    orders = [each.fields["order"] for each in log.events if each.event == "mm_vmscan_kswapd_wake"]
    assert 3 in orders


def test_what_is_no_order_and_no_block():
    """Mistakes of the user are named."""

    async def main(machine):
        driver = machine.kernel_thread("driver")
        with pytest.raises(ConfigError, match="order"):
            await driver.alloc_block(11)
        block = await driver.alloc_block(1)
        other = machine.kernel_thread("other")
        for wrong in (block.reshape(1, 2), block[:1], block[::-1], block[[0, 0]], block + 0.5, 7):
            with pytest.raises(WorkloadError, match="free_block"):
                await driver.free_block(wrong)
        with pytest.raises(WorkloadError, match="free_block"):
            await other.free_block(block)
        await driver.free_block(block)
        with pytest.raises(WorkloadError, match="free_block"):
            await driver.free_block(block)

    run(small_machine(), main)


def test_a_request_that_goes_too_far_down_is_found(monkeypatch):
    """A checker knows how many pages a block must leave."""

    async def main(machine):
        driver = machine.kernel_thread("driver", cpu=0)
        while await driver.alloc_block(6, "GFP_NOWAIT | __GFP_NOWARN") is not None:
            pass
        return check_machine(machine.kernel)

    def has_some(mem, zone, order, *_):
        return int(mem.zone[zone, Z_FREE]) >> order > 0

    spec = small_machine(sysctl=TUNABLES)
    assert run(spec, main).result == []
    monkeypatch.setattr(block_allocator, "zone_watermark_ok", has_some)

    async def observed(machine):
        observe(machine.kernel)
        return await main(machine)

    assert "takes 2**6 pages of zone 0, of which" in run(spec, observed, sound=False).result[0]
