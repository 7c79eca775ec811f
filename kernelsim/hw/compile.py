"""Compile leaves before they are called: what there is to do, and a process that does it.

    jobs = missing_leaves()              # in the process that wants to run
    python -m kernelsim.hw.compile      # does one job for each line it reads, and answers it

A leaf has the leaves it calls compiled in, so these come first: `CompileJob.needs`. The processes
hand on what they compiled by the cache on disk, and so does the last of them to the run.

Interface: `missing_leaves`, `can_keep_leaves`, `lock_file`, `compiling_time`; `main` is the
process.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs
import numba
from numba.core import event
from numba.core.registry import cpu_target

from kernelsim.hw.leaf import LEAVES
from kernelsim.hw.leaf_cache import PACKAGE, STAMP, cache_root, is_writable
from kernelsim.hw.leaf_types import declared_types, signatures

# What to compile a leaf takes, measured: a share for each leaf, one that grows with its length,
# and one with all that it calls, which the compiler goes through once more.
WEIGHT_OF_A_LEAF: Final = 400  # bytes of Python's code
CALLED_PER_OWN: Final = 5
KEPT: Final = "kept"
LOST: Final = "lost"


@attrs.frozen
class CompileJob:
    """One leaf to compile.

    Attributes:
        name: Module and function, with a colon between.
        weight: How long it takes, as compared with others.
        needs: Names of the jobs to be done before.
    """

    name: str
    weight: int
    needs: tuple[str, ...]


def missing_leaves() -> list[CompileJob]:
    """List the leaves of this package, as far as imported, that the cache does not hold.

    To look for each takes as long as a short run. So a file says for which leaves it was done.
    """
    found = {name_of(each): each for each in LEAVES if each.py_func.__module__.startswith(PACKAGE)}
    stamp = stamp_of(found)
    if stamp.is_file():
        return []
    missing = {name: each for name, each in found.items() if not is_kept(each)}
    if found and not missing:
        with suppress(OSError):
            stamp.touch()
    return [
        CompileJob(
            name, weight_of(each), tuple(n for n in map(name_of, callees(each)) if n in missing)
        )
        for name, each in missing.items()
    ]


def stamp_of(leaves: Mapping[str, Any]) -> Path:
    """Name the file that says that the cache holds these leaves; a new folder in it ends that."""
    places = [f"{name} {each._cache.cache_path}" for name, each in sorted(leaves.items())]  # noqa: SLF001 - ours
    compiler = (numba.__version__, cpu_target.target_context.codegen().magic_tuple())
    digest = hashlib.sha256("\n".join([*places, repr(compiler)]).encode())
    return cache_root() / f"{digest.hexdigest()[:16]}{STAMP}"


def can_keep_leaves() -> bool:
    """Tell whether the cache can be written: else one process cannot compile for another."""
    return is_writable(cache_root())


def lock_file() -> Path:
    """Name the file that the process locks that compiles for all."""
    return cache_root() / "compiling.lock"


def is_kept(dispatcher: Any) -> bool:  # noqa: ANN401 - numba ships no types
    """Tell whether the cache holds a leaf for all types that it declares."""
    wanted = signatures(declared_types(dispatcher.py_func))
    return all(dispatcher._cache.holds(each) for each in wanted)  # noqa: SLF001 - ours, see leaf.py


def name_of(dispatcher: Any) -> str:  # noqa: ANN401 - numba ships no types
    """Return the name of a leaf's job."""
    return f"{dispatcher.py_func.__module__}:{dispatcher.py_func.__qualname__}"


def callees(dispatcher: Any) -> list[Any]:  # noqa: ANN401 - numba ships no types
    """Return the leaves that a leaf's code names."""
    function = dispatcher.py_func
    named = [function.__globals__.get(name) for name in function.__code__.co_names]
    types = [getattr(value, "_numba_type_", None) for value in named]
    return [kind.dispatcher for kind in types if kind is not None and kind.dispatcher in LEAVES]


def weight_of(dispatcher: Any) -> int:  # noqa: ANN401 - numba ships no types
    """Tell how long a leaf takes to compile, as compared with others."""
    below: list[Any] = []
    waiting = callees(dispatcher)
    while waiting:
        each = waiting.pop()
        if each not in below:
            below.append(each)
            waiting.extend(callees(each))
    own, *called = (len(each.py_func.__code__.co_code) for each in [dispatcher, *below])
    return WEIGHT_OF_A_LEAF + own + sum(called) // CALLED_PER_OWN


def compile_leaf(name: str) -> bool:
    """Compile a leaf for all types that it declares.

    Returns:
        Whether the result was kept.
    """
    module, function = name.split(":")
    dispatcher = getattr(import_module(module), function)._numba_type_.dispatcher
    for types in signatures(declared_types(dispatcher.py_func)):
        dispatcher.compile(types)
    return is_kept(dispatcher)


@contextmanager
def compiling_time() -> Iterator[Callable[[], int]]:
    """Measure how long this process compiles meanwhile; gives a function that tells, in ns."""
    with event.install_listener("numba:compile", event.TimingListener()) as listener:
        yield lambda: int(listener.duration * 1e9) if listener.done else 0


def main() -> None:
    """Do a job for each line of stdin, and say of each whether its result was kept."""
    for line in sys.stdin:
        sys.stdout.write((KEPT if compile_leaf(line.strip()) else LOST) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
