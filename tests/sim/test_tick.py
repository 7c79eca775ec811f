"""Tests of looking at a run between its events: at which times, and that it changes nothing."""

import pytest

from kernelsim.errors import DeadlockError, InvariantViolation
from kernelsim.sim.engine import Engine


async def sleeper(engine: Engine, log: list[tuple[str, int]], name: str, step_ns: int) -> None:
    """Sleep a few times and log when that ended."""
    for _ in range(6):
        await engine.sleep(step_ns)
        log.append((name, engine.now_ns))


def run(tick_every_ns: int | None, count_every: int | None, *, inline: bool = True):
    """Run a sleeper and look on; return its log, the looks and the number of events."""
    engine = Engine(inline=inline)
    log: list[tuple[str, int]] = []
    looks: list[tuple[bool, int, int]] = []
    due = [0, 0]

    def on_tick(is_time: bool) -> None:
        looks.append((is_time, engine.now_ns, len(log)))
        arm()

    def arm() -> None:
        if tick_every_ns is not None:
            due[0] = (engine.now_ns // tick_every_ns + 1) * tick_every_ns
        clock = engine.clock
        clock.set_tick(
            due[0] if tick_every_ns else None,
            clock.number + count_every if count_every else None,
        )

    async def main(engine: Engine) -> None:
        engine.clock.on_tick = on_tick
        arm()
        await sleeper(engine, log, "a", 10)

    engine.run(main)
    return log, looks, engine.clock.number


def test_looks_come_at_their_time_after_all_that_is_due():
    """A look at 20 sees what happened at 20, and sleeps over it do not step in line past it."""
    _, looks, _ = run(20, None)
    assert [(now_ns, seen) for _, now_ns, seen in looks] == [(20, 2), (40, 4)]
    assert all(is_time for is_time, _, _ in looks)


def test_looks_between_events_stand_at_their_own_time():
    """A look when nothing is due happens at its time, not at the event before or behind."""
    _, looks, _ = run(7, None)
    assert [now_ns for _, now_ns, _ in looks] == [7, 14, 21, 28, 35, 42, 49, 56]


@pytest.mark.parametrize("inline", [True, False])
def test_looking_on_changes_nothing(inline: bool):
    """Order, times and event numbers are the same with looks, and with none."""
    alone = run(None, None, inline=inline)
    for tick, count in ((7, None), (None, 2), (13, 3)):
        watched = run(tick, count, inline=inline)
        assert (watched[0], watched[2]) == (alone[0], alone[2])
        assert watched[1]


def test_what_a_look_raises_ends_the_run():
    """An invariant found broken comes out of `run` as it is; the run has ended then."""
    engine = Engine()

    def on_tick(_is_time: bool) -> None:
        raise InvariantViolation("two and two are five")

    async def main(engine: Engine) -> None:
        engine.clock.on_tick = on_tick
        engine.clock.set_tick(5)
        await engine.sleep(1000)

    with pytest.raises(InvariantViolation, match="two and two"):
        engine.run(main)
    assert engine.ended is not None
    assert engine.ended.now_ns == 5


def test_no_look_behind_the_limit():
    """A tick later than the run's limit does not happen, nor does it stop the run from ending."""
    engine = Engine(until_ns=50)
    looks: list[int] = []

    def on_tick(_is_time: bool) -> None:
        looks.append(engine.now_ns)
        engine.clock.set_tick(engine.now_ns + 40)

    async def main(engine: Engine) -> None:
        engine.clock.on_tick = on_tick
        engine.clock.set_tick(40)
        await engine.sleep(1000)

    engine.run(main)
    assert looks == [40]
    assert engine.ended is not None
    assert (engine.ended.state, engine.ended.now_ns) == ("until", 50)


@pytest.mark.parametrize("inline", [True, False])
def test_what_is_done_meanwhile_comes_between_events_and_keeps_nobody(inline: bool):
    """Between two sleeps and never behind the last; a task that it wakes goes on at that time."""
    engine = Engine(inline=inline)
    seen: list[tuple[str, int]] = []

    async def main(engine: Engine) -> None:
        queue = engine.wait_queue("looks")

        def look(_: object) -> bool:
            seen.append(("look", engine.now_ns))
            engine.clock.call_meanwhile(engine.now_ns + 4, look)
            return bool(queue.wake_all())

        engine.clock.call_meanwhile(4, look)
        await sleeper(engine, seen, "main", 3)
        await queue.wait()
        seen.append(("woken", engine.now_ns))

    with pytest.raises(DeadlockError, match="deadlock at 18 ns"):
        engine.run(main)
    looks = [("look", now_ns) for now_ns in (4, 8, 12, 16)]
    slept = [("main", now_ns) for now_ns in (3, 6, 9, 12, 15, 18)]
    # What is due at the same time comes first.
    assert seen == sorted(slept + looks, key=lambda entry: (entry[1], entry[0] == "look"))


def test_what_is_done_meanwhile_wakes_a_task_at_its_time():
    """As a timer does, while somebody else has a later event."""
    engine = Engine()

    async def main(engine: Engine) -> int:
        queue = engine.wait_queue("looks")
        engine.clock.schedule(9, lambda _: False, None)
        engine.clock.call_meanwhile(4, lambda _: bool(queue.wake_all()))
        await queue.wait()
        return engine.now_ns

    assert engine.run(main) == 4
