"""Swap on a disk that fails: who is hurt, and what is lost."""

from itertools import takewhile
from signal import SIGBUS

import numpy as np

from kernelsim.mm.core.mem import PG_dirty, PG_swapcache
from kernelsim.units import NS_PER_S
from tests.small_machine import run, small_machine


def test_a_read_error_ends_the_process_that_needs_the_page_and_no_other():
    """SIGBUS at the access; the other reads all it wrote; a line of the log says where."""

    async def main(machine):
        one, two = [await machine.spawn(name) for name in ("one", "two")]
        regions = [await process.mmap("6M") for process in (one, two)]
        for process, region in zip((one, two), regions, strict=True):
            await process.touch(region, write=True)
        await two.touch(regions[1], write=True)  # what is in swap now is of the other
        machine.disk("vda").fail_reads()
        result = await one.touch(regions[0])
        assert result.signal == SIGBUS
        assert await one.wait() == -SIGBUS
        machine.disk("vda").mend()
        assert (await two.touch(regions[1])).signal == 0
        return [line for _, line in machine.kernel.dmesg]

    done = run(small_machine(memory="12M", swap="32M"), main)
    assert done.result[0].startswith("Read-error on swap-device (8:0:")
    lines = list(takewhile(lambda line: line.startswith("Read-error"), done.result))
    assert len(lines) == len(done.result) <= 10


def test_pages_of_one_request_fail_one_by_one():
    """Those read ahead with a bad one are good: only whoever needs the bad one ends."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("14M")
        await process.touch(region, write=True)
        swap = machine.kernel.swap
        swapped = np.flatnonzero((swap.token != 0) & (swap.cache_pfn == 0))  # to be read
        slot = int(swapped[len(swapped) // 2])
        machine.disk("vda").fail_reads(first=slot * 4096, length=4096)
        assert (await process.touch(region)).signal == SIGBUS

    done = run(small_machine(memory="12M", swap="32M"), main)
    assert done.vm_events["swap_ra_hit"] > 0


def test_a_page_that_could_not_be_written_stays_and_loses_nothing():
    """It is dirty again, the log is told of ten, and later it is written after all."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("12M")
        disk = machine.disk("vda")
        disk.fail_writes(first="1M", length="1M")
        await process.touch(region, write=True)
        await machine.sleep("1s")
        flags = machine.mem.pages.flags
        dirty = np.uint32(PG_swapcache | PG_dirty)
        stuck = np.flatnonzero(flags & dirty == dirty)
        assert len(stuck) > 10
        slots = machine.mem.pages.private[stuck]
        assert ((slots >= 256) & (slots < 512)).all()
        assert not machine.kernel.swap.token[slots].any()
        log = [line for _, line in machine.kernel.dmesg]
        disk.mend()
        for _ in range(2):
            assert (await process.touch(region)).signal == 0
        return log

    done = run(small_machine(memory="12M", swap="32M"), main)
    assert done.result[0].startswith("Write-error on swap-device (8:0:")
    assert len(done.result) == 10


def test_a_stall_of_a_minute_loses_nothing():
    """Who needs the disk sleeps that long; then all goes on."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("14M")
        await process.touch(region, write=True)
        machine.disk("vda").stall("1min")
        result = await process.touch(region, write=True)
        assert result.signal == 0
        assert result.latency_ns > 60 * NS_PER_S

    run(small_machine(memory="12M", swap="32M"), main)
