"""State what a person writes in a machine file: every key with its meaning, rule and default.

`machine_file.py` reads it; `machine_example.py` prints it with an example value each.
Interface: `MachineToml` with `NodeToml`, `DeviceToml`, `SwapToml`, `FileToml`; `DEVICE_KINDS`.
Units: sizes and durations are as people write them, see units.py.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from kernelsim.config.boot_reserve import KERNELS
from kernelsim.config.disks import (
    LATENCY_SPREAD_MAX,
    SCHEDULERS,
    UNLIMITED_SEGMENT_BYTES,
    BlockDeviceSpec,
)
from kernelsim.config.era import ERAS
from kernelsim.config.latency import LatencySpec
from kernelsim.config.machine import DEVICE_NAME_RULE, LOCAL_DISTANCE
from kernelsim.config.memory_model import MODELS
from kernelsim.config.sysctl import Sysctl
from kernelsim.config.zones import ARCHES

__all__ = [
    "DEVICE_KINDS",
    "REMOTE_DISTANCE",
    "DeviceToml",
    "FileToml",
    "MachineToml",
    "NodeToml",
    "SwapToml",
    "default_distances",
]

REMOTE_DISTANCE: Final = 20  # linux/topology.h; between nodes when no table is given

DEVICE_KINDS: Final = {
    "ssd": BlockDeviceSpec(name="ssd"),
    "hdd": BlockDeviceSpec(
        name="hdd",
        queue_depth=1,
        read_latency_ns=8_500_000,  # seek of 4-5 ms and half a turn at 7200/min: 4.2 ms
        write_latency_ns=8_500_000,
        bandwidth_bytes_per_s=150_000_000,  # middle tracks of a 7200/min disk
        size_bytes=4 << 40,  # 4 TB disks have been common since 2015
        rotational=True,
    ),
    "nvme": BlockDeviceSpec(
        name="nvme",
        queue_depth=256,
        nr_requests=1023,  # NVME_QUEUE_SIZE of drivers/nvme/host/pci.c, less one
        read_latency_ns=80_000,  # one 4 KiB read from TLC flash
        write_latency_ns=20_000,  # into the drive's DRAM
        bandwidth_bytes_per_s=3_000_000_000,  # PCIe 3.0 x4: 3.5 GB/s at most
        max_segment_bytes=UNLIMITED_SEGMENT_BYTES,  # block/blk-settings.c:blk_queue_virt_boundary
        size_bytes=1 << 40,  # the common size of one
    ),
    # Seagate Constellation ES.3 1 TB, product manual 100671510: 7200 turns a minute, 175 MB/s at
    # the rim, 83 at the hub. Average read seek: that of the Hitachi Deskstar 7K1000.C of two disks,
    # specification 4.5.2.1. Track to track, controller and link are estimates.
    "hdd-7200": BlockDeviceSpec(
        name="hdd-7200",
        queue_depth=32,  # NCQ
        read_latency_ns=100_000,  # estimate: controller and link, beside arm and platter
        write_latency_ns=100_000,
        bandwidth_bytes_per_s=129_000_000,  # the mean of rim and hub
        rotational=True,
        scheduler="mq-deadline",
        average_seek_ns=8_500_000,
        track_to_track_ns=700_000,  # estimate; 1 ms on the 2.5-inch Hitachi Travelstar 7K320
        rotation_ns=8_333_333,
        size_bytes=1_000_204_886_016,
    ),
    # Samsung 870 EVO 1 TB, data sheet rev. 1.1: one 4 KiB read at a time 13,000 a second, write
    # 36,000; 32 at a time 98,000 reads; 560 MB/s.
    "sata-ssd": BlockDeviceSpec(
        name="sata-ssd",
        queue_depth=32,  # NCQ
        read_latency_ns=66_700,  # 1/13000 s, less the pipe
        write_latency_ns=17_600,  # 1/36000 s, less the pipe
        bandwidth_bytes_per_s=560_000_000,
        scheduler="mq-deadline",
        request_ns=2_890,  # 1/98000 s, less the data
        size_bytes=1_000_204_886_016,
    ),
    # Samsung 970 EVO Plus 1 TB, data sheet rev. 2.0: one 4 KiB read at a time 19,000 a second,
    # write 60,000; 32 at a time by four tasks 600,000 reads; 3500 MB/s.
    "nvme-ssd": BlockDeviceSpec(
        name="nvme-ssd",
        queue_depth=1023,  # of each hardware queue; drivers/nvme/host/pci.c, one a CPU
        nr_requests=1023,
        read_latency_ns=51_000,  # 1/19000 s, less the pipe
        write_latency_ns=15_000,  # 1/60000 s, less the pipe
        bandwidth_bytes_per_s=3_500_000_000,
        max_segments=127,  # NVME_MAX_SEGS
        max_segment_bytes=UNLIMITED_SEGMENT_BYTES,
        request_ns=500,  # 1/600000 s, less the data
        size_bytes=1_000_204_886_016,
    ),
    # Documentation/admin-guide/blockdev/zram.rst expects half the size. LZO, which lzo-rle is made
    # of: 670 and 860 MB/s on one core of an i7-9700K, by the table in the README of lz4.
    "zram": BlockDeviceSpec(
        name="zram0",
        queue_depth=1,
        read_latency_ns=0,
        write_latency_ns=0,
        bandwidth_bytes_per_s=8_000_000_000,  # there is no queue: only a header is ever read
        compressed_permille=500,
        compress_ns=6_110,
        decompress_ns=4_760,
    ),
}
PAGES_RULE: Final = "a size in whole pages of 4 KiB, such as 4G"


def default_distances(nr_nodes: int) -> tuple[tuple[int, ...], ...]:
    """Return Linux's table for firmware that gives none."""
    return tuple(
        tuple(LOCAL_DISTANCE if i == j else REMOTE_DISTANCE for j in range(nr_nodes))
        for i in range(nr_nodes)
    )


def _key(doc: str, rule: str, *, example: object, default: object = attrs.NOTHING) -> Any:  # noqa: ANN401 (an attrs field)
    """Return the field of a key: what it is, what it must be, and a value to show.

    A key without a default must be given. One whose default is None is worked out from the rest;
    its rule says how.
    """
    metadata = {"doc": doc, "rule": rule, "example": example}
    return attrs.field(default=default, metadata=metadata)


def _of_kind(doc: str, rule: str, attribute: str) -> Any:  # noqa: ANN401 (an attrs field)
    """Return the field of a key of a disk whose default is that of the disk's kind."""
    metadata = {"doc": doc, "rule": rule, "of_kind": attribute}
    return attrs.field(default=None, metadata=metadata)


@attrs.frozen(kw_only=True)
class NodeToml:
    """`[[node]]` as a person writes it: a NUMA node."""

    cpus: str = _key(
        "CPUs of the node",
        'numbers and ranges such as "0-3,8"; all CPUs are numbered from 0; "" for none',
        example="0-1",
        default="",
    )
    memory: Any = _key(
        "RAM", f"{PAGES_RULE}; left out: a node of CPUs only", example="512M", default=None
    )
    start: Any = _key(
        "physical address where its RAM begins",
        f"{PAGES_RULE}; left out: behind the node before",
        example=0,
        default=None,
    )
    device_memory: Any = _key(
        "persistent memory, ZONE_DEVICE", f"{PAGES_RULE}; x86_64 only", example=0, default=0
    )


@attrs.frozen(kw_only=True)
class DeviceToml:
    """`[[device]]` as a person writes it: a disk; what is left out comes from the kind."""

    name: str = _key("name of the disk", f"{DEVICE_NAME_RULE}, and no other's", example="sda")
    kind: str = _key(
        "what the other figures are taken from",
        f"one of {', '.join(DEVICE_KINDS)}",
        example="ssd",
        default="ssd",
    )
    queue_depth: int | None = _of_kind(
        "requests served at a time", "a whole number, 1 or more", "queue_depth"
    )
    nr_requests: int | None = _of_kind(
        "requests the kernel keeps for it", "a whole number, 1 or more", "nr_requests"
    )
    read_latency: Any = _of_kind(
        "one random 4 KiB read on an idle disk", "a duration such as 90us", "read_latency_ns"
    )
    write_latency: Any = _of_kind(
        "one random 4 KiB write on an idle disk", "a duration such as 50us", "write_latency_ns"
    )
    latency_spread_permille: int | None = _of_kind(
        "standard deviation of the latencies over their mean, in 1/1000; 0: all are alike",
        f"a whole number, 0 to {LATENCY_SPREAD_MAX}",
        "latency_spread_permille",
    )
    bandwidth: Any = _of_kind(
        "sustained transfer in bytes a second", "a size such as 500M", "bandwidth_bytes_per_s"
    )
    write_bandwidth: Any = _of_kind(
        "the same of writes, in bytes a second; 0: as fast as reads",
        "a size such as 400M",
        "write_bandwidth_bytes_per_s",
    )
    size: Any = _of_kind(
        "capacity, which an arm moves over; swap areas lie in front, files behind them",
        "a size such as 256G",
        "size_bytes",
    )
    compressed_permille: int | None = _of_kind(
        "zram: size of a page that it holds, of its own; 0 for a disk that is no zram",
        "a whole number, 0 or more",
        "compressed_permille",
    )
    rotational: bool | None = _of_kind(
        "whether position matters, as on a hard disk", "true or false", "rotational"
    )
    scheduler: str | None = _of_kind(
        "who orders the requests that wait, and merges them",
        f"one of {', '.join(SCHEDULERS)}",
        "scheduler",
    )


@attrs.frozen(kw_only=True)
class SwapToml:
    """`[[swap]]` as a person writes it: a swap partition, in the order they are switched on."""

    size: Any = _key("its size, header page included", PAGES_RULE, example="1G")
    device: str = _key("the disk it lies on", "the name of a [[device]]", example="sda")
    name: str | None = _key(
        "its name in /proc/swaps",
        "text that prints in one line; left out: /dev/ and the disk's name",
        example="/dev/sda",
        default=None,
    )
    prio: int | None = _key(
        "its priority",
        "a whole number; left out: -2 for the first, then -3, -4 …",
        example=-2,
        default=None,
    )
    on: bool = _key(
        "whether it is switched on at boot", "true or false", example=True, default=True
    )


@attrs.frozen(kw_only=True)
class FileToml:
    """`[[files]]` as a person writes it: a file on a disk; none of it is in memory at boot."""

    path: str = _key("its name", "a path from / without spaces, and no other's", example="/data")
    size: Any = _key("how long it is", "a size such as 1G", example="1G")
    device: str = _key("the disk it lies on", "the name of a [[device]]", example="sda")


@attrs.frozen(kw_only=True)
class MachineToml:
    """A machine file as a person writes it."""

    name: str = _key("name for people", "text that prints in one line", example="my-machine")
    arch: str = _key(
        "architecture, which decides the zones",
        f"one of {', '.join(ARCHES)}",
        example="x86_64",
        default="x86_64",
    )
    era: str = _key(
        "whose rules hold for watermarks, the size of a struct page and the range of swappiness: "
        "Linux 6.1, or classic for 2.6.32",
        f"one of {', '.join(ERAS)}",
        example="6.1",
        default="6.1",
    )
    memory_model: str | None = _key(
        "how the kernel finds the struct page of a frame, which decides what holes cost and "
        "whether memory can come and go",
        f"one of {', '.join(MODELS)} (discontigmem: classic only, flatmem: one node only); "
        "left out: sparsemem, on i386 flatmem",
        example="sparsemem",
        default=None,
    )
    holes: tuple[str, ...] = _key(
        "physical addresses without memory, beside those every PC has; the RAM lies around them",
        'ranges such as "1G-2G" in whole pages',
        example=(),
        default=(),
    )
    node: tuple[NodeToml, ...]
    distances: tuple[tuple[int, ...], ...] | None = _key(
        "distance from node to node, as in the ACPI SLIT",
        f"a row a node, 10 on the diagonal, up to 254; left out: {REMOTE_DISTANCE} between any two",
        example=((10,),),
        default=None,
    )
    device: tuple[DeviceToml, ...] = ()
    swap: tuple[SwapToml, ...] = ()
    files: tuple[FileToml, ...] = ()
    latency: LatencySpec = attrs.field(factory=LatencySpec)
    sysctl: Sysctl = attrs.field(factory=Sysctl)
    kernel: str = _key(
        "the build of the kernel: of a known one is told to the page what it keeps of memory, and "
        "watermarks are computed while it still holds its init sections and the initramfs",
        f"unknown, for an estimate within 2 %, or for x86_64 and sparsemem {', '.join(KERNELS)}",
        example="unknown",
        default="unknown",
    )
    initrd: Any = _key(
        "the initramfs, which is free again when the kernel has booted",
        "a size such as 2768K, for a machine with kernel only",
        example=0,
        default=0,
    )
    maxmem: Any = _key(
        "RAM with all slots full, of DIMMs that come while the machine runs",
        "a size such as 4G; x86_64 with sparsemem only; 0 for no free slot",
        example=0,
        default=0,
    )
    kernelcore: Any = _key(
        "memory that is not in ZONE_MOVABLE, which gets the rest",
        "a size such as 1G; 0 for no such zone unless movablecore asks for one",
        example=0,
        default=0,
    )
    movablecore: Any = _key(
        "memory of ZONE_MOVABLE, dealt out over the nodes",
        "a size such as 1G; 0 for no such zone",
        example=0,
        default=0,
    )
