"""The rules of the house hold over the whole tree, and each of them can fail."""

from functools import cache
from pathlib import Path

import pytest

from tests.house_names import UNCALLED, unused_names
from tests.house_rules import (
    FILES,
    TOP,
    TOP_LEVEL,
    Source,
    chance_and_clocks,
    impurities,
    missing_docstrings,
    set_orders,
    shared_counters,
    sources,
    too_long_files,
    too_long_functions,
    unfinished,
    untold_tests,
    upward_imports,
    workplace_words,
)

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


@cache
def offenders():
    """Return the offences against each rule: all rules look at a file before the next is parsed."""
    found = {rule: [] for rule, _ in RULES}
    for source in sources(*EVERYWHERE):
        for rule, folders in RULES:
            if source.path.split("/")[0] in folders:
                found[rule] += [f"{source.path}:{line}" for line in sorted(set(rule(source)))]
    return found


@pytest.mark.parametrize(
    ("rule", "folders"), RULES, ids=lambda value: getattr(value, "__name__", "")
)
def test_rule_holds(rule, folders):
    """The rule holds in every file of the folders it is for."""
    assert not offenders()[rule], f"{rule.__doc__}\n" + "\n".join(offenders()[rule])


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


def test_public_names_have_callers():
    """Each public name of the package is used by the package, a workload or a tool.

    A name that tests alone use is dead code, or belongs to the tests.
    """
    read = sources("kernelsim", "workloads", "tools")
    assert [] == [f"{name.path}:{name.first} {name.name}" for name in unused_names(read, UNCALLED)]


def test_names_without_callers_are_listed_for_a_reason():
    """Each pattern of the list of names without callers stands for one that has none."""
    unused = unused_names(sources("kernelsim", "workloads", "tools"))
    assert [] == [each for each in UNCALLED if not any(n.is_one_of((each,)) for n in unused)]


def test_unused_names_are_found():
    """A name is unused if only an import, its own body or another unused name has it."""
    defined = Source(
        "kernelsim/mm/a.py",
        "__all__ = ['f']\nX = 1\nclass A:\n    def m(self): g()\n    def n(self): ...\n"
        "def f(): f(); g()\n@leaf\ndef g(): ...\ndef h(): ...\nY = 2\n",
    )
    user = Source("tools/a.py", "from a import f\nA().n()\ncall('mod:h', lambda y: Y)\n")
    found = {(name.name, name.first, name.last) for name in unused_names([defined, user])}
    assert {("X", 2, 2), ("A.m", 4, 4), ("f", 6, 6), ("g", 7, 8)} == found


OFFENCES = [
    (too_long_files, "kernelsim/mm/a.py", "\n" * 401, [401]),
    (
        too_long_functions,
        "kernelsim/mm/a.py",
        "def f():\n    '''Text.'''" + "\n    x = 1" * 61,
        [1],
    ),
    (missing_docstrings, "kernelsim/mm/a.py", "class A:\n    def f(self): ...\n", [1, 1, 2]),
    (upward_imports, "kernelsim/mm/a.py", "def f():\n    import kernelsim.actors.parts.cpu\n", [2]),
    (upward_imports, "kernelsim/sim/a.py", "from kernelsim.trace import x\n", [1]),
    (upward_imports, "kernelsim/mm/a.py", "from . import list\n", [1]),
    (upward_imports, "kernelsim/odd/a.py", "", [1]),
    (upward_imports, "kernelsim/mm/core/a.py", "import kernelsim.mm.page.pcp\n", [1]),
    (upward_imports, "kernelsim/actors/core/a.py", "import kernelsim.actors.space.b\n", [1]),
    (impurities, "kernelsim/mm/a.py", "import trio\nasync def f(): ...\n", [1, 2]),
    (impurities, "kernelsim/block/a.py", "from kernelsim.sim.engine import Engine\n", [1]),
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
    (chance_and_clocks, "kernelsim/live/a.py", "from time import sleep\n", [1]),
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
