"""Tests of sweeps: what is run, what is kept, what the tables say."""

import csv
import sys
from statistics import median
from types import ModuleType

import duckdb
import pytest

from kernelsim.cli import main as cli
from kernelsim.errors import ConfigError
from kernelsim.explore.sweep_grid import Grid, seeds_of, settings_of
from kernelsim.explore.sweep_picture import write_picture
from kernelsim.explore.sweep_table import Figure, Setting, cell_of, shown_metrics

pytestmark = pytest.mark.mission("B4")

WORKLOAD = """
import os
from pathlib import Path
from kernelsim.workload import workload

@workload(machine="small.toml")
async def main(machine):
    swappiness = machine.sysctl("vm.swappiness")
    if swappiness == 100 and Path("die").exists():
        os._exit(7)
    hog = await machine.spawn("hog")
    region = await hog.mmap("1M")
    await hog.touch(region, write=True)
    machine.expect(swappiness != 61, "is not 61")
    return {"twice": 2 * swappiness, "name": "no number"}
"""
MACHINE = '[[node]]\ncpus = "0"\nmemory = "16M"\n'
GRID = ["--set", "vm.swappiness=10,61", "--machine", "small.toml,large.toml", "--seeds", "1,4"]
FILES = ("sweep.csv", "sweep.parquet", "summary.csv")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two machines and a workload in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.py").write_text(WORKLOAD)
    (tmp_path / "small.toml").write_text('name = "small"\n' + MACHINE)
    (tmp_path / "large.toml").write_text('name = "large"\n' + MACHINE.replace("16M", "24M"))
    return tmp_path


def sweep(*words, status=cli.EXIT_DONE):
    """Run the command, and hold its exit status against the expected one."""
    metric = ["--metric", "*virtual*"]  # one picture will do
    assert cli.exit_status(["sweep", *map(str, words), *metric]) == status


def rows(folder):
    """Return sweep.csv as a list of dicts."""
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_is_whole_repeats_and_goes_on(here, capsys):
    """A row a run in the grid's order, failures with their reason; the same bytes when resumed."""
    sweep("w.py", *GRID, "--jobs", 1, "--out", "one", status=cli.EXIT_CHECK_FAILED)
    said = capsys.readouterr()
    assert "4 of 8 runs failed" in said.err
    assert "is not 61" in said.out
    found = rows(here / "one")
    assert [(r["machine"], r["vm.swappiness"], r["seed"]) for r in found] == [
        (machine, swappiness, seed)
        for machine in ("small.toml", "large.toml")
        for swappiness in ("10", "61")
        for seed in ("1", "4")
    ]
    assert [r["state"] for r in found] == ["done", "done", "failed", "failed"] * 2
    assert [r["twice"] for r in found] == ["20", "20", "122", "122"] * 2
    assert int(found[4]["nr_free_pages"]) > int(found[0]["nr_free_pages"])
    assert int(found[0]["pgfault"]) >= 256
    numbers = duckdb.sql("select pgfault, twice from 'one/sweep.parquet' order by run").fetchall()
    assert numbers == [(int(r["pgfault"]), int(r["twice"])) for r in found]

    lines = (here / "one/runs.jsonl").read_bytes().splitlines(keepends=True)
    (here / "two").mkdir()
    (here / "two/sweep.json").write_bytes((here / "one/sweep.json").read_bytes())
    (here / "two/runs.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:50])
    sweep(*("w.py", *GRID, "--jobs", 1, "--out", "two", "--resume"), status=cli.EXIT_CHECK_FAILED)
    for name in FILES:
        assert (here / "one" / name).read_bytes() == (here / "two" / name).read_bytes(), name
    sweep("w.py", *GRID, "--out", "one", status=cli.EXIT_WRONG_USE)
    assert "--resume" in capsys.readouterr().err
    sweep("w.py", "--seeds", 3, "--out", "one", "--resume", status=cli.EXIT_WRONG_USE)
    assert "other values" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_give_the_same_and_one_that_dies_loses_its_run_only(here, capsys):
    """With two worker processes the rows are those of one, but for the run that killed its own."""
    (here / "die").touch()
    words = ("w.py", "--set", "vm.swappiness=10,20,100", "--out")
    sweep(*words, "two", "--jobs", 2, status=cli.EXIT_CHECK_FAILED)
    assert "the worker died with status 7" in capsys.readouterr().out
    (here / "die").unlink()
    sweep(*words, "one", "--jobs", 1)
    one, two = rows(here / "one"), rows(here / "two")
    assert [r["state"] for r in two] == ["done", "done", "lost"]
    assert two[:2] == one[:2]


def test_a_cluster_does_the_runs(here, monkeypatch, capsys):
    """With --dask each run is a task of the scheduler's; one that it gives up is a row."""

    class Future:
        def __init__(self, function, job):
            self.key, self.status = f"key-{job['run']}", "error" if job["run"] else "finished"
            self.result = lambda: function(job)
            self.exception = lambda: "KilledWorker"

    class Client:
        def __init__(self, address, timeout):
            if "nobody" in address:
                raise OSError("timed out")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def map(self, function, jobs, **_):
            return [Future(function, job) for job in jobs]

    distributed = ModuleType("distributed")
    distributed.Client, distributed.as_completed = Client, reversed
    monkeypatch.setitem(sys.modules, "distributed", distributed)
    sweep("w.py", "--seeds", "1-2", "--dask", "here", "--out", "o", status=cli.EXIT_CHECK_FAILED)
    assert [r["state"] for r in rows(here / "o")] == ["done", "lost"]
    assert "failed  Dask: KilledWorker" in capsys.readouterr().out
    sweep("w.py", "--dask", "nobody", "--out", "p", status=cli.EXIT_WRONG_USE)
    assert "no scheduler answers" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    sweep("w.py", "--dask", "here", "--out", "q", status=cli.EXIT_WRONG_USE)
    assert "kernelsim[cluster]" in capsys.readouterr().err


def test_a_grid_is_a_file(here, capsys):
    """GRID.toml names what is swept, relative to itself; the command line replaces an axis."""
    (here / "sub").mkdir()
    (here / "sub/grid.toml").write_text(
        'workload = "../w.py"\nmachine = ["../large.toml"]\nmempolicy = "local"\n'
        'seeds = "2-3"\nuntil = "100us"\n[set]\n"vm.swappiness" = [10, 20, 30]\n'
    )
    sweep("sub/grid.toml", "--set", "vm.swappiness=30", "--jobs", 1, "--out", "o")
    found = rows(here / "o")
    assert [(r["mempolicy"], r["vm.swappiness"], r["seed"]) for r in found] == [
        ("local", "30", "2"),
        ("local", "30", "3"),
    ]
    assert found[0]["machine"] == "sub/../large.toml"
    assert [r["virtual_ns"] for r in found] == ["100000"] * 2


def test_a_policy_is_an_axis_that_moves_pages(here):
    """The workload's pages are from the node that each run's policy names."""
    policies = ("--mempolicy", "bind:0", "--mempolicy", "bind:1")
    sweep("w.py", "--machine", "numa-2x64m", *policies, "--jobs", 1, "--out", "o")
    away = [int(r["numa_other"]) for r in rows(here / "o")]  # from another node than the CPU's
    assert abs(away[1] - away[0]) >= 256


MISTAKES = [
    (["--set", "vm.swappyness=1"], "vm.swappyness"),
    (["--set", "vm.swappiness=1,x"], "vm.swappiness"),
    (["--set", "vm.swappiness"], "KEY=VALUE,VALUE"),
    (["--set", "vm.swappiness=1,1"], "each value once"),
    (["--machine", "none.toml"], "none.toml"),
    (["--seeds", "5-1"], "--seeds"),
    (["--until", "soon"], "--until"),
    (["--jobs", "0"], "--jobs"),
    (["--mempolicy", "interleave:0-1"], "on small = 'interleave:0-1'"),
    (["--burst-pages", "0"], "must be 1 to 4096"),
    (["--jobs", "1", "--dask", "x"], "--jobs"),
]


@pytest.mark.parametrize(("words", "told"), MISTAKES)
def test_mistakes_are_told_before_anything_runs(words, told, here, capsys):
    """One line with what is wrong; no directory is made."""
    sweep("w.py", *words, "--out", "o", status=cli.EXIT_WRONG_USE)
    assert told in capsys.readouterr().err
    assert not (here / "o/runs.jsonl").exists()


@pytest.mark.parametrize(
    "line",
    [
        "burst_pages = 'x'",
        "machine = []",
        "mempolicy = [1.5]",
        "[set]\n'vm.swappiness' = []",
        "seed = 1",
        "until = [5]",
    ],
)
def test_a_grid_that_is_wrong_is_refused(line, here, capsys):
    """One line, and no directory: a type, an axis without values, an unknown key."""
    (here / "grid.toml").write_text(f"workload = 'w.py'\n{line}\n")
    sweep("grid.toml", "--out", "o", status=cli.EXIT_WRONG_USE)
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("kernelsim: ")
    assert not (here / "o").exists()


def test_a_metric_that_nobody_has_is_refused_by_the_first_run(here, capsys):
    """What a workload returns is known when one run has ended well; nobody waits for the rest.

    What was done is kept: the same sweep goes on with a metric that there is.
    """
    words = ["sweep", "w.py", "--seeds", "1-3", "--jobs", "1", "--out", "o"]
    assert cli.exit_status([*words, "--metric", "twic"]) == cli.EXIT_WRONG_USE
    assert "--metric = 'twic': matches none of virtual_ns" in capsys.readouterr().err
    assert len((here / "o/runs.jsonl").read_bytes().splitlines()) == 1
    assert cli.exit_status([*words, "--metric", "twic", "--resume"]) == cli.EXIT_WRONG_USE
    assert len((here / "o/runs.jsonl").read_bytes().splitlines()) == 1
    assert cli.exit_status([*words, "--metric", "twice", "--resume"]) == cli.EXIT_DONE
    assert len(rows(here / "o")) == 3


def test_the_grid_is_the_product_of_its_axes():
    """Every value with every other and each seed; numbered from 0 in that order."""
    settings = settings_of(["a=1,2", "b=x y,z"])
    grid = Grid(workload="w", machines=("m", "n"), settings=settings, seeds=seeds_of("1-2,7"))
    jobs = list(grid.jobs())
    assert [job["run"] for job in jobs] == list(range(2 * 2 * 2 * 3))
    assert jobs[0]["point"] == {"machine": "m", "a": "1", "b": "x y"}
    assert jobs[3]["point"] == {"machine": "m", "a": "1", "b": "z"}
    assert len({(*job["point"].values(), job["seed"]) for job in jobs}) == 24
    with pytest.raises(ConfigError):
        seeds_of("1,1")


def test_figures_say_median_and_spread():
    """A cell has the median, and the least and most where they differ; times have units."""
    values = [5, 1, 9]
    figure = Figure(3, median(values), min(values), max(values))
    assert cell_of("pgfault", figure) == "5 (1 … 9)"
    assert cell_of("lock_ns", Figure(1, 2000, 2000, 2000)) == "2 us"
    assert cell_of("x", None) == "-"


def test_a_picture_is_the_same_whatever_was_drawn_before(tmp_path):
    """Byte for byte, also in a process that has drawn others."""
    settings = [Setting({"a": str(n)}, {"m": Figure(2, n, 0, 9)}, (), 0) for n in (1, 2)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_picture(tmp_path / name, settings, ["m"], "title")
    one, two = (tmp_path / name / "sweep.html" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_metrics_shown_are_those_that_differ_or_that_are_asked_for():
    """What the workload returned first; a glob that matches nothing is refused."""
    names = ("virtual_ns", "stime_ns", "own", "nr_free_pages", "pswpout")
    one, two = ({n: Figure(1, v, v, v) for n in names} for v in (1, 2))
    two["virtual_ns"] = one["virtual_ns"]
    settings = [Setting({"a": str(n)}, each, (), 0) for n, each in enumerate((one, two))]
    assert shown_metrics(settings, ()) == ["own", "pswpout", "nr_free_pages"]
    assert shown_metrics(settings, ["v*"]) == ["virtual_ns"]
    with pytest.raises(ConfigError):
        shown_metrics(settings, ["zz*"])
