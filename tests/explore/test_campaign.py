"""`kernelsim stress`: workers, what they leave, going on, and what a failure is told as."""

import json
import sys

import pytest

from kernelsim.cli import main as cli
from kernelsim.cli.stress import progress_text
from kernelsim.errors import ConfigError
from kernelsim.explore import campaign as campaign_module
from kernelsim.explore import pool as pool_module
from kernelsim.explore import worker as worker_module
from kernelsim.explore.campaign import CampaignOptions, Tally, run_campaign
from kernelsim.explore.plan import read_plan
from kernelsim.explore.pool import Pool
from kernelsim.explore.probes import PROBES, reached
from kernelsim.explore.run import Failure, run_plan
from kernelsim.explore.worker import STRESS, Answer, decoded, encoded, serve

pytestmark = pytest.mark.mission("B3")


def campaign(out, **options):
    """Run a small campaign."""
    return run_campaign(CampaignOptions(out=out, **options), lambda _: None)


def records(out):
    """Return what a campaign wrote down, by run."""
    lines = (out / "runs.jsonl").read_text().splitlines()
    return {record["run"]: record for record in map(json.loads, lines)}


@pytest.mark.slow
def test_a_campaign_goes_on_where_it_was(tmp_path):
    """A second call runs only what is not there yet; a line that was cut off is run again."""
    out = tmp_path / "out"
    first = campaign(out, runs=4, jobs=2)
    assert (4, 4, []) == (first.nr_runs, first.nr_new, first.found)
    before = records(out)
    runs = out / "runs.jsonl"
    runs.write_text(runs.read_text()[:-10])
    second = campaign(out, runs=6, jobs=1)
    assert (6, 3) == (second.nr_runs, second.nr_new)
    after = records(out)
    assert list(range(6)) == sorted(after)
    assert before == {run: after[run] for run in before}
    with pytest.raises(ConfigError, match="holds a campaign of seed 1"):
        campaign(out, runs=6, seed=2)


@pytest.mark.slow
def test_determinism_is_checked_between_two_processes(tmp_path, monkeypatch):
    """Equal bytes are clean; a digest that differs is a failure of class determinism."""
    assert campaign(tmp_path / "a", runs=3, check_determinism=True).found == []
    assert {"done": 3} == dict(campaign(tmp_path / "a", runs=3, check_determinism=True).states)
    real = campaign_module._Campaign._job

    def forged(self, worker):
        job = real(self, worker)
        return job | {"before": "00"} if job and "before" in job else job

    monkeypatch.setattr(campaign_module._Campaign, "_job", forged)
    [found] = campaign(tmp_path / "b", runs=1, check_determinism=True).found
    assert ("determinism", "two runs of one plan differ") == (found.kind, found.sign)
    assert read_plan(found.file).seen_kind == "determinism"


def test_answers_travel_whole():
    """What a worker says arrives as it was."""
    answer = serve({"seed": 1, "run": 5})
    assert answer == decoded(encoded(answer))
    failing = Answer(
        result=answer.result.__class__(
            failure=Failure("deadlock", "text", ("a", "b")),
            digest="d",
            state="deadlock",
            nr_events=1,
            virtual_ns=2,
            counts={"x": 1},
            last_events=("e",),
        ),
        plan="p",
        nr_runs=7,
    )
    assert failing == decoded(encoded(failing))


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path, monkeypatch):
    """Its run counts as failed, and the next job goes to a new process."""
    with Pool(1, tmp_path, STRESS) as pool:
        [worker] = pool.workers
        worker.give({"nonsense": 1})  # no job of ours: it ends with a traceback
        [(new, job, answer)] = [*pool.answers(60)]
        assert ({"nonsense": 1}, "exception") == (job, answer.result.failure.kind)
        assert new is not worker
        assert "KeyError" in (tmp_path / "workers.err").read_text()
        monkeypatch.setattr(worker_module, "JOB_SECONDS_MAX", 0)
        new.give({"seed": 1, "run": 1})
        answers = [*pool.answers(0)]
        assert ["livelock"] == [answer.result.failure.kind for _, _, answer in answers]


@pytest.fixture
def planted(monkeypatch):
    """Let workers run a program that finds every run at fault, without a process of its own."""
    text = (
        "import sys\n"
        "from kernelsim.explore import run, worker\n"
        "run.losses = lambda *_: ['zone 1 has less']\n"
        "worker.main()\n"
    )
    real = pool_module.subprocess.Popen

    def start(command, **options):
        return real([sys.executable, "-c", text], **options)

    monkeypatch.setattr(pool_module.subprocess, "Popen", start)


@pytest.mark.slow
def test_a_failure_is_written_down_and_cut_down(planted, tmp_path, capsys):
    """The command ends with 3; the plan, a small plan, its script and its machine are there."""
    out = tmp_path / "out"
    words = ["stress", "--runs", "1", "--jobs", "1", "--out", str(out)]
    assert cli.exit_status(words) == cli.EXIT_OUR_BUG
    told = capsys.readouterr().out
    assert "run 0 failed: invariant: zone # has less" in told
    assert f"kernelsim replay {out}/run-0.toml" in told
    assert f"cut down: {out}/run-0.small.toml (0 processes, 0 steps)" in told
    assert read_plan(out / "run-0.toml").seen_kind == "invariant"
    small = read_plan(out / "run-0.small.toml")
    assert (small.script, small.fault) == ((), ())
    assert (out / "run-0.small.script").read_text() == ""
    assert "[[node]]" in (out / "run-0.small.machine.toml").read_text()
    assert run_plan(small).failure is None  # the fault was in the workers


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--runs=0", "--runs = 0: must be 1 or more"),
        ("--jobs=-1", "--jobs = -1"),
        ("--minutes=0", "--minutes = 0"),
        ("--kind=thread", "--kind = 'thread': must be one of hog"),
    ],
)
def test_wrong_options_are_refused(option, words, tmp_path, capsys):
    """A count below 1, or a kind there is not: one line, exit status 2, nothing is written."""
    out = tmp_path / "out"
    assert cli.exit_status(["stress", option, "--out", str(out)]) == cli.EXIT_WRONG_USE
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_progress_names_the_time_left():
    """Rate, failures, and the smaller of what the runs and the minutes leave."""
    options = CampaignOptions(runs=100, seconds=600, out=None)
    tally = Tally(nr_new=20, seconds=10)
    tally.states["done"] = 40
    assert "40 of 100 runs, 2.0 a second, 0 failed, 0:30 left" == progress_text(options, tally)
    assert "0 of 100 runs, 0.0 a second, 0 failed, 9:50 left" == progress_text(
        options, Tally(seconds=10)
    )


def test_probes_are_told_by_counts():
    """A path counts as taken if one of its counters is not 0; their names differ."""
    assert ["pages go to swap"] == list(reached({"pswpout": 3, "pswpin": 0}))
    assert len(PROBES) == len({probe.name for probe in PROBES})
