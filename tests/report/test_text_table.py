"""Tests of tables for people."""

import sys

from kernelsim.report.text_table import plain_table, print_table


def test_plain_table():
    """Columns are as wide as their widest cell; lines have no spaces at their end."""
    assert plain_table(("a", "bcd"), [("long", ""), ("", "x")]) == "a     bcd\nlong\n      x\n"


def test_table_on_a_terminal(monkeypatch, capsys):
    """A terminal gets a drawn table, cells as they are; anything else gets plain text."""
    print_table(("name",), [("[red]x",)])
    assert capsys.readouterr().out == "name\n[red]x\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(("name",), [("[red]x",)])
    drawn = capsys.readouterr().out
    assert "[red]x" in drawn
    assert "│" in drawn
