"""Tests of what a workload's text tells before it runs."""

import ast

import pytest

from kernelsim.cli import main as cli
from kernelsim.workload.api import load_workload
from kernelsim.workload.source import expect_lines, foreign_imports

WORKLOAD = """from kernelsim.workload import {kind}

@{kind}
async def main(given):
    pass
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import random\n", ["1: random"]),
        ("import os, time\nimport time\n", ["1: time"]),
        ("x = 1\nfrom random import choice\n", ["2: random"]),
        ("def f():\n    import secrets, uuid\n", ["2: secrets", "2: uuid"]),
        ("import numpy as np\nx = np.random.rand(3)\n", ["2: numpy.random"]),
        ("import numpy.random\n", ["1: numpy.random"]),
        ("from numpy import random, zeros\n", ["1: numpy.random"]),
        ("from numpy.random import default_rng\n", ["1: numpy.random"]),
        ("import numpy as np\nx = np.zeros(3)\n", []),
        ("import timeit, randomness\nfrom datetime import time\nfrom . import time\n", []),
    ],
)
def test_modules_that_break_replay_are_named(tmp_path, text, told):
    """Each once a file, with its first line; other modules with such names are not meant."""
    path = tmp_path / "w.py"
    warnings = foreign_imports(ast.parse(text), path, "machine")
    assert [warning.partition(" makes")[0] for warning in warnings] == [
        f"{path}:{each}" for each in told
    ]


def test_modules_beside_the_workload_are_looked_into(tmp_path):
    """Also through each other, in a circle, and where one cannot be parsed."""
    (tmp_path / "near.py").write_text("import far\nimport broken\n")
    (tmp_path / "far.py").write_text("\nimport near, random\n")
    (tmp_path / "broken.py").write_text("def\n")
    warnings = foreign_imports(ast.parse("import near, random\n"), tmp_path / "w.py", "engine")
    assert [warning.partition(" makes")[0] for warning in warnings] == [
        f"{tmp_path}/w.py:1: random",
        f"{tmp_path}/far.py:2: random",
    ]


@pytest.mark.parametrize(("kind", "given"), [("workload", "machine"), ("simulation", "engine")])
def test_a_run_warns_once_and_says_what_to_use(tmp_path, capsys, kind, given):
    """On stderr, before the run; the run goes on."""
    path = tmp_path / "w.py"
    path.write_text(WORKLOAD.format(kind=kind) + "    import random, time\n")
    machine = ["--machine", "tiny-64m"] if kind == "workload" else []
    assert cli.exit_status(["run", str(path), *machine]) == cli.EXIT_DONE
    same = "makes runs of one seed differ"
    clock = f"the run's time is {given}.now_ns, and `await {given}.sleep(…)` lets it pass"
    chance = f'numbers that the seed decides come from {given}.rng("name")'
    assert capsys.readouterr().err.splitlines() == [
        f"kernelsim: warning: {path}:6: random {same}: {chance}",
        f"kernelsim: warning: {path}:6: time {same}: {clock}",
    ]


def test_expectations_are_found_with_all_their_lines(tmp_path):
    """Also those that span lines; functions of that name are not meant."""
    text = "m.expect(\n    1\n)\nexpect(2)\nif x:\n    m.expect(3)\n"
    assert expect_lines(ast.parse(text)) == ((1, 3), (6, 6))
    path = tmp_path / "w.py"
    path.write_text(WORKLOAD.format(kind="workload") + "    given.expect(True)\n")
    assert load_workload(path).expect_lines == ((6, 6),)
