"""The rules of the house: each is a function of one source file that gives the offending lines.

The tests that hold them over the tree are in test_house.py.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parent.parent

FILE_LINES_MAX = 400
BODY_LINES_MAX = 60
TOP_LEVEL = {"pyproject.toml", "README.md", "kernelsim", "workloads", "tests", "tools"}

# A room imports only from rooms before it, from itself, and from those it stands on a line with if
# SIDEWAYS says so. A room is a folder, or a file at the top; rooms inside a folder are listed too.
ORDER = (
    ("__init__", "units", "errors"),
    ("config",),
    ("sim", "trace"),
    ("hw",),
    ("mm",),
    ("mm.core",),
    ("mm.page",),
    ("mm.boot",),
    ("mm.space",),
    ("mm.swap",),
    ("mm.file",),
    ("mm.burst",),
    ("mm.reclaim",),
    ("block", "fs", "sched"),
    ("user",),
    ("user.cache", "user.malloc"),
    ("actors",),
    ("actors.messages",),
    ("actors.parts",),
    ("actors.core",),
    ("actors.reclaim",),
    ("actors.alloc",),
    ("actors.file",),
    ("actors.space",),
    ("actors.hotplug",),
    ("actors.process.calls",),
    ("actors.process",),
    ("procfs",),
    ("machine",),
    ("workload",),
    ("workload.script",),
    ("check",),
    ("report",),
    ("live",),
    ("oracle",),
    ("explore",),
    ("cli",),
    ("__main__",),
)
RANKS = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
SIDEWAYS = {
    ("units", "errors"),  # allowed within a rank
    ("__init__", "report"),  # the face of the package: names for type checkers, nothing else
}
PURE = {"config", "hw", "mm", "block", "fs", "sched", "user", "procfs"}
AWAITS = {"user.malloc"}  # rooms of those that may wait, though only for a door they declare
COMPILED = {"hw", "mm"}

BANNED_MODULES = {"random", "secrets", "uuid", "time", "datetime", "threading", "numpy.random"}
BANNED_NAMES = {
    "os.urandom",
    "trio.sleep",
    "trio.sleep_until",
    "trio.sleep_forever",
    "trio.current_time",
}
BANNED_BUILTINS = {"id", "hash"}  # neither an order nor a key: both differ between runs
CLOCK_ALLOWED = {"sim", "cli", "report"}
SET_READERS = {"list", "tuple", "iter", "next", "enumerate", "reversed", "zip", "map", "filter"}
UNFINISHED = re.compile(
    "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"))
)
WORKPLACE = re.compile(
    "|".join(("/wo" + "rk/", "/tmp/" + "spec", r"\.lib" + "rary", "/root" + "/"))
)


def room_of(module: str) -> str:
    """Return the room of a module below the package; "" for one that has no place in the order."""
    parts = module.split(".")
    while parts and ".".join(parts) not in RANKS:
        parts.pop()
    return ".".join(parts)


@lru_cache(maxsize=1)  # a rule asks for the tree of one source several times, and so does the next
def parsed(text: str) -> ast.Module:
    """Parse a source."""
    return ast.parse(text)


@lru_cache(maxsize=1)  # as above
def walked(text: str) -> list[ast.AST]:
    """List every node of a source."""
    return list(ast.walk(parsed(text)))


class Source(NamedTuple):
    """A source file and its parts."""

    path: str  # below the top, or of a made-up file
    text: str

    @property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return parsed(self.text)

    @property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree, in the order of `ast.walk`."""
        return walked(self.text)

    @property
    def folder(self) -> str:
        """The part of the package it belongs to: a folder, or a file at its top."""
        parts = Path(self.path).with_suffix("").parts
        return parts[1] if parts[0] == "kernelsim" else ""

    @property
    def room(self) -> str:
        """The room it belongs to; "" outside the package or in a room without a place."""
        parts = Path(self.path).with_suffix("").parts
        return room_of(".".join(parts[1:])) if parts[0] == "kernelsim" else ""


def files_of_the_tree() -> list[str]:
    """Name what git tracks or would track; without git, all but dot-folders and caches."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return sorted({name for name in done.stdout.splitlines() if (TOP / name).exists()})
    found = (path.relative_to(TOP) for path in TOP.rglob("*") if path.is_file())
    hidden = re.compile(r"(^|/)(\.[^/]*|__pycache__)/")
    return sorted(str(path) for path in found if not hidden.search(str(path)))


FILES = files_of_the_tree()


def sources(*folders: str) -> list[Source]:
    """Read the Python files below some top folders."""
    names = [name for name in FILES if name.endswith(".py") and name.split("/")[0] in folders]
    return [Source(name, (TOP / name).read_text(encoding="utf-8")) for name in names]


def too_long_files(source: Source) -> Iterator[int]:
    """A file has at most 400 lines."""
    length = len(source.text.splitlines())
    if length > FILE_LINES_MAX:
        yield length


def too_long_functions(source: Source) -> Iterator[int]:
    """A function's body, without its docstring, has at most 60 lines."""
    for node in functions(source):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if body and body[-1].end_lineno - body[0].lineno + 1 > BODY_LINES_MAX:
            yield node.lineno


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Find the functions and methods of a source, nested ones too."""
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def missing_docstrings(source: Source) -> Iterator[int]:
    """The module and its public classes, functions and methods have docstrings."""
    if ast.get_docstring(source.tree) is None:
        yield 1
    waiting: list[ast.AST] = list(source.tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If | ast.Try):
            waiting.extend(ast.iter_child_nodes(node))
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or any(
            re.search(r"overload|\.setter$", ast.unparse(d)) for d in node.decorator_list
        ):
            continue
        if ast.get_docstring(node) is None:
            yield node.lineno
        if isinstance(node, ast.ClassDef):
            waiting.extend(node.body)


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Find every imported name in full, inside functions too; relative ones keep their dots."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def upward_imports(source: Source) -> Iterator[int]:
    """Imports of ours go to a room before it or stay in the room."""
    room = source.room
    if not room:
        yield 1
        return
    for line, name in imports(source):
        first, _, rest = name.partition(".")
        if not first:
            yield line
        if first != "kernelsim":
            continue
        target = room_of(rest) or "__init__"
        lower = RANKS[target] < RANKS[room]
        if not lower and target != room and (room, target) not in SIDEWAYS:
            yield line


def impurities(source: Source) -> Iterator[int]:
    """Plain folders neither wait nor know the engine; only compiled folders import numba."""
    is_pure, is_compiled = source.folder in PURE, source.folder in COMPILED
    for line, name in imports(source):
        waits = name.split(".")[0] == "trio" or name.startswith("kernelsim.sim.")
        if waits and is_pure:
            yield line
        if name.split(".")[0] == "numba" and not is_compiled:
            yield line
        if name.startswith("kernelsim.hw.leaf") and not is_compiled:
            yield line
    if not is_pure or source.room in AWAITS:
        return
    for node in source.nodes:
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield node.lineno


def is_banned(name: str) -> bool:
    """Tell whether a name in full is a clock or a source of chance, or lies in one."""
    names = BANNED_MODULES | BANNED_NAMES
    return any(name == banned or name.startswith(f"{banned}.") for banned in names)


def chance_and_clocks(source: Source) -> Iterator[int]:
    """No clock and no source of chance but the engine's; a marked wall clock is for people."""
    lines = source.text.splitlines()
    aliases = {"np": "numpy"}
    for node in source.nodes:
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names}
    found = [line for line, name in imports(source) if is_banned(name)]
    for node in source.nodes:
        if isinstance(node, ast.Attribute):
            head, _, rest = ast.unparse(node).partition(".")
            if is_banned(f"{aliases.get(head, head)}.{rest}") and head in aliases:
                found.append(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in BANNED_BUILTINS:
            found.append(node.lineno)
    if source.folder not in CLOCK_ALLOWED:
        yield from (line for line in found if "noqa: TID251 - " not in lines[line - 1])


def is_set(node: ast.expr) -> bool:
    """Tell whether an expression is a set for certain."""
    if isinstance(node, ast.BinOp):
        return is_set(node.left) or is_set(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"set", "frozenset"}
    return isinstance(node, ast.Set | ast.SetComp)


def set_orders(source: Source) -> Iterator[int]:
    """Nothing goes through a set in the set's own order."""
    for node in source.nodes:
        read: list[ast.expr] = []
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            read = [node.iter]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            read = node.args if node.func.id in SET_READERS else []
        elif isinstance(node, ast.Starred):
            read = [node.value]
        yield from (expression.lineno for expression in read if is_set(expression))


def shared_counters(source: Source) -> Iterator[int]:
    """No counter lives in a module or a class: it would go on from one run to the next."""
    waiting: list[ast.AST] = list(source.tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            waiting.extend(node.body)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
            names = {ast.unparse(call.func) for call in calls}
            if names & {"itertools.count", "count"}:
                yield node.lineno
    yield from (node.lineno for node in source.nodes if isinstance(node, ast.Global))


def unfinished(source: Source) -> Iterator[int]:
    """Nothing is left for later."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if UNFINISHED.search(line):
            yield number


def untold_tests(source: Source) -> Iterator[int]:
    """Each test says in its docstring what is expected."""
    if ast.get_docstring(source.tree) is None:
        yield 1
    for node in functions(source):
        if node.name.startswith("test_") and ast.get_docstring(node) is None:
            yield node.lineno


def workplace_words(source: Source) -> Iterator[int]:
    """No file tells where it was written."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if WORKPLACE.search(line):
            yield number
