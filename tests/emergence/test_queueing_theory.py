"""Waits for a lock are those of queueing theory, though no formula of it is in the simulator.

CPUs that fault fresh pages in are a closed network: each thinks (faults that the page list
serves), then is served by one first come, first served server (its refill under zone->lock). With
exponential holds the mean wait has an exact solution, whatever the thinking is like: mean value
analysis.
Source: Reiser and Lavenberg, Mean-value analysis of closed multichain queuing networks, 1980.
"""

import pytest

from kernelsim.config.latency import LatencySpec
from tests.small_machine import PAGE, run, small_machine

pytestmark = [pytest.mark.mission("A1"), pytest.mark.mission("A2")]

BATCH = 63  # pages of a refill on a zone of this size
HOLD_PAGE_NS = 60
ALONE = {  # nothing else is queued for, and a hold is one exponential time
    "zone_lock_hold_page_ns": HOLD_PAGE_NS,
    "lru_lock_hold_page_ns": 0,
    "page_zeroing_ns": 0,
    "memory_bandwidth_bytes_per_s": 1 << 50,
    "cache_line_ns": 1 << 40,
    "cache_line_spread_permille": 1000,
}
LOCK = "node 0 DMA32 zone->lock"
START_NS = 50_000_000
WAITS = 4000  # looked at for each number of CPUs


def expected_wait_ns(nr_cpus, hold_ns, think_ns):
    """Solve the network exactly: the mean wait for the lock, without the hold."""
    queued = 0.0
    for n in range(1, nr_cpus + 1):
        response_ns = hold_ns * (1 + queued)
        queued = response_ns * n / (response_ns + think_ns)
    return response_ns - hold_ns


def measured_wait_ns(nr_cpus, round_ns, *, seed):
    """Let CPUs fault pages in at the same time; return their mean wait for the zone's lock.

    The queue has to fill up first, and empties when the first CPU is done; between the two is what
    theory speaks of. A round is a refill and the faults up to the next one.
    """
    nr_rounds = max(60, WAITS // nr_cpus)
    nr_pages = BATCH * nr_rounds

    async def main(machine):
        async def program(process):
            await process.sleep(START_NS - machine.now_ns)  # when all have been started
            await process.touch(await process.mmap(nr_pages * PAGE), write=True)
            await process.sleep("1s")

        for cpu in range(nr_cpus):
            await machine.spawn(f"p{cpu}", program, cpu=cpu)
        await machine.sleep(START_NS - machine.now_ns)
        looks = []
        for share in (0.25, 0.5):
            await machine.sleep(round(nr_rounds * round_ns * share))
            looks.append(machine.locks[LOCK])
        before, after = looks
        return (after.wait_ns - before.wait_ns) / (after.nr_holds - before.nr_holds)

    spec = small_machine(cpus=("0-63",), memory="2G", latency=ALONE)
    return run(spec, main, seed=seed, sound=False).result


@pytest.mark.slow
@pytest.mark.parametrize("nr_cpus", [2, 4, 8, 16, 32, 64])
def test_waits_for_the_zone_lock_are_those_of_theory(nr_cpus):
    """From 2 CPUs, where a wait is rare, to 64, where the lock is all that counts."""
    costs = LatencySpec()
    fault_ns = (
        costs.fault_entry_ns + costs.pte_set_ns + 4 * costs.page_walk_step_ns
        + costs.memory_local_ns
    )  # fmt: skip
    hold_ns, think_ns = BATCH * HOLD_PAGE_NS, BATCH * fault_ns
    expected = expected_wait_ns(nr_cpus, hold_ns, think_ns)
    round_ns = expected + hold_ns + think_ns
    nr_seeds = 4 if nr_cpus < 4 else 2  # the fewer wait, the more the mean is left to chance
    measured = [measured_wait_ns(nr_cpus, round_ns, seed=1 + seed) for seed in range(nr_seeds)]
    tolerance = 0.08 if nr_cpus < 8 else 0.05
    assert sum(measured) / nr_seeds == pytest.approx(expected, rel=tolerance)
