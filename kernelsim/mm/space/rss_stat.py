"""A task's own, not yet added, part of the resident set sizes of its address space.

Linux: SPLIT_RSS_COUNTING of include/linux/mm_types_task.h; mm/memory.c: check_sync_rss_stat,
sync_mm_rss, 6.1.
A fault adds its pages to counters of the task, and every 66th fault adds these to the address
space, so what /proc shows lags by up to 65 faults. Page tables and `Mms.rss` are always exact;
here is only how far /proc is behind.
Interface: the fault handler tells of faults, code that unmaps on the task's behalf calls `sync`;
`shown` is what /proc says.
Units: faults; pages by kind (MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES).
"""

from collections.abc import Sequence
from typing import Final

import attrs

from kernelsim.mm.space.pgtable import NR_MM_COUNTERS

TASK_RSS_EVENTS_THRESH: Final = 64


@attrs.define
class TaskRssStat:
    """What one task has not yet added to its address space.

    Attributes:
        events: Faults since the counters were added.
        pending: Pages of each kind that /proc does not show yet; swap entries may be negative.
    """

    events: int = 0
    pending: list[int] = attrs.field(factory=lambda: [0] * NR_MM_COUNTERS)

    def count_faults(self, nr: int, per_fault: Sequence[int]) -> None:
        """Count faults that each change the counters alike.

        The fault that finds too many before it adds what they left; its own pages wait.

        Source: Linux 6.1 mm/memory.c:check_sync_rss_stat
        """
        first_sync = TASK_RSS_EVENTS_THRESH + 2 - self.events
        waiting = nr
        if nr >= first_sync:
            past = (nr - first_sync) % (TASK_RSS_EVENTS_THRESH + 2)
            self.sync()
            self.events = past
            waiting = past + 1
        else:
            self.events += nr
        for kind, change in enumerate(per_fault):
            if change:
                self.pending[kind] += waiting * change

    def sync(self) -> None:
        """Add everything to the address space.

        Source: Linux 6.1 mm/memory.c:sync_mm_rss
        """
        self.events = 0
        self.pending = [0] * NR_MM_COUNTERS


def shown(rss: Sequence[int], stats: Sequence[TaskRssStat]) -> list[int]:
    """Return what /proc shows of exact counters: not what tasks keep back; never below 0.

    Args:
        rss: Of an address space, by kind.
        stats: Of the tasks that use it.
    """
    return [
        max(0, exact - sum(stat.pending[kind] for stat in stats)) for kind, exact in enumerate(rss)
    ]
