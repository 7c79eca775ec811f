"""Tests of `kernelsim explain`: what it prints, and mistakes told in one line."""

import pytest

from kernelsim.cli import main as cli


@pytest.mark.mission("P1")
def test_it_prints_one_load_and_one_store(capsys):
    """On a machine of two nodes remote memory is behind the interconnect."""
    words = ["explain", "access", "--machine=numa-2x64m", "--node=1"]
    assert cli.exit_status(words) == cli.EXIT_DONE
    text = capsys.readouterr().out
    assert "CPU 0 of node 0, memory of node 1, distance" in text
    kinds = [line.split(" ", 1)[0] for line in text.splitlines() if " ns: the TLB has " in line]
    assert kinds == ["load", "store", "load", "store"]
    assert text.count("PTE entry") == 2
    assert text.count("interconnect  data") == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cpu=9"], "--cpu = 9: must be 0 to 3 on uma-2g"),
        (["--node=1"], "--node = 1: must be a node with memory of uma-2g: 0"),
        (["--machine=nowhere"], "no such preset"),
    ],
)
def test_mistakes_are_told_in_one_line(words, said, capsys):
    """A CPU, a node or a machine that is not there."""
    assert cli.exit_status(["explain", "access", *words]) == cli.EXIT_WRONG_USE
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
