"""Compaction on running machines: blocks are made, by whom, and what users of the pages notice."""

import attrs
import numpy as np
import pytest

from kernelsim.config.era import CLASSIC
from kernelsim.errors import DeadlockError, SyscallError
from kernelsim.mm.core.vmstat import COMPACT_DAEMON_WAKE
from kernelsim.mm.page.compaction import CompactResult
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.reclaim.scan_control import MAX_RECLAIM_RETRIES
from kernelsim.units import NS_PER_MS
from tests.actors.alloc.test_block_allocator import TUNABLES, in_pieces
from tests.small_machine import PAGE, run, small_machine

WOKEN = "mm_compaction_wakeup_kcompactd"
ATOMIC = "GFP_ATOMIC | __GFP_NOWARN"


async def used_up(machine, order, **pieces):
    """Take memory in pieces, then all blocks of an order that are left; return driver and user."""
    driver = machine.kernel_thread("driver", cpu=0)
    await driver.alloc_pages(1)
    user, kept = await in_pieces(machine, **pieces)
    while await driver.alloc_block(order, ATOMIC) is not None:
        pass
    return driver, user, kept


@pytest.mark.mission("A9")
def test_a_request_makes_its_block_under_its_users():
    """Pages move while they are stored to: stores wait for one that is copied, none is lost."""

    async def main(machine):
        driver, user, kept = await used_up(machine, 9, nr_pages=3000, cpu=1)
        storing, faults = [True], []

        async def store(process):
            before = process.stats.pgfault
            while storing:
                await process.touch(kept, write=True, length="2M")  # where compaction begins
            faults.append(process.stats.pgfault - before)

        child = await user.fork(store, shares_vm=True)
        await machine.sleep("1us")
        before = machine.vmstat
        blocks = [await driver.alloc_block(9) for _ in range(2)]
        storing.clear()
        await child.wait()
        after = machine.vmstat
        again = await user.touch(kept, write=True)
        assert all(block is not None for block in blocks)
        assert faults[0] > 0
        assert again.minflt == 0
        return {name: after[name] - before[name] for name in after}

    counted = run(small_machine(cpus=("0-1",), memory="32M", sysctl=TUNABLES), main).result
    assert counted["compact_success"] > 0
    assert counted["compact_stall"] == counted["compact_success"] + counted["compact_fail"]
    assert counted["pgmigrate_success"] > 0
    assert counted["compact_isolated"] >= 2 * counted["pgmigrate_success"]
    assert counted["compact_migrate_scanned"] > counted["pgmigrate_success"]
    assert counted["compact_daemon_wake"] == 0


@pytest.mark.mission("A9")
def test_compaction_is_the_same_by_messages_as_in_bursts():
    """And so is all that happens after it, with the same seed."""

    async def main(machine):
        driver, user, kept = await used_up(machine, 4)
        got = [await driver.alloc_block(4) for _ in range(5)]
        await user.touch(kept, write=True)
        return [int(block[0]) for block in got], machine.now_ns, machine.vmstat

    results = [
        run(small_machine(sysctl=TUNABLES), main, burst_pages=pages).result
        for pages in (1, 512, 512)
    ]
    assert results[0] == results[1] == results[2]


@pytest.mark.mission("A9")
def test_kcompactd_is_woken_when_kswapd_cannot_help():
    """Who may not wait is refused until kswapd has given up; then kcompactd makes the block."""

    async def main(machine):
        driver, *_ = await used_up(machine, 9, nr_pages=3000)
        nr_refused = 0
        while await driver.alloc_block(9, ATOMIC) is None and nr_refused < 50:
            nr_refused += 1
            await machine.sleep("2ms")
        await machine.sleep("10ms")
        return nr_refused, machine.vmstat

    done = run(small_machine(memory="32M", sysctl=TUNABLES), main)
    nr_refused, counted = done.result
    assert MAX_RECLAIM_RETRIES <= nr_refused < 50
    assert counted["compact_daemon_wake"] > 0
    assert counted["compact_daemon_migrate_scanned"] == counted["compact_migrate_scanned"] > 0
    assert counted["compact_stall"] == 0
    events = [each.event for each in done.log.events if each.actor.startswith("kcompactd0")]
    assert events[1] == "mm_compaction_kcompactd_wake"  # after its start
    assert events[-1] == "mm_compaction_kcompactd_sleep"
    assert "mm_compaction_end" in events


def test_kcompactd_asks_of_each_zone_whether_it_helps_those_who_may_use_none_above_it():
    """What is kept from requests that may use more does not count there; at the start it does."""

    async def main(machine):
        driver, *_ = await used_up(machine, 9, nr_pages=3000)
        machine.sysctl("vm.lowmem_reserve_ratio", "1")
        while not machine.mem.vm_event[COMPACT_DAEMON_WAKE]:
            await driver.alloc_block(9, ATOMIC)
            await machine.sleep("2ms")

    done = run(small_machine(memory="32M", sysctl=TUNABLES), main)
    looks = [
        each.fields["ret"]
        for each in done.log.named("mm_compaction_suitable")
        if each.actor.startswith("kcompactd0") and each.fields["idx"] == 0
    ]
    assert looks[:2] == [CompactResult.CONTINUE, CompactResult.SKIPPED]


@pytest.mark.mission("A9")
def test_kcompactd_is_woken_when_kswapd_has_freed_enough():
    """It goes to sleep with single pages free, though no block: that is kcompactd's to make."""

    async def main(machine):
        driver, user = machine.kernel_thread("driver"), await machine.spawn("user")
        await driver.alloc_pages(1)
        goes, stays, locked = [await user.mmap(1000 * PAGE) for _ in range(3)]
        first = np.array([each.address for each in (goes, stays, locked)]) // PAGE
        turns = (np.arange(1000)[:, None] + first).ravel()
        await user.touch_pages(turns, np.ones(len(turns), np.int64))
        await user.munmap(goes)
        await user.syscall("mlock", locked)  # kswapd leaves these, and compaction moves them
        while await driver.alloc_block(4, ATOMIC) is not None:
            pass
        for _ in range(30):
            await machine.sleep("20ms")
            if machine.mem.vm_event[COMPACT_DAEMON_WAKE]:
                break
            await driver.alloc_block(4, ATOMIC)
        return machine.vmstat

    done = run(small_machine(swap="16M", sysctl=TUNABLES), main)
    assert done.result["compact_daemon_wake"] > 0
    assert done.result["pgmigrate_success"] > 0
    woken = [each.actor for each in done.log.events if each.event == WOKEN]
    assert woken[0] == "kswapd0"


def test_what_a_user_writes_compacts_all_of_it():
    """vm.compact_memory leaves less in pieces; the file of a node does the same for that node."""

    async def main(machine):
        await in_pieces(machine)
        before = machine.sysfs("kernel/debug/extfrag/unusable_index")
        await machine.compact_memory()
        after = machine.sysfs("kernel/debug/extfrag/unusable_index")
        moved = machine.vmstat["pgmigrate_success"]
        await machine.write_sysfs("/sys/devices/system/node/node0/compact", "1")
        return float(before.split()[5]), float(after.split()[5]), moved

    before, after, moved = run(small_machine(), main).result
    assert after < before / 2
    assert moved > 0


def test_free_pages_that_were_not_used_are_given_back():
    """A free block is taken whole, though fewer pages are moved."""

    async def main(machine):
        driver, *_ = await used_up(machine, 7, nr_pages=1536, piece=48)
        assert await driver.alloc_block(7) is not None
        return machine.vmstat, machine.kernel.nr_in_flight

    counted, nr_in_flight = run(small_machine(sysctl=TUNABLES), main).result
    assert counted["compact_isolated"] > 2 * counted["pgmigrate_success"] > 0
    assert nr_in_flight == 0


def test_a_zone_that_compaction_fails_for_is_left_alone_for_a_while():
    """Nothing can be moved: each failure has twice as many requests do without it."""

    async def main(machine):
        driver = machine.kernel_thread("driver", cpu=0)
        pages = await driver.alloc_pages(3000)
        await driver.free_pages(pages[::2])
        while await driver.alloc_block(9, ATOMIC) is not None:
            pass
        known = machine.kernel.compaction.zones[0]
        fails = []
        for _ in range(8):
            assert await driver.alloc_block(9, "GFP_KERNEL | __GFP_NOWARN") is None
            fails.append((machine.vmstat["compact_fail"], known.defer_shift))
        return fails

    fails = run(small_machine(sysctl=TUNABLES), main).result
    assert fails[-1][1] > 1
    assert fails[0][1] == 1


def test_pages_locked_in_memory_move_only_if_they_may():
    """vm.compact_unevictable_allowed decides."""

    async def main(machine):
        user, kept = await in_pieces(machine)
        await user.syscall("mlock", kept)
        machine.sysctl("vm.compact_unevictable_allowed", 0)
        await machine.compact_memory()
        stayed = machine.vmstat["pgmigrate_success"]
        machine.sysctl("vm.compact_unevictable_allowed", 1)
        await machine.compact_memory()
        return stayed, machine.vmstat["pgmigrate_success"]

    stayed, moved = run(small_machine(), main).result
    assert stayed < 20 < moved  # what is moved at first is of others


def test_small_blocks_are_worth_reclaim():
    """A request of order 2 that may wait has pages swapped out when there is too little to move."""

    async def main(machine):
        driver, user, _ = await used_up(machine, 2)
        await driver.alloc_pages(5000, ATOMIC)
        # each second page of the rest is the driver's: no two free ones lie together there
        blocks = [await driver.alloc_block(2) for _ in range(30)]
        assert all(block is not None for block in blocks)
        return user.stats.swap_pages

    assert run(small_machine(swap="16M", sysctl=TUNABLES), main).result > 0


def test_a_classic_kernel_compacts_nothing():
    """A request for a block of many pages fails on memory in pieces."""
    spec = small_machine(sysctl=TUNABLES)

    async def main(machine):
        driver, _, _ = await used_up(machine, 4)
        while await driver.alloc_block(4, "GFP_KERNEL | __GFP_NOWARN") is not None:
            pass  # of what the CPU's lists had
        with pytest.raises(SyscallError, match="ENOENT"):
            await machine.compact_memory()
        return machine.vmstat["pgmigrate_success"], "kcompactd0" in machine.engine.actors

    assert run(attrs.evolve(spec, era=CLASSIC), main).result == (0, False)


@pytest.mark.mission("A9")
@pytest.mark.parametrize("proactiveness", [20, 0])
def test_fragmented_memory_is_compacted_before_anybody_asks(proactiveness):
    """Twice a second kcompactd looks; with large blocks made it looks on, and leaves all alone."""

    async def main(machine):
        nr_pages = machine.vmstat["nr_free_pages"] * 9 // 20
        process, stays = await in_pieces(machine, nr_pages=nr_pages)
        before = machine.vmstat, (free_area_counts(machine.mem, 0).sum(axis=1))[9:].sum()
        await machine.sleep("1900ms")
        made = (free_area_counts(machine.mem, 0).sum(axis=1))[9:].sum() - before[1]
        moved = machine.vmstat["pgmigrate_success"]
        await machine.sleep("2s")
        assert machine.vmstat["pgmigrate_success"] == moved
        await process.touch(stays, write=True)
        return made, moved, machine.vmstat["compact_daemon_wake"]

    sysctl = {"vm.watermark_boost_factor": 0, "vm.compaction_proactiveness": proactiveness}
    made, moved, nr_asked = run(small_machine(memory="32M", sysctl=sysctl), main).result
    assert (made > 0, moved > 0, nr_asked) == (proactiveness > 0, proactiveness > 0, 0)


@pytest.mark.mission("A9")
def test_writing_proactiveness_has_kcompactd_look_at_once():
    """It need not wait for half a second."""

    async def main(machine):
        nr_pages = machine.vmstat["nr_free_pages"] * 9 // 20
        await in_pieces(machine, nr_pages=nr_pages)
        machine.sysctl("vm.compaction_proactiveness", 20)
        await machine.sleep("100ms")
        return machine.now_ns, machine.vmstat["pgmigrate_success"]

    sysctl = {"vm.watermark_boost_factor": 0, "vm.compaction_proactiveness": 0}
    now_ns, moved = run(small_machine(memory="32M", sysctl=sysctl), main).result
    assert now_ns < 500 * NS_PER_MS
    assert moved > 0


def test_looks_do_not_hide_that_nobody_can_move():
    """A machine on which all wait for ever ends as a deadlock."""

    async def main(machine):
        await machine.wait_queue("nothing").wait()

    with pytest.raises(DeadlockError):
        run(small_machine(cpus=("0", "1")), main)
