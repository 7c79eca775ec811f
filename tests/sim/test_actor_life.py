"""Tests of an actor's life: who gets a crash, what happens to messages left, stop and kill."""

import pytest

from kernelsim.errors import ActorCrashedError, OutputError
from kernelsim.sim.actor import Actor, ActorEndedError
from tests.sim.actors import Adder, Keeper, SlowAdder


def test_exception_of_a_tell_crashes_the_actor_and_the_run(run, sink):
    """A crash ends the run with an error that names the actor and the time."""

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        await engine.sleep(5)
        ref.tell("text")
        await engine.sleep(100)

    with pytest.raises(ActorCrashedError, match=r"^adder crashed at 5 ns: TypeError") as caught:
        run(main)
    assert isinstance(caught.value.__cause__, TypeError)
    assert run.engine.ended.state == "crashed"
    assert run.engine.ended.now_ns == 5
    assert sink.times("ks_actor_crash") == [(5, "adder")]
    assert sink.nr_flushes == 1


@pytest.mark.parametrize("hook", ["run", "on_start", "on_stop"])
def test_exception_of_the_actors_own_life_crashes_it(run, hook):
    """`run`, `on_start` and `on_stop` have nobody else to give an exception to."""

    async def fail(_self):
        raise LookupError(hook)

    async def main(engine):
        kind = type("Failing", (Actor,), {hook: fail})
        ref = engine.spawn(kind("failing"))
        ref.stop()
        await engine.sleep(100)

    with pytest.raises(ActorCrashedError, match=f"failing crashed at 0 ns: LookupError.*{hook}"):
        run(main)


def test_a_users_mistake_in_an_actor_keeps_its_class(run):
    """A full disk seen by an actor is no crash: the run raises the user error itself."""

    async def main(engine):
        class Writer(Actor):
            async def run(self):
                raise OutputError("events.jsonl", "No space left on device")

        engine.spawn(Writer("writer"))
        await engine.sleep(100)

    with pytest.raises(OutputError, match="No space left"):
        run(main)
    assert run.engine.ended.state == "failed"


def test_an_actor_that_may_crash_takes_nobody_with_it(run, sink, doing):
    """With may_crash only that actor ends; its askers get an error, the others do not notice."""

    async def main(engine):
        slow = engine.spawn(SlowAdder("slow"), may_crash=True)
        other = engine.spawn(Adder("other"))
        slow.tell("text")
        with pytest.raises(ActorEndedError, match="slow ended before it answered"):
            await slow.ask(1)
        assert slow.has_ended
        return await other.ask(1)

    assert run(main) == 2
    assert run.engine.ended.state == "done"
    assert sink.times("ks_actor_crash") == [(10, "slow")]


def test_messages_left_at_the_end_of_an_actor_are_answered_or_dropped(run, sink, doing):
    """Asks left get ActorEndedError, tells are dropped, logged and counted."""
    raised = []

    async def main(engine):
        ref = engine.spawn(SlowAdder("slow"))

        async def asker(actor):
            try:
                await ref.ask(1)
            except ActorEndedError as error:
                raised.append((actor.name, str(error)))

        ref.tell(1)
        ref.stop()
        ref.tell(2)
        engine.spawn(doing("asker", asker))
        await engine.sleep(100)

    run(main)
    assert raised == [("asker", "slow ended before it answered")]
    assert sink.times("ks_message_dropped") == [(10, "slow")]
    assert run.engine.nr_dropped == 1


def test_promised_answers_fail_when_the_actor_ends(run, doing):
    """Who waits for an answer that was put off is told that it will never come."""

    async def main(engine):
        ref = engine.spawn(Keeper("keeper"))
        engine.spawn(doing("stopper", lambda _: stop_later(engine, ref)))
        with pytest.raises(ActorEndedError, match="keeper ended before it answered"):
            await ref.ask(1)
        return engine.now_ns

    async def stop_later(engine, ref):
        await engine.sleep(4)
        ref.stop()

    assert run(main) == 4


def test_ended_actors_are_told_nothing(run):
    """`ask` and `tell` raise and name who did it; `stop`, `kill` and `join` do nothing."""

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        ref.stop()
        await ref.join()
        with pytest.raises(ActorEndedError, match="main asked adder, which has ended"):
            await ref.ask(1)
        with pytest.raises(ActorEndedError, match="main told adder, which has ended"):
            ref.tell(1)
        ref.stop()
        ref.kill()
        await ref.join()
        assert engine.actors == {}

    run(main)


def test_life_cycle_is_logged(run, sink):
    """An actor starts, serves what it has, stops; both hooks run in its task."""

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        ref.tell(1)
        ref.stop()
        await ref.join()

    run(main)
    names = [name for _, actor, name, _ in sink.events if actor == "adder"]
    assert names == ["ks_actor_start", "started", "served", "stopped", "ks_actor_stop"]


def test_kill_ends_an_actor_at_once(run, sink):
    """What it waits for is cancelled; it does not run `on_stop`; its asker is told."""

    async def main(engine):
        ref = engine.spawn(SlowAdder("slow"))
        with engine.move_on_after(3) as scope:
            await ref.ask(1)
        assert scope.cancelled_caught
        ref.kill()
        await ref.join()
        return engine.now_ns

    assert run(main) == 3
    assert sink.times("ks_actor_kill") == [(3, "slow")]
    assert sink.times("stopped") == []


def test_names_are_unique_among_the_living(run):
    """A second actor of a name is refused while the first lives."""

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        with pytest.raises(ValueError, match="there is an actor named adder already"):
            engine.spawn(Adder("adder"))
        ref.stop()
        await ref.join()
        assert await engine.spawn(Adder("adder")).ask(1) == 2

    run(main)
