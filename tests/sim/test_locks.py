"""Tests of spinlocks, FIFO servers and wait queues: order, and who waited how long on whom."""

import pytest

from kernelsim.errors import DeadlockError


def holder(engine, lock, at_ns, hold_ns, log=None):
    """Make a body that takes a lock at a time and holds it for a while."""

    async def body(actor):
        await engine.sleep(at_ns)
        async with lock.held() as spun_ns:
            if log is not None:
                log.append((actor.name, engine.now_ns, spun_ns))
            await engine.sleep(hold_ns)

    return body


def test_spinners_get_the_lock_in_turn_and_are_told_how_long_they_spun(run, doing):
    """First come, first served; the account says who spun on whom, hold by hold."""
    log = []

    async def main(engine):
        lock = engine.spinlock("zone->lock")
        bodies = [(0, 10), (2, 5), (4, 5), (30, 5)]
        refs = [
            engine.spawn(doing(f"cpu{n}", holder(engine, lock, at_ns, hold_ns, log)))
            for n, (at_ns, hold_ns) in enumerate(bodies)
        ]
        for ref in refs:
            await ref.join()

    run(main)
    account = run.engine.accounts["zone->lock"]
    assert log == [("cpu0", 0, 0), ("cpu1", 10, 8), ("cpu2", 15, 11), ("cpu3", 30, 0)]
    assert account.by_pair == {("cpu1", "cpu0"): 8, ("cpu2", "cpu0"): 6, ("cpu2", "cpu1"): 5}
    assert (account.nr_holds, account.nr_waits) == (4, 2)
    assert (account.hold_ns, account.wait_ns, account.wait_ns_max) == (25, 19, 11)


def test_spinner_that_gives_up_leaves_the_queue(run, doing):
    """A cancelled spinner's time counts, and the lock goes to the one behind it."""
    log = []

    async def main(engine):
        lock = engine.spinlock("lock")
        engine.spawn(doing("a", holder(engine, lock, 0, 10, log)))
        hasty = engine.spawn(doing("hasty", holder(engine, lock, 1, 10, log)))
        last = engine.spawn(doing("last", holder(engine, lock, 2, 10, log)))
        await engine.sleep(4)
        hasty.kill()
        await last.join()

    run(main)
    account = run.engine.accounts["lock"]
    assert log == [("a", 0, 0), ("last", 10, 8)]
    assert account.by_pair == {("hasty", "a"): 3, ("last", "a"): 8}
    assert (account.nr_holds, account.nr_waits, account.wait_ns) == (2, 2, 11)


def test_killed_holder_releases_what_it_holds(run, doing):
    """`async with` gives the lock back when the holder is cancelled."""

    async def main(engine):
        lock = engine.spinlock("lock")
        ref = engine.spawn(doing("a", holder(engine, lock, 0, 100)))
        await engine.sleep(5)
        ref.kill()
        await lock.acquire()
        lock.release()
        return engine.now_ns

    assert run(main) == 5


def test_misuse_is_refused(run, doing):
    """Taking a lock twice and releasing another's lock name the culprit."""

    async def main(engine):
        lock = engine.spinlock("lock")
        engine.spawn(doing("a", holder(engine, lock, 0, 100)))
        await engine.sleep(5)
        with pytest.raises(RuntimeError, match="main releases lock, which a holds"):
            lock.release()
        other = engine.spinlock("other")
        await other.acquire()
        with pytest.raises(RuntimeError, match="main takes other twice"):
            await other.acquire()

    run(main)


def test_lock_cycle_is_a_deadlock_that_names_both(run, doing):
    """Two actors that take two locks in opposite order are named with the time."""

    async def main(engine):
        locks = [engine.spinlock(f"lock{n}") for n in range(2)]

        def body(first, second):
            async def take(_):
                async with locks[first].held():
                    await engine.sleep(10)
                    async with locks[second].held():
                        pass

            return take

        engine.spawn(doing("left", body(0, 1)))
        await engine.spawn(doing("right", body(1, 0))).join()

    with pytest.raises(DeadlockError) as caught:
        run(main)
    assert str(caught.value).splitlines() == [
        "deadlock at 10 ns: left -> right -> left wait for each other",
        "  main waits for end of right since 0 ns",
        "  left waits for spinlock lock1 held by right since 10 ns",
        "  right waits for spinlock lock0 held by left since 10 ns",
    ]


def test_services_nobody_waited_for_are_entered_together(run):
    """They count and nobody is blamed for them; who waits is blamed on the one that follows."""

    async def main(engine):
        server = engine.server("disk")
        server.record_free(3, 12)
        server.reserve(10, "a")
        server.reserve(5, "b")

    run(main)
    account = run.engine.accounts["disk"]
    assert (account.nr_holds, account.nr_waits, account.hold_ns) == (5, 1, 27)
    assert account.by_pair == {("b", "a"): 10}


def test_server_serves_in_turn_and_blames_those_ahead(run):
    """Reservations queue up; each waits for what is left of all before it."""

    async def main(engine):
        server = engine.server("disk")
        assert server.reserve(10, "a") == (0, 10)
        assert server.reserve(5, "b") == (10, 15)
        await engine.sleep(4)
        assert server.reserve(5, "c") == (15, 20)
        await engine.sleep(8)
        assert server.reserve(0, "d") == (20, 20)
        await engine.sleep(100)
        assert server.reserve(7, "a") == (112, 119)

    run(main)
    account = run.engine.accounts["disk"]
    assert account.by_pair == {
        ("b", "a"): 10,
        ("c", "a"): 6,
        ("c", "b"): 5,
        ("d", "b"): 3,
        ("d", "c"): 5,
    }
    assert (account.nr_holds, account.nr_waits, account.hold_ns) == (5, 3, 27)
    assert account.wait_ns == sum(account.by_pair.values()) == 29
    assert account.wait_ns_max == 11


def test_serve_waits_for_the_end_of_the_service(run):
    """`serve` returns when served, and says how long the turn was waited for."""

    async def main(engine):
        server = engine.server("disk")
        server.reserve(10, "somebody")
        return await server.serve(5), engine.now_ns

    assert run(main) == (10, 15)
    assert run.engine.accounts["disk"].by_pair == {("main", "somebody"): 10}


def test_negative_hold_is_refused(run):
    """Time served is not negative."""

    async def main(engine):
        engine.server("disk").reserve(-1, "a")

    with pytest.raises(ValueError, match=r"hold_ns\(=-1\) of disk must be >= 0"):
        run(main)


def test_locks_of_one_name_share_an_account(run):
    """As a lock class does in /proc/lock_stat."""

    async def main(engine):
        for lock in [engine.spinlock("lock"), engine.spinlock("lock")]:
            async with lock.held():
                await engine.sleep(1)

    run(main)
    assert run.engine.accounts["lock"].nr_holds == 2


def test_wait_queue_wakes_the_first_sleepers(run, doing):
    """`wake` wakes so many in turn and says how many there were."""
    log = []

    async def main(engine):
        queue = engine.wait_queue("kswapd_wait")

        async def body(actor):
            await queue.wait()
            log.append((actor.name, engine.now_ns))

        for name in "abcd":
            engine.spawn(doing(name, body))
        await engine.sleep(1)
        assert queue.nr_waiting == 4
        assert queue.wake() == 1
        await engine.sleep(1)
        assert queue.wake(2) == 2
        await engine.sleep(1)
        assert (queue.wake_all(), queue.wake_all()) == (1, 0)
        await engine.sleep(1)

    run(main)
    assert log == [("a", 1), ("b", 2), ("c", 2), ("d", 3)]


def test_sleeper_whose_time_is_up_leaves_the_queue(run):
    """A timeout does not take a wake-up from others."""

    async def main(engine):
        queue = engine.wait_queue("queue")
        with engine.move_on_after(5):
            await queue.wait()
        return queue.nr_waiting, queue.wake(), engine.now_ns

    assert run(main) == (0, 0, 5)


def test_lost_wake_up_is_named(run, doing):
    """A wake-up that found nobody is what the deadlock report blames, with its time."""

    async def main(engine):
        queue = engine.wait_queue("kswapd_wait")

        async def kswapd(_):
            await engine.sleep(10)  # decides to sleep, and does it too late
            await queue.wait()

        ref = engine.spawn(doing("kswapd0", kswapd))
        await engine.sleep(7)
        queue.wake()
        await ref.join()

    with pytest.raises(DeadlockError) as caught:
        run(main)
    assert str(caught.value).splitlines()[0] == (
        "deadlock at 10 ns: kswapd0 waits for wait queue kswapd_wait "
        "(lost wake-up: woken at 7 ns, when nobody waited)"
    )


def test_who_waits_for_work_is_not_to_blame(run, doing):
    """It had nothing to do, and a wake-up before it slept was not lost: it looks before."""

    async def main(engine):
        queue = engine.wait_queue("work", is_for_work=True)

        async def flusher(_):
            await engine.sleep(10)
            await queue.wait()

        engine.spawn(doing("flusher", flusher))
        await engine.sleep(7)
        queue.wake()
        await engine.sleep(7)
        await engine.wait_queue("godot").wait()

    with pytest.raises(DeadlockError) as caught:
        run(main)
    assert str(caught.value).splitlines() == [
        "deadlock at 14 ns: main waits for wait queue godot",
        "  flusher waits for wait queue work since 10 ns",
        "  main waits for wait queue godot since 14 ns",
    ]


def test_wake_up_that_was_heard_is_not_called_lost(run):
    """After a wake-up that reached somebody, an earlier one that did not is forgotten."""

    async def main(engine):
        queue = engine.wait_queue("queue")
        queue.wake()
        engine.clock.schedule(5, lambda _: queue.wake(), None)
        await queue.wait()
        await queue.wait()

    with pytest.raises(DeadlockError, match=r"main waits for wait queue queue\n"):
        run(main)
