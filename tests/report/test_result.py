"""Tests of runs in Python: the examples of the docstrings, the notebook, mistakes."""

import ast
import doctest
import json
import re

import numpy as np
import pytest

import kernelsim
from kernelsim.cli.main import exit_status
from kernelsim.errors import ConfigError
from kernelsim.report import result as module
from tests.house_rules import TOP

pytestmark = pytest.mark.mission("B6")

HOG = """
from kernelsim.workload import workload

@workload
async def main(machine):
    hog = await machine.spawn("hog")
    await hog.touch(await hog.mmap("4M"), write=True)
    machine.expect(machine.sysctl("vm.swappiness") != 7, "not 7")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A small workload in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hog.py").write_text(HOG)
    return tmp_path


def test_examples_of_the_docstrings(here):
    """Each example gives what stands below it."""
    outcome = doctest.testmod(module)
    assert outcome.attempted >= 12
    assert outcome.failed == 0


def test_a_run_that_fails_is_a_result_and_reads_back(here):
    """Its failure is a text; what it left is there as columns, again after a read."""
    ran = kernelsim.run("hog.py", machine="tiny-64m", settings={"vm.swappiness": 7}, out="o")
    assert "not 7" in ran.failure
    read = kernelsim.read("o")
    assert read.failure == ran.failure
    ran = kernelsim.run("hog.py", machine="tiny-64m", until="1us", out="until")
    assert (ran.failure, kernelsim.read("until").failure) == (None, None)
    assert kernelsim.read("until").record["detail"]
    assert next(iter(read.metrics)) == "t_ns"
    assert {column.dtype for column in read.metrics.values()} == {np.dtype(np.int64)}
    assert {len(column) for column in read.metrics.values()} == {read.metrics.nr_rows}
    assert set(read.processes["pid"]) == {100}
    events = read.events()
    lines = [json.loads(line) for line in (here / "o/events.jsonl").read_text().splitlines()]
    assert list(events["t_ns"]) == [line["t_ns"] for line in lines]
    assert list(events["nr_pages"]) == [line.get("nr_pages") for line in lines]
    assert read.events("ks_fault")["nr_pages"].dtype == np.int64
    assert read.events("mm_vmscan_kswapd_wake").nr_rows == 0
    page = read.plot("pgfault", "nr_running")._repr_html_()
    assert page.startswith("<iframe")
    assert "pgfault" in page


async def waiter(machine):
    """Write a little, then wait as long as DAMON adds up."""
    process = await machine.spawn("waiter")
    await process.touch(await process.mmap("1M"), write=True)
    await machine.sleep("250ms")
    return process.pid


def test_damon_watches_whom_a_run_in_python_names():
    """By pid, as a number, or by comm; nobody is watched unless asked for."""
    for damon, is_watched in ((None, False), (100, True), ("waiter", True), ("other", False)):
        ran = kernelsim.run(waiter, machine="tiny-64m", damon=damon)
        assert ran.value == 100
        assert (ran.events("damon_aggregated").nr_rows > 0) == is_watched


def test_mistakes_name_what_is_wrong(here):
    """A directory without a run, an event, a counter, a machine that are not there."""
    with pytest.raises(ConfigError, match="must hold a run"):
        kernelsim.read("nothing")
    ran = kernelsim.run("hog.py", machine="tiny-64m")
    with pytest.raises(ConfigError, match="ks_falt"):
        ran.events("ks_falt")
    with pytest.raises(ConfigError, match="pgfalt"):
        ran.plot("pgfalt")
    with pytest.raises(ConfigError, match="no such preset"):
        kernelsim.run("hog.py", machine="tiny")
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = kernelsim.walk


@pytest.mark.slow
def test_the_notebook_runs(capsys):
    """Each cell of code runs after the other, and what a cell ends with shows itself."""
    notebook = json.loads((TOP / "workloads/notebook.ipynb").read_text())
    assert (notebook["nbformat"], all(cell["id"] for cell in notebook["cells"])) == (4, True)
    names = {"__name__": "__main__"}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "notebook", "exec"), names)  # noqa: S102 - a file of ours
        if last is not None:
            value = compile(ast.Expression(last.value), "notebook", "eval")
            shown.append(eval(value, names))  # noqa: S307 - as above
    assert repr(shown[0]) == "<main on tiny-64m, seed 1: done>"
    assert sum(hasattr(each, "_repr_html_") for each in shown) == 2
    assert "'kind': 'anon'" in capsys.readouterr().out
    assert names["faults"]["nr_pages"][names["slowest"]] == 1  # it stalled; many at once did not
    told = "".join(word for cell in notebook["cells"] for word in cell["source"])
    [command] = re.findall(r"`kernelsim (.*?)`", told)
    assert exit_status(command.replace("DIR", str(names["result"].directory)).split()) == 0
    assert "direct reclaim" in capsys.readouterr().out
    assert names["eager"].value > names["result"].value > 0
