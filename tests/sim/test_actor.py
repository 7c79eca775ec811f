"""Tests of actors: asking, telling, life cycle, who gets an exception, what is left at the end."""

import pytest

from kernelsim.errors import ActorCrashedError, DeadlockError, OutputError, SimulationError
from kernelsim.sim import engine as engine_module
from kernelsim.sim.actor import DEFERRED, Actor, ActorEndedError, At


class Adder(Actor):
    """Adds one; refuses text; tells when it starts and stops."""

    async def on_start(self):
        """Log it."""
        self.log("started")

    async def on_stop(self):
        """Log it."""
        self.log("stopped")

    def receive(self, message):
        """Add one."""
        self.log("served", message=message)
        return message + 1


class SlowAdder(Adder):
    """Takes its time."""

    async def receive(self, message):
        """Sleep, then add one."""
        await self.engine.sleep(10)
        return message + 1


class LateAdder(Adder):
    """Its answers arrive late."""

    def receive(self, message):
        """Add one and arrive 7 ns later."""
        return At(self.engine.now_ns + 7, message + 1)


class Keeper(Actor):
    """Puts all answers off until it is told to release them, last first."""

    def __init__(self, name):
        super().__init__(name)
        self.kept = []

    def receive(self, message):
        """Keep an ask; answer all on "release"."""
        if message != "release":
            self.kept.append((message, self.defer()))
            return DEFERRED
        for kept, reply in reversed(self.kept):
            reply.send(kept * 2)
        return None


@pytest.mark.parametrize(("kind", "at_ns"), [(Adder, 0), (SlowAdder, 10), (LateAdder, 7)])
def test_ask_gives_the_answer_when_it_arrives(run, kind, at_ns):
    """The answer comes at once, after serving, or when the receiver said."""

    async def main(engine):
        ref = engine.spawn(kind("adder"))
        return await ref.ask(3), engine.now_ns

    assert run(main) == (4, at_ns)


@pytest.mark.parametrize(("inline", "nr_scheduled"), [(True, 0), (False, 20)])
def test_idle_actor_is_asked_without_a_switch(inline, nr_scheduled):
    """In line, an ask of an idle actor schedules nothing; else the message and the answer."""

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        await engine.sleep(1)
        before = engine.clock.nr_scheduled
        for number in range(10):
            assert await ref.ask(number) == number + 1
        return engine.clock.nr_scheduled - before

    assert engine_module.Engine(inline=inline).run(main) == nr_scheduled


def test_in_line_the_receiver_acts_in_its_own_name(run, doing):
    """Who is said to tell or lock is the receiver, not the asker in whose task it runs."""

    class Namer(Actor):
        def receive(self, message):
            return self.engine.running_name

    async def main(engine):
        ref = engine.spawn(Namer("namer"))
        await engine.sleep(1)
        return await ref.ask(None), engine.running_name

    assert run(main) == ("namer", "main")


def test_asker_goes_on_after_what_its_ask_set_off(run):
    """What serving tells others at this instant happens before the asker goes on."""

    class Relay(Actor):
        def receive(self, message):
            message.tell(1)

    async def main(engine):
        adder = engine.spawn(Adder("adder"))
        relay = engine.spawn(Relay("relay"))
        await engine.sleep(1)
        await relay.ask(adder)
        engine.log("main", "served")

    run(main)
    assert run.engine.sink.times("served") == [(1, "adder"), (1, "main")]


def test_told_messages_are_served_in_order(run, sink):
    """Told messages are served one by one in the order told, asks among them."""

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        ref.tell(1)
        ref.tell(2)
        return await ref.ask(3)

    assert run(main) == 4
    assert [fields["message"] for _, _, name, fields in sink.events if name == "served"] == [
        1,
        2,
        3,
    ]


def test_put_off_answers_come_when_sent(run, doing):
    """`defer` lets the receiver answer later, in any order."""
    got = []

    async def main(engine):
        ref = engine.spawn(Keeper("keeper"))

        def asker(number):
            async def body(_):
                got.append(await ref.ask(number))

            return body

        refs = [engine.spawn(doing(f"a{n}", asker(n))) for n in range(3)]
        await engine.sleep(5)
        assert got == []
        ref.tell("release")
        for asker_ref in refs:
            await asker_ref.join()

    run(main)
    assert got == [4, 2, 0]


def test_exception_of_an_ask_goes_to_the_asker(run):
    """The asker gets it with a note on who raised it; the actor goes on serving."""

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        await engine.sleep(1)
        with pytest.raises(TypeError) as caught:
            await ref.ask("text")
        assert caught.value.__notes__ == ["raised while adder served 'text'"]
        return await ref.ask(1)

    assert run(main) == 2


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


def test_unknown_message_says_who_got_what(run):
    """The base class understands nothing."""

    class Deaf(Actor):
        pass

    async def main(engine):
        with pytest.raises(TypeError, match="deaf does not understand 'hello'"):
            await engine.spawn(Deaf("deaf")).ask("hello")

    run(main)


def test_second_answer_is_refused(run):
    """Answering twice is a bug of the actor and crashes it."""

    class Twice(Keeper):
        def receive(self, message):
            reply = self.defer()
            reply.send(1)
            reply.send(2)

    async def main(engine):
        await engine.spawn(Twice("twice")).ask("x")
        await engine.sleep(1)

    with pytest.raises(ActorCrashedError, match=r"twice crashed at 0 ns: .*answers twice"):
        run(main)


def test_putting_off_a_tell_is_refused(run):
    """There is nobody to answer."""

    async def main(engine):
        engine.spawn(Keeper("keeper")).tell("x")
        await engine.sleep(1)

    with pytest.raises(ActorCrashedError, match="keeper was told, not asked"):
        run(main)


def test_full_mailbox_is_a_bug_of_the_sender(run, monkeypatch):
    """A mailbox is bounded; overflowing it names both sides."""
    monkeypatch.setattr(engine_module, "MAILBOX_CAPACITY", 3)

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        for number in range(3):
            ref.tell(number)
        with pytest.raises(SimulationError, match="main told adder, whose mailbox is full"):
            ref.tell(4)
        with pytest.raises(SimulationError, match="main asked adder, whose mailbox is full"):
            await ref.ask(4)

    run(main)


def test_circle_of_asks_is_a_deadlock_that_names_it(run):
    """Two actors that ask each other while serving are named with the time."""

    class Friend(Actor):
        other = None

        async def receive(self, message):
            await self.engine.sleep(4)
            return await self.other.ask(message)

    async def main(engine):
        left, right = Friend("left"), Friend("right")
        left.other, right.other = engine.spawn(right), engine.spawn(left)
        await left.ref.ask("hello")

    with pytest.raises(DeadlockError, match="deadlock at 8 ns: left -> right -> left wait"):
        run(main)
