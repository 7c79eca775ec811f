"""How many pages of files a second are read: from the page cache, and from a disk through it.

Reads that find everything cached stand beside the same reads of a real file on this host, which
its kernel has cached.
Interface: `run(scale, rounds)` gives rows.
"""

import os
import statistics
import tempfile
import time
from typing import Final

import attrs

from kernelsim.config.disks import FileSpec
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.units import PAGE_SIZE
from kernelsim.workload import MachineHandle
from tools.bench.bench_engine import Row

HIT_PAGES: Final = 16_384  # 64 MiB
STREAM_PAGES: Final = 131_072  # 512 MiB, as much as the machine has: it is reclaimed as it comes
BLOCK: Final = 65_536  # bytes of a read
WARM_UP: Final = 3  # rounds in which the pages are read from the disk, then activated
HIT_TARGET: Final = 10_000_000
STREAM_TARGET: Final = 3_000_000


def run(scale: float = 1.0, rounds: int = 5) -> list[Row]:
    """Measure both.

    Args:
        scale: Share of the pages to read.
        rounds: The median of so many counts.
    """
    hits, stream = read_rates(max(1024, int(HIT_PAGES * scale)), rounds, scale)
    peers = {"pread on this host": host_rate(max(1024, int(HIT_PAGES * scale)), rounds)}
    target = f"{HIT_TARGET:,} /s"
    streamed = f"{STREAM_TARGET:,} /s"
    return [
        Row("page cache hits, pages", "/s", hits, peers, target, hits >= HIT_TARGET),
        Row("streaming reads, pages", "/s", stream, {}, streamed, stream >= STREAM_TARGET),
    ]


def machine_with_files(hit_pages: int, stream_pages: int) -> MachineSpec:
    """Return a machine of 512 MiB with a file that stays cached and one to stream."""
    spec = load_machine("small-512m")
    device = spec.devices[0].name
    sizes = {"/hot": hit_pages, "/stream": stream_pages}
    files = tuple(
        FileSpec(path=path, size_bytes=nr * PAGE_SIZE, device=device) for path, nr in sizes.items()
    )
    return attrs.evolve(spec, files=files)


def read_rates(hit_pages: int, rounds: int, scale: float) -> tuple[float, float]:
    """Return the pages a second of reads that find all cached, and of reads that find nothing."""
    stream_pages = max(2048, int(STREAM_PAGES * scale))
    hits: list[float] = []
    streams: list[float] = []

    async def main(machine: MachineHandle) -> None:
        process = await machine.spawn("reader")
        hot, stream = await process.open("/hot"), await process.open("/stream")
        for number in range(rounds + WARM_UP):
            began = time.perf_counter()
            await process.read(hot, hit_pages * PAGE_SIZE, offset=0, block=BLOCK)
            if number >= WARM_UP:
                hits.append(hit_pages / (time.perf_counter() - began))
        for _ in range(rounds):
            began = time.perf_counter()
            await process.read(stream, stream_pages * PAGE_SIZE, offset=0, block=BLOCK)
            streams.append(stream_pages / (time.perf_counter() - began))
            await process.fadvise(stream, "dontneed")

    MachineHandle(Machine(machine_with_files(hit_pages, stream_pages))).run(main)
    return statistics.median(hits), statistics.median(streams)


def host_rate(nr_pages: int, rounds: int) -> float:
    """Return the pages a second that this host reads from a file it has cached."""
    rates: list[float] = []
    size, buffer = nr_pages * PAGE_SIZE, bytearray(BLOCK)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(size))
        file.flush()
        for _ in range(rounds):
            began = time.perf_counter()
            for offset in range(0, size, BLOCK):
                os.preadv(file.fileno(), [buffer], offset)
            rates.append(nr_pages / (time.perf_counter() - began))
    return statistics.median(rates)
