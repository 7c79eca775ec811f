"""Waking kswapd: what the tasks that want free pages and the kswapd of a node tell each other.

Linux: mm/vmscan.c:wakeup_kswapd, and pg_data_t's kswapd_wait and kswapd_highest_zoneidx (6.1).
Interface: a node has one `KswapdState`. It is shared and read without a lock, as in Linux: a task
that allocates raises `highest_zoneidx` and ends `asleep`, kswapd takes the one and sets the other.
Units: indices of zone types.
"""

import attrs
import numpy as np

from kernelsim.mm.core.lruvec import LV_KSWAPD_FAILURES
from kernelsim.mm.core.mem import I64, I64_2D, Mem
from kernelsim.mm.reclaim.vmscan_balance import (
    MAX_RECLAIM_RETRIES,
    pgdat_balanced,
    pgdat_watermark_boosted,
)


@attrs.define
class KswapdState:
    """What the kswapd of a node is asked for.

    Attributes:
        highest_zoneidx: Highest zone index of the requests since it last looked; None for none.
    """

    highest_zoneidx: int | None = None
    _asleep: I64 = attrs.field(factory=lambda: np.zeros(1, np.int64))  # bursts read it too

    @property
    def asleep(self) -> bool:
        """Whether it sleeps and a wake-up has to be told."""
        return bool(self._asleep[0])

    @asleep.setter
    def asleep(self, value: bool) -> None:
        self._asleep[0] = value

    def wants(self, highest_zoneidx: int) -> None:
        """Note that a request may use zones up to an index; kswapd at work will see it."""
        if self.highest_zoneidx is None or self.highest_zoneidx < highest_zoneidx:
            self.highest_zoneidx = highest_zoneidx

    def take(self) -> int | None:
        """Return the highest zone index asked for, and forget it."""
        wanted, self.highest_zoneidx = self.highest_zoneidx, None
        return wanted


def should_wake_kswapd(
    mem: Mem, lruvec: I64_2D, state: KswapdState, nid: int, highest_zoneidx: int
) -> bool:
    """Note a request for free pages; return whether kswapd sleeps and should wake up for it.

    Not when its node is in balance, nor when it has failed too often: then direct reclaim is to
    find out whether anything can be freed.

    Source: Linux 6.1 mm/vmscan.c:wakeup_kswapd
    """
    state.wants(highest_zoneidx)
    if not state.asleep:
        return False
    if lruvec[nid, LV_KSWAPD_FAILURES] >= MAX_RECLAIM_RETRIES:
        return False
    balanced = pgdat_balanced(mem, nid, 0, highest_zoneidx)
    return not balanced or pgdat_watermark_boosted(mem, nid, highest_zoneidx)
