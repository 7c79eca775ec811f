"""How the older kernels kept dirty pages in bounds: a writer over the limit writes some itself.

Linux: mm/page-writeback.c, mm/pdflush.c, 2.6.24 to 2.6.31.
No rates are estimated. A writer that finds its device over its share of the limit writes a chunk,
waits until the disk has done some, and looks again, until it is below or has written its chunk.
# Differs from Linux: A device's share in the classic era is that of 6.1, by what it wrote lately.
Interface: `ratelimit_pages` and `must_balance` say when to look, `look` what to do, for balance;
`PdflushThreads` says when a thread is born and when one goes.
Units: pages, jiffies.
"""

from enum import Enum
from typing import Final

import attrs

from kernelsim.mm.file.backing_dev import BdiWriteback
from kernelsim.mm.file.dirty_limits import global_dirty_limits
from kernelsim.mm.file.page_writeback import RATELIMIT_PAGES_MIN, Writeback
from kernelsim.units import HZ, MIB, PAGE_SIZE

MAX_WRITEBACK_PAGES: Final = 1024  # written in one go, then the limits are looked at again
MIN_PDFLUSH_THREADS: Final = 2
MAX_PDFLUSH_THREADS: Final = 8
EXCEEDED_RATELIMIT: Final = 8
RATELIMIT_PAGES_MAX: Final = 4 * MIB // PAGE_SIZE
CPU_SHARE: Final = 32  # all CPUs together may go a 32nd of memory over the limit


class Look(Enum):
    """What a writer does after a look at the limits."""

    GO_ON = "go on"
    WRITE = "write a chunk"
    WAIT = "wait for the disk"


def ratelimit_pages(state: Writeback) -> int:
    """Return how many pages a CPU dirties between two looks.

    Source: Linux 2.6.31 mm/page-writeback.c:writeback_set_ratelimit
    """
    phys = state.phys
    pages = phys.totalram_pages // (phys.nr_cpus * CPU_SHARE)
    return min(max(pages, RATELIMIT_PAGES_MIN), RATELIMIT_PAGES_MAX)


def must_balance(state: Writeback, wb: BdiWriteback, cpu: int) -> bool:
    """Tell whether a CPU has dirtied so much that its task has to look at the limits.

    Source: Linux 2.6.31 mm/page-writeback.c:balance_dirty_pages_ratelimited_nr
    """
    limit = EXCEEDED_RATELIMIT if wb.dirty_exceeded else ratelimit_pages(state)
    if state.bdp_ratelimits[cpu] < limit:
        return False
    state.bdp_ratelimits[cpu] = 0
    return True


def look(state: Writeback, wb: BdiWriteback, now: int, *, has_written: bool) -> Look:
    """Decide what a writer does.

    Args:
        state: Limits of the machine.
        wb: Its device.
        now: The time.
        has_written: It has just written a part of its chunk, and looks once more.

    Source: Linux 2.6.31 mm/page-writeback.c:balance_dirty_pages
    """
    limits = global_dirty_limits(state.phys)
    wb_thresh = wb.calc_thresh(state.dom, limits.thresh, now)
    wb_dirty = wb.nr_reclaimable + wb.nr_writeback
    if wb_dirty <= wb_thresh:
        wb.dirty_exceeded = False
        return Look.GO_ON
    if has_written:
        return Look.WAIT
    if state.nr_dirty + state.nr_writeback < limits.freerun:
        return Look.GO_ON
    wb.dirty_exceeded = True
    return Look.WRITE if wb.nr_reclaimable > wb_thresh else Look.WAIT


def over_background(state: Writeback) -> bool:
    """Tell whether pdflush has something to do in the background.

    Source: Linux 2.6.31 mm/page-writeback.c:background_writeout
    """
    return state.nr_dirty > global_dirty_limits(state.phys).bg_thresh


@attrs.define(eq=False)
class PdflushThreads:
    """How many threads there are, and for how long none of them was idle.

    Attributes:
        nr: Threads there are.
        asleep_since: When each idle thread went to sleep, the latest first.
        last_empty: When the last idle one was taken.
    """

    nr: int = 0
    asleep_since: list[int] = attrs.field(factory=list)
    last_empty: int = 0

    def sleeps(self, now: int) -> None:
        """Note that a thread went to sleep."""
        self.asleep_since.insert(0, now)

    def takes(self, now: int) -> bool:
        """Take the thread that slept least; False if all are busy.

        Source: Linux 2.6.31 mm/pdflush.c:pdflush_operation
        """
        if not self.asleep_since:
            return False
        self.asleep_since.pop(0)
        if not self.asleep_since:
            self.last_empty = now
        return True

    def wants_another(self, now: int) -> bool:
        """Tell a thread that is done whether none was idle for a second: one more is born.

        Source: Linux 2.6.31 mm/pdflush.c:__pdflush
        """
        if self.asleep_since or now - self.last_empty <= HZ:
            return False
        return self.nr < MAX_PDFLUSH_THREADS

    def may_go(self, now: int) -> bool:
        """Tell a thread that is done whether it ends: the sleepiest slept for a second.

        Source: Linux 2.6.31 mm/pdflush.c:__pdflush
        """
        if not self.asleep_since or self.nr <= MIN_PDFLUSH_THREADS:
            return False
        if now - self.asleep_since[-1] <= HZ:
            return False
        self.asleep_since[-1] = now  # one goes a second
        return True
