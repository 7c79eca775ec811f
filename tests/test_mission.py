"""The README's table of what works says the same as the marks of the tests."""

import ast
import re

import pytest

from tests.house_rules import TOP, sources

NR_ROWS = {"A": 9, "P": 17, "V": 19, "R": 13, "B": 6}  # of the mission, by area
EXTENTS = ("works", "partly")
README = (TOP / "README.md").read_text(encoding="utf-8")


def rows_of(text: str) -> set[str]:
    """Return the rows a text names, ranges such as P1–P7 in full."""
    found = set(re.findall(r"\b[APVRB]\d+\b", text))
    for area, first, last in re.findall(r"\b([APVRB])(\d+)–\1(\d+)\b", text):
        found |= {f"{area}{number}" for number in range(int(first), int(last) + 1)}
    return found


def table() -> dict[str, set[str]]:
    """Return the rows in each column of the README's table."""
    lines = [line.split("|")[1:-1] for line in README.splitlines() if line.startswith("| ")]
    start = next(i for i, cells in enumerate(lines) if cells[0].strip() == "area")
    body = lines[start + 1 : start + 1 + len(NR_ROWS)]
    names = [cell.strip() for cell in lines[start]]
    return {name: set().union(*(rows_of(line[i]) for line in body)) for i, name in enumerate(names)}


def marks(tree: ast.AST) -> set[tuple[str, str]]:
    """Return the rows a file's tests show, and how far."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [call for call in calls if ast.unparse(call.func) == "pytest.mark.mission"]
    return {(words[0], *words[1:], *EXTENTS[:1])[:2] for words in map(values, found)}


def values(call: ast.Call) -> tuple[str, ...]:
    """Return the arguments of a mark."""
    return tuple(ast.literal_eval(argument) for argument in call.args)


MARKS = set().union(*(marks(source.tree) for source in sources("tests")))
TABLE = table()


def test_every_row_of_the_mission_is_in_one_column():
    """Each row stands in the table, once: it works, works partly, or is open."""
    named = [row for column in (*EXTENTS, "open") for row in sorted(TABLE[column])]
    expected = [f"{area}{n + 1}" for area, number in NR_ROWS.items() for n in range(number)]
    assert sorted(expected) == sorted(named)


@pytest.mark.parametrize("extent", EXTENTS)
def test_the_table_says_what_the_marks_say(extent):
    """A row is in a column exactly if tests are marked with it to that extent."""
    assert sorted(TABLE[extent]) == sorted(row for row, marked in MARKS if marked == extent)


def test_marks_are_read_as_pytest_reads_them():
    """A mark without an extent says that the row works; any call of the mark counts."""
    text = 'f(pytest.mark.mission("A1"))\n@pytest.mark.mission("B2", "partly")\ndef g(): ...\n'
    assert {("A1", "works"), ("B2", "partly")} == marks(ast.parse(text))
    assert {"P1", "P2", "P3", "V9"} == rows_of("P1–P3 V9")
