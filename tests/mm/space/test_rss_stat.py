"""How far the resident sizes in /proc are behind, held against a count fault by fault."""

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.space.rss_stat import TaskRssStat, shown

ANON = (0, 1, 0, 0)
SWAP = (0, 1, -1, 0)
NONE = (0, 0, 0, 0)


class OneByOne:
    """The same, a fault at a time, as the kernel does it."""

    def __init__(self):
        self.events = 0
        self.pending = [0, 0, 0, 0]

    def fault(self, change):
        """Add first if there were too many, then count this one."""
        self.events += 1
        if self.events > 65:
            self.events, self.pending = 0, [0, 0, 0, 0]
        self.pending = [a + b for a, b in zip(self.pending, change, strict=True)]


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from((ANON, SWAP, NONE)))))
def test_bursts_count_as_single_faults_do(bursts):
    """Any bursts of faults leave what the same faults one by one leave."""
    stat, model = TaskRssStat(), OneByOne()
    for nr, change in bursts:
        stat.count_faults(nr, change)
        for _ in range(nr):
            model.fault(change)

        assert (model.events, model.pending) == (stat.events, stat.pending)


def test_the_66th_fault_adds_the_65_before_it():
    """65 faults are not shown, the 66th shows them and waits itself."""
    stat = TaskRssStat()
    stat.count_faults(65, ANON)
    assert [0, 0, 0, 0] == shown([0, 65, 0, 0], [stat])

    stat.count_faults(1, ANON)
    assert [0, 65, 0, 0] == shown([0, 66, 0, 0], [stat])


def test_unmapping_adds_everything():
    """After sync nothing is behind; figures are never below 0."""
    stat = TaskRssStat()
    stat.count_faults(10, ANON)
    assert [0, 0, 3, 0] == shown([0, 5, 3, 0], [stat])

    stat.sync()
    assert [0, 5, 3, 0] == shown([0, 5, 3, 0], [stat])


def test_each_of_several_tasks_keeps_something_back():
    """What is shown of the memory they share lacks the faults of all."""
    stats = [TaskRssStat(), TaskRssStat()]
    for stat in stats:
        stat.count_faults(10, ANON)
    assert [0, 5, 0, 0] == shown([0, 25, 0, 0], stats)
