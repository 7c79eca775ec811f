"""What a disk counts.

Linux: block/genhd.c:diskstats_show, 6.1.
Interface: `DiskStatistics`.
Units: ns, pages.
"""

import attrs


@attrs.define
class DiskStatistics:
    """Counts of /proc/diskstats, of requests completed.

    Attributes:
        nr_reads: Read requests.
        nr_writes: Write requests.
        pages_asked: Pages of reads accepted, since boot; the others are counted when done.
        pages_given: Pages of writes accepted.
        pages_read: Pages read.
        pages_written: Pages written.
        read_ns: Sum over the reads of the time from start to completion.
        write_ns: The same of the writes.
        busy_ns: Time the pipe was busy.
        in_flight_max: Most requests under way at once.
        nr_read_merges: Reads that became part of another.
        nr_write_merges: Writes that did.
    """

    nr_reads: int = 0
    nr_writes: int = 0
    pages_asked: int = 0
    pages_given: int = 0
    pages_read: int = 0
    pages_written: int = 0
    read_ns: int = 0
    write_ns: int = 0
    busy_ns: int = 0
    in_flight_max: int = 0
    nr_read_merges: int = 0
    nr_write_merges: int = 0
