"""Address spaces are shared out among walkers, once each generation."""

import attrs

from kernelsim.mm.reclaim.lru_gen_mm_list import MmListState
from kernelsim.mm.reclaim.lru_gen_walk import W_MAX_SEQ, new_mm_walk
from kernelsim.mm.space.mm_registry import make_mms
from kernelsim.mm.space.pgtable import MM_ANONPAGES


@attrs.define
class Space:
    """What the list looks at in an address space."""

    number: int
    ctx_id: int
    lru_gen_bitmap: int = -1


class Spaces:
    """Address spaces with 100 pages each, and a walk state."""

    def __init__(self, nr):
        self.mms = make_mms(16)
        self.by_number = {}
        for ctx_id in range(1, nr + 1):
            self.add(ctx_id)
        self.state = MmListState(0)

    def add(self, ctx_id):
        """Make one more."""
        self.by_number[ctx_id] = Space(ctx_id, ctx_id)
        self.mms.rss[ctx_id, MM_ANONPAGES] = 100

    def next(self, walk, done=None):
        """Take the next to walk; return whether the walk is complete, and its number."""
        last, mm = self.state.iterate(self.by_number, self.mms, walk, done)
        return last, mm

    def walk_all(self, max_seq):
        """Walk alone; return what was walked."""
        walk, numbers = new_mm_walk(), []
        walk.state[W_MAX_SEQ] = max_seq
        last, mm = self.next(walk)
        while mm is not None:
            numbers.append(mm.number)
            last, mm = self.next(walk, mm)
        return last, numbers


def test_a_walker_alone_walks_all_and_makes_the_generation():
    """Each is walked once; a walk of the same generation is not begun again."""
    spaces = Spaces(3)
    assert spaces.walk_all(3) == (True, [1, 2, 3])
    assert spaces.walk_all(3) == (False, [])


def test_one_that_has_not_run_is_passed_over():
    """Nothing can have used its pages; one that was made since is always walked."""
    spaces = Spaces(3)
    spaces.walk_all(3)
    spaces.by_number[2].lru_gen_bitmap = -1
    spaces.add(4)
    assert spaces.walk_all(4) == (True, [2, 4])


def test_small_ones_are_passed_over():
    """Less than a batch of pages is not worth it."""
    spaces = Spaces(2)
    spaces.mms.rss[1, MM_ANONPAGES] = 63
    assert spaces.walk_all(3) == (True, [2])


def test_walkers_share_the_work_and_the_last_ends_it():
    """Two at once: each gets others; who comes late gets none, and waits."""
    spaces = Spaces(3)
    walks = [new_mm_walk() for _ in range(3)]
    for walk in walks:
        walk.state[W_MAX_SEQ] = 3
    _, one = spaces.next(walks[0])
    _, two = spaces.next(walks[1])
    _, three = spaces.next(walks[0], one)
    assert [mm.number for mm in (one, two, three)] == [1, 2, 3]
    assert spaces.next(walks[2]) == (False, None)
    assert spaces.next(walks[1], two) == (False, None)
    assert spaces.next(walks[0], three) == (True, None)


def test_one_that_ends_meanwhile_is_left_out():
    """The walk is complete without it."""
    spaces = Spaces(3)
    walk = new_mm_walk()
    walk.state[W_MAX_SEQ] = 3
    _, one = spaces.next(walk)
    del spaces.by_number[2], spaces.by_number[3]
    assert spaces.next(walk, one) == (True, None)


def test_without_walks_the_first_makes_the_generation():
    """Aging goes on with what looks around pages find."""
    state = MmListState(0)
    assert state.iterate_nowalk(3)
    assert not state.iterate_nowalk(3)
    assert state.iterate_nowalk(4)
