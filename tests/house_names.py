"""The rule that each public name of the package has a caller that is no test."""

import ast
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from typing import NamedTuple

from tests.house_rules import Source

ONE_NAME = re.compile(r"([a-z_.]+:)?[A-Za-z_][A-Za-z0-9_]*")
# Public names without a caller of our own, and why they are there.
UNCALLED = {
    "LeafCache.*_overload": "numba asks a cache",
    "LeafLocator.*": "numba asks a locator",
    "DiskHandle.*": "workload authors call them",
    "ProcessHandle.*": "workload authors call them",
    "Virtual*Channel.aclose": "trio.abc asks for it",
    "VirtualClock.start_clock": "trio.abc asks for it",
    "VirtualClock.deadline_to_sleep_time": "trio.abc asks for it",
    "Waiter.asend": "an awaitable needs it",
    "ks_deadlock": "the engine logs it by a name it puts together",
    "ks_livelock": "the engine logs it by a name it puts together",
    "ALLOC_*": "a whole set of Linux's flags, to be compared with the kernel's",
    "MIGRATE_*": "a whole enumeration of Linux",
    "xa_get_mark": "reads back what others set; its own test needs it",
    "PROT_*": "a whole set of flags of mmap(2)",
    "kernelsim/mm/core/vmstat.py": "numbers of all counters of /proc/vmstat, in its order",
}


class Name(NamedTuple):
    """A public name of the package and the lines that define it."""

    path: str
    name: str  # `f`, `Class`, `CONSTANT` or `Class.method`
    first: int
    last: int

    def is_one_of(self, patterns: tuple[str, ...]) -> bool:
        """Tell whether one of some patterns stands for it: of its name, or of its file."""
        return any(fnmatch(self.name, each) or fnmatch(self.path, each) for each in patterns)

    def covers(self, place: tuple[str, int]) -> bool:
        """Tell whether a path and line lie inside the definition."""
        return place[0] == self.path and self.first <= place[1] <= self.last


def public_names(source: Source) -> Iterator[Name]:
    """Find the module-level functions, classes and constants, and methods, that are public."""
    for node in source.tree.body:
        inner = node.body if isinstance(node, ast.ClassDef) else []
        methods = [
            each for each in inner if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for prefix, each in [("", node), *((f"{node.name}.", method) for method in methods)]:
            if isinstance(each, ast.Assign | ast.AnnAssign):
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            else:
                names = [getattr(each, "name", "_")]
            decorators = getattr(each, "decorator_list", [])
            first = min([each.lineno, *(decorator.lineno for decorator in decorators)])
            for name in names:
                if not name.startswith("_"):
                    yield Name(source.path, prefix + name, first, each.end_lineno or first)


def used_names(source: Source) -> Iterator[tuple[str, tuple[str, int]]]:
    """Find every name that is read, with its place; an import or an `__all__` is no use.

    A string that is one name, or `module:name` as a command's is, counts as a use.
    """
    exported = {
        line
        for node in source.tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    for node in source.nodes:
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = node.id if isinstance(node, ast.Name) else node.attr
            yield name, (source.path, node.lineno)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and ONE_NAME.fullmatch(node.value)
            and node.lineno not in exported
        ):
            yield node.value.rpartition(":")[2], (source.path, node.lineno)


@cache  # two tests go through the same sources
def names_of(source: Source) -> tuple[list[Name], list[tuple[str, tuple[str, int]]]]:
    """Return the public names of a source, and those it uses."""
    return list(public_names(source)), list(used_names(source))


def unused_names(read: list[Source], allowed: Iterable[str] = ()) -> list[Name]:
    """Find public names that only themselves, other unused names, or nothing refers to.

    Args:
        read: All sources that may use a name; names of those in the package are looked at.
        allowed: Patterns of names, and of files, that need no caller.
    """
    package = [source for source in read if source.path.startswith("kernelsim/")]
    names = [name for source in package for name in names_of(source)[0]]
    patterns = tuple(allowed)
    names = [name for name in names if not name.is_one_of(patterns)]
    uses: dict[str, list[tuple[str, int]]] = {}
    for source in read:
        for word, place in names_of(source)[1]:
            uses.setdefault(word, []).append(place)
    unused: list[Name] = []
    while True:
        dead = [
            name
            for name in names
            if name not in unused
            and all(
                any(other.covers(place) for other in (name, *unused))
                for place in uses.get(name.name.rpartition(".")[2], [])
            )
        ]
        if not dead:
            return unused
        unused += dead
