"""The tour's table of what works says the same as the marks of the tests, and as the README."""

import ast
from functools import cache

import pytest

from kernelsim.report.tour import markdown_of
from kernelsim.report.tour_table import read_rows
from tests.house_rules import TOP, sources

NR_ROWS = {"A": 9, "P": 17, "V": 19, "R": 13, "B": 10}  # of the mission, by area
EXTENTS = ("works", "partly")
README = (TOP / "README.md").read_text(encoding="utf-8")


def marks(tree: ast.AST) -> set[tuple[str, str]]:
    """Return the rows a file's tests show, and how far."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call for call in calls if getattr(call.func, "attr", "") == "mission"]
    found = [call for call in named if ast.unparse(call.func) == "pytest.mark.mission"]
    return {(words[0], *words[1:], *EXTENTS[:1])[:2] for words in map(values, found)}


def values(call: ast.Call) -> tuple[str, ...]:
    """Return the arguments of a mark."""
    return tuple(ast.literal_eval(argument) for argument in call.args)


@cache
def all_marks() -> set[tuple[str, str]]:
    """Return the rows all tests show, and how far."""
    return set().union(*(marks(each.tree) for each in sources("tests") if "mission(" in each.text))


ROWS = read_rows(TOP / "workloads")


def test_every_row_of_the_mission_is_in_the_tour():
    """Each once, in its order."""
    expected = [f"{area}{n + 1}" for area, number in NR_ROWS.items() for n in range(number)]
    assert expected == [row.name for row in ROWS]


@pytest.mark.parametrize("extent", EXTENTS)
def test_the_tour_says_what_the_marks_say(extent):
    """A row works, or partly, exactly if tests are marked with it to that extent."""
    told = sorted(row.name for row in ROWS if row.state == extent)
    assert told == sorted(row for row, marked in all_marks() if marked == extent)


def test_the_readme_has_the_table_that_the_tour_prints():
    """`kernelsim tour --markdown`, whole."""
    assert markdown_of(ROWS) in README


def test_marks_are_read_as_pytest_reads_them():
    """A mark without an extent says that the row works; any call of the mark counts."""
    text = 'f(pytest.mark.mission("A1"))\n@pytest.mark.mission("B2", "partly")\ndef g(): ...\n'
    assert {("A1", "works"), ("B2", "partly")} == marks(ast.parse(text))
