"""The same fault in the bands of the watermarks: cheap, unaffected, stalled."""

from functools import cache

import attrs
import pytest

from kernelsim.config.latency import LatencySpec
from kernelsim.mm.core.mem import Z_FREE, Z_WMARK_LOW, Z_WMARK_MIN
from tests.small_machine import PAGE, median, pages_of_slabs, run, small_machine

pytestmark = [pytest.mark.mission("A6"), pytest.mark.mission("R1")]

FAULTS = 12_000  # looked at from the low watermark on, three times what memory holds
STALLS = 8  # of these, at least, come below min
ABOVE, BETWEEN, BELOW = "above low", "low to min", "below min"
SSD = {"write_latency": "50us", "bandwidth": "500M"}
TEN_TIMES_SLOWER = {"write_latency": "500us", "bandwidth": "50M"}


@attrs.frozen
class Sample:
    """One fault: what it cost, what its task did meanwhile, and whether others worked beside it."""

    latency_ns: int
    spun_ns: int
    reclaim_ns: int
    cpu_ns: int
    kswapd_ns: int
    disk_works: bool


class Probe:
    """Writes one page and looks at the clocks before and after."""

    def __init__(self, machine, process):
        self.process = process
        self.task = process._process.task
        self.kswapd = machine.engine.actors["kswapd0"]._task
        self.disk = machine.kernel.devices["vda"]
        node = machine.kernel.nodes[0]
        self.locks = [node.lru_lock, *node.zone_locks.values()]

    def spun_ns(self):
        """Return how long the task's CPU has waited for locks that others held."""
        waits = [pair for lock in self.locks for pair in lock.account.by_pair.items()]
        return sum(wait_ns for (waiter, _), wait_ns in waits if waiter == self.task.cpu.name)

    def clocks(self):
        """Return the times that only grow."""
        task = self.task
        cpu_ns = task.utime_ns + task.stime_ns
        return task.waits.reclaim_ns, cpu_ns, self.kswapd.stime_ns, self.disk.statistics.busy_ns

    async def fault(self, region, offset):
        """Write the page at an offset."""
        before = self.clocks()
        spun_ns, in_flight = self.spun_ns(), self.disk.nr_in_flight
        cost = await self.process.touch(region, write=True, offset=offset, length=PAGE)
        assert cost.minflt == 1
        reclaim, cpu, kswapd, busy = (
            now - then for now, then in zip(self.clocks(), before, strict=True)
        )
        spun_ns = self.spun_ns() - spun_ns
        return Sample(cost.latency_ns, spun_ns, reclaim, cpu, kswapd, in_flight > 0 or busy > 0)


async def fault_by_fault(machine):
    """Write page after page; keep the faults by band."""
    zone = machine.mem.zone[machine.kernel.phys.zonelists[0][0]]
    process = await machine.spawn("probe", cpu=0)
    probe = Probe(machine, process)
    region = await process.mmap("64M")
    filled = int(zone[Z_FREE] - zone[Z_WMARK_LOW] - 100) * PAGE  # a hundred pages short of low
    await process.touch(region, write=True, length=filled)
    samples = {ABOVE: [], BETWEEN: [], BELOW: []}
    for offset in range(filled, filled + FAULTS * PAGE, PAGE):
        free, slabs = int(zone[Z_FREE]), pages_of_slabs(machine)
        sample = await probe.fault(region, offset)
        # A fault may take a second page, for a page table, and so do slabs of what is swapped out
        # meanwhile; the ones before then bring it below.
        taken = 1 + max(pages_of_slabs(machine) - slabs, 0)
        assert not sample.reclaim_ns or free <= zone[Z_WMARK_MIN] + taken
        band = ABOVE if free > zone[Z_WMARK_LOW] else BETWEEN
        samples[BELOW if sample.reclaim_ns else band].append(sample)
    assert len(samples[BELOW]) >= STALLS
    return samples


@cache
def samples_with(*, slow_disk: bool):
    """Run once for each disk. Boosts of the watermarks are off, so that the bands stand still."""
    spec = small_machine(
        cpus=("0-1",),
        memory="16M",
        swap="64M",
        disk=TEN_TIMES_SLOWER if slow_disk else SSD,
        sysctl={"vm.watermark_boost_factor": 0},
    )
    return run(spec, fault_by_fault).result


def latency_ns(band: str, *, slow_disk: bool = False) -> int:
    """Return the median latency of a fault in a band."""
    return median([sample.latency_ns for sample in samples_with(slow_disk=slow_disk)[band]])


def plain_fault_ns() -> int:
    """Return what a first write costs by the sum of its steps, without anybody in the way.

    Fourteen of fifteen only enter their page in the CPU's folio_batch, and take no lru_lock.
    """
    costs = LatencySpec()
    steps_ns = costs.fault_entry_ns + costs.zone_lock_hold_page_ns + costs.page_zeroing_ns
    access_ns = 4 * costs.page_walk_step_ns + costs.memory_access_ns(10)
    return steps_ns + costs.pte_set_ns + access_ns


def test_above_low_a_fault_costs_the_sum_of_its_steps():
    """Most faults above low wait for nobody."""
    assert latency_ns(ABOVE) == plain_fault_ns()


def test_between_low_and_min_a_fault_costs_the_same_while_kswapd_works():
    """On the other CPU kswapd runs meanwhile: it holds locks now and then, and that is all."""
    between = samples_with(slow_disk=False)[BETWEEN]
    assert median([sample.latency_ns - sample.spun_ns for sample in between]) == plain_fault_ns()
    assert sum(sample.spun_ns for sample in between) > 0
    assert sum(sample.kswapd_ns for sample in between) > 0
    assert all(sample.reclaim_ns == 0 for sample in between)


def test_below_min_a_fault_stalls():
    """The task does more than a fault's work: it reclaims, and it waits."""
    below = samples_with(slow_disk=False)[BELOW]
    assert latency_ns(BELOW) > 10 * latency_ns(ABOVE)
    assert all(sample.reclaim_ns > sample.latency_ns // 2 for sample in below)


def test_the_long_stalls_are_slept_off_the_cpu_while_the_disk_works():
    """Whoever stalls for as long as many writes take did not compute, and the disk was busy."""
    below = samples_with(slow_disk=False)[BELOW]
    longest = sorted(below, key=lambda sample: sample.latency_ns)[-STALLS // 2 :]
    assert all(sample.cpu_ns < sample.latency_ns // 2 for sample in longest)
    assert all(sample.disk_works for sample in longest)


def test_a_slower_disk_makes_stalls_longer_and_nothing_else():
    """The same work stalls for longer; the two other bands never wait for the disk."""
    assert latency_ns(ABOVE, slow_disk=True) == latency_ns(ABOVE)
    assert latency_ns(BETWEEN, slow_disk=True) <= latency_ns(BETWEEN)
    slow, fast = (
        sum(sample.latency_ns for sample in samples_with(slow_disk=slow_disk)[BELOW])
        for slow_disk in (True, False)
    )
    assert slow > 2 * fast
