"""What is wrong with a disk: sectors that cannot be read or written, a time in which it is silent.

Linux sees it as the status of a bio (include/linux/blk_types.h, blk_status_to_errno) and as time.
Interface: a disk has one `DeviceFaults` and asks it at the completion of each request; whoever
breaks things calls `fail`, `stall` and `mend`.
Units: sectors of 512 bytes, ns.
"""

import attrs

from kernelsim.units import SECTORS_PER_PAGE


@attrs.frozen
class BadSectors:
    """Sectors [first, end) that fail in one direction."""

    is_write: bool
    first: int
    end: int

    def meets(self, *, is_write: bool, sector: int, nr_sectors: int) -> bool:
        """Tell whether a request touches one of them in that direction."""
        return self.is_write == is_write and sector < self.end and self.first < sector + nr_sectors


@attrs.define
class DeviceFaults:
    """The faults of one disk.

    Attributes:
        bad: Sectors that fail.
        stalled_until_ns: No request completes before.
    """

    bad: list[BadSectors] = attrs.field(factory=list)
    stalled_until_ns: int = 0

    def fail(self, first: int, end: int, *, is_write: bool) -> None:
        """Let requests in one direction that touch sectors [first, end) fail from now on."""
        if first < end:
            self.bad.append(BadSectors(is_write, first, end))

    def stall(self, until_ns: int) -> None:
        """Let nothing complete before a time; requests go on being accepted."""
        self.stalled_until_ns = max(self.stalled_until_ns, until_ns)

    def mend(self) -> None:
        """Let all sectors work again."""
        self.bad.clear()

    def failed_pages(self, *, is_write: bool, sector: int, nr_pages: int) -> tuple[int, ...]:
        """Return which pages of a request fail, by their number in it.

        A disk says how far it came, so the layer above fails the pages that touch a bad sector and
        asks for the rest again.

        Source: Linux 6.1 drivers/scsi/scsi_lib.c:scsi_io_completion, :scsi_rq_err_bytes
        """
        # Differs from Linux: The rest of a request that met a bad sector takes no second turn.
        if not self.bad:
            return ()
        return tuple(
            page
            for page in range(nr_pages)
            if any(
                bad.meets(
                    is_write=is_write,
                    sector=sector + page * SECTORS_PER_PAGE,
                    nr_sectors=SECTORS_PER_PAGE,
                )
                for bad in self.bad
            )
        )
