"""How many writes a disk is given, and that a slow one makes programs slow, not dead."""

import pytest

from kernelsim.block.blk_wbt import (
    CLOSE_IO_NS,
    RECENT_WAIT_NS,
    WBT_RWQ_BG,
    WBT_RWQ_KSWAPD,
    WritebackThrottle,
)
from kernelsim.block.rq_depth import RWB_DEF_DEPTH, RWB_WINDOW_NS, RqDepth
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine
from tests.small_machine import PAGE, run, small_machine

WB_NORMAL = 8
WB_BACKGROUND = 4
NO_BOOST = {"vm.watermark_boost_factor": 0}


def with_throttle(scenario):
    """Run `scenario(engine, throttle)`."""

    async def main(engine):
        queues = [engine.wait_queue(kind) for kind in ("others", "kswapd")]
        await scenario(engine, WritebackThrottle(queues, RqDepth(256, 75_000_000)))

    Engine().run(main)


def test_kswapd_may_write_more_than_others_and_apart_from_them():
    """Sixteen requests of kswapd, eight of all others."""

    async def scenario(engine, throttle):
        for kind, limit in ((WBT_RWQ_KSWAPD, RWB_DEF_DEPTH), (WBT_RWQ_BG, WB_NORMAL)):
            for _ in range(limit):
                assert throttle.try_begin(kind, engine.now_ns)
            assert not throttle.try_begin(kind, engine.now_ns)

    with_throttle(scenario)


def test_a_disk_that_reads_is_given_fewer_writes():
    """Until a tenth of a second after the last read; kswapd is not held back."""

    async def scenario(engine, throttle):
        throttle.note_read(engine.now_ns)
        assert throttle.limit(WBT_RWQ_BG, engine.now_ns) == WB_BACKGROUND
        assert throttle.limit(WBT_RWQ_KSWAPD, engine.now_ns) == RWB_DEF_DEPTH
        await engine.sleep(CLOSE_IO_NS)
        assert throttle.limit(WBT_RWQ_BG, engine.now_ns) == WB_NORMAL

    with_throttle(scenario)


def test_what_is_waited_for_may_fill_the_queue():
    """A sync may use all of the depth, others half of it."""

    async def scenario(engine, throttle):
        limits = [throttle.limit(WBT_RWQ_BG, 0, is_sync=is_sync) for is_sync in (True, False)]
        assert limits == [RWB_DEF_DEPTH, WB_NORMAL]

    with_throttle(scenario)


def test_while_writers_are_made_to_wait_all_of_the_depth_is_used():
    """Until a second after balance_dirty_pages made a writer wait, nobody is held back."""

    async def scenario(engine, throttle):
        throttle.dirty_sleep_ns = engine.now_ns
        assert throttle.limit(WBT_RWQ_BG, engine.now_ns) == RWB_DEF_DEPTH
        await engine.sleep(RECENT_WAIT_NS)
        assert throttle.limit(WBT_RWQ_BG, engine.now_ns) == WB_NORMAL

    with_throttle(scenario)


def test_a_deeper_queue_wakes_those_who_wait():
    """At the end of a window with writes only the depth doubles, and a sleeper goes on."""

    async def scenario(engine, throttle):
        for _ in range(WB_NORMAL):
            assert throttle.try_begin(WBT_RWQ_BG, engine.now_ns)
        ends = engine.now_ns + RWB_WINDOW_NS
        engine.clock.schedule(
            ends,
            lambda _: bool(throttle.end_window(ends, RWB_WINDOW_NS, is_busy=True)) and False,
            None,
        )
        throttle.waits(WBT_RWQ_BG, is_sync=False)
        await throttle.queues[WBT_RWQ_BG].wait()
        assert engine.now_ns == ends
        assert throttle.inflight[WBT_RWQ_BG] == WB_NORMAL + 1

    with_throttle(scenario)


def test_who_waits_goes_on_when_all_writes_are_done():
    """Not at the first one: the disk's cache is to be empty."""

    async def scenario(engine, throttle):
        for _ in range(2):
            assert throttle.try_begin(WBT_RWQ_BG, engine.now_ns)

        engine.clock.schedule(100, lambda _: bool(throttle.done(WBT_RWQ_BG, engine.now_ns)), None)
        engine.clock.schedule(200, lambda _: bool(throttle.done(WBT_RWQ_BG, engine.now_ns)), None)
        throttle.waits(WBT_RWQ_BG, is_sync=False)
        await throttle.queues[WBT_RWQ_BG].wait()
        assert engine.now_ns == 200

    with_throttle(scenario)


def test_writers_go_on_in_the_order_they_came():
    """Nobody passes those who sleep, and no more are woken than may write."""
    limit = WB_NORMAL
    begun = []

    class Writer(Actor):
        async def run(self):
            if not throttles[0].try_begin(WBT_RWQ_BG, self.engine.now_ns):
                throttles[0].waits(WBT_RWQ_BG, is_sync=False)
                await throttles[0].queues[WBT_RWQ_BG].wait()
            begun.append(self.name)

    throttles = []

    async def scenario(engine, throttle):
        throttles.append(throttle)
        names = [f"w{number}" for number in range(3 * limit)]
        for name in names:
            engine.spawn(Writer(name))
        await engine.sleep(100)
        assert begun == names[:limit]
        for nr_done in range(limit):
            assert len(begun) == limit, nr_done
            throttle.done(WBT_RWQ_BG, engine.now_ns)
            assert not throttle.try_begin(WBT_RWQ_BG, engine.now_ns)
            await engine.sleep(1)
        assert begun == names[: 2 * limit]
        assert throttle.inflight == [limit, 0]
        for _ in range(2 * limit):
            throttle.done(WBT_RWQ_BG, engine.now_ns)
            await engine.sleep(1)
        assert begun == names
        assert throttle.inflight == [0, 0]

    with_throttle(scenario)


@pytest.mark.parametrize("bandwidth", ["10M", "2M", "1M"])
def test_a_slow_swap_disk_makes_a_program_slow_and_does_not_kill_it(bandwidth):
    """Twice the memory is written; whoever reclaims sleeps until the disk has written."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(8192 * PAGE)
        result = await process.touch(region, write=True)
        assert not result.signal
        return machine.now_ns

    done = run(small_machine(swap="64M", disk={"bandwidth": bandwidth}, sysctl=NO_BOOST), main)
    assert done.vm_events["oom_kill"] == 0
    written_ns = done.vm_events["pswpout"] * PAGE * 1000 // (int(bandwidth[:-1]) << 20) * 10**6
    assert done.result > written_ns // 2
    # Three quarters of 32 requests for kswapd, half of that for others (rq_depth.py).
    assert done.machine.kernel.devices["vda"].statistics.in_flight_max <= 24 + 12


@pytest.mark.parametrize("priorities", [(5, 5), (10, 5)])
def test_each_disk_counts_its_own_writes_when_a_batch_goes_to_two(priorities):
    """Areas that take turns, or one that fills up: nothing is left under way anywhere."""
    spec = machine_from_toml(
        {
            "name": "two disks",
            "arch": "x86_64",
            "node": [{"cpus": "0-1", "memory": "16M"}],
            "device": [{"name": "vda"}, {"name": "vdb"}],
            "swap": [
                {"size": "4M", "device": "vda", "prio": priorities[0]},
                {"size": "32M", "device": "vdb", "prio": priorities[1]},
            ],
        }
    )

    async def hog(process):
        region = await process.mmap("13M")
        for _ in range(3):
            await process.touch(region, write=True)

    async def main(machine):
        for process in [await machine.spawn(name, hog) for name in ("a", "b")]:
            assert await process.wait() == 0
        await machine.sleep("1s")
        return [disk.throttle.inflight for disk in machine.kernel.devices.values()]

    assert run(spec, main).result == [[0, 0], [0, 0]]
