"""Compiled leaf functions: the decorator for loops over pages.

A leaf takes integers, arrays and NamedTuples of arrays and returns integers. numba compiles it
once for each machine; the result is kept in the user's cache folder.

Interface: `@leaf` above a plain function, `@inlined_leaf` above a step of one. Only modules under
`hw` and `mm` use them, so that commands that build no machine never import numba.
`NUMBA_CACHE_DIR` names another cache folder.

numba itself looks only at the file of the function when it asks whether a kept result is still
good, but a leaf has the leafs it calls and the constants it reads compiled in. So the folder's
name carries a digest of the module and of every module of ours that it imports.

A call from Python would take longer than most leafs run: numba looks into every array of every
NamedTuple, 30 of them, to find the types out. So a leaf remembers the types it was first called
with, and goes straight to the code compiled for them when it is called with these again.
"""

import ast
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import numba
import numpy as np
from numba.core import event

from kernelsim import __version__

P = ParamSpec("P")
R = TypeVar("R")

PACKAGE: Final = "kernelsim"
KEEP_S: Final = 7 * 24 * 3600  # a cache folder this much older than a new one is removed


def leaf(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function over arrays and integers with numba, once for each set of types.

    All instances of one NamedTuple class must hold arrays of the same types, as declared: writable
    and contiguous ones.
    """
    return compiled_leaf(function)


def inlined_leaf(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a leaf as part of every leaf that calls it.

    For steps taken once a page. A call between leafs hands on each member of each array of each
    NamedTuple, some hundred words, and costs more than such a step; which calls the compiler leaves
    out of its own accord changes with any edit.
    """
    return compiled_leaf(function, forceinline=True)


def compiled_leaf(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    """Compile a leaf with numba's options besides those all leafs have."""
    numba.config.CACHE_DIR = str(cache_folder(function.__module__))
    if numba.config.DISABLE_JIT:  # to step through a leaf, or to see which lines a test reaches
        return function
    # Without the runtime that counts references: leafs allocate nothing, and counting one for each
    # array of `Mem` on every call between leafs would cost more than most of them do.
    compiled: Callable[P, R] = shortcut(numba.njit(cache=True, _nrt=False, **options)(function))
    return compiled


def shortcut(compiled: Any) -> Any:  # noqa: ANN401 - numba ships no types
    """Return a function that calls a compiled one without asking numba for the types again.

    Other classes or arrays than those of the first call take numba's own way, which compiles for
    them. Numbers are not looked at: what is declared `int` takes any integer, `bool` any truth.
    """
    declared = [value.annotation for value in signature(compiled.py_func).parameters.values()]
    entry: Any = None  # what numba compiled for the first call with numbers as declared
    classes: list[tuple[int, type]] = []  # of its arguments that are no numbers, by position
    kinds: list[tuple[int, Any, int]] = []  # of those that are arrays: dtype, dimensions

    def learn(args: tuple[Any, ...]) -> None:
        nonlocal entry
        for at, value in enumerate(args):
            if isinstance(value, tuple | np.ndarray):
                classes.append((at, type(value)))
            elif type(value) is not declared[at]:
                return
            if isinstance(value, np.ndarray):
                kinds.append((at, value.dtype, value.ndim))
                if not value.flags.carray:
                    return
        entry = compiled.overloads[tuple(map(compiled.typeof_pyval, args))].entry_point

    @wraps(compiled)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - what the leaf takes and gives
        if entry is None or kwargs:
            result = compiled(*args, **kwargs)
            if not kwargs:
                classes.clear()
                kinds.clear()
                learn(args)
            return result
        for at, kind in classes:
            if args[at].__class__ is not kind:
                return compiled(*args)
        for at, dtype, ndim in kinds:
            value = args[at]
            if value.dtype is not dtype or value.ndim != ndim or not value.flags.carray:
                return compiled(*args)
        return entry(*args)

    call._numba_type_ = numba.types.Dispatcher(compiled)  # type: ignore[attr-defined]  # numba's name for what other leafs call
    return call


@cache
def cache_root() -> Path:
    """Find a folder we may write to: asked for, else the user's cache, else a temporary one."""
    asked = os.environ.get("NUMBA_CACHE_DIR")
    if asked:
        return Path(asked)
    name = f"{__version__}-py{sys.version_info.major}.{sys.version_info.minor}"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    wanted = Path(home) / PACKAGE / name
    if is_writable(wanted):
        return wanted
    return Path(tempfile.gettempdir()) / f"{PACKAGE}-{os.getuid()}" / name


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, making the folder if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def cache_folder(module: str) -> Path:
    """Make the folder for the leafs of a module as its source is now, and drop old folders."""
    digest = hashlib.sha256(b"boundscheck" if numba.config.BOUNDSCHECK else b"")
    for name in sorted(imported(module)):
        digest.update(source_of(name))
    root = cache_root()
    folder = root / digest.hexdigest()[:16]
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        remove_older(root, folder.stat().st_mtime - KEEP_S)
    return folder


def remove_older(root: Path, before: float) -> None:
    """Remove the folders in the cache that nobody wrote to since a time."""
    for other in sorted(root.iterdir()):
        if other.is_dir() and other.stat().st_mtime < before:
            shutil.rmtree(other, ignore_errors=True)


def imported(module: str) -> frozenset[str]:
    """Name a module and all modules of ours that it imports, directly or not."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(direct_imports(source_of(name)))
    return frozenset(found)


def direct_imports(source: bytes) -> list[str]:
    """Name the modules of ours that a source imports at its top level or below."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return [name for name in names if name.startswith(f"{PACKAGE}.") and is_module(name)]


@cache
def is_module(name: str) -> bool:
    """Tell whether a dotted name is a module, not something inside one."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@cache
def source_of(module: str) -> bytes:
    """Read the source of a module; empty for one that has no file (an interactive session)."""
    spec = find_spec(module) if module != "__main__" else None
    return Path(spec.origin).read_bytes() if spec is not None and spec.origin else b""


class CompileNotice(event.Listener):  # type: ignore[misc]  # numba ships no types
    """Say once on a terminal why the first run takes long."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, _event: Any) -> None:  # noqa: ANN401 - numba ships no types
        """Print the line when numba starts its first compilation."""
        if not self.said and sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write("kernelsim: compiling, only the first time …\n")
        self.said = True

    def on_end(self, _event: Any) -> None:  # noqa: ANN401 - numba ships no types
        """Say nothing: the run goes on by itself."""


event.register("numba:compile", CompileNotice())
