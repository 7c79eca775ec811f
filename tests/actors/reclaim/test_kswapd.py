"""Tests of kswapd's life: boot, two kinds of sleep, wake-ups that count and those that do not."""

from kernelsim.actors.alloc.wakeup_kswapd import wakeup_kswapd
from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.kswapd import WakeUp
from kernelsim.actors.reclaim.kswapd import SHORT_SLEEP_NS
from kernelsim.mm.core.lruvec import LV_KSWAPD_FAILURES
from kernelsim.mm.core.mem import Z_FREE, Z_WMARK_HIGH, Z_WMARK_LOW
from kernelsim.mm.core.vmstat import (
    KSWAPD_HIGH_WMARK_HIT_QUICKLY,
    KSWAPD_LOW_WMARK_HIT_QUICKLY,
    PAGEOUTRUN,
)
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.reclaim.scan_control import MAX_RECLAIM_RETRIES
from tests.small_machine import PAGE, run, small_machine

NO_BOOST = {"vm.watermark_boost_factor": 0, "vm.compaction_proactiveness": 0}
SLEEP, WAKE, WAKEUP = (
    "mm_vmscan_kswapd_sleep",
    "mm_vmscan_kswapd_wake",
    "mm_vmscan_wakeup_kswapd",
)


def with_kswapd(scenario, **options):
    """Run `scenario(machine, kswapd, zone)` from a time when kswapd sleeps for good."""

    async def main(machine):
        await machine.sleep("1s")
        return await scenario(machine, machine.engine.actors["kswapd0"], machine.mem.zone[0])

    return run(small_machine(**{"swap": "64M", "sysctl": NO_BOOST, **options}), main)


async def fill_down_to(machine, process, free):
    """Let a process write until so many pages are free."""
    nr_pages = int(machine.mem.zone[0, Z_FREE]) - free
    await process.touch(await process.mmap(nr_pages * PAGE), write=True)


def test_after_boot_it_sleeps_a_little_and_then_for_good():
    """A tenth of a second first, in case the node falls out of balance; nothing is reclaimed."""

    async def scenario(machine, kswapd, zone):
        assert kswapd.state.asleep
        assert machine.mem.vm_event[PAGEOUTRUN] == 0

    done = with_kswapd(scenario)
    assert [event.t_ns - SHORT_SLEEP_NS < 10_000 for event in done.log.named(SLEEP)] == [True]


def test_it_uses_no_cpu_while_it_sleeps():
    """Nor does it hold one."""

    async def scenario(machine, kswapd, zone):
        before = kswapd._task.stime_ns
        await machine.sleep("10s")
        assert kswapd._task.stime_ns == before
        assert machine.kernel.cpus[0].state.current is None

    with_kswapd(scenario)


def test_a_wake_up_of_a_balanced_node_is_ignored():
    """Whoever asks: above high there is nothing to do."""

    async def scenario(machine, kswapd, zone):
        wakeup_kswapd(Current(machine.kernel, kswapd._task), 0, 3, GFP_HIGHUSER_MOVABLE)
        assert kswapd.state.asleep
        await machine.sleep("1s")
        assert machine.mem.vm_event[PAGEOUTRUN] == 0

    assert with_kswapd(scenario).log.named(WAKEUP) == []


def test_woken_below_low_it_works_until_high_and_sleeps_again():
    """One wake-up, one run or a few, and the node is above its high watermark."""

    async def scenario(machine, kswapd, zone):
        process = await machine.spawn("p")
        await fill_down_to(machine, process, int(zone[Z_WMARK_LOW]) - 5)
        await machine.sleep("5s")
        assert zone[Z_FREE] > zone[Z_WMARK_HIGH]
        assert kswapd.state.asleep
        assert machine.mem.vm_event[PAGEOUTRUN] >= 1

    done = with_kswapd(scenario)
    life = [event.event for event in done.log.events if event.event in (SLEEP, WAKE, WAKEUP)]
    assert life[0] == SLEEP
    assert life[1:3] == [WAKEUP, WAKE]
    assert life[-1] == SLEEP


def test_a_wake_up_during_the_short_sleep_counts_as_low_hit_quickly():
    """The node fell below low again before kswapd slept for good."""

    async def scenario(machine, kswapd, zone):
        process = await machine.spawn("p")
        await fill_down_to(machine, process, int(zone[Z_WMARK_LOW]) - 5)
        for _ in range(50):
            await machine.sleep("1ms")
            if kswapd.state.asleep:
                break
        assert zone[Z_FREE] > zone[Z_WMARK_HIGH]
        before = int(machine.mem.vm_event[KSWAPD_LOW_WMARK_HIT_QUICKLY])
        await fill_down_to(machine, process, int(zone[Z_WMARK_LOW]) - 5)
        await machine.sleep("1ms")
        assert machine.mem.vm_event[KSWAPD_LOW_WMARK_HIT_QUICKLY] == before + 1

    with_kswapd(scenario, cpus=("0-1",))


def test_a_node_that_falls_below_high_during_the_short_sleep_counts_as_high_hit_quickly():
    """Nobody woke kswapd; it finds the node out of balance by itself and goes on."""

    async def main(machine):
        zone = machine.mem.zone[0]
        process = await machine.spawn("p")
        free = int(zone[Z_WMARK_LOW] + zone[Z_WMARK_HIGH]) // 2
        await fill_down_to(machine, process, free)  # while kswapd is in its first short sleep
        assert machine.now_ns < SHORT_SLEEP_NS
        await machine.sleep("1s")
        assert machine.mem.vm_event[KSWAPD_HIGH_WMARK_HIT_QUICKLY] >= 1
        assert machine.mem.vm_event[PAGEOUTRUN] >= 1
        assert zone[Z_FREE] > zone[Z_WMARK_HIGH]

    done = run(small_machine(swap="64M", sysctl=NO_BOOST), main)
    assert done.log.named(WAKEUP) == []


def test_it_gives_up_when_there_is_nothing_to_reclaim():
    """Without swap anonymous pages cannot go: after enough failures nobody wakes it any more."""

    async def scenario(machine, kswapd, zone):
        process = await machine.spawn("p", oom_score_adj=-1000)
        await fill_down_to(machine, process, int(zone[Z_WMARK_LOW]) - 10)
        current = Current(machine.kernel, process._process.task)
        for _ in range(MAX_RECLAIM_RETRIES + 2):
            wakeup_kswapd(current, 0, 3, GFP_HIGHUSER_MOVABLE)
            await machine.sleep("1s")
        assert machine.kernel.lruvec[0, LV_KSWAPD_FAILURES] == MAX_RECLAIM_RETRIES
        assert kswapd.state.asleep
        runs = int(machine.mem.vm_event[PAGEOUTRUN])
        wakeup_kswapd(current, 0, 3, GFP_HIGHUSER_MOVABLE)
        await machine.sleep("1s")
        assert machine.mem.vm_event[PAGEOUTRUN] == runs

    with_kswapd(scenario, swap=None)


def test_each_node_has_its_own():
    """Pressure on one node wakes its kswapd alone, which runs on that node's CPUs."""

    async def main(machine):
        await machine.sleep("1s")
        process = await machine.spawn("p", cpu=0, mempolicy="bind:0")
        await process.touch(await process.mmap("20M"), write=True)
        return [machine.engine.actors[f"kswapd{nid}"]._task for nid in range(2)]

    done = run(small_machine(cpus=("0", "1"), swap="64M"), main)
    assert {event.actor for event in done.log.named(WAKE)} == {"kswapd0"}
    first, second = done.result
    assert first.stime_ns > 0 == second.stime_ns
    assert first.cpu is done.machine.kernel.cpus[0]


def test_a_stray_message_does_not_end_its_sleep():
    """One that comes at the end of a short sleep would else cost a round for nothing."""

    async def scenario(machine, kswapd, zone):
        kswapd.ref.tell(WakeUp())
        await machine.sleep("1s")
        assert kswapd.state.asleep
        assert machine.mem.vm_event[PAGEOUTRUN] == 0

    with_kswapd(scenario)


def test_the_task_that_allocates_says_that_it_wakes_kswapd():
    """The wake-up is an event of that task: it notes what it wants, and tells kswapd."""

    async def scenario(machine, kswapd, zone):
        process = await machine.spawn("p")
        await fill_down_to(machine, process, int(zone[Z_WMARK_LOW]) - 5)
        return process._process.task.name

    done = with_kswapd(scenario)
    assert [event.actor for event in done.log.named(WAKEUP)] == [done.result]


def test_on_one_cpu_it_preempts_the_task_that_woke_it():
    """It slept long: it runs when the fault that woke it is over, before that task faults again."""

    async def scenario(machine, kswapd, zone):
        process = await machine.spawn("p")
        await fill_down_to(machine, process, int(zone[Z_WMARK_LOW]) + 5)
        await process.touch(await process.mmap("1M"), write=True)

    done = with_kswapd(scenario)
    woken, wakes = done.log.named(WAKEUP)[0], done.log.named(WAKE)
    began_ns = next(event.t_ns for event in wakes if event.t_ns >= woken.t_ns)
    costs = done.machine.spec.latency
    page_ns = costs.zone_lock_hold_page_ns + costs.page_zeroing_ns + costs.pte_set_ns
    access_ns = 4 * costs.page_walk_step_ns + costs.memory_local_ns
    assert began_ns - woken.t_ns == page_ns + access_ns + costs.context_switch_ns
