"""Bursts: what each step of a fault costs and leaves, why a CPU stops, and who is first in a tie.

Each test sets the columns of a CPU up by the program's own accesses, then takes compiled steps
itself, on a machine where nothing else goes on.
"""

import numpy as np
import pytest

from kernelsim.config.latency import LatencySpec
from kernelsim.mm.burst.columns import (
    B_BEGAN,
    B_DONE,
    B_FLUSH_NS,
    B_KILLED,
    B_LEFT,
    B_LISTED,
    B_NR_FAULTS,
    B_PFN,
    B_PHASE,
    B_SERVER,
    B_SLICE_END,
    B_STIME,
    B_STOLEN,
    B_STOP,
    B_STRIDE,
    B_TIME,
    B_UTIME,
    B_VPN,
    B_WRITE,
    BACK,
    CALL_FLUSH,
    CALL_QUEUE,
    CLEAR,
    ENTER,
    FAULT,
    FOR_PAGE,
    H_ASKED,
    H_BEGIN,
    H_CPU,
    H_HOLD,
    MAP,
    NEVER_NS,
    OUT,
    PASSED,
    R_ZONES,
    RETURN,
    STOP_DONE,
    STOP_ENTERED,
    STOP_KILLED,
    STOP_SLICE,
    STOPPED,
    TAKE,
    TRAFFIC,
    USER,
    WAITING,
)
from kernelsim.mm.burst.events import push
from kernelsim.mm.burst.run import run_burst
from kernelsim.mm.burst.servers import controller, link, lru_lock
from kernelsim.mm.core.mem import Z_FREE, PG_batched
from kernelsim.mm.space.memory import FAULT_ANON, FAULT_ZERO_WP
from kernelsim.mm.space.pgtable import pte_at, pte_pfn, tables_needed
from kernelsim.sim.event import FOREVER_NS
from tests.small_machine import PAGE, run, small_machine

COSTS = LatencySpec()
WALK = 4 * COSTS.page_walk_step_ns + COSTS.memory_local_ns
HIT = COSTS.tlb_hit_ns + COSTS.memory_local_ns
START = 2_000_000_000  # ns
TOKEN = 7


class Lab:
    """The bursts of a machine on which nothing else happens, one process on each CPU."""

    def __init__(self, machine, processes, regions):
        self.kernel = machine.kernel
        self.mem, self.burst = machine.mem, machine.kernel.burst
        self.processes = processes
        self.first = [region.address // PAGE for region in regions]
        self.kernel.engine.enter_accounts()  # what was held until now is no part of it

    def begin(self, cpu=0, *, at=16, nr=1, write=True, stride=1, time=START):
        """Let a CPU access pages of its process's region; return its columns."""
        actor = self.kernel.engine.actors[self.processes[cpu]._process.ref.name]
        row = actor._caller.accesses._begin(TOKEN, nr, None)
        row[B_VPN], row[B_STRIDE], row[B_WRITE], row[B_LISTED] = (
            self.first[cpu] + at,
            stride,
            write,
            0,
        )
        row[B_SLICE_END] = FOREVER_NS
        push(self.burst, cpu, USER, time)
        return row

    def go(self, before=NEVER_NS, nr_max=1 << 16):
        """Do what is due before a time; return (events, CPU, call)."""
        kernel = self.kernel
        return run_burst(*kernel.space, kernel.swap, self.burst, before, 0, 0, nr_max)[:3]

    def pte(self, cpu=0, at=16):
        """Return the entry of a page."""
        number = self.processes[cpu]._process.mm.number
        return int(pte_at(*self.kernel.space, number, self.first[cpu] + at))

    def leave(self):
        """Take all CPUs out."""
        self.burst.run[:, B_PHASE] = OUT


def in_lab(scenario, *, nr_processes=1, **described):
    """Run `scenario(lab)`; each process has touched the first page of a region, for its tables."""

    async def main(machine):
        await machine.sleep("1s")  # kswapd has gone to sleep
        processes, regions = [], []
        for cpu in range(nr_processes):
            processes.append(await machine.spawn(f"p{cpu}", cpu=cpu))
            regions.append(await processes[-1].mmap("1M"))
            await processes[-1].touch(regions[-1], write=True, length=PAGE)
        lab = Lab(machine, processes, regions)
        scenario(lab)
        lab.leave()

    run(small_machine(**described), main, sound=False)


def test_each_step_of_a_first_write_happens_at_its_time():
    """Entry, refill, controller, clearing, mapping, and the access itself, one after the other."""
    page_ns = PAGE * 10**9 // COSTS.memory_bandwidth_bytes_per_s
    entered = START + COSTS.fault_entry_ns
    refilled = entered + COSTS.zone_lock_hold_page_ns
    cleared = refilled + max(COSTS.page_zeroing_ns, page_ns)
    done = cleared + COSTS.pte_set_ns + WALK

    def scenario(lab):
        row, steps = lab.begin(), []
        while lab.go(nr_max=1)[0]:
            steps.append((int(row[B_PHASE]), int(row[B_TIME])))
            if row[B_PHASE] == STOPPED:
                break
        passed = refilled + page_ns
        assert steps == [
            (ENTER, START), (FAULT, entered), (TAKE, entered), (CLEAR, refilled),
            (TRAFFIC, refilled), (PASSED, passed), (MAP, cleared), (RETURN, done - WALK),
            (BACK, done - WALK), (USER, done), (STOPPED, done),
        ]  # fmt: skip
        assert (row[B_STOP], row[B_DONE], row[B_NR_FAULTS + FAULT_ANON]) == (STOP_DONE, 1, 1)
        assert (row[B_UTIME], row[B_STIME]) == (WALK, done - WALK - START)
        pfn = pte_pfn(lab.pte())
        assert pfn == row[B_PFN]
        assert lab.mem.pages.token[pfn] == TOKEN
        assert lab.mem.pages.flags[pfn] & PG_batched
        hold = lab.burst.holds[1, [H_ASKED, H_BEGIN, H_HOLD, H_CPU]].tolist()
        assert hold == [entered, entered, COSTS.zone_lock_hold_page_ns, 0]

    in_lab(scenario)


def test_a_page_that_is_there_costs_an_access():
    """A TLB miss walks every level; a hit does not; no kernel time passes."""

    def scenario(lab):
        row = lab.begin(at=0, stride=0, nr=3)
        lab.kernel.cpus[0].tlb.tag[:] = 0
        lab.go()
        assert (row[B_STOP], row[B_DONE], row[B_STIME]) == (STOP_DONE, 3, 0)
        assert row[B_TIME] - START == row[B_UTIME] == WALK + 2 * HIT

    in_lab(scenario)


def test_reading_fresh_memory_maps_the_zero_page():
    """No page is taken; writing there afterwards takes one."""

    def scenario(lab):
        row = lab.begin(write=False)
        lab.go()
        assert pte_pfn(lab.pte()) == lab.kernel.zero_pfn
        steps = COSTS.fault_entry_ns + COSTS.pte_set_ns + WALK
        assert row[B_TIME] - START == steps
        assert lab.burst.holds[0, 0] == 0
        row = lab.begin()
        assert lab.go()[2] == CALL_FLUSH
        assert pte_pfn(lab.pte()) == lab.kernel.zero_pfn  # until no TLB has it
        row[B_FLUSH_NS] = COSTS.tlb_flush_page_ns
        lab.go()
        assert row[B_NR_FAULTS + FAULT_ZERO_WP] == 1
        assert pte_pfn(lab.pte()) not in (0, lab.kernel.zero_pfn)

    in_lab(scenario)


def test_the_fifteenth_new_page_takes_lru_lock():
    """One hold for all of them, between mapping and the return from the fault."""

    def scenario(lab):
        in_batch = int(lab.mem.lru_batch[0, 0])
        row = lab.begin(nr=15)
        lab.go()
        assert (row[B_STOP], row[B_DONE]) == (STOP_DONE, 15)
        assert lab.mem.lru_batch[0, 0] == in_batch
        holds = lab.burst.holds[1 : 1 + lab.burst.holds[0, 0]].tolist()
        lru = [hold for hold in holds if hold[0] == lru_lock(lab.burst, 0)]
        assert [hold[H_HOLD] for hold in lru] == [15 * COSTS.lru_lock_hold_page_ns]

    in_lab(scenario)


def test_a_page_of_another_node_crosses_the_link():
    """The lock, the clearing and the access take as much longer as the node is far."""

    def scenario(lab):
        row = lab.begin()
        zones = lab.burst.request[0, FOR_PAGE, R_ZONES:]
        zones[0] = next(zone for zone in zones if lab.kernel.node_of(int(zone)).nid == 1)
        lab.go()
        assert row[B_STOP] == STOP_DONE
        refill = COSTS.zone_lock_hold_page_ns * 2
        clearing = COSTS.page_zeroing_ns * 2
        access = 4 * COSTS.page_walk_step_ns + COSTS.memory_access_ns(20)
        steps = COSTS.fault_entry_ns + refill + clearing + COSTS.pte_set_ns + access
        assert row[B_TIME] - START == steps
        assert lab.burst.traffic[link(lab.burst, 0, 1), 0] == 1
        assert lab.burst.traffic[controller(lab.burst, 1), 0] == 1

    in_lab(scenario, cpus=("0", "1"), distances=[[10, 20], [20, 10]])


def listed(lab, accesses):
    """Let CPU 0 do listed accesses (page, is a store); return its columns."""
    row = lab.begin(nr=len(accesses))
    packed = [(lab.first[0] + page) << 1 | store for page, store in accesses]
    lab.burst.access[0, : len(packed)] = np.array(packed)
    row[B_LISTED] = 1
    return row


def test_listed_accesses_are_done_in_their_order():
    """Loads and stores mixed, each page as often as it is named."""

    def scenario(lab):
        row = listed(lab, [(20, 1), (18, 0), (20, 0), (18, 1), (20, 1)])
        assert lab.go()[2] == CALL_FLUSH  # at the store to 18
        assert row[B_DONE] == 3
        lab.go()
        assert (row[B_STOP], row[B_DONE], row[B_LEFT]) == (STOP_DONE, 5, 0)
        assert row[[B_NR_FAULTS + FAULT_ANON, B_NR_FAULTS + FAULT_ZERO_WP]].tolist() == [2, 1]
        assert [int(lab.mem.pages.token[pte_pfn(lab.pte(at=at))]) for at in (20, 18)] == [TOKEN] * 2

    in_lab(scenario)


@pytest.mark.parametrize("what", ["killed", "slice", "watermark"])
def test_a_cpu_stops_for_what_a_burst_cannot_do(what):
    """With the reason in its columns, at the time it found out, and nothing half done."""
    faulted = START + COSTS.fault_entry_ns

    def scenario(lab):
        row = lab.begin()
        if what == "killed":
            row[B_KILLED] = 1
        elif what == "slice":
            row[B_SLICE_END] = START
        elif what == "watermark":
            lab.mem.zone[:, Z_FREE] = 0
        lab.go()
        expected = {
            "killed": (STOP_KILLED, START, 0), "slice": (STOP_SLICE, START, 0),
            "watermark": (STOP_ENTERED, faulted, 0),
        }  # fmt: skip
        assert (row[B_STOP], row[B_TIME], row[B_DONE]) == expected[what]
        assert lab.pte() == 0

    in_lab(scenario)


@pytest.mark.parametrize("lock", ["zone->lock", "lru_lock"])
def test_a_cpu_queues_behind_actors(lock):
    """It asks for the lock, and the actors are told so; it goes on when they let it."""

    def scenario(lab):
        row, queued = lab.begin(), lab.burst.queued
        server = lru_lock(lab.burst, 0)
        queued[server if lock == "lru_lock" else slice(server)] = 1
        lab.mem.lru_batch[0, 0] = 14
        assert lab.go()[2] == CALL_QUEUE
        asked = START + COSTS.fault_entry_ns
        if lock == "lru_lock":
            asked += COSTS.zone_lock_hold_page_ns + COSTS.page_zeroing_ns
        assert (row[B_PHASE], row[B_BEGAN]) == (WAITING, asked)
        assert (row[B_SERVER] == server) == (lock == "lru_lock")
        assert lab.go()[0] == 0

    in_lab(scenario)


def test_missing_page_tables_are_built_on_the_way():
    """Each costs a page of its own, clean, before the program's page is looked for."""

    def scenario(lab):
        nr_ptes = lab.kernel.mms.mms.nr_ptes
        number = lab.processes[0]._process.mm.number
        before = int(nr_ptes[number])
        missing = tables_needed(*lab.kernel.space, number, lab.first[0] + (1 << 18), 1)
        assert missing >= 2  # of PTEs, and above it
        row = lab.begin(at=1 << 18)
        free = lab.mem.zone[:, Z_FREE].sum()
        lab.go()
        assert (row[B_STOP], row[B_DONE], row[B_NR_FAULTS + FAULT_ANON]) == (STOP_DONE, 1, 1)
        assert pte_pfn(lab.pte(at=1 << 18)) == row[B_PFN]
        assert nr_ptes[number] == before + missing
        clearings = lab.burst.traffic[controller(lab.burst, 0), 0]
        assert clearings == missing + 1
        assert free > lab.mem.zone[:, Z_FREE].sum()
        holds = lab.burst.holds[1 : 1 + lab.burst.holds[0, 0], H_HOLD].sum()
        steps = COSTS.fault_entry_ns + clearings * COSTS.page_zeroing_ns + COSTS.pte_set_ns
        assert row[B_STIME] == steps + holds

    in_lab(scenario)


def test_of_two_that_are_due_at_once_the_one_that_was_scheduled_first_goes_first():
    """Both ask for the same lock in the same nanosecond: the second waits for the whole hold."""

    def scenario(lab):
        for cpu in (0, 1):
            lab.begin(cpu)
        lab.go()
        rows = lab.burst.holds[1:3, [H_CPU, H_ASKED, H_BEGIN]].tolist()
        asked = START + COSTS.fault_entry_ns
        assert rows == [[0, asked, asked], [1, asked, asked + COSTS.zone_lock_hold_page_ns]]

    in_lab(scenario, cpus=("0-1",), nr_processes=2)


def test_nothing_is_done_that_is_due_at_the_end_or_later():
    """The end belongs to somebody else."""

    def scenario(lab):
        row = lab.begin()
        assert lab.go(before=START)[0] == 0
        assert lab.go(before=START + 1)[0] == 2
        assert (row[B_PHASE], row[B_TIME]) == (FAULT, START + COSTS.fault_entry_ns)

    in_lab(scenario)


def test_what_an_interrupt_takes_delays_the_next_access_in_user_mode():
    """Also one that comes between the mapping and the return from the fault."""

    def scenario(lab):
        row = lab.begin()
        mapped = START + COSTS.fault_entry_ns + COSTS.zone_lock_hold_page_ns
        mapped += COSTS.page_zeroing_ns
        returned = mapped + COSTS.pte_set_ns
        lab.go(before=returned)
        assert (row[B_PHASE], row[B_TIME]) == (RETURN, returned)
        row[B_STOLEN] = 33
        lab.go()
        assert (row[B_STOP], row[B_TIME], row[B_STOLEN]) == (STOP_DONE, returned + WALK + 33, 0)
        assert (row[B_UTIME], row[B_STIME]) == (WALK, returned - START)

    in_lab(scenario)
