"""Messages served without a switch: in no task, or in the task of who asks."""

import pytest

from kernelsim.errors import ActorCrashedError, DeadlockError
from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine
from tests.sim.actors import Adder


class Clerk(Actor):
    """Sleeps as long as it is asked to, then says who it is and how late it is."""

    serves_in_asker = True

    async def receive(self, message):
        """Sleep; fail if the time is odd."""
        await self.engine.sleep(message)
        if message % 2:
            raise ValueError(f"{message} is odd")
        return self.engine.running_name, self.engine.now_ns


class OwnClerk(Clerk):
    """Does the same in its own task."""

    serves_in_asker = False


def switches(engine):
    """Return how many switches of tasks there were."""
    return sum(seat.nr_wakes for seat in engine.clock.seats)


@pytest.mark.parametrize(("kind", "nr_switches"), [(Clerk, 0), (OwnClerk, 2)])
def test_an_actor_that_serves_in_the_asker_takes_no_switch(kind, nr_switches):
    """The answer, the time, the name and the numbers of events are those of its own task."""

    async def main(engine):
        ref = engine.spawn(kind("clerk"))
        await engine.sleep(1)
        before, number = switches(engine), engine.clock.number
        answer = await ref.ask(10)
        return answer, engine.running_name, engine.clock.number - number, switches(engine) - before

    assert Engine().run(main) == (("clerk", 11), "main", 3, nr_switches)


@pytest.mark.parametrize("schedule_seed", [None, 1, 2, 3])
def test_others_find_it_busy_and_wait_their_turn(schedule_seed):
    """Asks of several tasks are served one after another, in whatever task that happens."""

    def asking(kind):
        async def main(engine):
            class Asker(Actor):
                async def run(self):
                    for ns in (10, 0, 6):
                        ends.append((self.name, await ref.ask(ns), self.engine.clock.number))

            ends = []
            ref = engine.spawn(kind("clerk"))
            await engine.sleep(1)
            for asker in [engine.spawn(Asker(f"asker{number}")) for number in range(3)]:
                await asker.join()
            return ends

        return Engine(schedule_seed=schedule_seed).run(main)

    assert len(asking(Clerk)) == 9
    assert asking(Clerk) == asking(OwnClerk)


def test_an_exception_in_the_askers_task_is_the_askers():
    """It says who raised it, and the actor serves on."""

    async def main(engine):
        ref = engine.spawn(Clerk("clerk"))
        await engine.sleep(1)
        with pytest.raises(ValueError, match="5 is odd") as caught:
            await ref.ask(5)
        assert caught.value.__notes__ == ["raised while clerk served 5 at 6 ns"]
        return await ref.ask(2)

    assert Engine().run(main) == ("clerk", 8)


def test_a_deadlock_in_the_askers_task_is_told_under_the_actors_name():
    """The report says that the asker waits for the actor, and the actor for the queue."""

    class Stuck(Clerk):
        async def receive(self, message):
            await self.engine.wait_queue("nothing").wait()

    async def main(engine):
        ref = engine.spawn(Stuck("stuck"))
        await engine.sleep(1)
        await ref.ask(0)

    with pytest.raises(DeadlockError) as caught:
        Engine().run(main)
    report = str(caught.value)
    assert "wait queue nothing" in report
    assert "answer of stuck" in report
    assert "message on stuck" not in report


def test_an_asker_that_gives_up_leaves_the_actor_as_it_was():
    """A timeout ends the service, and the actor takes the next message."""

    async def main(engine):
        ref = engine.spawn(Clerk("clerk"))
        await engine.sleep(1)
        with engine.move_on_after(4):
            await ref.ask(100)
        gave_up_ns = engine.now_ns
        return gave_up_ns, await ref.ask(2)

    assert Engine().run(main) == (5, ("clerk", 7))


class Told(Actor):
    """Does what it is told."""

    def receive(self, message):
        """Call the message."""
        message(self)


def test_a_message_that_is_told_takes_no_switch():
    """It is served where its event fires: the task of the actor sleeps on."""

    async def main(engine):
        served = []
        ref = engine.spawn(Told("told"))
        await engine.sleep(1)
        before = engine.actors["told"].seat.task.custom_sleep_data
        for number in range(3):
            ref.tell(
                lambda actor, number=number: served.append((number, actor.engine.running_name))
            )
        assert served == []
        await engine.sleep(1)
        assert engine.actors["told"].seat.task.custom_sleep_data is before
        return served

    assert Engine().run(main) == [(0, "told"), (1, "told"), (2, "told")]


def test_an_actor_spawned_in_no_task_begins():
    """What a message sets off goes on as if the actor's own task had served it."""

    async def main(engine):
        ref = engine.spawn(Told("told"))
        adders = []
        await engine.sleep(1)
        ref.tell(lambda actor: adders.append(actor.engine.spawn(Adder("adder"))))
        await engine.sleep(1)
        return await adders[0].ask(1)

    assert Engine().run(main) == 2


def test_an_actor_can_be_told_to_stop_behind_other_messages():
    """All before the stop are served, none behind it."""

    async def main(engine):
        served = []
        ref = engine.spawn(Told("told"))
        await engine.sleep(1)
        ref.tell(lambda _: served.append(1))
        ref.tell(lambda _: served.append(2))
        ref.stop()
        ref.tell(lambda _: served.append(3))
        await ref.join()
        return served

    assert Engine().run(main) == [1, 2]


def test_an_exception_in_no_task_crashes_the_actor():
    """It is the actor's, not the clock's."""

    def fail(_actor):
        raise ValueError("no")

    async def main(engine):
        ref = engine.spawn(Told("told"))
        await engine.sleep(1)
        ref.tell(lambda _: None)
        ref.tell(fail)
        await engine.sleep(1)

    with pytest.raises(ActorCrashedError, match="told crashed at 1 ns: ValueError"):
        Engine().run(main)
