"""Tests of the named streams of random integers."""

import pytest

from kernelsim.errors import ConfigError
from kernelsim.sim.engine import Engine
from kernelsim.sim.rng import Rng


def test_stream_depends_on_seed_and_name_only():
    """The same seed and name draw the same, whoever else draws; others draw something else."""
    alone = [Rng(7, "a").bits(64) for _ in range(2)]
    engine = Engine(seed=7)
    engine.rng("b").bits(64)

    assert alone[0] == alone[1] == engine.rng("a").bits(64)
    assert len({Rng(7, "a").bits(64), Rng(7, "b").bits(64), Rng(8, "a").bits(64)}) == 3
    assert engine.rng("a") is engine.rng("a")


def test_values_are_the_same_everywhere():
    """These figures hold on every machine and Python."""
    rng = Rng(1, "swap.latency")
    drawn = [rng.below(100), rng.between(-5, 5), rng.bits(32)]
    assert drawn == [99, -2, 1607168401]


def test_below_is_even():
    """Each value comes up about as often."""
    rng = Rng(1, "x")
    counts = [0] * 6
    for _ in range(6000):
        counts[rng.below(6)] += 1
    assert all(850 < count < 1150 for count in counts)
    assert rng.below(1) == 0


def test_between_includes_both_ends():
    """Low … high, both included."""
    rng = Rng(1, "x")
    assert {rng.between(-1, 1) for _ in range(100)} == {-1, 0, 1}


def test_chance_is_a_ratio():
    """0 of n never, n of n always, 1 of 4 about a quarter."""
    rng = Rng(1, "x")
    assert not any(rng.chance(0, 3) for _ in range(50))
    assert all(rng.chance(3, 3) for _ in range(50))
    assert 200 < sum(rng.chance(1, 4) for _ in range(1000)) < 300


def test_shuffle_and_choice_use_every_item():
    """A shuffle is a permutation in place; a choice is one of the items."""
    rng = Rng(1, "x")
    items = list(range(10))
    rng.shuffle(items)
    assert items != list(range(10))
    assert sorted(items) == list(range(10))
    assert {rng.choice("abc") for _ in range(50)} == set("abc")


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("below", (0,), "bound = 0: must be at least 1"),
        ("below", (2.5,), "bound = 2.5: must be a whole number"),
        ("between", (3, 2), "high = 2: must be at least 3"),
        ("between", ("1", 2), "low = '1': must be a whole number"),
        ("bits", (-1,), "count = -1: must be at least 0"),
        ("choice", ([],), "bound = 0: must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused(method, arguments, said):
    """As the author's mistake: no number is below 0, and nothing is rounded."""
    with pytest.raises(ConfigError) as caught:
        getattr(Rng(1, "x"), method)(*arguments)
    assert str(caught.value) == said
