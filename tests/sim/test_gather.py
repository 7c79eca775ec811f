"""Tests of asking several actors at once."""

import pytest

from kernelsim.sim.actor import ActorEndedError
from kernelsim.sim.gather import Gather
from tests.sim.actors import Adder, Keeper, LateAdder, SlowAdder


def test_the_answers_of_several_are_awaited_once(run):
    """All work at the same time: the wait is that of the slowest, the order that of the asks."""

    async def main(engine):
        kinds = (SlowAdder, Adder, LateAdder, LateAdder)
        refs = [engine.spawn(kind(f"adder{i}")) for i, kind in enumerate(kinds)]
        answers = Gather(engine.clock)
        for number, ref in enumerate(refs):
            answers.ask(ref, number)
        return await answers.wait(), engine.now_ns

    assert run(main) == ([1, 2, 3, 4], 10)


def test_the_task_may_do_something_before_it_waits(run):
    """Answers that came meanwhile are not waited for; no ask at all is no wait."""

    async def main(engine):
        ref = engine.spawn(LateAdder("adder"))
        answers = Gather(engine.clock)
        answers.ask(ref, 1)
        await engine.sleep(100)
        return await answers.wait(), await Gather(engine.clock).wait(), engine.now_ns

    assert run(main) == ([2], [], 100)


def test_an_actor_that_ends_fails_the_wait(run):
    """The error comes when all have answered or ended."""

    async def main(engine):
        keeper, adder = engine.spawn(Keeper("keeper")), engine.spawn(SlowAdder("adder"))
        answers = Gather(engine.clock)
        answers.ask(keeper, 1)
        answers.ask(adder, 1)
        await engine.sleep(1)
        keeper.kill()
        with pytest.raises(ActorEndedError, match="keeper ended before it answered"):
            await answers.wait()
        return engine.now_ns

    assert run(main) == 10


def test_a_wait_that_is_cancelled_does_no_harm(run):
    """Answers that come later go nowhere, and the task waits for other things meanwhile."""

    async def main(engine):
        ref = engine.spawn(SlowAdder("adder"))
        answers = Gather(engine.clock)
        answers.ask(ref, 1)
        answers.ask(ref, 1)
        with engine.move_on_after(5):
            await answers.wait()
        await engine.sleep(100)
        return engine.now_ns

    assert run(main) == 105
