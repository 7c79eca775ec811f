"""Why a task that wants free pages sleeps, and for how long at most.

Linux: enum vmscan_throttle_state of include/linux/mmzone.h, mm/vmscan.c:reclaim_throttle, 6.1.
Units: ns.
"""

from enum import Enum
from typing import Final

from kernelsim.trace.show import THROTTLE_NAMES
from kernelsim.units import HZ, NS_PER_S


class ThrottleReason(Enum):
    """A reason; each node has a queue for each. The value is its bit in mm_vmscan_throttled."""

    VMSCAN_THROTTLE_WRITEBACK = THROTTLE_NAMES["VMSCAN_THROTTLE_WRITEBACK"]
    VMSCAN_THROTTLE_ISOLATED = THROTTLE_NAMES["VMSCAN_THROTTLE_ISOLATED"]
    VMSCAN_THROTTLE_NOPROGRESS = THROTTLE_NAMES["VMSCAN_THROTTLE_NOPROGRESS"]
    VMSCAN_THROTTLE_CONGESTED = THROTTLE_NAMES["VMSCAN_THROTTLE_CONGESTED"]
    LRU_GEN_WAIT = -1  # until others have walked page tables (mm_state.wait); none tells of it
    PFMEMALLOC_WAIT = 0  # until kswapd has filled the reserves again; no tracepoint tells of it


WRITEBACK: Final = ThrottleReason.VMSCAN_THROTTLE_WRITEBACK
ISOLATED: Final = ThrottleReason.VMSCAN_THROTTLE_ISOLATED
NOPROGRESS: Final = ThrottleReason.VMSCAN_THROTTLE_NOPROGRESS
CONGESTED: Final = ThrottleReason.VMSCAN_THROTTLE_CONGESTED
PFMEMALLOC_WAIT: Final = ThrottleReason.PFMEMALLOC_WAIT
LRU_GEN_WAIT: Final = ThrottleReason.LRU_GEN_WAIT

THROTTLE_TIMEOUT_NS: Final = {  # how long a throttled reclaimer sleeps at most
    WRITEBACK: NS_PER_S // 10,
    ISOLATED: NS_PER_S // 50,
    NOPROGRESS: NS_PER_S // HZ,
    CONGESTED: NS_PER_S // HZ,
}
