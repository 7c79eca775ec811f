"""Locks of a node: granted in turn, and what they guard changes when they are granted."""

import pytest

from kernelsim.actors.parts.shared_server import NodeLock, SharedServer
from kernelsim.mm.burst.columns import B_TIME, REFILL, new_burst
from kernelsim.mm.burst.servers import ask_lock, is_queued
from kernelsim.sim.actor import Actor
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import WaitAccount

INDEX = 2


class Owner(Actor):
    """Has a lock, and does work under it that it is asked, or told, for: (name, hold)."""

    def __init__(self):
        super().__init__("owner")
        self.log = []

    def wire(self):
        """Make the lock."""
        self.burst = new_burst(nr_cpus=2, nr_nodes=1, nr_zones=3)
        server = SharedServer(self.engine.clock, "lock", WaitAccount(), self.burst, INDEX)
        self.lock = NodeLock(self, self.engine.clock, server, self.burst)

    def receive(self, message):
        """Do some work under the lock."""
        name, hold_ns = message

        def work():
            self.log.append((name, self.engine.now_ns))
            return name, hold_ns

        return self.lock.serve(work, name, lambda: None if self.is_told else self.defer())


class Asker(Actor):
    """Asks at a time and notes the answer."""

    def __init__(self, owner, message, at_ns, answers):
        super().__init__(f"asker-{message[0]}")
        self._given = owner, message, at_ns, answers

    async def run(self):
        """Ask."""
        owner, message, at_ns, answers = self._given
        await self.engine.sleep(at_ns)
        answers.append((await owner.ref.ask(message), self.engine.now_ns))


def with_owner(scenario, *requests, inline=True):
    """Run requests (name, hold, when) beside `scenario(engine, owner)`; return owner, answers."""
    engine, owner, answers = Engine(inline=inline), Owner(), []

    async def main(engine):
        engine.spawn(owner)
        owner.wire()
        askers = [
            engine.spawn(Asker(owner, (name, hold_ns), at_ns, answers))
            for name, hold_ns, at_ns in requests
        ]
        await scenario(engine, owner)
        for asker in askers:
            await asker.join()

    engine.run(main)
    return owner, answers


async def nothing(_engine, _owner):
    """Do nothing besides."""


@pytest.mark.parametrize("inline", [True, False])
def test_work_is_done_at_the_grant_and_answered_at_the_end(inline):
    """First come, first served; those that wait see nothing changed until it is their turn."""
    owner, answers = with_owner(
        nothing, ("a", 100, 10), ("b", 50, 20), ("c", 5, 20), ("d", 1, 500), inline=inline
    )
    assert owner.log == [("a", 10), ("b", 110), ("c", 160), ("d", 500)]
    assert answers == [("a", 110), ("b", 160), ("c", 165), ("d", 501)]


def test_the_account_says_who_waited_for_whom():
    """Each wait is split among those who held the lock meanwhile."""
    owner, _ = with_owner(nothing, ("a", 100, 10), ("b", 50, 20), ("c", 5, 30))
    account = owner.lock.account
    assert account.by_pair == {("b", "a"): 90, ("c", "a"): 80, ("c", "b"): 50}
    assert (account.nr_holds, account.nr_waits, account.hold_ns) == (3, 2, 155)
    assert (account.wait_ns, account.wait_ns_max) == (220, 130)


def test_what_is_told_is_done_in_its_turn_too():
    """No answer is owed, but the work waits for the lock like any other."""

    async def tell(engine, owner):
        await engine.sleep(15)
        owner.ref.tell(("told", 7))

    owner, answers = with_owner(tell, ("a", 100, 10), ("b", 50, 20))
    assert owner.log == [("a", 10), ("told", 110), ("b", 117)]
    assert answers == [("a", 110), ("b", 167)]


def test_a_hold_of_a_burst_makes_actors_wait():
    """Both see when the lock is free in the same place; what waits, a burst must not overtake."""
    seen = []

    def ask(engine, owner, hold_ns):
        row = owner.burst.run[0]
        row[B_TIME] = engine.now_ns
        is_granted = ask_lock(owner.burst, 0, INDEX, REFILL, hold_ns, 10)
        return is_granted, int(row[B_TIME])

    async def hold(engine, owner):
        await engine.sleep(10)
        seen.append(ask(engine, owner, 100))
        owner.lock.note(10, 10, 100, "cpu1")
        seen.append(is_queued(owner.burst, INDEX))
        await engine.sleep(50)
        seen.append(is_queued(owner.burst, INDEX))
        await engine.sleep(51)
        seen.append(is_queued(owner.burst, INDEX))
        seen.append(ask(engine, owner, 5))

    owner, answers = with_owner(hold, ("a", 20, 30))
    assert owner.log == [("a", 110)]
    assert answers == [("a", 130)]
    assert seen == [(True, 10), False, True, False, (False, 130)]
    assert owner.lock.account.by_pair == {("a", "cpu1"): 80}
