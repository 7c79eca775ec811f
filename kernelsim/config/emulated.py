"""What the CPU and the disk of the recorded cases cost: an emulated machine, and always the same.

The cases were recorded in a virtual machine whose CPU is emulated instruction by instruction: a
fault takes ten microseconds, not one. Durations there are of that emulator, so the figures below
are fitted to a few recorded steps, named beside each, and nothing depends on the case.

Interface: `EMULATED_CPU`, `emulated_disk`, `DATA_DISK`.
Units: ns, bytes per second.
"""

from typing import Final

from kernelsim.config.disks import UNLIMITED_SEGMENT_BYTES, BlockDeviceSpec
from kernelsim.config.latency import LatencySpec

EMULATED_CPU: Final = LatencySpec(
    # 16384 pages touched again in 3 ms: 180 ns each, as the default costs give.
    # 16384 first reads (zero page) in 44 ms: 2.7 us each = entry + PTE.
    fault_entry_ns=2_100,
    pte_set_ns=600,  # 16384 pages unmapped in 25 ms: 1.5 us each = PTE + lru_lock + zone lock
    # 16384 first writes in 98 … 208 ms: 6 … 13 us each; the rest is clearing the page.
    page_zeroing_ns=8_000,
    page_copy_ns=4_000,  # 16384 cached pages read in 33 … 71 ms (d05)
    zone_lock_hold_page_ns=400,
    lru_lock_hold_page_ns=400,
    # 700 MiB on 512 MiB written in 5.5 … 7.7 s, once more in 14.8 … 19 s, then read in 18 s: a
    # page that goes to swap is scanned three times and gets a slot, a mapping less and a place in
    # a request; one that comes back gets a place in the swap cache and in a request. The sum is
    # fitted; a scan of it is no dearer than the stream below, where pages are scanned, too, allows.
    scan_page_ns=2_000,
    swap_slot_ns=30_000,
    read_folio_ns=4_000,  # of the 18 us of the stream below
    # 20 MiB written in 206 … 221 ms, 4 MiB of them the program's buffer: 37 us a page, of which 4
    # are the copy and 2 the page's allocation (d07_flush).
    write_begin_ns=31_000,
    # 7966 pages put under writeback in 97 ms, in which the writer had time for 1344 (d07).
    writepage_ns=6_000,
    # 1 GiB read in 4.8 and 5.2 s (d05): 18 us a page of which 4 are the copy, so 450 us a request
    # of 32 pages, the pages' own work included. A write to the device's register and its interrupt
    # leave the emulated code, and the CPU waits for both.
    submit_bio_ns=120_000,
    end_io_ns=120_000,
    syscall_entry_ns=5_000,
    context_switch_ns=20_000,
    ipi_ns=20_000,
    ipi_send_ns=2_000,
    # A snapshot, 14.5 KB in 12 files and 60 short ones, is read and printed in 34 … 48 ms where
    # nothing else runs (d04, d05, d14): 1 us a byte to a serial line, whose driver writes each one
    # to the device; the rest is reading. Only their sum was measured: how it is shared out is an
    # estimate.
    seq_file_byte_ns=300,
    tty_byte_ns=1_000,
    tlb_flush_ns=5_000,
    tlb_flush_page_ns=2_000,
    cache_line_spread_permille=0,  # an emulated CPU has no caches to miss
)


DATA_DISK: Final = {  # the files of the disk "data"
    "/mnt/big1g": 1 << 30,
    "/mnt/hot64": 64 << 20,
    "/mnt/cold16": 16 << 20,
    "/mnt/cold16b": 16 << 20,
    "/mnt/cold1": 1 << 20,
}


def emulated_disk(
    name: str, *, bandwidth_bytes_per_s: int = 8_000_000_000, size_bytes: int = 4 << 30
) -> BlockDeviceSpec:
    """Return a disk of the recorded cases: a file in the host's memory behind virtio.

    Args:
        name: As the guest names it.
        bandwidth_bytes_per_s: Where the recording limited it.
        size_bytes: Where the recording names it.
    """
    return BlockDeviceSpec(
        name=name,
        nr_requests=256,  # queue-size of QEMU's virtio-blk
        queue_depth=64,  # threads of QEMU that read and write the file
        read_latency_ns=90_000,  # the CPU idles 92 … 98 us while a task waits for one read
        write_latency_ns=50_000,
        bandwidth_bytes_per_s=bandwidth_bytes_per_s,  # a copy in the host's memory
        size_bytes=size_bytes,
        max_segments=254,  # a virtqueue of 256 entries, less two for header and status
        max_segment_bytes=UNLIMITED_SEGMENT_BYTES,  # QEMU offers no VIRTIO_BLK_F_SIZE_MAX
        rotational=True,  # virtio does not say that it is not
    )
