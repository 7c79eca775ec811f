"""Swap on two disks: a batch whose slots lie on both."""

import pytest

from kernelsim.config.machine_file import machine_from_toml
from tests.small_machine import run

pytestmark = [pytest.mark.mission("R4")]


def two_disks():
    """Describe 16 MiB with a swap area of 1 MiB that fills first and one of 32 MiB."""
    return machine_from_toml(
        {
            "name": "two-disks",
            "node": [{"cpus": "0", "memory": "16M"}],
            "device": [{"name": "vda"}, {"name": "vdb"}],
            "swap": [{"size": "1M", "device": "vda"}, {"size": "32M", "device": "vdb"}],
        }
    )


def test_each_write_counts_for_the_disk_it_goes_to():
    """When the first area fills up within a batch, both disks count down to no writes."""

    async def main(machine):
        hog = await machine.spawn("hog")
        region = await hog.mmap("24M")
        await hog.touch(region, write=True, passes=2)
        await machine.sleep("10s")
        return {name: disk.throttle.inflight for name, disk in machine.kernel.devices.items()}

    ended = run(two_disks(), main)

    assert {"vda": [0, 0], "vdb": [0, 0]} == ended.result
    assert ended.vm_events["pswpout"] > 256  # more than the first area holds
