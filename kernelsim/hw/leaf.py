"""Compiled leaf functions: the decorator for loops over pages.

A leaf takes integers, arrays and NamedTuples of arrays and returns integers. numba compiles it
once for each machine; the result is kept in the user's cache folder (leaf_cache.py).

Interface: `@leaf` above a plain function, `@inlined_leaf` above a step of one. Only modules under
`hw` and `mm` use them, so that commands that build no machine never import numba.

A leaf is compiled for the types its annotations declare (leaf_types.py), once. Left alone, numba
would compile it again for each kind of integer and each constant that a caller hands on. It also
means that a leaf can be compiled before it is called: compile.py does, all at once.

A call from Python would take longer than most leaves run: numba looks into every array of every
NamedTuple, 30 of them, to find the types out. So a leaf remembers the types it was first called
with, and goes straight to the code compiled for them when it is called with these again.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import numba
import numpy as np
from numba.core import typing

from kernelsim.hw.leaf_cache import LeafCache
from kernelsim.hw.leaf_types import declared_types, fitting

P = ParamSpec("P")
R = TypeVar("R")

LEAVES: Final[list[Any]] = []  # what numba compiles of each leaf, in the order of the source


def leaf(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function over arrays and integers with numba, once for the types it declares.

    All arrays must be as declared: of these elements and dimensions, writable and contiguous.
    """
    return compiled_leaf(function)


def inlined_leaf(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a leaf as part of every leaf that calls it.

    For steps taken once a page. A call between leaves hands on each member of each array of each
    NamedTuple, some hundred words, and costs more than such a step; which calls the compiler leaves
    out of its own accord changes with any edit.
    """
    return compiled_leaf(function, forceinline=True)


def compiled_leaf(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    """Compile a leaf with numba's options besides those all leaves have."""
    if numba.config.DISABLE_JIT:  # to step through a leaf, or to see which lines a test reaches
        return function
    # Without the runtime that counts references: leaves allocate nothing, and counting one for each
    # array of `Mem` on every call between leaves would cost more than most of them do. And without
    # an entry for C programs, which nobody calls and which takes long to compile.
    dispatcher = numba.njit(_nrt=False, no_cfunc_wrapper=True, **options)(function)
    dispatcher._cache = LeafCache(function)  # noqa: SLF001 - as numba's `enable_caching` does
    LEAVES.append(dispatcher)
    compiled: Callable[P, R] = shortcut(dispatcher)
    return compiled


def shortcut(dispatcher: Any) -> Any:  # noqa: ANN401 - numba ships no types
    """Return a function that calls a compiled one without asking numba for the types again.

    Other classes or arrays than those of the first call take numba's own way, which compiles for
    them. Numbers are not looked at: what is declared `int` takes any integer, `bool` any truth.
    """
    entry: Any = None  # what numba compiled for the first call with all as declared
    classes: list[tuple[int, type]] = []  # of its arguments that are no numbers, by position
    kinds: list[tuple[int, Any, int]] = []  # of those that are arrays: dtype, dimensions

    def learn(args: tuple[Any, ...]) -> None:
        nonlocal entry
        given = tuple(map(dispatcher.typeof_pyval, args))
        declared = declared_types(dispatcher.py_func)
        if len(given) != len(declared) or given != fitting(declared, given):
            return
        for at, value in enumerate(args):
            if isinstance(value, tuple | np.ndarray):
                classes.append((at, type(value)))
            if isinstance(value, np.ndarray):
                kinds.append((at, value.dtype, value.ndim))
        entry = dispatcher.compile(given)

    @wraps(dispatcher)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - what the leaf takes and gives
        if entry is None and not kwargs:
            learn(args)
        if entry is None or kwargs:
            return dispatcher(*args, **kwargs)
        for at, kind in classes:
            if args[at].__class__ is not kind:
                return dispatcher(*args)
        for at, dtype, ndim in kinds:
            value = args[at]
            if value.dtype is not dtype or value.ndim != ndim or not value.flags.carray:
                return dispatcher(*args)
        return entry(*args)

    dispatcher.get_call_template = lambda args, kws: call_template(dispatcher, args, kws)
    call._numba_type_ = numba.types.Dispatcher(dispatcher)  # type: ignore[attr-defined]  # numba's name for what other leaves call
    return call


def call_template(dispatcher: Any, args: Any, kws: Any) -> tuple[Any, Any, Any, Any]:  # noqa: ANN401 - see numba
    """Tell numba what a leaf that another leaf calls takes: what it declares, not what is given.

    Numbers are cast on the way, as in C.
    Source: numba's `_DispatcherBase.get_call_template`, which compiles for what is given.
    """
    pysig, args = dispatcher.fold_argument_types(args, kws)
    types = fitting(declared_types(dispatcher.py_func), args)
    dispatcher.compile(types)
    name = dispatcher.py_func.__name__
    template = typing.make_concrete_template(
        name, key=name, signatures=[dispatcher.overloads[types].signature]
    )
    return template, pysig, args, {}
