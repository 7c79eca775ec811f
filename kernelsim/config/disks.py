"""Describe disks, and what lies on them: swap areas and files.

Linux: what mm/swapfile.c and the block layer hold of the hardware.
Interface: values only, parts of a `MachineSpec` (machine.py), which checks them as a whole with
`validate_disks` and `validate_files`.
Units: bytes, ns: in the name.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from kernelsim.errors import ConfigError

MAX_PFN: Final = 1 << 34  # 64 TiB; MAX_PHYSMEM_BITS of x86_64 without 5-level page tables
SCHEDULERS: Final = ("none", "mq-deadline")  # block/elevator.c; the others are not simulated
UNLIMITED_SEGMENT_BYTES: Final = (1 << 32) - 4096  # UINT_MAX, in whole pages
MAX_REQUEST_PAGES: Final = 320  # max_sectors_kb 1280, the block layer's default
LATENCY_SPREAD_MAX: Final = 1000  # with more, some requests would take no time


@attrs.frozen(kw_only=True)
class BlockDeviceSpec:
    """A disk: requests are served from a queue."""

    name: str
    """Device name, `vda`."""
    queue_depth: int = 32
    """Requests served at a time."""
    nr_requests: int = 32
    """Requests the kernel keeps for it, which writers may fill: NCQ of a SATA disk has 32."""
    read_latency_ns: int = 90_000
    """One random 4 KiB read on an idle device; SATA SSD 80-100 us."""
    write_latency_ns: int = 50_000
    """One random 4 KiB write on an idle device, into the device's cache."""
    latency_spread_permille: int = 0
    """Standard deviation of these two over their mean, in 1/1000; 0: not known, all alike."""
    bandwidth_bytes_per_s: int = 500_000_000
    """Sustained transfer rate; SATA 3: 550 MB/s."""
    write_bandwidth_bytes_per_s: int = 0
    """The same of writes; 0: they pass as fast as reads."""
    max_segments: int = 168
    """Pieces of memory that one request may have; AHCI_MAX_SG of SATA controllers."""
    max_segment_bytes: int = 65_536
    """Length of a piece, in whole pages; BLK_MAX_SEGMENT_SIZE, which SCSI and SATA disks keep."""
    rotational: bool = False
    """Whether position matters (a hard disk)."""
    size_bytes: int = 256 << 30
    """Capacity, over which an arm moves: that of a common SATA SSD. Swap areas lie in front."""
    scheduler: str = "none"
    """Who orders the requests that wait: none, or mq-deadline, which also merges them."""
    request_ns: int = 0
    """What each request costs the pipe beside its data."""
    average_seek_ns: int = 0
    """How long its arm moves over a third of the disk; 0 for a disk without an arm."""
    track_to_track_ns: int = 0
    """How long its arm moves to the next track."""
    rotation_ns: int = 1
    """How long its platter takes to turn once."""
    compressed_permille: int = 0
    """Size of a page that zram holds, of its own; 0 for a disk that is none."""
    compress_ns: int = 0
    """CPU time of compressing a page."""
    decompress_ns: int = 0
    """CPU time of expanding a page."""


@attrs.frozen(kw_only=True)
class SwapSpec:
    """A swap partition; its first page is the header, the rest holds pages."""

    name: str
    """Name in /proc/swaps, where what would part its columns is escaped."""
    size_bytes: int
    """Size of the partition, header page included."""
    prio: int = -2
    """Priority; the first one switched on without a priority gets -2."""
    device: str
    """Name of the BlockDeviceSpec it lies on."""
    on: bool = True
    """Whether it is switched on when the machine has booted."""

    @property
    def nr_slots(self) -> int:
        """Return the pages it can hold."""
        return self.size_bytes // 4096 - 1


@attrs.frozen(kw_only=True)
class FileSpec:
    """A file that is on a disk when the machine boots; none of it is cached."""

    path: str
    """Its name, from /."""
    size_bytes: int
    """How long it is."""
    device: str
    """Name of the BlockDeviceSpec it lies on."""


def is_one_line(text: str) -> bool:
    """Return whether a text shows something and fits on a line."""
    return bool(text.strip()) and text.isprintable()


def validate_disks(devices: Sequence[BlockDeviceSpec], swaps: Sequence[SwapSpec]) -> None:
    """Check disks and that each swap area lies on one of them that has room for it."""
    names = [device.name for device in devices]
    for index, device in enumerate(devices):
        if device.name in names[:index]:
            raise ConfigError(f"device[{index}].name", device.name, "the name is already taken")
        for key in (
            "queue_depth",
            "nr_requests",
            "bandwidth_bytes_per_s",
            "rotation_ns",
            "size_bytes",
        ):
            if getattr(device, key) < 1:
                value = getattr(device, key)
                raise ConfigError(f"device[{index}].{key}", value, "must be 1 or more")
        if not 0 <= device.latency_spread_permille <= LATENCY_SPREAD_MAX:
            key, value = f"device[{index}].latency_spread_permille", device.latency_spread_permille
            raise ConfigError(key, value, f"must be 0 to {LATENCY_SPREAD_MAX}")
        for key in (
            "read_latency_ns",
            "write_latency_ns",
            "request_ns",
            "write_bandwidth_bytes_per_s",
            "average_seek_ns",
            "track_to_track_ns",
            "compressed_permille",
            "compress_ns",
            "decompress_ns",
        ):
            if getattr(device, key) < 0:
                value = getattr(device, key)
                raise ConfigError(f"device[{index}].{key}", value, "must be 0 or more")
        if device.scheduler not in SCHEDULERS:
            rule = f"must be one of {', '.join(SCHEDULERS)}"
            raise ConfigError(f"device[{index}].scheduler", device.scheduler, rule)
    room = {device.name: device.size_bytes >> 12 for device in devices}
    for index, swap in enumerate(swaps):
        if swap.device not in names:
            known = ", ".join(names) or "none is defined"
            raise ConfigError(f"swap[{index}].device", swap.device, f"no such device ({known})")
        if swap.nr_slots < 1:
            rule = "must hold at least a header page and one more page"
            raise ConfigError(f"swap[{index}].size", swap.size_bytes, rule)
        if swap.nr_slots >= MAX_PFN:
            raise ConfigError(f"swap[{index}].size", swap.size_bytes, "must be less than 64 TiB")
        room[swap.device] -= swap.nr_slots + 1
        if room[swap.device] < 0:
            rule = f"does not fit on {swap.device} with what lies there before it"
            raise ConfigError(f"swap[{index}].size", swap.size_bytes, rule)


def validate_files(
    devices: Sequence[BlockDeviceSpec], swaps: Sequence[SwapSpec], files: Sequence[FileSpec]
) -> None:
    """Check that each file has a path of its own and that each disk holds what lies on it."""
    room = {device.name: device.size_bytes >> 12 for device in devices}
    for swap in swaps:
        room[swap.device] -= swap.nr_slots + 1
    paths = [file.path for file in files]
    zrams = [device.name for device in devices if device.compressed_permille]
    for index, file in enumerate(files):
        where = f"files[{index}]"
        if not is_one_line(file.path) or not file.path.startswith("/") or " " in file.path:
            raise ConfigError(f"{where}.path", file.path, "must be a path from / without spaces")
        if file.path in paths[:index]:
            raise ConfigError(f"{where}.path", file.path, "there is a file of that path already")
        if file.device not in room:
            known = ", ".join(room) or "none is defined"
            raise ConfigError(f"{where}.device", file.device, f"no such device ({known})")
        if file.device in zrams:
            rule = "is zram, which holds nothing at boot"
            raise ConfigError(f"{where}.device", file.device, rule)
        if file.size_bytes < 0:
            raise ConfigError(f"{where}.size", file.size_bytes, "must be 0 or more")
        room[file.device] -= -(-file.size_bytes >> 12)
        if room[file.device] < 0:
            rule = f"does not fit on {file.device} with what lies there before it"
            raise ConfigError(f"{where}.size", file.size_bytes, rule)
