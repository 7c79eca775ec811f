"""Tests of cancellation in virtual time."""

import pytest
import trio


def test_block_in_time_is_not_cancelled(run):
    """A block that is done before its time runs through, and its timeout is forgotten."""

    async def main(engine):
        with engine.move_on_after(10) as scope:
            await engine.sleep(9)
        await engine.sleep(5)
        return scope.cancelled_caught, scope.cancel_called, engine.now_ns

    assert run(main) == (False, False, 14)


def test_block_out_of_time_is_cancelled_on_time(run):
    """The block ends at its time, not when the sleep would have."""

    async def main(engine):
        with engine.move_on_after(10) as scope:
            await engine.sleep(11)
        return scope.cancelled_caught, engine.now_ns

    assert run(main) == (True, 10)


def test_timeouts_nest(run):
    """The outer, earlier timeout ends the inner block too."""

    async def main(engine):
        with engine.move_on_after(5) as outer:
            with engine.move_on_after(50) as inner:
                await engine.sleep(100)
            pytest.fail("the outer scope was cancelled")
        return outer.cancelled_caught, inner.cancelled_caught, engine.now_ns

    assert run(main) == (True, False, 5)


def test_no_limit_means_none(run):
    """None never cancels."""

    async def main(engine):
        with engine.move_on_after(None) as scope:
            await engine.sleep(1 << 50)
        return scope.cancelled_caught

    assert run(main) is False


def test_cancelled_task_does_not_sleep_on(run):
    """After `cancel` the next sleep ends the block, though it would need no switch."""
    reached = []

    async def main(engine):
        with engine.move_on_after(None) as scope:
            await engine.sleep(1)
            scope.cancel()
            reached.append("the line after")
            await engine.sleep(1)
            reached.append("too far")
        return scope.cancelled_caught, engine.now_ns

    assert run(main) == (True, 1)
    assert reached == ["the line after"]


def test_cancelling_others_goes_by_creation(run, doing):
    """Simultaneously cancelled tasks clean up in the order they were created."""
    order = []

    async def main(engine):
        async def body(actor):
            try:
                await engine.sleep(100)
            finally:
                order.append((actor.name, engine.now_ns))

        refs = [engine.spawn(doing(f"a{n}", body)) for n in range(20)]
        await engine.sleep(3)
        for ref in reversed(refs):
            ref.kill()
        await engine.sleep(3)
        assert all(ref.has_ended for ref in refs)

    run(main)
    assert order == [(f"a{n}", 3) for n in range(20)]


def test_what_was_handed_over_is_taken(run, doing):
    """Who is given a value and cancelled in one instant takes the value first."""
    got = []

    async def main(engine):
        send, receive = engine.channel(1)

        async def body(_):
            got.append(await receive.receive())
            await engine.sleep(1)
            got.append("too far")

        ref = engine.spawn(doing("a", body))
        await engine.sleep(1)
        send.send_nowait("value")
        ref.kill()
        await engine.sleep(10)

    run(main)
    assert got == ["value"]


def test_sleep_zero_can_be_cancelled(run, doing):
    """An actor that only gives way can be killed."""

    async def main(engine):
        async def body(_):
            while True:
                await engine.sleep(0)

        ref = engine.spawn(doing("a", body))
        await engine.sleep(0)
        ref.kill()
        await ref.join()

    run(main)
    assert run.engine.ended.state == "done"


def test_actor_killed_before_it_began_gets_nowhere(run, doing):
    """It starts, and its first sleep ends it, though that would need no switch."""
    reached = []

    async def main(engine):
        async def body(_):
            reached.append(engine.now_ns)
            await engine.sleep(1)
            reached.append("too far")

        ref = engine.spawn(doing("a", body))
        ref.kill()
        await ref.join()
        return engine.now_ns

    assert run(main) == 0
    assert reached == [0]


def test_trios_own_cancellation_comes_before_the_next_sleep(run, doing):
    """Whom a scope of trio's cancels cleans up before the canceller's time goes on."""
    cleaned = []

    async def main(engine):
        scope = trio.CancelScope()

        async def body(_):
            with scope:
                try:
                    await engine.sleep(1000)
                finally:
                    cleaned.append(engine.now_ns)

        engine.spawn(doing("a", body))
        await engine.sleep(5)
        scope.cancel()
        await engine.sleep(3)

    run(main)
    assert cleaned == [5]
