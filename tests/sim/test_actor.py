"""Tests of asking and telling: answers, their times, in line and not, errors of an ask."""

import pytest

from kernelsim.errors import ActorCrashedError, DeadlockError, SimulationError
from kernelsim.sim import engine as engine_module
from kernelsim.sim.actor import Actor, ActorEndedError
from tests.sim.actors import Adder, Keeper, LateAdder, SlowAdder


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


def test_another_actor_can_take_an_answer_over(run, doing):
    """It owes it then: who passed it on may end, and reports name the one that answers."""
    got = []

    async def main(engine):
        first, second = Keeper("first"), Keeper("second")
        ref = engine.spawn(first)
        engine.spawn(second)

        async def body(_):
            got.append(await ref.ask(7))

        asker = doing("asker", body)
        asker_ref = engine.spawn(asker)
        await engine.sleep(1)
        [(_, reply)] = first.kept
        reply.pass_on(second)
        assert (len(first.promises), len(second.promises)) == (0, 1)
        assert asker.seat.waiter.why == ("answer of", "second")
        ref.stop()
        await ref.join()
        reply.send("late", 5)
        await asker_ref.join()

    run(main)
    assert got == ["late"]


def test_exception_of_an_ask_goes_to_the_asker(run):
    """The asker gets it with a note on who raised it; the actor goes on serving."""

    async def main(engine):
        ref = engine.spawn(Adder("adder"))
        await engine.sleep(1)
        with pytest.raises(TypeError) as caught:
            await ref.ask("text")
        assert caught.value.__notes__ == ["raised while adder served 'text' at 1 ns"]
        return await ref.ask(1)

    assert run(main) == 2


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


def test_answer_of_an_ended_actor_is_refused(run, doing):
    """Its askers have got an error each, and may wait for something else meanwhile."""

    async def main(engine):
        keeper = Keeper("keeper")
        ref = engine.spawn(keeper)

        async def ask_and_sleep(_):
            with pytest.raises(ActorEndedError):
                await ref.ask(1)
            await engine.sleep(10)

        asker = engine.spawn(doing("asker", ask_and_sleep))
        await engine.sleep(1)
        ref.stop()
        await engine.sleep(1)
        (_, reply), *_ = keeper.kept
        with pytest.raises(AssertionError, match="keeper answers twice"):
            reply.send(2)
        await asker.join()
        return engine.now_ns

    assert run(main) == 11


def test_time_limit_on_serving_loses_no_message(run):
    """An actor that breaks off its wait for messages, and waits again, gets all of them."""

    class Restless(Adder):
        async def run(self):
            for _ in range(3):
                with self.engine.move_on_after(5):
                    await super().run()
            await super().run()

    async def main(engine):
        ref = engine.spawn(Restless("restless"))
        answers = []
        for number in range(5):
            answers.append(await ref.ask(number))
            await engine.sleep(4)
        return answers

    assert run(main) == [1, 2, 3, 4, 5]


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
