"""Tests of the schedulers: order, merging, deadlines."""

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.block.mq_deadline import (
    FIFO_BATCH,
    READ_EXPIRE_NS,
    Fifo,
    MqDeadline,
    Request,
    make_scheduler,
)


def request(sector, *, is_write=False, nr=8):
    """Make a request of one piece, which is named by its sector."""
    return Request(is_write, sector, nr, [sector], nr // 8)


def drained(scheduler, now_ns=0):
    """Return the first sectors of all that wait, in the order they go."""
    sectors = []
    while (chosen := scheduler.dispatch(now_ns)) is not None:
        sectors.append(chosen.sector)
    return sectors


def test_without_a_scheduler_requests_go_as_they_came():
    """Neighbours stay apart."""
    scheduler = make_scheduler("none", 168)
    assert isinstance(scheduler, Fifo)
    for sector in (80, 8, 16):
        scheduler.insert(request(sector), 0)
    assert drained(scheduler) == [80, 8, 16]


def test_requests_go_up_the_sectors_and_start_again_below():
    """The oldest begins; behind the highest the oldest is next."""
    scheduler = MqDeadline(168)
    for sector in (800, 80, 400):
        scheduler.insert(request(sector), 0)
    assert scheduler.dispatch(0).sector == 800
    assert scheduler.dispatch(0).sector == 80
    scheduler.insert(request(0), 0)
    assert drained(scheduler) == [400, 0]


def test_neighbours_become_one_request():
    """In front and behind, up to the pages it may have; never a read and a write."""
    scheduler = MqDeadline(3)
    for sector in (16, 24, 8, 32):
        scheduler.insert(request(sector), 0)
    scheduler.insert(request(0, is_write=True), 0)
    first = scheduler.dispatch(0)
    assert (first.sector, first.nr_sectors, first.parts) == (8, 24, [8, 16, 24])
    assert drained(scheduler) == [32, 0]


def test_writes_have_their_turn_after_two_rounds_of_reads():
    """A round is sixteen."""
    scheduler = MqDeadline(1)
    for number in range(3 * FIFO_BATCH):
        scheduler.insert(request(100 * number), 0)
    scheduler.insert(request(7, is_write=True), 0)
    assert drained(scheduler).index(7) == 2 * FIFO_BATCH


def test_what_has_waited_too_long_goes_first():
    """When a new round begins."""
    scheduler = MqDeadline(1)
    for sector in (1000, 10, *range(1100, 1100 + 20 * FIFO_BATCH, 10)):
        scheduler.insert(request(sector, nr=1), sector // 1000)
    assert scheduler.dispatch(1).sector == 1000
    order = drained(scheduler, READ_EXPIRE_NS)
    assert order.index(10) == FIFO_BATCH - 1


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), unique=True))
def test_nothing_is_lost_and_nothing_goes_twice(pieces):
    """Whatever is merged, each piece goes once."""
    scheduler = MqDeadline(4)
    for place, is_write in pieces:
        scheduler.insert(Request(is_write, 8 * place, 8, [(place, is_write)], 1), 0)
    gone = []
    while (chosen := scheduler.dispatch(0)) is not None:
        assert chosen.nr_sectors == 8 * len(chosen.parts) <= 32
        assert [8 * place for place, _ in chosen.parts] == list(range(chosen.sector, chosen.end, 8))
        gone += chosen.parts
    assert sorted(gone) == sorted(pieces)
