"""Tests of the node: grants end at a floor, locks serve in turn, freed pages come back."""

from itertools import pairwise

import numpy as np
import pytest

from kernelsim.actors.messages.node import (
    AllocPages,
    DrainPages,
    FreePages,
    IsolateLru,
    LruAdd,
    LruDeleted,
    MemoryTraffic,
)
from kernelsim.config.latency import LatencySpec
from kernelsim.mm.core.mem import (
    LRU_INACTIVE_ANON,
    MIGRATE_MOVABLE,
    Z_FREE,
    Z_PCP_BATCH,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    PG_anon,
    PG_swapbacked,
)
from kernelsim.mm.reclaim.reclaim_batch import new_reclaim_batch
from kernelsim.sim.actor import Actor
from tests.small_machine import free_pages, run, small_machine

COSTS = LatencySpec()


class Asker(Actor):
    """Asks a node one thing and notes when it had the answer."""

    def __init__(self, name, node, message, log):
        super().__init__(name)
        self._node, self._message, self._log = node, message, log

    async def run(self):
        """Ask."""
        answer = await self._node.ref.ask(self._message)
        self._log.append((self.name, self.engine.now_ns, answer))


class Desk:
    """Asks the nodes of a machine; counts in ns from when it was made."""

    def __init__(self, machine):
        self.machine = machine
        self.mem = machine.mem
        self.out = np.zeros(8192, np.int64)
        self.nr_asked = 0

    def alloc(self, want, *, floor=0, cpu=0, zone=0):
        """Make a request for pages."""
        cpu_nid = self.machine.kernel.phys.cpu_nid[cpu]
        out = np.zeros(max(want, 1), np.int64)
        return AllocPages(
            zone, cpu, cpu_nid, cpu_nid, MIGRATE_MOVABLE, floor, want, out, 0, f"cpu{cpu}"
        )

    async def ask(self, message, nid=0):
        """Ask alone; return the answer and how long it took."""
        began_ns = self.machine.now_ns
        answer = await self.machine.kernel.nodes[nid].ref.ask(message)
        return answer, self.machine.now_ns - began_ns

    async def ask_at_once(self, *messages, nid=0):
        """Ask all at the same time; return (how long, answer) of each in the order of answers."""
        engine, node, log = self.machine.engine, self.machine.kernel.nodes[nid], []
        began_ns = engine.now_ns
        askers = []
        for message in messages:
            self.nr_asked += 1
            askers.append(engine.spawn(Asker(f"asker{self.nr_asked}", node, message, log)))
        for asker in askers:
            await asker.join()
        return [(at_ns - began_ns, answer) for _, at_ns, answer in log]


def with_desk(scenario, *, sound=True, **options):
    """Run `scenario(desk)` on a machine where kswapd has gone to sleep, and check it if sound."""

    async def main(machine):
        await machine.sleep("1s")
        return await scenario(Desk(machine))

    return run(small_machine(**options), main, sound=sound)


@pytest.mark.parametrize("over", [0, 1, 40, 1000])
def test_a_grant_ends_at_its_floor(over):
    """The last page granted is the one that brings the zone to the floor; no page below it."""

    async def scenario(desk):
        zone = desk.mem.zone[0]
        assert zone[Z_PCP_BATCH] == 1  # pages go through the CPU's list one by one
        floor = int(zone[Z_FREE]) - over
        (got, _), _ = await desk.ask(desk.alloc(over + 500, floor=floor))
        assert (got, int(zone[Z_FREE])) == (over, floor)
        assert await desk.ask(desk.alloc(1, floor=floor)) == ((0, 0), 0)

    with_desk(scenario)


def test_with_larger_batches_a_refill_may_pass_the_floor_by_less_than_a_batch():
    """A refill is one step of the kernel too; what it took beyond lies on the CPU's list."""

    async def scenario(desk):
        zone_row = desk.machine.kernel.phys.zonelists[0][0]
        zone = desk.mem.zone[zone_row]
        batch = int(zone[Z_PCP_BATCH])
        assert batch > 1
        floor = int(zone[Z_FREE]) - 10 * batch - 1
        (got, refills), _ = await desk.ask(desk.alloc(5000, floor=floor, zone=zone_row))
        assert floor - batch < zone[Z_FREE] <= floor
        assert got <= refills * batch == got + int(desk.mem.pcp_count[zone_row, 0])

    with_desk(scenario, memory="1G")


def test_the_lock_is_held_for_each_page_moved():
    """A page already on the CPU's list costs no lock."""

    async def scenario(desk):
        (got, refills), took_ns = await desk.ask(desk.alloc(100))
        assert (got, refills) == (100, 100)
        assert took_ns == 100 * COSTS.zone_lock_hold_page_ns
        request = desk.alloc(1)
        await desk.ask(request)
        await desk.ask(FreePages(0, request.out, 1, "cpu0"))
        assert await desk.ask(desk.alloc(1)) == ((1, 0), 0)

    with_desk(scenario)


@pytest.mark.parametrize("distance", [10, 15, 21])
def test_a_cpu_of_another_node_holds_the_lock_longer(distance):
    """In the ratio of the distance from its node to the memory's."""

    async def scenario(desk):
        _, took_ns = await desk.ask(desk.alloc(100, cpu=1))
        assert took_ns * 10 == 100 * COSTS.zone_lock_hold_page_ns * distance

    with_desk(scenario, cpus=("0", "1"), distances=[[10, 30], [distance, 10]])


def test_requests_at_the_same_time_are_served_in_turn():
    """Each waits for those before it; the account and the log say who and how long."""

    async def scenario(desk):
        sizes = (100, 50, 10)
        requests = [desk.alloc(size, cpu=cpu) for cpu, size in enumerate(sizes)]
        answers = await desk.ask_at_once(*requests)
        hold = COSTS.zone_lock_hold_page_ns
        assert [ns for ns, _ in answers] == [100 * hold, 150 * hold, 160 * hold]
        account = desk.machine.kernel.nodes[0].zone_locks[0].account
        assert account.wait_ns == 100 * hold + 150 * hold
        assert account.by_pair["cpu1", "cpu0"] == 100 * hold
        return hold

    done = with_desk(scenario, cpus=("0-2",))
    waited = done.log.named("ks_lock_wait")
    assert [event.fields["wait_ns"] for event in waited] == [100 * done.result, 150 * done.result]
    assert {event.fields["lock"] for event in waited} == {"node 0 DMA zone->lock"}


def test_locks_are_called_as_zones_are_in_tables():
    """One name everywhere: node and zone, as the summary and zoneinfo say them."""

    async def scenario(desk):
        names = list(desk.machine.engine.accounts)
        assert "node 1 Normal zone->lock" in names
        assert {"node 0 lru_lock", "node 1 lru_lock", "node 1 memory controller"} <= set(names)

    with_desk(scenario, cpus=("0", "1"), distances=[[10, 20], [20, 10]])


def test_no_page_is_granted_twice_and_all_come_back():
    """Grants of several CPUs are disjoint; freed and drained, the zone is as before."""

    async def scenario(desk):
        before = free_pages(desk.machine)
        requests = [desk.alloc(300, cpu=cpu) for cpu in range(2)]
        for request in requests:
            await desk.ask(request)
        granted = np.concatenate([request.out for request in requests])
        assert len(set(granted.tolist())) == 600
        assert free_pages(desk.machine) == before - 600
        for cpu, request in enumerate(requests):
            await desk.ask(FreePages(cpu, request.out, 300, f"cpu{cpu}"))
            drained, took_ns = await desk.ask(DrainPages(0, cpu, f"cpu{cpu}"))
            assert took_ns == drained * COSTS.zone_lock_hold_page_ns
        assert free_pages(desk.machine) == before

    with_desk(scenario, cpus=("0-1",))


def test_lru_lock_is_a_lock_of_its_own():
    """Work on the lists waits for other such work, not for the zone's lock."""

    async def scenario(desk):
        fresh = desk.alloc(20)
        await desk.ask(fresh)
        desk.mem.pages.flags[fresh.out] |= np.uint32(PG_anon | PG_swapbacked)
        batch = new_reclaim_batch()
        answers = await desk.ask_at_once(
            desk.alloc(100),
            LruDeleted(10, "cpu0"),
            LruAdd(fresh.out, 20, "cpu0"),
            IsolateLru(LRU_INACTIVE_ANON, 5, 3, 0, batch, "cpu0"),
        )
        hold = COSTS.lru_lock_hold_page_ns
        assert sorted(ns for ns, _ in answers) == [
            10 * hold, 30 * hold, 35 * hold, 100 * COSTS.zone_lock_hold_page_ns,
        ]  # fmt: skip
        assert (35 * hold, (5, 5, 0)) in answers
        assert batch.folios[:5].tolist() == fresh.out[:5].tolist()

    with_desk(scenario, sound=False)  # the pages on the lists are nobody's


def test_the_memory_controller_passes_bytes_in_turn():
    """Two streams at once take as long as both together."""

    async def scenario(desk):
        answers = await desk.ask_at_once(
            MemoryTraffic(1 << 20, "cpu0"), MemoryTraffic(1 << 20, "cpu1")
        )
        once_ns = (1 << 20) * 10**9 // COSTS.memory_bandwidth_bytes_per_s
        assert [ns for ns, _ in answers] == [once_ns, 2 * once_ns]

    with_desk(scenario)


def test_each_watermark_crossed_is_logged_on_the_way_down_and_up():
    """One event a mark, in order, even where one grant passes several."""
    down = ["above_high", "high_low", "low_min", "below_min"]

    async def scenario(desk):
        zone = desk.mem.zone[0]
        floors = [int(zone[mark]) for mark in (Z_WMARK_HIGH, Z_WMARK_LOW, Z_WMARK_MIN)]
        request = desk.alloc(int(zone[Z_FREE]) - floors[2] + 5)
        await desk.ask(request)
        await desk.ask(FreePages(0, request.out, request.want, "cpu0"))
        await desk.ask(DrainPages(0, 0, "cpu0"))

    done = with_desk(scenario)
    crossings = [
        (event.fields["band_from"], event.fields["band_to"])
        for event in done.log.named("ks_watermark")
    ]
    steps = list(pairwise(down))
    assert crossings == steps + [(after, before) for before, after in reversed(steps)]
