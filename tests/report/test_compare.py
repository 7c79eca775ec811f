"""Tests of comparing runs: which are one side, what differs, what exceeds the spread."""

import shutil
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernelsim
from kernelsim.cli import main as cli
from kernelsim.report.compare import exceeds, name_of

pytestmark = pytest.mark.mission("B6")


async def hog(machine):
    """Write 2 MiB, or as many as swappiness says beyond 60."""
    process = await machine.spawn("hog")
    area = await process.mmap(2 + max(0, machine.sysctl("vm.swappiness") - 60) << 20)
    await process.touch(area, write=True)


def test_two_sides_of_two_seeds(tmp_path, capsys):
    """Settings, seeds, faults and their latencies; seeds alone make no side."""
    folders = []
    for swappiness, seed in product((60, 62), (1, 2)):
        folders.append(str(tmp_path / f"{swappiness}-{seed}"))
        settings = {"vm.swappiness": swappiness}
        kernelsim.run(hog, machine="tiny-64m", seed=seed, settings=settings, out=folders[-1])
    page = tmp_path / "c.html"
    words = [*folders, "--counter", "pgfault", "--out", str(page)]
    assert cli.exit_status(["compare", *words]) == cli.EXIT_DONE
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["vm.swappiness", "60", "62"] in lines
    assert ["seeds", "1", "2", "1", "2"] in lines
    [change] = [line for line in lines if line[:1] == ["pgfault"]]
    assert change[1:] == ["512", "1024", "+100.0%", "yes"]
    assert [line[:3] for line in lines if line[:1] == ["anon"]] == [
        ["anon", "A", "1024"],
        ["anon", "B", "2048"],
    ]
    assert "pgfault" in page.read_text()

    assert cli.exit_status(["compare", *folders[:2]]) == cli.EXIT_DONE
    assert "they differ by their seeds" in capsys.readouterr().out
    assert cli.exit_status(["compare", folders[0], folders[2]]) == cli.EXIT_DONE
    [change] = [ln for ln in capsys.readouterr().out.splitlines() if ln.startswith("pgfault ")]
    assert change.split()[-1] == "?"  # one seed a side tells nothing of the spread
    twice = []  # the same seed again is no second seed
    for name in folders[:3:2]:
        twice += [name, shutil.copytree(name, f"{name}-again")]
    assert cli.exit_status(["compare", *map(str, twice), "--counter", "pgfault"]) == cli.EXIT_DONE
    told = capsys.readouterr().out.split()
    assert told[told.index("pgfault") + 4] == "?"
    for words, rule in (
        (folders[:1], "two runs or more"),
        ([folders[0], str(tmp_path)], "must hold a run"),
        ([folders[0], f"{folders[0]}/../60-1"], "each run once"),
        ([*folders, "--rows", "0"], "--rows = 0"),
        ([*folders, "--counter", "pgfautl"], "did you mean pgfault"),
    ):
        assert cli.exit_status(["compare", *words]) == cli.EXIT_WRONG_USE
        said = capsys.readouterr()
        assert (rule in said.err, said.out) == (True, "")


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=2, max_size=3))
def test_a_difference_exceeds_the_spread_if_two_sides_do_not_overlap(values):
    """As a sort by hand finds it: no value of one side lies within the range of the other."""
    pairs = [(a, b) for a in values for b in values if a is not b]
    apart = any(all(x < y for x in a for y in b) for a, b in pairs)
    assert exceeds(values) == apart


def test_sides_have_letters():
    """A to Z, then A1."""
    assert [name_of(n) for n in (0, 25, 26, 52)] == ["A", "Z", "A1", "A2"]
