"""The rules of the house, held over the whole tree: each rule lists every offender.

A rule is a function of one source file that gives the offending lines. Below the rules stand the
tests that hold them over the tree, and one that shows that each rule can fail.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TOP = Path(__file__).resolve().parent.parent

FILE_LINES_MAX = 400
BODY_LINES_MAX = 60
TOP_LEVEL = {"pyproject.toml", "README.md", "kernelsim", "workloads", "tests", "tools"}

# A folder or file imports only from lower ranks and from itself.
RANKS = {
    "__init__": 0,
    "units": 0,
    "errors": 0,
    "config": 1,
    "sim": 2,
    "trace": 2,
    "hw": 3,
    "mm": 4,
    "user": 5,
    "actors": 6,
    "workload": 7,
    "machine": 8,
    "procfs": 9,
    "check": 9,
    "explore": 10,
    "report": 11,
    "cli": 12,
    "__main__": 13,
}
SIDEWAYS = {("units", "errors")}  # allowed within a rank
PURE = {"config", "hw", "mm", "user", "procfs"}
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


class Source(NamedTuple):
    """A source file and its parts."""

    path: str  # below the top, or of a made-up file
    text: str

    @property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return ast.parse(self.text)

    @property
    def folder(self) -> str:
        """The part of the package it belongs to: a folder, or a file at its top."""
        parts = Path(self.path).with_suffix("").parts
        return parts[1] if parts[0] == "kernelsim" else ""


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
    for node in functions(source.tree):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if body and body[-1].end_lineno - body[0].lineno + 1 > BODY_LINES_MAX:
            yield node.lineno


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Find the functions and methods of a tree, nested ones too."""
    for node in ast.walk(tree):
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
            "overload" in ast.unparse(d) for d in node.decorator_list
        ):
            continue
        if ast.get_docstring(node) is None:
            yield node.lineno
        if isinstance(node, ast.ClassDef):
            waiting.extend(node.body)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Find every imported name in full, inside functions too; relative ones keep their dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def upward_imports(source: Source) -> Iterator[int]:
    """Imports of ours go to a lower rank or stay in the folder."""
    if source.folder not in RANKS:
        yield 1
        return
    for line, name in imports(source.tree):
        parts = name.split(".")
        if not parts[0]:
            yield line
        if parts[0] != "kernelsim":
            continue
        target = parts[1] if parts[1] in RANKS else "__init__"
        lower = RANKS[target] < RANKS[source.folder]
        if not lower and target != source.folder and (source.folder, target) not in SIDEWAYS:
            yield line


def impurities(source: Source) -> Iterator[int]:
    """Nothing waits in the folders of plain functions; only compiled folders import numba."""
    for line, name in imports(source.tree):
        if name.split(".")[0] == "trio" and source.folder in PURE:
            yield line
        if name.split(".")[0] == "numba" and source.folder not in COMPILED:
            yield line
        if name.startswith("kernelsim.hw.leaf") and source.folder not in COMPILED:
            yield line
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await) and source.folder in PURE:
            yield node.lineno


def is_banned(name: str) -> bool:
    """Tell whether a name in full is a clock or a source of chance, or lies in one."""
    names = BANNED_MODULES | BANNED_NAMES
    return any(name == banned or name.startswith(f"{banned}.") for banned in names)


def chance_and_clocks(source: Source) -> Iterator[int]:
    """No clock and no source of chance but the engine's; a marked wall clock is for people."""
    lines = source.text.splitlines()
    aliases = {"np": "numpy"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names}
    found = [line for line, name in imports(source.tree) if is_banned(name)]
    for node in ast.walk(source.tree):
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
    for node in ast.walk(source.tree):
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
    yield from (node.lineno for node in ast.walk(source.tree) if isinstance(node, ast.Global))


def unfinished(source: Source) -> Iterator[int]:
    """Nothing is left for later."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if UNFINISHED.search(line):
            yield number


def untold_tests(source: Source) -> Iterator[int]:
    """Each test says in its docstring what is expected."""
    if ast.get_docstring(source.tree) is None:
        yield 1
    for node in functions(source.tree):
        if node.name.startswith("test_") and ast.get_docstring(node) is None:
            yield node.lineno


def workplace_words(source: Source) -> Iterator[int]:
    """No file tells where it was written."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if WORKPLACE.search(line):
            yield number


EVERYWHERE = ("kernelsim", "tests", "tools", "workloads")
RULES = [
    (too_long_files, EVERYWHERE),
    (too_long_functions, EVERYWHERE),
    (missing_docstrings, ("kernelsim", "tools", "workloads")),
    (upward_imports, ("kernelsim",)),
    (impurities, ("kernelsim",)),
    (chance_and_clocks, ("kernelsim", "workloads")),
    (set_orders, ("kernelsim", "workloads")),
    (shared_counters, ("kernelsim", "workloads")),
    (unfinished, EVERYWHERE),
    (untold_tests, ("tests",)),
    (workplace_words, EVERYWHERE),
]


@pytest.mark.parametrize(
    ("rule", "folders"), RULES, ids=lambda value: getattr(value, "__name__", "")
)
def test_rule_holds(rule, folders):
    """The rule holds in every file of the folders it is for."""
    offenders = [f"{s.path}:{line}" for s in sources(*folders) for line in sorted(set(rule(s)))]
    assert not offenders, f"{rule.__doc__}\n" + "\n".join(offenders)


def test_other_files_tell_no_workplace():
    """Recordings, settings and scripts do not tell where they were made either."""
    others = [name for name in FILES if not name.endswith(".py")]
    texts = [Source(name, (TOP / name).read_text(errors="replace")) for name in others]
    assert [] == [f"{text.path}:{line}" for text in texts for line in workplace_words(text)]


def test_top_level_entries():
    """At the top lie only the known entries and dot-files."""
    top = {name.split("/")[0] for name in FILES}
    assert set() == {name for name in top if not name.startswith(".")} - TOP_LEVEL


def test_every_folder_has_a_guide():
    """Each folder of the package has an `__init__.py`, whose docstring is its guide."""
    folders = {str(Path(source.path).parent) for source in sources("kernelsim")}
    assert [] == sorted(name for name in folders if f"{name}/__init__.py" not in FILES)


OFFENCES = [
    (too_long_files, "kernelsim/mm/a.py", "\n" * 401, [401]),
    (
        too_long_functions,
        "kernelsim/mm/a.py",
        "def f():\n    '''Text.'''" + "\n    x = 1" * 61,
        [1],
    ),
    (missing_docstrings, "kernelsim/mm/a.py", "class A:\n    def f(self): ...\n", [1, 1, 2]),
    (upward_imports, "kernelsim/mm/a.py", "def f():\n    import kernelsim.actors.cpu\n", [2]),
    (upward_imports, "kernelsim/sim/a.py", "from kernelsim.trace import x\n", [1]),
    (upward_imports, "kernelsim/mm/a.py", "from . import list\n", [1]),
    (upward_imports, "kernelsim/odd/a.py", "", [1]),
    (impurities, "kernelsim/mm/a.py", "import trio\nasync def f(): ...\n", [1, 2]),
    (
        impurities,
        "kernelsim/cli/a.py",
        "import numba\nfrom kernelsim.hw.leaf import leaf\n",
        [1, 2],
    ),
    (chance_and_clocks, "kernelsim/mm/a.py", "import random\nfrom time import time\n", [1, 2]),
    (
        chance_and_clocks,
        "kernelsim/mm/a.py",
        "import numpy as n\nn.random.rand()\nhash(3)\n",
        [2, 3],
    ),
    (chance_and_clocks, "kernelsim/mm/a.py", "import os\nx = os.urandom(1)\n", [2]),
    (chance_and_clocks, "kernelsim/actors/a.py", "import trio\ntrio.sleep(1)\n", [2]),
    (set_orders, "kernelsim/mm/a.py", "for x in {1, 2} | y: ...\n[z for z in set(y)]\n", [1, 2]),
    (set_orders, "kernelsim/mm/a.py", "list({1})\nf(*set(y))\nsorted(set(y))\n", [1, 2]),
    (shared_counters, "kernelsim/mm/a.py", "import itertools\nids = itertools.count()\n", [2]),
    (shared_counters, "kernelsim/mm/a.py", "class A:\n    ids = count()\n", [2]),
    (shared_counters, "kernelsim/mm/a.py", "def f():\n    global n\n", [2]),
    (unfinished, "kernelsim/mm/a.py", "x = 1  # TO" + "DO later\n", [1]),
    (untold_tests, "tests/test_a.py", "'''Text.'''\ndef test_a(): ...\n", [2]),
    (workplace_words, "tests/test_a.py", "open('/wo" + "rk/x')\n", [1]),
]


@pytest.mark.parametrize(("rule", "path", "text", "lines"), OFFENCES)
def test_rule_can_fail(rule, path, text, lines):
    """Each rule finds its offence, on its line."""
    assert lines == sorted(set(rule(Source(path, text)))) or lines == sorted(
        rule(Source(path, text))
    )


def test_rules_let_good_code_pass():
    """What the rules ask for passes all of them."""
    text = (
        '"""Text."""\n\nfrom kernelsim.units import KIB\n\n\ndef f(x):\n    """Sort."""\n'
        "    return [KIB * y for y in sorted(set(x)) if y in {1, 2}]\n"
    )
    assert [] == [line for rule, _ in RULES for line in rule(Source("kernelsim/mm/a.py", text))]
