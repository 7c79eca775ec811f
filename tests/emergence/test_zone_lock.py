"""Nobody programmed contention: it appears because CPUs queue for a node's zone lock."""

import numpy as np
import pytest

from tests.small_machine import PAGE, Run, run, small_machine

pytestmark = [pytest.mark.mission("A1"), pytest.mark.mission("A2")]

PAGES = 512  # each process writes
START_NS = 10_000_000  # when all have been started
ONE_NODE = ("0-7",)
TWO_NODES = ("0-3", "4-7")
SPREAD = {"cache_line_spread_permille": 1000}  # without, CPUs get into step and hardly wait
SLOW_LOCK = {"zone_lock_hold_page_ns": 1000}


def first_touch(cpus, *, nodes=ONE_NODE, latency=None) -> Run:
    """Let one process on each of some CPUs write fresh pages, all at the same time.

    The result is, in ns from when all have been started: when each was ready; how long each was
    getting pages; how long the locks were held, and how long CPUs waited for them.
    """

    async def main(machine):
        async def program(process):
            await process.sleep(START_NS - machine.now_ns)
            region = await process.mmap(PAGES * PAGE)
            await process.touch(region, write=True)
            ready_ns.append(machine.now_ns - START_NS)
            await process.sleep("1s")  # so that its exit takes no lock before we have looked

        ready_ns = []
        processes = [await machine.spawn(f"p{cpu}", program, cpu=cpu) for cpu in cpus]
        await machine.sleep(START_NS - machine.now_ns)
        before = times_of_locks(machine, processes)
        await machine.sleep("500ms")
        return ready_ns, *(times_of_locks(machine, processes) - before).tolist()

    spec = small_machine(cpus=nodes, memory="64M", latency=latency)
    return run(spec, main, burst_pages=63)


def times_of_locks(machine, processes):
    """Return how long processes got pages, locks were held, and CPUs waited for them, in ns."""
    accounts = [lock.account for lock in locks_of(machine)]
    asked_ns = sum(process.stats.lock_ns for process in processes)
    held_ns = sum(account.hold_ns for account in accounts)
    return np.array([asked_ns, held_ns, sum(account.wait_ns for account in accounts)])


def locks_of(machine):
    """Return the zone locks of all nodes."""
    return [lock for node in machine.kernel.nodes for lock in node.zone_locks.values()]


def wait_ns(cpus, **options):
    """Return how long all CPUs together waited for zone locks."""
    return first_touch(cpus, **options).result[3]


@pytest.mark.parametrize("latency", [SPREAD, SPREAD | SLOW_LOCK], ids=["fast", "slow"])
def test_the_wait_grows_with_the_cpus_of_a_node(latency):
    """One CPU never waits; of 2, 4 and 8 CPUs each waits longer than each of fewer."""
    waits = {n: wait_ns(range(n), latency=latency) / n for n in (1, 2, 4, 8)}
    assert waits[1] == 0 < waits[2] < waits[4] < waits[8]


@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_wait_falls_when_the_same_cpus_are_spread_over_two_nodes(count):
    """Half of the CPUs on each of two nodes, each with its own lock, wait less."""
    half = count // 2
    spread = wait_ns([*range(half), *range(4, 4 + half)], nodes=TWO_NODES, latency=SLOW_LOCK)
    assert spread < wait_ns(range(count), latency=SLOW_LOCK)


def test_two_cpus_on_nodes_of_their_own_do_not_wait():
    """Without a second CPU at the same lock there is no wait at all."""
    assert wait_ns([0, 4], nodes=TWO_NODES, latency=SLOW_LOCK) == 0


def test_what_the_locks_account_for_is_what_the_processes_lost():
    """Time asking for pages is holds and waits, nothing else; the log tells the same waits."""
    done = first_touch(range(8))
    _, asked_ns, held_ns, waited_ns = done.result
    assert asked_ns == held_ns + waited_ns
    logged = [
        event.fields for event in done.log.named("ks_lock_wait")
        if "zone" in event.fields["lock"]
    ]  # fmt: skip
    assert sum(fields["wait_ns"] for fields in logged) == sum(
        lock.account.wait_ns for lock in locks_of(done.machine)
    )


def test_a_lock_that_is_the_bottleneck_is_always_held():
    """With a hold far longer than the rest of a fault, 8 CPUs are ready after 8 CPUs' holds.

    What else a fault takes goes on beside other CPUs' holds, but for the first and last burst.
    """
    alone = first_touch([0], latency={"zone_lock_hold_page_ns": 10_000})
    all_eight = first_touch(range(8), latency={"zone_lock_hold_page_ns": 10_000})
    assert all_eight.result[2] == 8 * alone.result[2]
    assert all_eight.result[2] <= max(all_eight.result[0]) < all_eight.result[2] * 101 // 100


def test_one_process_after_the_other_never_waits():
    """Eight processes on eight CPUs do not contend unless they run at the same time."""

    async def main(machine):
        for cpu in range(8):
            process = await machine.spawn(f"p{cpu}", cpu=cpu)
            await process.touch(await process.mmap(PAGES * PAGE), write=True)
        return sum(lock.account.wait_ns for lock in locks_of(machine))

    assert run(small_machine(cpus=ONE_NODE, memory="64M", latency=SLOW_LOCK), main).result == 0
