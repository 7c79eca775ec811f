"""Tests of virtual time: sleeping, order, ties, limits, trio's own timeouts."""

import itertools

import pytest
import trio

from kernelsim.errors import EventLimitError, LivelockError, SimulationError, WorkloadError
from kernelsim.sim.clock import INLINE_STRETCH, VirtualClock
from kernelsim.sim.engine import Engine
from kernelsim.sim.event import FOREVER_NS, mixed


def test_sleep_moves_time_by_what_it_says(run):
    """Time is what was slept, to the nanosecond, also above 2**53."""

    async def main(engine):
        await engine.sleep(7)
        await engine.sleep((1 << 60) + 1)
        return engine.now_ns

    assert (1 << 60) + 8 == run(main)


def test_sleep_in_line_needs_no_switch():
    """Alone, a sleep goes without a switch; with inline=False it does not."""

    async def main(engine):
        before = engine.clock.nr_inline
        for _ in range(10):
            await engine.sleep(5)
        return engine.clock.nr_inline - before

    assert Engine().run(main) == 10
    assert Engine(inline=False).run(main) == 0


def test_sleepers_wake_in_order_of_time_then_of_scheduling(run, doing):
    """Earlier first; at one time, whoever went to sleep first."""
    order = []

    async def main(engine):
        def sleeper(ns):
            async def body(actor):
                await engine.sleep(ns)
                order.append((engine.now_ns, actor.name))

            return body

        refs = [engine.spawn(doing(f"a{n}", sleeper(ns))) for n, ns in enumerate([9, 4, 9, 4, 0])]
        for ref in refs:
            await ref.join()

    run(main)
    assert order == [(0, "a4"), (4, "a1"), (4, "a3"), (9, "a0"), (9, "a2")]


def orders(doing, seeds):
    """Collect in which orders three simultaneous sleepers wake."""
    found = []
    for seed in seeds:
        order = []

        async def main(engine, order=order):
            async def body(actor):
                await engine.sleep(3)
                order.append(actor.name)

            for ref in [engine.spawn(doing(name, body)) for name in "abc"]:
                await ref.join()

        Engine(schedule_seed=seed).run(main)
        found.append("".join(order))
    return found


def test_schedule_seeds_give_every_order(doing):
    """Over 100 schedule seeds all six orders of three events come up; the same seed repeats."""
    found = orders(doing, range(100))
    assert {"".join(letters) for letters in itertools.permutations("abc")} == set(found)
    assert found == orders(doing, range(100))


def test_without_schedule_seed_the_seed_changes_no_order(doing):
    """The order of simultaneous events is that of scheduling, whatever the seed."""
    assert orders(doing, [None, None]) == ["abc", "abc"]


def test_ties_look_random():
    """Each bit of the tie is set in about half of all cases."""
    ties = [mixed(seed, number) for seed in range(20) for number in range(100)]
    for bit in range(64):
        assert 800 < sum(tie >> bit & 1 for tie in ties) < 1200
    assert len(set(ties)) == 2000


@pytest.mark.parametrize("ns", [-1, 1.5, 0.0, "1"])
def test_bad_sleep_is_refused(run, ns):
    """A negative time or one that is no int is an error of the caller."""

    async def main(engine):
        await engine.sleep(1)
        await engine.sleep(ns)

    with pytest.raises((ValueError, TypeError)):
        run(main)


def test_sleep_zero_lets_others_run(run, doing):
    """A sleep of 0 comes after what is due at this instant."""
    order = []

    async def main(engine):
        async def body(actor):
            order.append(actor.name)

        engine.spawn(doing("a", body))
        await engine.sleep(0)
        order.append("main")

    run(main)
    assert order == ["a", "main"]


def test_until_is_reached_exactly(run):
    """Events at the limit happen, later ones do not; time ends at the limit."""
    seen = []

    async def main(engine):
        while True:
            await engine.sleep(4)
            seen.append(engine.now_ns)

    assert run(main, until_ns=12) is None
    assert seen == [4, 8, 12]
    assert (run.engine.ended.state, run.engine.ended.now_ns) == ("until", 12)


def test_until_holds_between_events(run):
    """The run ends at the limit though no event lies there."""

    async def main(engine):
        await engine.sleep(100)

    run(main, until_ns=30)
    assert (run.engine.ended.state, run.engine.now_ns) == ("until", 30)


def test_event_limit_strikes_at_the_same_event_in_line_and_not():
    """max_events ends the run with an error after the same event either way."""
    reached = []
    for inline in (True, False):

        async def main(engine):
            while True:
                await engine.sleep(1)
                reached[-1] += 1

        reached.append(0)
        engine = Engine(max_events=50, inline=inline)
        with pytest.raises(EventLimitError, match="more than 50 events by 49 ns"):
            engine.run(main)
        assert engine.ended.state == "max_events"
    assert reached == [49, 49]


def test_long_stretch_in_line_lets_trio_run():
    """After INLINE_STRETCH sleeps in line there is one real switch."""

    async def main(engine):
        before = engine.clock.nr_scheduled
        for _ in range(3 * INLINE_STRETCH):
            await engine.sleep(1)
        return engine.clock.nr_scheduled - before

    assert Engine().run(main) in {2, 3}


def test_standing_time_is_a_livelock(run, doing):
    """Too many events at one instant end the run and name who is woken all the time."""

    async def main(engine):
        async def body(_):
            await engine.sleep(6)
            while True:
                await engine.sleep(0)

        engine.spawn(doing("idler", lambda _: engine.sleep(50)))
        engine.spawn(doing("spinner", body))
        await engine.sleep(100)

    with pytest.raises(LivelockError, match=r"livelock at 6 ns: .*; spinner is woken again"):
        run(main, max_events_per_instant=1000)
    assert run.engine.ended.state == "livelock"


def test_trio_timeouts_fire_in_virtual_time(run):
    """A timeout of trio's set before the block cuts even sleeps that need no switch."""

    async def main(engine):
        with trio.move_on_after(2e-6) as scope:
            for _ in range(10):
                await engine.sleep(300)
        return scope.cancelled_caught, engine.now_ns

    assert run(main) == (True, 2000)


def test_trio_timeout_beyond_the_limit_is_not_reached(run):
    """The limit of the run comes before a later timeout of trio's."""

    async def main(_):
        with trio.move_on_after(1):
            await trio.sleep_forever()

    run(main, until_ns=500)
    assert (run.engine.ended.state, run.engine.now_ns) == ("until", 500)


def test_stale_events_are_cleared_out():
    """Timeouts that were never needed do not pile up, and time does not go to them."""

    async def main(engine):
        for _ in range(10_000):
            with engine.move_on_after(10**9):
                await engine.sleep(1)
        return len(engine.clock._heap)

    engine = Engine()
    assert engine.run(main) < 200
    assert engine.now_ns == 10_000


def test_a_callback_can_see_that_nothing_else_is_to_come():
    """An event, or a timeout of trio's, is; what was cancelled is not."""
    seen = []

    async def main(engine):
        def look(_):
            seen.append((engine.now_ns, engine.clock.has_more()))

        for at_ns in (1, 3, 7):
            engine.clock.schedule(at_ns, look, None)
        await engine.sleep(5)
        with trio.move_on_after(1e-6):
            await engine.wait_queue("godot").wait()
        engine.clock.schedule(engine.now_ns + 1, look, None)
        await engine.wait_queue("godot").wait()

    with pytest.raises(SimulationError, match="deadlock"):
        Engine().run(main)
    assert seen == [(1, True), (3, True), (7, True), (1006, False)]


def test_callback_runs_at_its_time(run):
    """`clock.schedule` calls a function at a time, in nobody's name."""
    called = []

    async def main(engine):
        engine.clock.schedule(5, lambda what: called.append((engine.now_ns, what)), "x")
        engine.clock.schedule(7, lambda _: called.append(engine.running_name), None)
        await engine.sleep(20)

    run(main)
    assert called == [(5, "x"), "engine"]


def test_nothing_is_scheduled_in_the_past():
    """An event before now is refused."""
    clock = VirtualClock()
    clock.now_ns = 10
    with pytest.raises(ValueError, match=r"at_ns\(=9\) must not be before now"):
        clock.schedule(9, print, None)


def test_clock_is_trios():
    """It is a clock by trio's abstract class, and counts seconds for it."""
    clock = VirtualClock()
    clock.now_ns = 1_500_000_000
    assert isinstance(clock, trio.abc.Clock)
    assert clock.current_time() == 1.5
    assert clock.deadline_to_sleep_time(float("inf")) == 1.0
    assert clock.limit_ns == FOREVER_NS


def test_foreign_task_is_refused(run):
    """A task the engine does not know may not wait: its place in the order would be chance."""

    async def main(engine):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.sleep, 0)

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(WorkloadError, match="spawn a process or an actor")


def test_what_was_planned_can_be_called_off():
    """It does not happen, and nothing waits for its time; the next event of others is told."""
    seen = []

    async def main(engine):
        clock = engine.clock
        off = clock.plan(10, seen.append, "off")
        clock.plan(20, seen.append, "on")
        clock.schedule(30, seen.append, "other")
        own = [off]
        assert clock.next_of_others(own) == 20
        assert off.number == clock.number - 2
        clock.call_off(off)
        clock.next_event()
        assert clock.next_of_others(()) == 20
        await engine.sleep(15)
        assert seen == []
        await engine.sleep(15)
        await engine.sleep(1)

    Engine().run(main)
    assert seen == ["on", "other"]
