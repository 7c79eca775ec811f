"""Tests of the types that annotations declare."""

from typing import Annotated, NamedTuple

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

import kernelsim.machine  # noqa: F401 - brings all leaves in
from kernelsim.hw.leaf import LEAVES
from kernelsim.hw.leaf_types import declared_types, fitting, signatures


class Alike(NamedTuple):
    """Members of one type."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]


class Mixed(NamedTuple):
    """Members of several types, one a NamedTuple."""

    alike: Alike
    table: Annotated[NDArray[np.uint8], 2]
    count: int


def takes(mixed: Mixed, out: NDArray[np.int32] | NDArray[np.int64], nr: int, is_last: bool) -> int:
    """Take one of each."""
    return mixed.count + out[0] + nr + is_last


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_declared_types_are_what_numba_finds(dtype):
    """For values as declared, the types read from annotations are those numba reads from values."""
    alike = Alike(np.zeros(3, np.int64), np.zeros(4, np.int64))
    mixed = Mixed(alike, np.zeros((2, 2), np.uint8), 7)
    given = tuple(map(numba.typeof, (mixed, np.zeros(1, dtype), 1, True)))
    assert given in signatures(declared_types(takes))
    assert fitting(declared_types(takes), given) == given


def test_other_types_become_the_declared_ones():
    """Small integers and constants are cast to what is declared; arrays never are."""
    declared = declared_types(takes)
    wanted = signatures(declared)[0]
    literal, small = numba.types.literal(3), numba.types.uint8
    floats = numba.types.Array(numba.float64, 1, "C")
    assert fitting(declared, (wanted[0], floats, literal, small)) == wanted


def says_too_little(values: np.ndarray) -> int:
    """Take an array of whatever."""
    return values[0]


def test_an_annotation_that_says_too_little_is_refused():
    """An array without its element is no declaration."""
    with pytest.raises(TypeError, match="NDArray"):
        declared_types(says_too_little)


def test_all_leaves_declare_their_types():
    """The types of each leaf of the package can be read; few are for more than one set of them."""
    several = [leaf for leaf in LEAVES if len(signatures(declared_types(leaf.py_func))) > 1]
    assert len(several) < len(LEAVES) / 10
