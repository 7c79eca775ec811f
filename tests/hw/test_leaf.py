"""Tests of the decorator for compiled functions."""

import os
import subprocess
import sys
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from kernelsim.hw import leaf


class Columns(NamedTuple):
    """Arrays that go together, as leaves take them."""

    wide: NDArray[np.int64]
    narrow: NDArray[np.int32]


def weighed(columns: Columns, more: NDArray[np.int64], factor: int, is_negative: bool) -> int:
    """Sum up, so that every argument shows in the result."""
    total = 0
    for i in range(more.shape[0]):
        total += columns.wide[i] * factor + columns.narrow[i] + 1000 * more[i]
    return -total if is_negative else total


def test_a_leaf_called_again_gives_what_numba_would():
    """Same types, other types, other layouts, other integers, keywords: the result is right."""
    columns = Columns(np.arange(4, dtype=np.int64), np.ones(4, np.int32))
    other = Columns(np.arange(4, dtype=np.int64) * 2, np.ones(4, np.int32))
    more = np.arange(4, dtype=np.int64)
    compiled = leaf.shortcut(numba.njit(_nrt=False)(weighed))
    calls = [
        (columns, more, True, False),  # no types to remember: True is no int
        (columns, more, 5, False),
        (other, more, 5, True),
        (columns, more[::2], 5, False),
        (columns, np.arange(8, dtype=np.int64)[::-2], 5, False),
        (columns, more.astype(np.int32), 7, False),
        (columns, more, np.int64(1 << 40), True),
        (columns, more, np.uint8(200), 1),
        (tuple(columns), more, 5, False),
    ]
    for columns_or_tuple, *rest in calls:
        values = Columns(*columns_or_tuple)
        given = values if isinstance(columns_or_tuple, Columns) else columns_or_tuple
        if isinstance(given, Columns):
            assert compiled(given, *rest) == weighed(values, *rest)
        else:
            with pytest.raises(numba.TypingError):
                compiled(given, *rest)
    assert compiled(columns, more, is_negative=True, factor=3) == weighed(columns, more, 3, True)


@leaf.inlined_leaf
def step_of(columns: Columns, i: int) -> int:
    """Give one sum."""
    return columns.wide[i] + columns.narrow[i]


@leaf.leaf
def sum_of(columns: Columns) -> int:
    """Give all sums."""
    total = 0
    for i in range(columns.wide.shape[0]):
        total += step_of(columns, i)
    return total


def test_an_inlined_leaf_is_part_of_its_callers():
    """Called from a leaf or from Python it gives the same; the compiler is told to inline it."""
    columns = Columns(np.arange(4, dtype=np.int64), np.ones(4, np.int32))
    assert sum_of(columns) == sum(step_of(columns, i) for i in range(4)) == 10
    assert step_of.__wrapped__.targetoptions["forceinline"]
    assert "forceinline" not in sum_of.__wrapped__.targetoptions


def test_a_leaf_raises_what_it_raises_when_called_again():
    """An error comes through each time, and the next call works."""
    at = leaf.shortcut(numba.njit(_nrt=False)(checked_item))
    values = np.arange(3, dtype=np.int64)
    for _ in range(2):
        assert at(values, 2) == 2
        with pytest.raises(IndexError, match="behind the end"):
            at(values, 3)


def length(values: NDArray[np.int64]) -> int:
    """Count the first dimension."""
    return values.shape[0]


@pytest.mark.parametrize("shape", [(), (3, 2), (2, 3, 1, 1, 1, 1, 1, 1)])
def test_an_array_of_other_dimensions_is_another_type(shape):
    """It is not taken for the one of the first call, whose code has no room for its shape."""
    compiled = leaf.shortcut(numba.njit(_nrt=False)(length))
    for _ in range(2):
        assert compiled(np.zeros(5, np.int64)) == 5
    entries = len(compiled._numba_type_.dispatcher.overloads)
    if shape:
        assert compiled(np.zeros(shape, np.int64)) == shape[0]
        assert len(compiled._numba_type_.dispatcher.overloads) == entries + 1
    else:
        with pytest.raises((numba.TypingError, IndexError)):
            compiled(np.array(1, np.int64))


def test_leaves_are_plain_functions_without_the_compiler(tmp_path):
    """NUMBA_DISABLE_JIT=1 runs them as Python, to step through them."""
    program = (
        "from kernelsim.mm.swap.swap_area import *; print(swap_count(swapon([300], [0], 1), 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("63\n", "")


def checked_item(values: NDArray[np.int64], index: int) -> int:
    """Return an item."""
    if index >= values.shape[0]:
        raise IndexError("behind the end")
    return values[index]
