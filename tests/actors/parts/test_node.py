"""Tests of the node: lists and refills, locks that serve in turn, freed pages that come back."""

from itertools import pairwise

import numpy as np
import pytest

from kernelsim.actors.messages.node import (
    AllocPages,
    DrainPages,
    FreePages,
    IsolateLru,
    LruAddDrain,
    MemoryTraffic,
    ReleasePages,
)
from kernelsim.config.latency import LatencySpec
from kernelsim.mm.core.folio_batch import folio_batch_add
from kernelsim.mm.core.mem import (
    LRU_INACTIVE_ANON,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    PAGEBLOCK_ORDER,
    PAGEVEC_SIZE,
    Z_FREE,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    PG_anon,
    PG_isolated,
    PG_lru,
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

    async def page(self, *, cpu=0):
        """Ask for one page; return its frame number."""
        request = self.alloc(1, cpu=cpu)
        (got, _), _ = await self.ask(request)
        assert got == 1
        return int(request.out[0])

    async def free(self, pages, *, cpu=0):
        """Give pages back, hold by hold."""
        pfns, at = np.array(pages), 0
        while at < len(pfns):
            at, _ = await self.ask(FreePages(cpu, pfns, len(pfns), f"cpu{cpu}", at))

    async def listed(self, nr, *, cpu=0):
        """Put new pages on the inactive list; return their frame numbers."""
        fresh = [await self.page(cpu=cpu) for _ in range(nr)]
        self.mem.pages.flags[fresh] |= np.uint32(PG_anon | PG_swapbacked)
        for pfn in fresh:
            folio_batch_add(self.mem, cpu, pfn)
        await self.ask(LruAddDrain(cpu, f"cpu{cpu}"))
        return fresh

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


@pytest.mark.parametrize("listed", [0, 5])
def test_a_request_is_served_from_the_list_and_else_by_one_refill(listed):
    """A page on the CPU's list costs no lock; an empty list gets one batch, and serves from it."""

    async def scenario(desk):
        assert desk.mem.zone[0, Z_PCP_BATCH] == 1
        pages = [await desk.page() for _ in range(listed)]
        if pages:
            await desk.free(pages)
        free = int(desk.mem.zone[0, Z_FREE])
        expected = ((listed, 0), 0) if listed else ((1, 1), COSTS.zone_lock_hold_page_ns)
        assert await desk.ask(desk.alloc(100)) == expected
        assert desk.mem.zone[0, Z_FREE] == free - (0 if listed else 1)

    with_desk(scenario, sound=False)  # the pages stay at the desk


def test_a_refill_takes_one_batch_whatever_the_floor():
    """It was asked for above the mark, and is served wherever free pages are when it has the lock.

    What is left of the batch serves as long as that is above the floor, and stays listed else.
    """

    async def scenario(desk):
        zone_row = desk.machine.kernel.phys.zonelists[0][0]
        zone = desk.mem.zone[zone_row]
        batch, before = int(zone[Z_PCP_BATCH]), int(zone[Z_FREE])
        assert batch > 1
        (got, refills), took_ns = await desk.ask(desk.alloc(5000, floor=before, zone=zone_row))
        assert (got, refills) == (1, 1)
        assert took_ns == batch * COSTS.zone_lock_hold_page_ns
        assert before - int(zone[Z_FREE]) == batch
        assert desk.mem.pcp_count[zone_row, 0] == batch - 1
        assert await desk.ask(desk.alloc(5000, floor=0, zone=zone_row)) == ((batch - 1, 0), 0)
        answer, _ = await desk.ask(desk.alloc(5000, floor=0, zone=zone_row))
        assert answer == (batch, 1)

    with_desk(scenario, memory="1G", sound=False)  # the floor is passed


@pytest.mark.parametrize("distance", [10, 15, 21])
def test_a_cpu_of_another_node_holds_the_lock_longer(distance):
    """In the ratio of the distance from its node to the memory's."""

    async def scenario(desk):
        _, took_ns = await desk.ask(desk.alloc(1, cpu=1))
        assert took_ns * 10 == COSTS.zone_lock_hold_page_ns * distance

    with_desk(
        scenario, sound=False, cpus=("0", "1"), distances=[[10, 30], [distance, 10]]
    )  # the pages stay at the desk


def test_requests_at_the_same_time_are_served_in_turn():
    """Each waits for those before it; the account and the log say who and how long."""

    async def scenario(desk):
        full = [await desk.page() for _ in range(50)]
        await desk.free(full, cpu=1)
        requests = [desk.alloc(1), DrainPages(0, 1, "cpu1"), desk.alloc(1, cpu=2)]
        answers = await desk.ask_at_once(*requests)
        hold = COSTS.zone_lock_hold_page_ns
        assert [ns for ns, _ in answers] == [hold, 51 * hold, 52 * hold]
        account = desk.machine.kernel.nodes[0].zone_locks[0].account
        assert account.wait_ns == hold + 51 * hold
        assert account.by_pair == {
            ("cpu1", "cpu0"): hold, ("cpu2", "cpu0"): hold, ("cpu2", "cpu1"): 50 * hold,
        }  # fmt: skip
        return hold

    done = with_desk(scenario, sound=False, cpus=("0-2",))  # the pages stay at the desk
    waited = done.log.named("ks_lock_wait")
    assert [event.fields["wait_ns"] for event in waited] == [done.result, 51 * done.result]
    assert {event.fields["lock"] for event in waited} == {"node 0 DMA zone->lock"}


def test_what_the_lock_guards_changes_when_it_is_granted():
    """Two refills asked for at once: the second CPU's list is empty until the first is done."""

    async def scenario(desk):
        engine, node, hold = desk.machine.engine, desk.machine.kernel.nodes[0], []
        free = int(desk.mem.zone[0, Z_FREE])
        for cpu in (0, 1):
            message = desk.alloc(1, cpu=cpu)
            engine.spawn(Asker(f"asker{cpu}", node, message, hold))
        await desk.machine.sleep(COSTS.zone_lock_hold_page_ns - 1)
        before_ns = int(desk.mem.zone[0, Z_FREE])
        await desk.machine.sleep(2)
        assert (before_ns, int(desk.mem.zone[0, Z_FREE])) == (free - 1, free - 2)
        await desk.machine.sleep(COSTS.zone_lock_hold_page_ns)
        assert len(hold) == 2

    with_desk(scenario, cpus=("0-1",), sound=False)  # the pages are nobody's


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
        granted = [[await desk.page(cpu=cpu) for _ in range(300)] for cpu in range(2)]
        assert len({*granted[0], *granted[1]}) == 600
        assert free_pages(desk.machine) == before - 600
        for cpu, pages in enumerate(granted):
            await desk.free(pages, cpu=cpu)
            drained, took_ns = await desk.ask(DrainPages(0, cpu, f"cpu{cpu}"))
            assert took_ns == drained * COSTS.zone_lock_hold_page_ns
        assert free_pages(desk.machine) == before

    with_desk(scenario, cpus=("0-1",))


def test_lru_lock_is_a_lock_of_its_own():
    """Work on the lists waits for other such work, not for the zone's lock."""

    async def scenario(desk):
        fresh = [await desk.page() for _ in range(PAGEVEC_SIZE)]
        desk.mem.pages.flags[fresh] |= np.uint32(PG_anon | PG_swapbacked)
        assert [folio_batch_add(desk.mem, 0, pfn) for pfn in fresh] == [False] * 14 + [True]
        batch = new_reclaim_batch()
        answers = await desk.ask_at_once(
            desk.alloc(1),
            LruAddDrain(0, "cpu0"),
            IsolateLru(LRU_INACTIVE_ANON, 5, 3, 0, batch, "cpu0"),
        )
        hold = COSTS.lru_lock_hold_page_ns
        assert sorted(ns for ns, _ in answers) == [
            COSTS.zone_lock_hold_page_ns, 15 * hold, 20 * hold,
        ]  # fmt: skip
        assert (20 * hold, (5, 5, 0)) in answers
        assert batch.folios[:5].tolist() == fresh[:5]

    with_desk(scenario, sound=False)  # the pages on the lists are nobody's


def test_pages_leave_their_list_when_lru_lock_is_granted():
    """Two releases at once: the second one's pages are listed until the first is done."""

    async def scenario(desk):
        engine, node, log = desk.machine.engine, desk.machine.kernel.nodes[0], []
        pfns = np.array(await desk.listed(12))
        hold = COSTS.lru_lock_hold_page_ns
        for name, part in (("first", pfns[:4]), ("second", pfns[4:7])):
            engine.spawn(Asker(name, node, ReleasePages(part, "cpu0"), log))
        nr_listed = []
        for wait_ns in (4 * hold - 1, 2, 3 * hold):
            await desk.machine.sleep(wait_ns)
            nr_listed.append(int((desk.mem.pages.flags[pfns] & np.uint32(PG_lru) != 0).sum()))
        assert nr_listed == [8, 5, 5]
        assert [answer.tolist() for _, _, answer in log] == [
            pfns[:4].tolist(), pfns[4:7].tolist(),
        ]  # fmt: skip

    with_desk(scenario, sound=False)  # the pages are nobody's


def test_a_page_that_a_reclaimer_took_meanwhile_is_left_to_it():
    """Who releases it waits behind the reclaimer, and is not given it to be freed."""

    async def scenario(desk):
        pfns = np.array(await desk.listed(6))
        batch = new_reclaim_batch()
        answers = await desk.ask_at_once(
            IsolateLru(LRU_INACTIVE_ANON, 2, 3, 0, batch, "cpu1"), ReleasePages(pfns, "cpu0")
        )
        assert answers[1][1].tolist() == pfns[2:].tolist()
        assert desk.mem.pages.flags[pfns[:2]].tolist() == [PG_isolated] * 2

    with_desk(scenario, cpus=("0-1",), sound=False)  # the pages are nobody's


def test_pages_of_two_zones_are_freed_under_the_lock_of_each():
    """A full list of the second zone is drained when the second zone's lock is granted."""

    async def scenario(desk):
        node = desk.machine.kernel.nodes[0]
        zones = [zone for zone in sorted(node.zone_locks) if desk.mem.zone[zone, Z_FREE]]
        high = [int(desk.mem.zone[zone, Z_PCP_HIGH]) for zone in zones]
        pfns = []
        for zone, nr in zip(zones, high, strict=True):
            for _ in range(nr):
                request = desk.alloc(1, zone=zone)
                await desk.ask(request)
                pfns.append(int(request.out[0]))
        await desk.ask(DrainPages(zones[0], 0, "cpu0"))
        await desk.ask(DrainPages(zones[1], 0, "cpu0"))
        held_ns = node.zone_locks[zones[1]].account.hold_ns
        rest = np.array(pfns)
        at, took_ns = await desk.ask(FreePages(0, rest, len(rest), "cpu0"))
        assert at == high[0]
        assert took_ns > 0
        assert node.zone_locks[zones[1]].account.hold_ns == held_ns
        at, took_ns = await desk.ask(FreePages(0, rest, len(rest), "cpu0", at))
        assert at == len(rest)
        assert node.zone_locks[zones[1]].account.hold_ns == held_ns + took_ns

    with_desk(scenario, memory="1G")


def test_a_page_of_an_isolated_pageblock_is_freed_under_the_lock():
    """It goes past the CPU's lists, each page with a hold of its own."""

    async def scenario(desk):
        pages = np.array([await desk.page() for _ in range(2)])
        block = pages[0] >> PAGEBLOCK_ORDER
        migratetype = desk.mem.block_mt[block]
        desk.mem.block_mt[block] = MIGRATE_ISOLATE
        hold = COSTS.zone_lock_hold_page_ns
        assert await desk.ask(FreePages(0, pages, 2, "cpu0")) == (1, hold)
        assert await desk.ask(FreePages(0, pages, 2, "cpu0", 1)) == (2, hold)
        assert not desk.mem.pcp_count[0, 0]
        desk.mem.block_mt[block] = migratetype

    with_desk(scenario, sound=False)  # isolated pages are not counted free


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
        pages = [await desk.page() for _ in range(int(zone[Z_FREE]) - floors[2] + 5)]
        await desk.free(pages)
        await desk.ask(DrainPages(0, 0, "cpu0"))

    done = with_desk(scenario)
    crossings = [
        (event.fields["band_from"], event.fields["band_to"])
        for event in done.log.named("ks_watermark")
    ]
    steps = list(pairwise(down))
    assert crossings == steps + [(after, before) for before, after in reversed(steps)]
