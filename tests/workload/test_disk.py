"""Tests of the handle of a disk."""

import pytest

from kernelsim.errors import ConfigError
from kernelsim.units import NS_PER_MS
from tests.small_machine import run, small_machine


def test_a_stalled_disk_holds_a_swapping_process_up():
    """What it waits for comes when the stall is over; a disk that is not there is refused."""

    async def main(machine):
        disk = machine.disk("vda")
        process = await machine.spawn("p")
        area = await process.mmap("20M")
        await process.touch(area, write=True)
        disk.stall("300ms")
        began_ns = machine.now_ns
        await process.touch(area)
        assert machine.now_ns - began_ns >= 300 * NS_PER_MS
        assert disk.stats.nr_writes > 0
        with pytest.raises(ConfigError, match="disk = 'sdz': must be one of vda"):
            machine.disk("sdz")

    run(small_machine(swap="32M"), main)


def test_bytes_that_fail_are_rounded_to_sectors():
    """From the sector the first byte lies in to that of the last; without a length, to the end."""

    async def main(machine):
        faults = machine.kernel.devices["vda"].faults
        disk = machine.disk("vda")
        disk.fail_reads(first=513, length=1)
        disk.fail_writes(first="4K")
        ranges = [(bad.is_write, bad.first, bad.end) for bad in faults.bad]
        assert ranges[0] == (False, 1, 2)
        assert ranges[1][:2] == (True, 8)
        assert faults.failed_pages(is_write=True, sector=1 << 40, nr_pages=2) == (0, 1)
        disk.mend()
        assert not faults.bad

    run(small_machine(swap="32M"), main)
