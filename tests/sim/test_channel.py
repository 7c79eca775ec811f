"""Tests of channels: order, room, latency, closing, cancellation."""

import pytest
import trio

from kernelsim.errors import DeadlockError


def test_ends_are_trios(run):
    """Both ends are trio's abstract channels and work with `async for` and `async with`."""

    async def main(engine):
        send, receive = engine.channel(3)
        assert isinstance(send, trio.abc.SendChannel)
        assert isinstance(receive, trio.abc.ReceiveChannel)
        async with send:
            for value in range(3):
                await send.send(value)
        async with receive:
            return [value async for value in receive]

    assert run(main) == [0, 1, 2]


def test_values_arrive_after_the_latency_in_order(run, doing):
    """A value sent at t is received at t + latency, however late the receiver asks."""
    got = []

    async def main(engine):
        send, receive = engine.channel(10, latency_ns=5)

        async def sender(_):
            for value in range(4):
                await send.send(value)
                await engine.sleep(3)

        engine.spawn(doing("sender", sender))
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()
        for _ in range(4):
            got.append((await receive.receive(), engine.now_ns))
            await engine.sleep(1)

    run(main)
    assert got == [(0, 5), (1, 8), (2, 11), (3, 14)]


@pytest.mark.parametrize("schedule_seed", [None, *range(10)])
@pytest.mark.parametrize("latency_ns", [0, 4])
@pytest.mark.parametrize("nr_receivers", [1, 2])
def test_order_is_kept_under_any_schedule(run, doing, schedule_seed, latency_ns, nr_receivers):
    """Whatever the order of simultaneous events, no value overtakes another of its sender."""
    got = {"r1": [], "r2": []}

    async def main(engine):
        send, receive = engine.channel(2, latency_ns=latency_ns)

        async def sender(actor):
            for value in range(20):
                await send.send((actor.name, value))

        async def receiver(actor):
            while True:
                got[actor.name].append(await receive.receive())

        for name in list(got)[:nr_receivers]:
            engine.spawn(doing(name, receiver))
        for ref in [engine.spawn(doing(name, sender)) for name in "ab"]:
            await ref.join()
        await engine.sleep(50)

    run(main, schedule_seed=schedule_seed)
    for name in "ab":
        values = [[value for sender, value in got[r] if sender == name] for r in got]
        assert [sorted(part) for part in values] == values
        assert sorted(values[0] + values[1]) == list(range(20))


def test_send_waits_for_room(run, doing):
    """A full channel, counting what is under way, holds up its sender until a value is taken."""
    sent = []

    async def main(engine):
        send, receive = engine.channel(2, latency_ns=1)

        async def sender(_):
            for value in range(4):
                await send.send(value)
                sent.append(engine.now_ns)

        engine.spawn(doing("sender", sender))
        await engine.sleep(10)
        with pytest.raises(trio.WouldBlock):
            send.send_nowait("x")
        assert send.statistics().nr_senders_waiting == 1
        got = []
        for _ in range(4):
            got.append(await receive.receive())
            await engine.sleep(10)
        return got, receive.statistics()

    got, statistics = run(main)
    assert got == [0, 1, 2, 3]
    assert sent == [0, 0, 10, 20]
    assert (statistics.nr_sent, statistics.nr_received) == (4, 4)
    assert (statistics.nr_buffered, statistics.nr_under_way) == (0, 0)


def test_receivers_are_served_in_turn(run, doing):
    """Who waits longest gets the next value."""
    got = []

    async def main(engine):
        send, receive = engine.channel(5)

        async def receiver(actor):
            got.append((actor.name, await receive.receive()))

        refs = [engine.spawn(doing(name, receiver)) for name in "abc"]
        await engine.sleep(1)
        for value in range(3):
            send.send_nowait(value)
        for ref in refs:
            await ref.join()

    run(main)
    assert got == [("a", 0), ("b", 1), ("c", 2)]


def test_closed_sender_ends_the_channel_after_the_last_value(run):
    """Values under way still arrive, then EndOfChannel; sending raises at once."""

    async def main(engine):
        send, receive = engine.channel(5, latency_ns=3)
        await send.send("last")
        await send.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await send.send("later")
        assert await receive.receive() == "last"
        with pytest.raises(trio.EndOfChannel):
            await receive.receive()

    run(main)


def test_closing_wakes_everybody_with_the_reason(run, doing):
    """Waiting receivers get EndOfChannel, senders one that says which end closed."""
    raised = []

    async def main(engine):
        def waits(method, *arguments):
            async def body(actor):
                try:
                    await method(*arguments)
                except trio.TrioInternalError:
                    raise
                except (
                    trio.EndOfChannel,
                    trio.BrokenResourceError,
                    trio.ClosedResourceError,
                ) as error:
                    raised.append((actor.name, type(error).__name__))

            return body

        empty_send, empty_receive = engine.channel(1)
        full_send, full_receive = engine.channel(1)
        other_send, _ = engine.channel(1)
        full_send.send_nowait(0)
        other_send.send_nowait(0)
        engine.spawn(doing("receiver", waits(empty_receive.receive)))
        engine.spawn(doing("sender", waits(full_send.send, 1)))
        engine.spawn(doing("closed", waits(other_send.send, 1)))
        await engine.sleep(1)
        await empty_send.aclose()
        await full_receive.aclose()
        await other_send.aclose()
        await engine.sleep(1)
        with pytest.raises(trio.ClosedResourceError):
            full_receive.receive_nowait()
        with pytest.raises(trio.BrokenResourceError):
            full_send.send_nowait(0)

    run(main)
    assert raised == [
        ("receiver", "EndOfChannel"),
        ("sender", "BrokenResourceError"),
        ("closed", "ClosedResourceError"),
    ]


def test_cancelled_waits_lose_no_value(run):
    """A receiver whose time is up leaves the queue; the value goes to the next one."""

    async def main(engine):
        send, receive = engine.channel(1)
        for _ in range(3):
            with engine.move_on_after(2) as scope:
                await receive.receive()
            assert scope.cancelled_caught
        assert receive.statistics().nr_receivers_waiting == 0
        send.send_nowait("kept")
        with engine.move_on_after(2):
            await send.send("never sent")
        assert send.statistics().nr_senders_waiting == 0
        assert await receive.receive() == "kept"
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()

    run(main)


@pytest.mark.parametrize(("capacity", "latency_ns"), [(0, 0), (1, -1)])
def test_bad_sizes_are_refused(run, capacity, latency_ns):
    """A channel holds at least one value and takes no negative time."""

    async def main(engine):
        engine.channel(capacity, latency_ns=latency_ns, name="pipe")

    with pytest.raises(ValueError, match="of channel pipe must be >= "):
        run(main)


def test_deadlock_names_the_channel(run):
    """Waiting for a value nobody will send is a deadlock that names the channel."""

    async def main(engine):
        _, receive = engine.channel(1, name="pipe")
        await engine.sleep(9)
        await receive.receive()

    with pytest.raises(DeadlockError, match="main waits for message on pipe since 9 ns"):
        run(main)


def test_arrival_makes_room_for_a_waiting_sender(run, doing):
    """A value handed to a waiting receiver frees its place at that instant."""
    sent = []

    async def main(engine):
        send, receive = engine.channel(1, latency_ns=5)

        async def sender(_):
            for value in range(3):
                await send.send(value)
                sent.append(engine.now_ns)

        engine.spawn(doing("sender", sender))
        return [await receive.receive() for _ in range(3)], engine.now_ns

    assert run(main) == ([0, 1, 2], 15)
    assert sent == [0, 5, 10]
