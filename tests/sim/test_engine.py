"""Tests of a run: results, endings, limits, Ctrl-C, watches, many actors."""

import signal
import threading

import pytest
import trio

from kernelsim.errors import CheckFailedError, DeadlockError, LivelockError
from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine


def test_run_returns_what_main_returned(run, sink):
    """The result of main is the result of the run, which is "done"."""

    async def main(engine):
        engine.log("main", "hello", answer=42)
        await engine.sleep(5)
        return "result"

    assert run(main) == "result"
    assert (run.engine.ended.state, run.engine.ended.now_ns) == ("done", 5)
    assert sink.events == [(0, "main", "hello", {"answer": 42})]
    assert sink.nr_flushes == 1


def test_when_main_returns_nobody_goes_on(run, sink, doing):
    """Actors still at work are cancelled at that time, in the order of creation."""

    async def main(engine):
        async def body(actor):
            try:
                while True:
                    await engine.sleep(1)
            finally:
                actor.log("cancelled")

        for n in range(5):
            engine.spawn(doing(f"a{n}", body))
        await engine.sleep(10)

    run(main)
    assert sink.times("cancelled") == [(10, f"a{n}") for n in range(5)]
    assert run.engine.actors == {}


@pytest.mark.parametrize("error", [ValueError("x"), CheckFailedError("x"), SystemExit(3)])
def test_what_main_raises_is_raised(run, sink, error):
    """The run fails with main's own exception, after the sink was flushed."""

    async def main(engine):
        engine.log("main", "before")
        await engine.sleep(1)
        raise error

    with pytest.raises(type(error)) as caught:
        run(main)
    assert caught.value is error
    assert run.engine.ended.state == "failed"
    assert len(sink.events) == sink.nr_flushes == 1


@pytest.mark.parametrize("inside", [True, False], ids=["in a task", "from another thread"])
def test_stop_ends_the_run(run, sink, doing, inside):
    """`stop` ends the run at the next wait, from an actor or from outside."""

    async def main(engine):
        async def stopper(_):
            await engine.sleep(10)
            if inside:
                engine.stop("enough")
            else:
                thread = threading.Thread(target=engine.stop, args=["enough"])
                thread.start()
                thread.join()
            engine.log("stopper", "not over yet")
            await engine.sleep(1)
            engine.log("stopper", "too far")

        engine.spawn(doing("stopper", stopper))
        await engine.sleep(1000)

    assert run(main) is None
    ended = run.engine.ended
    assert (ended.state, ended.now_ns, ended.detail) == ("stopped", 10, "enough")
    assert sink.times("not over yet") == [(10, "stopper")]
    assert sink.times("too far") == []


@pytest.mark.parametrize("busy", [True, False], ids=["busy in line", "switching"])
def test_ctrl_c_ends_the_run(run, sink, doing, busy):
    """The first Ctrl-C cancels everybody cleanly; `run` raises KeyboardInterrupt."""

    async def main(engine):
        async def other(actor):
            try:
                await engine.sleep(10**12)
            finally:
                actor.log("cleaned up")

        engine.spawn(doing("other", other))
        await engine.sleep(1)
        signal.raise_signal(signal.SIGINT)
        while True:
            await engine.sleep(1 if busy else 0)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert run.engine.ended.state == "interrupted"
    assert [name for _, _, name, _ in sink.events] == ["ks_actor_start", "cleaned up"]
    assert sink.nr_flushes == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_ctrl_c_breaks_an_endless_loop(run):
    """A workload that never waits is interrupted by the second Ctrl-C where it is."""

    async def main(engine):
        await engine.sleep(1)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the signal was ignored")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert run.engine.ended.state == "interrupted"


def test_runs_outside_the_main_thread():
    """There the engine leaves signals alone."""
    results = []

    async def main(engine):
        await engine.sleep(5)
        return engine.now_ns

    thread = threading.Thread(target=lambda: results.append(Engine().run(main)))
    thread.start()
    thread.join()
    assert results == [5]


def test_clean_up_may_wait(run, sink):
    """A shielded clean-up runs to its end after the end of the run."""

    async def main(engine):
        class Tidy(Actor):
            async def run(self):
                try:
                    await engine.sleep(1000)
                finally:
                    with trio.CancelScope(shield=True):
                        await engine.sleep(3)
                        self.log("tidy")

        engine.spawn(Tidy("tidy"))
        await engine.sleep(10)

    run(main)
    assert sink.times("tidy") == [(13, "tidy")]
    assert (run.engine.ended.state, run.engine.ended.now_ns) == ("done", 10)


@pytest.mark.parametrize("waits", ["for nothing", "for ever"])
def test_clean_up_that_does_not_end_is_broken_off(run, sink, monkeypatch, waits):
    """A shielded clean-up cannot keep a run from ending."""
    monkeypatch.setattr("kernelsim.sim.ending.CLOSING_PASSES_MAX", 100)

    async def main(engine):
        class Stubborn(Actor):
            async def run(self):
                try:
                    await engine.sleep(1000)
                finally:
                    with trio.CancelScope(shield=True):
                        while waits == "for ever":
                            await engine.sleep(1)
                        await engine.wait_queue("nothing").wait()

        engine.spawn(Stubborn("stubborn"))
        await engine.sleep(10)

    run(main)
    assert "waits though the run has ended" in sink.events[-1][3]["error"]


def test_deadlock_lists_who_waits_for_what_since_when(run, sink):
    """The report and the log name everybody who waits, longest first."""

    class Mute(Actor):
        async def receive(self, message):
            await self.engine.wait_queue("godot").wait()

    async def main(engine):
        mute = engine.spawn(Mute("mute"))
        await engine.sleep(3)
        await mute.ask("say something")

    with pytest.raises(DeadlockError) as caught:
        run(main)
    assert str(caught.value).splitlines() == [
        "deadlock at 3 ns: main waits for answer of mute; mute waits for wait queue godot",
        "  main waits for answer of mute since 3 ns",
        "  mute waits for wait queue godot since 3 ns",
    ]
    logged = [event for event in sink.events if event[2] == "ks_deadlock"]
    assert logged[1] == (3, "mute", "ks_deadlock", {"waits_for": "wait queue godot", "since_ns": 3})
    assert run.engine.ended.state == "deadlock"
    assert sink.nr_flushes == 1


def test_watched_actor_without_progress_is_a_livelock(run, sink, doing):
    """The report names the actor and since when; those who progress are not named."""

    async def main(engine):
        async def reclaims(actor):
            for step in range(1000):
                await engine.sleep(10)
                if actor.name == "fine" or step < 5:
                    actor.progress()

        for name in ("fine", "stuck"):
            engine.spawn(doing(name, reclaims))
            engine.watch(name, 200)
        await engine.sleep(10_000)

    with pytest.raises(LivelockError) as caught:
        run(main)
    headline = str(caught.value).splitlines()[0]
    assert headline == "livelock at 250 ns: stuck made no progress since 50 ns"
    assert sink.times("ks_livelock") == [(250, "main"), (250, "fine"), (250, "stuck")]
    assert run.engine.ended.state == "livelock"


def test_a_watch_ends_with_the_actor_or_when_asked(run, doing):
    """Who has ended, or is not watched any more, may be idle."""

    async def main(engine):
        async def short(_):
            await engine.sleep(5)

        engine.spawn(doing("short", short))
        engine.spawn(doing("idle", lambda _: engine.sleep(10_000)))
        engine.watch("short", 100)
        engine.watch("idle", 100)
        await engine.sleep(50)
        engine.unwatch("idle")
        await engine.sleep(5_000)
        return "done"

    assert run(main) == "done"


def test_exception_in_a_callback_names_its_owner(run):
    """A scheduled method that raises crashes the run in its actor's name."""

    class Device(Actor):
        async def on_start(self):
            self.engine.clock.schedule(7, self.complete, None)

        def complete(self, _):
            raise LookupError("no such request")

    async def main(engine):
        engine.spawn(Device("sda"))
        await engine.sleep(100)

    with pytest.raises(Exception, match=r"sda crashed at 7 ns: LookupError"):
        run(main)


def test_an_engine_runs_once():
    """A second run on the same engine is refused."""

    async def main(engine):
        await engine.sleep(1)

    engine = Engine()
    engine.run(main)
    with pytest.raises(AssertionError, match="runs once"):
        engine.run(main)


def test_actors_start_in_the_run():
    """Spawning before the run is refused."""
    with pytest.raises(AssertionError, match="early starts before the run does"):
        Engine().spawn(Actor("early"))


@pytest.mark.slow
def test_ten_thousand_actors_exchange_messages_and_stop(run):
    """Many actors start, each asks its neighbour, all are stopped."""

    class Neighbour(Actor):
        def receive(self, message):
            return message + 1

    async def main(engine):
        refs = [engine.spawn(Neighbour(f"n{n}")) for n in range(10_000)]
        total = 0
        for number, ref in enumerate(refs):
            total += await ref.ask(number)
        for ref in refs:
            ref.stop()
        for ref in refs:
            await ref.join()
        return total

    assert run(main) == sum(range(1, 10_001))
