"""Whether the counters of a machine that has come to rest are the sum of what its processes had.

Kept from the log and from the CPUs on one side, from the processes that have ended on the other.
Linux: what mm/memory.c, mm/vmscan.c and kernel/sched/cputime.c count, 6.1.
Interface: `Heard` is fed with events; `unequal` lists what differs, in the calm.
Units: ns; events.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.hotplug.acpi import WORKER
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import I64
from kernelsim.mm.core.vmstat import (
    ALLOCSTALL_DMA,
    PAGEOUTRUN,
    PGFAULT,
    PGMAJFAULT,
    PGSCAN_DIRECT_THROTTLE,
)
from kernelsim.mm.page.gfp import Gfp
from kernelsim.trace.ks import ks_fault, ks_fault_failed, ks_fault_retry
from kernelsim.trace.tracepoint import Fields
from kernelsim.trace.vmscan import (
    mm_vmscan_direct_reclaim_begin,
    mm_vmscan_direct_reclaim_end,
    mm_vmscan_kswapd_wake,
    mm_vmscan_node_reclaim_begin,
    mm_vmscan_node_reclaim_end,
)
from kernelsim.workload.process_statistics import ProcessStatistics


@attrs.define
class Heard:
    """What the log says of reclaim and of faults.

    Attributes:
        stalls: Direct reclaims, by the zone type their request wanted.
        stalled_ns: Time of processes in them, and in node reclaim.
        wakes: Times a kswapd woke up.
        faults: Faults served, by kind.
        retries: Times a fault began afresh.
        others_reads: Of these, those for a page that somebody else read.
        failed: Faults that were not served, by why.
    """

    stalls: Counter[ZoneType] = attrs.field(factory=Counter)
    stalled_ns: int = 0
    wakes: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    retries: int = 0
    others_reads: int = 0
    failed: Counter[str] = attrs.field(factory=Counter)
    _began_ns: dict[str, int] = attrs.field(factory=dict)

    def hear(self, t_ns: int, actor: str, fields: Fields) -> None:
        """Take an event in."""
        if isinstance(fields, mm_vmscan_direct_reclaim_begin):
            self.stalls[wanted_zone(Gfp(fields.gfp_flags))] += 1
            self._began_ns[actor] = t_ns
        elif isinstance(fields, mm_vmscan_node_reclaim_begin):
            self._began_ns[actor] = t_ns
        elif isinstance(fields, mm_vmscan_direct_reclaim_end | mm_vmscan_node_reclaim_end):
            began_ns = self._began_ns.pop(actor)
            if actor != WORKER:  # which allocates struct pages, in the time of no process
                self.stalled_ns += t_ns - began_ns
        elif isinstance(fields, mm_vmscan_kswapd_wake):
            self.wakes += 1
        elif isinstance(fields, ks_fault):
            self.faults[fields.kind] += fields.nr_pages
        elif isinstance(fields, ks_fault_retry):
            self.retries += 1
            self.others_reads += not fields.major
        elif isinstance(fields, ks_fault_failed):
            self.failed[fields.why] += 1


def wanted_zone(gfp: Gfp) -> ZoneType:
    """Return the highest zone a request may use, whether the machine has it or not."""
    if gfp & Gfp.HIGHMEM:
        return ZoneType.ZONE_MOVABLE if gfp & Gfp.MOVABLE else ZoneType.ZONE_HIGHMEM
    return ZoneType.ZONE_NORMAL


def stalls_by_zone(zone_types: Sequence[ZoneType], heard: Heard) -> Counter[ZoneType]:
    """Return the direct reclaims by the zone type that the machine has for what was wanted.

    Source: Linux 6.1 include/linux/gfp.h:OPT_ZONE_HIGHMEM
    """
    stalls: Counter[ZoneType] = Counter()
    for wanted, nr in heard.stalls.items():
        below = list(ZoneType)[: list(ZoneType).index(wanted) + 1]
        stalls[next(each for each in reversed(below) if each in zone_types)] += nr
    return stalls


def unequal(
    kernel: Kernel,
    before: I64,
    heard: Heard,
    ended: Sequence[ProcessStatistics],
) -> Iterator[str]:
    """Find counters that are not the sum of what they count, one line each.

    Args:
        kernel: The machine; all its processes have ended.
        before: Its events before the first of them.
        heard: What its log said.
        ended: Of all of them.

    A fault that failed, and the first try of one that began afresh, are counted by the machine and
    not by the process (mm/memory.c:mm_account_fault). Major ones they may be, if they asked the
    disk themselves; one that began afresh is major for its process whoever did.
    """
    events = kernel.mem.vm_event - before
    major, had_major = int(events[PGMAJFAULT]), sum(each.pgmajfault for each in ended)
    nr_more = heard.retries + heard.failed.total()
    if not had_major - heard.others_reads <= major <= had_major + nr_more:
        yield f"pgmajfault is {major}, by what happened it is {had_major}"
    sums = [
        ("pgfault", int(events[PGFAULT]), sum(each.pgfault for each in ended) + nr_more),
        ("pageoutrun", int(events[PAGEOUTRUN]), heard.wakes),
        (
            "user time",
            sum(cpu.state.user_ns for cpu in kernel.cpus),
            sum(each.utime_ns for each in ended),
        ),
    ]
    stalls = stalls_by_zone(kernel.phys.zone_types, heard)
    for index, zone_type in enumerate(kernel.phys.zone_types):
        counted = int(events[ALLOCSTALL_DMA + index])
        sums.append((f"allocstall of {zone_type.name}", counted, stalls[zone_type]))
    if not events[PGSCAN_DIRECT_THROTTLE]:  # else they waited for kswapd, too
        reclaim_ns = sum(each.reclaim_ns for each in ended)
        reclaim_ns += sum(task.waits.reclaim_ns for task in kernel.kthreads)
        sums.append(("time in reclaim", reclaim_ns, heard.stalled_ns))
    for name, counted, had in sums:
        if counted != had:
            yield f"{name} is {counted}, by what happened it is {had}"
