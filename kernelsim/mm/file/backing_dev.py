"""A backing device: what of it is dirty or being written, and how fast it takes it.

Linux: struct bdi_writeback and struct wb_domain (include/linux/backing-dev-defs.h, writeback.h),
mm/backing-dev.c, 6.1. There is one domain for the machine; its devices share the limits.
# Differs from Linux: Counters of writeback are exact at all times, not by batches of each CPU.
Units: pages, pages per second, jiffies.
"""

from typing import Final

import attrs

from kernelsim.mm.file.flex_proportions import FPROP_FRAC_BASE, FpropGlobal, FpropLocal
from kernelsim.units import HZ, MIB, PAGE_SIZE

INIT_BW: Final = 100 * MIB // PAGE_SIZE  # pages per second taken for granted at first
VM_COMPLETIONS_PERIOD_LEN: Final = 3 * HZ  # jiffies after which writeout counts half
RATIO_MAX: Final = 100  # percent


@attrs.define(eq=False)
class WbDomain:
    """What all devices share.

    Attributes:
        completions: Pages written, by device, newer ones counting more.
        period_time: When the next period begins; 0 while nothing is counted.
        dirty_limit: The limit, following a falling threshold slowly.
        dirty_limit_tstamp: When it last followed.
        bdi_min_ratio: Sum of the shares that devices are sure of, percent.
    """

    completions: FpropGlobal = attrs.field(factory=FpropGlobal)
    period_time: int = 0
    dirty_limit: int = 0
    dirty_limit_tstamp: int = 0
    bdi_min_ratio: int = 0

    def age(self, now: int) -> None:
        """End the periods that are over.

        Source: Linux 6.1 mm/page-writeback.c:writeout_period, a timer
        """
        if not self.period_time or now < self.period_time:
            return
        missed = (now - self.period_time) // VM_COMPLETIONS_PERIOD_LEN
        if self.completions.new_period(missed + 1):
            self.period_time += (missed + 1) * VM_COMPLETIONS_PERIOD_LEN
        else:
            self.period_time = 0


@attrs.define(eq=False)
class BdiWriteback:
    """One device.

    Attributes:
        name: As tracepoints name it, "8:0".
        nr_reclaimable: Its dirty pages.
        nr_writeback: Its pages on their way to it.
        nr_dirtied: Pages made dirty so far.
        nr_written: Pages written so far.
        nr_writeback_inodes: Files with pages on their way.
        write_bandwidth: Estimate of the last seconds.
        avg_write_bandwidth: The same, smoothed further.
        dirty_ratelimit: How fast one task may dirty pages, when dirty pages are at the setpoint.
        balanced_dirty_ratelimit: The rate at which they would stay there, as last estimated.
        bw_time_stamp: When bandwidth was last estimated.
        dirtied_stamp: `nr_dirtied` then.
        written_stamp: `nr_written` then.
        dirty_exceeded: It has more than its share of the limit, and all devices more than it.
        completions: Pages written, newer ones counting more.
        min_ratio: Share of the limit it is sure of, percent.
        max_ratio: Share it never goes above, percent.
    """

    name: str
    nr_reclaimable: int = 0
    nr_writeback: int = 0
    nr_dirtied: int = 0
    nr_written: int = 0
    nr_writeback_inodes: int = 0
    write_bandwidth: int = INIT_BW
    avg_write_bandwidth: int = INIT_BW
    dirty_ratelimit: int = INIT_BW
    balanced_dirty_ratelimit: int = INIT_BW
    bw_time_stamp: int = 0
    dirtied_stamp: int = 0
    written_stamp: int = 0
    dirty_exceeded: bool = False
    completions: FpropLocal = attrs.field(factory=FpropLocal)
    min_ratio: int = 0
    max_ratio: int = RATIO_MAX

    def writeout_add(self, dom: WbDomain, nr: int, now: int) -> None:
        """Count pages that have been written.

        Source: Linux 6.1 mm/page-writeback.c:__wb_writeout_add, :wb_domain_writeout_add
        """
        self.nr_written += nr
        dom.age(now)
        dom.completions.add(self.completions, nr, FPROP_FRAC_BASE * self.max_ratio // RATIO_MAX)
        if not dom.period_time:
            dom.period_time = now + VM_COMPLETIONS_PERIOD_LEN

    def calc_thresh(self, dom: WbDomain, thresh: int, now: int) -> int:
        """Return this device's share of a limit, by what it wrote lately.

        Source: Linux 6.1 mm/page-writeback.c:__wb_calc_thresh
        """
        dom.age(now)
        numerator, denominator = dom.completions.fraction(self.completions)
        share = thresh * (RATIO_MAX - dom.bdi_min_ratio) // RATIO_MAX * numerator // denominator
        share += thresh * self.min_ratio // RATIO_MAX
        return min(share, thresh * self.max_ratio // RATIO_MAX)
