"""The types a leaf is compiled for, read from its annotations.

`int` and `bool` are numbers, an array says its element and, where it has more than one dimension,
how many: `Annotated[NDArray[np.int64], 2]`. A NamedTuple is what its members say. `I32 | I64` is
either, and the leaf is compiled for each.

Interface: `declared_types`, `signatures`, `fitting`.
"""

import typing
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from types import UnionType
from typing import Any, TypeAlias

import numba
import numpy as np

Type: TypeAlias = Any  # numba ships no types
Alternatives: TypeAlias = tuple[Type, ...]  # what one parameter may be


@cache
def declared_types(function: Callable[..., object]) -> tuple[Alternatives, ...]:
    """Return what each parameter of a leaf may be.

    Raises:
        TypeError: An annotation says too little, or something no leaf takes.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    return tuple(alternatives(hint) for hint in hints.values())


def signatures(declared: Sequence[Alternatives]) -> list[tuple[Type, ...]]:
    """Return all the argument types a leaf may be called with."""
    return list(product(*declared))


def fitting(declared: Sequence[Alternatives], given: Sequence[Type]) -> tuple[Type, ...]:
    """Return the argument types to call a leaf with: what was given, where it may be that.

    Else the first that is declared: numba casts numbers, and refuses the rest.
    """
    return tuple(
        value if value in may_be else may_be[0]
        for may_be, value in zip(declared, given, strict=True)
    )


def alternatives(hint: Any) -> Alternatives:  # noqa: ANN401 - any annotation
    """Return the types an annotation allows."""
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(type_of(each) for each in typing.get_args(hint))
    return (type_of(hint),)


@cache
def type_of(hint: Any) -> Type:  # noqa: ANN401 - any annotation
    """Return the type an annotation without alternatives means."""
    if hint is bool:
        return numba.types.boolean
    if hint is int:
        return numba.types.int64
    if typing.get_origin(hint) is typing.Annotated:
        array, nr_dimensions = typing.get_args(hint)
        return array_type(array, nr_dimensions)
    if typing.get_origin(hint) is np.ndarray:
        return array_type(hint, 1)
    if isinstance(hint, type) and issubclass(hint, tuple):
        members = typing.get_type_hints(hint, include_extras=True).values()
        return numba.types.BaseTuple.from_types([type_of(member) for member in members], hint)
    raise TypeError(f"a leaf takes int, bool, NDArray[…] and NamedTuples of them, not {hint}")


def array_type(hint: Any, nr_dimensions: int) -> Type:  # noqa: ANN401 - any annotation
    """Return the type of contiguous arrays of the element an annotation names."""
    element = typing.get_args(typing.get_args(hint)[1])[0]
    return numba.types.Array(numba.from_dtype(np.dtype(element)), nr_dimensions, "C")
