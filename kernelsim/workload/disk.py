"""The handle of a disk: what a workload may ask of it, and what it may break.

    disk = machine.disk("vda")
    disk.fail_reads(first="1M", length="64K")    # these bytes cannot be read any more
    disk.stall("2s")                             # nothing completes in the next two seconds
    disk.mend()

Faults strike requests that complete from then on, also those already under way.
Units: bytes, or text such as "64K"; ns, or text such as "2s".
"""

from typing import Final

from kernelsim.actors.parts.block_device import BlockDevice
from kernelsim.block.disk_statistics import DiskStatistics
from kernelsim.units import SECTOR_SIZE, parse_duration, parse_size

LONGEST: Final = 1 << 63  # bytes; no disk is larger


class DiskHandle:
    """One disk, seen from a workload.

    Args:
        device: Its actor.
    """

    def __init__(self, device: BlockDevice) -> None:
        self._device = device

    @property
    def stats(self) -> DiskStatistics:
        """What it has done: requests, pages, times."""
        return self._device.statistics

    def fail_reads(self, first: int | str = 0, length: int | str | None = None) -> None:
        """Let reads of `length` bytes from byte `first`, or all behind it, fail with EIO."""
        self._fail(first, length, is_write=False)

    def fail_writes(self, first: int | str = 0, length: int | str | None = None) -> None:
        """Let writes of `length` bytes from byte `first`, or all behind it, fail with EIO."""
        self._fail(first, length, is_write=True)

    def stall(self, duration: int | str) -> None:
        """Let it complete nothing for a time; requests are accepted as long as there is room."""
        device = self._device
        device.faults.stall(device.engine.now_ns + parse_duration(duration))

    def mend(self) -> None:
        """Let all its bytes be read and written again."""
        self._device.faults.mend()

    def _fail(self, first: int | str, length: int | str | None, *, is_write: bool) -> None:
        begin = parse_size(first, key="first")
        size = LONGEST if length is None else parse_size(length, key="length")
        sectors = begin // SECTOR_SIZE, -(-(begin + size) // SECTOR_SIZE)
        self._device.faults.fail(*sectors, is_write=is_write)
