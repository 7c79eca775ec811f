"""Schedulers: in which order requests that wait go to a disk, and which become one.

Linux: block/mq-deadline.c, block/elevator.c:elv_merge, block/blk-merge.c, 6.1.
`Fifo` is "none", the choice for disks with several hardware queues: first come, first served, no
merging. `MqDeadline` is the choice for the others: it goes up the sectors in one direction, reads
before writes, sixteen in a row, and takes a request that has waited too long first.
# Differs from Linux: All requests are of one I/O priority.
Interface: `insert` a request, or see it merged into one that waits; `dispatch` the next.
Units: sectors of 512 bytes, ns.
"""

from bisect import bisect_left, insort
from collections import deque
from typing import Any, Final, Protocol

import attrs

from kernelsim.units import NS_PER_S

READ_EXPIRE_NS: Final = NS_PER_S // 2  # a read is to start within it
WRITE_EXPIRE_NS: Final = 5 * NS_PER_S
WRITES_STARVED: Final = 2  # rounds of reads before writes have their turn
FIFO_BATCH: Final = 16  # requests in a row
MAX_SECTORS: Final = 2560  # of a request; max_sectors_kb 1280


@attrs.define(eq=False)
class Request:
    """Neighbouring sectors to be moved in one go.

    Attributes:
        is_write: Direction.
        sector: First sector.
        nr_sectors: How many.
        parts: What the pieces it was merged of belong to, lowest sector first.
        nr_segments: Pieces of memory.
        deadline_ns: When it has waited too long.
    """

    is_write: bool
    sector: int
    nr_sectors: int
    parts: list[Any]
    nr_segments: int
    deadline_ns: int = 0

    @property
    def end(self) -> int:
        """The sector behind it."""
        return self.sector + self.nr_sectors

    def try_merge(self, other: "Request", max_segments: int) -> bool:
        """Take a neighbour in, in front or behind; False when it is none or too large.

        Source: Linux 6.1 block/blk-merge.c:blk_attempt_bio_merge
        """
        if self.is_write != other.is_write or self.nr_sectors + other.nr_sectors > MAX_SECTORS:
            return False
        if self.nr_segments + other.nr_segments > max_segments:
            return False
        if other.sector == self.end:
            self.parts += other.parts
        elif other.end == self.sector:
            self.parts[:0] = other.parts
            self.sector = other.sector
        else:
            return False
        self.nr_sectors += other.nr_sectors
        self.nr_segments += other.nr_segments
        return True


class Scheduler(Protocol):
    """Requests that wait for a disk."""

    def insert(self, request: Request, now_ns: int) -> None:
        """Let one more wait; it may become part of one that does."""
        ...

    def dispatch(self, now_ns: int) -> Request | None:
        """Return the one that goes now; None when none waits."""
        ...


@attrs.define
class Fifo:
    """No scheduler."""

    waiting: deque[Request] = attrs.field(factory=deque)

    def insert(self, request: Request, _now_ns: int) -> None:
        """Let one more wait."""
        self.waiting.append(request)

    def dispatch(self, _now_ns: int) -> Request | None:
        """Return the one that came first."""
        return self.waiting.popleft() if self.waiting else None


def _sector(request: Request) -> int:
    return request.sector


@attrs.define
class MqDeadline:
    """The deadline scheduler.

    Attributes:
        max_segments: Pieces of memory a request may have.
    """

    max_segments: int
    _sorted: tuple[list[Request], list[Request]] = attrs.field(factory=lambda: ([], []))
    _fifo: tuple[list[Request], list[Request]] = attrs.field(factory=lambda: ([], []))
    _next: list[Request | None] = attrs.field(factory=lambda: [None, None])  # to go on with
    _direction: int = 0
    _batching: int = 0
    _starved: int = 0

    def insert(self, request: Request, now_ns: int) -> None:
        """Let one more wait, or merge it into a neighbour.

        Source: Linux 6.1 block/mq-deadline.c:dd_bio_merge, :dd_insert_request
        """
        direction = int(request.is_write)
        row = self._sorted[direction]
        place = bisect_left(row, request.sector, key=_sector)
        for at in (place - 1, place):
            if 0 <= at < len(row) and row[at].try_merge(request, self.max_segments):
                return
        request.deadline_ns = now_ns + (WRITE_EXPIRE_NS if request.is_write else READ_EXPIRE_NS)
        insort(row, request, key=_sector)
        self._fifo[direction].append(request)

    def dispatch(self, now_ns: int) -> Request | None:
        """Return the next of the row, or the first of a new one.

        Source: Linux 6.1 block/mq-deadline.c:__dd_dispatch_request
        """
        chosen = self._next[self._direction] if self._batching < FIFO_BATCH else None
        if chosen is None:
            direction = self._choose_direction()
            if direction is None:
                return None
            chosen = self._next[direction]
            if chosen is None or self._fifo[direction][0].deadline_ns <= now_ns:
                chosen = self._fifo[direction][0]
            self._direction, self._batching = direction, 0
        self._batching += 1
        row = self._sorted[self._direction]
        place = row.index(chosen)
        del row[place]
        self._fifo[self._direction].remove(chosen)
        self._next[self._direction] = row[place] if place < len(row) else None
        return chosen

    def _choose_direction(self) -> int | None:
        reads, writes = self._fifo
        if reads and not (writes and self._starved >= WRITES_STARVED):
            self._starved += bool(writes)
            return 0
        if not writes:
            return None
        self._starved = 0
        return 1


def make_scheduler(name: str, max_segments: int) -> Scheduler:
    """Return the scheduler of a name, "none" or "mq-deadline"."""
    return MqDeadline(max_segments) if name == "mq-deadline" else Fifo()
