"""Waiters: what trio unwraps when a task goes on."""

import pytest

from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.wait import Seat, Waiter


@pytest.fixture
def waiter():
    """A waiter of nobody's task."""
    return Waiter(Seat(VirtualClock(), "nobody", 1))


def test_waiter_gives_its_value_again_and_again(waiter):
    """It is an outcome that is never used up, since a seat has one for all its waits."""
    for value in range(3):
        waiter.value = value
        assert [waiter.unwrap(), waiter.unwrap()] == [value, value]


def test_waiter_raises_its_error_once(waiter):
    """The error belongs to one wait; the next one must not see it."""
    waiter.error = ValueError("of this wait")
    with pytest.raises(ValueError, match="of this wait"):
        waiter.unwrap()
    assert waiter.unwrap() is None


def test_waiters_are_never_equal(waiter):
    """Two of trio's outcomes with one value are; a queue must find the right waiter."""
    other = Waiter(waiter.seat)
    assert waiter != other
    assert {waiter: "one", other: "two"}[waiter] == "one"


async def test_waiter_can_be_sent_as_any_outcome(waiter):
    """Generators of both kinds get its value."""

    def generator():
        yield (yield)

    async def asynchronous_generator():
        yield (yield)

    waiter.value = 5
    sender = generator()
    next(sender)
    assert waiter.send(sender) == 5
    asynchronous_sender = asynchronous_generator()
    await anext(asynchronous_sender)
    assert await waiter.asend(asynchronous_sender) == 5
    await asynchronous_sender.aclose()
