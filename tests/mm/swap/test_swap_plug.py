"""Neighbouring swap writes become one request."""

import numpy as np

from kernelsim.config.disks import MAX_REQUEST_PAGES
from kernelsim.mm.swap.swap_plug import (
    begin,
    flush,
    is_due,
    join,
    new_swap_plug,
)


def add(box, plug, slots, *, max_segments=1000):
    """Add pages with these slots, as a reclaimer does; return (slot, pages) of what leaves."""
    pfns = np.asarray(box.take(len(slots))[: len(slots)])
    box.mem.pages.private[pfns] = slots
    leaving, done = [], 0
    while True:
        done = join(box.mem, plug, pfns, done, len(slots), max_segments)
        if done == len(slots):
            return sizes(leaving)
        if is_due(plug):
            leaving += flush(plug)
        begin(plug, slots[done], int(pfns[done]))
        done += 1


def sizes(requests):
    """Return (slot, pages) of requests."""
    return [(request.slot, len(request.pfns)) for request in requests]


def test_consecutive_slots_join(reclaim_box):
    """Pages whose slots follow each other, upwards or downwards, leave together."""
    box, plug = reclaim_box(), new_swap_plug()
    assert add(box, plug, [300, 301, 302, 299, 500]) == []
    assert sizes(flush(plug)) == [(299, 4), (500, 1)]
    assert flush(plug) == []


def test_large_request_leaves_when_the_next_begins(reclaim_box):
    """A request of 32 pages is not held back once another one starts."""
    box, plug = reclaim_box(), new_swap_plug()
    assert add(box, plug, list(range(100, 132))) == []
    assert add(box, plug, [200]) == [(100, 32)]
    assert sizes(flush(plug)) == [(200, 1)]


def test_request_has_a_largest_size(reclaim_box):
    """A request ends at 320 pages; the next page starts another and sends the first off."""
    box, plug = reclaim_box(), new_swap_plug()
    slots = list(range(256, 256 + MAX_REQUEST_PAGES))
    assert add(box, plug, slots) == []
    assert add(box, plug, [slots[-1] + 1]) == [(256, MAX_REQUEST_PAGES)]


def test_a_device_may_take_fewer_pieces_of_memory(reclaim_box):
    """A request has as many pages as the device takes segments, in the middle of a batch too."""
    box, plug = reclaim_box(), new_swap_plug()
    assert add(box, plug, list(range(100, 140)), max_segments=36) == [(100, 36)]
    assert sizes(flush(plug)) == [(136, 4)]


def test_plug_holds_32_requests(reclaim_box):
    """The 33rd scattered request sends the others off."""
    box, plug = reclaim_box(), new_swap_plug()
    assert add(box, plug, list(range(100, 164, 2))) == []
    assert len(add(box, plug, [1000])) == 32
