"""Tests of `kernelsim run` on simulations: output, files, statuses, and each way to fail."""

import json
import signal
import subprocess
import sys

import pytest

from kernelsim.cli import main as cli

HEAD = """
from kernelsim.errors import CheckFailedError
from kernelsim.sim.actor import Actor
from kernelsim.workload import simulation, workload

"""
GOOD = """
@simulation
async def main(engine):
    for step in range(3):
        await engine.sleep(engine.rng("x").between(1, 9))
        engine.log("main", "stepped", step=step)
    async with engine.spinlock("lock").held():
        await engine.sleep(5)
"""
CRASHES = """
@simulation
async def main(engine):
    ref = engine.spawn(Actor("faulty"))
    await engine.sleep(7)
    ref.tell("no such page")
    await engine.sleep(100)
"""


@pytest.fixture
def write(tmp_path):
    """Write a workload file."""

    def write_file(body, name="w.py"):
        path = tmp_path / name
        path.write_text(HEAD + body)
        return str(path)

    return write_file


@pytest.fixture
def run(capsys):
    """Run the command line; return status, stdout and stderr."""

    def run_words(*words):
        status = cli.exit_status(["run", *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run_words


def test_log_and_summary_are_printed(run, write):
    """Without --out the log goes to stdout, then the summary with the locks."""
    status, out, err = run(write(GOOD))
    assert (status, err) == (cli.EXIT_DONE, "")
    lines = out.splitlines()
    assert [line.split()[1:3] for line in lines[:3]] == [["main", "stepped"]] * 3
    assert lines[3] == "ended         done"
    assert lines[-1].split() == ["lock", "1", "5", "ns", "0", "0", "ns", "0", "ns"]


def test_out_gets_the_log_and_run_json(run, write, tmp_path):
    """With --out the directory holds events.jsonl and run.json, and the summary is printed."""
    path = write(GOOD)
    folder = tmp_path / "out"
    status, out, _ = run(path, "--seed", "5", "--schedule-seed", "6", "--out", str(folder))
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    record = json.loads((folder / "run.json").read_text())

    assert status == cli.EXIT_DONE
    assert out.startswith("ended         done\n")
    assert "seed          5, schedule seed 6\n" in out
    assert events[0]["event"] == "ks_run_start"
    assert [event["step"] for event in events if event["event"] == "stepped"] == [0, 1, 2]
    assert events[-1]["event"] == "ks_run_end"
    assert record["nr_events"] == events[-1]["nr_events"] == len(events)
    assert record["exit_state"] == events[-1]["exit_state"] == "done"
    assert (record["seed"], record["schedule_seed"]) == (5, 6)
    assert record["virtual_ns"] == events[-1]["t_ns"]
    assert record["wall_ns"] > 0
    assert record["replay"] == f"kernelsim run {path} --seed 5 --schedule-seed 6"
    assert {"kernelsim", "python", "trio"} <= set(record)


def test_same_seed_same_bytes(run, write, tmp_path):
    """Two runs of one seed write the same log; another seed writes another."""
    path = write(GOOD)
    logs = []
    for number, seed in enumerate(["1", "1", "2"]):
        folder = tmp_path / f"out{number}"
        run(path, "--seed", seed, "--out", str(folder))
        logs.append((folder / "events.jsonl").read_bytes().splitlines()[1:])
    assert logs[0] == logs[1] != logs[2]


@pytest.mark.parametrize("until", ["4ns", "4", "0.004us"])
def test_until_ends_the_run(run, write, until):
    """--until is virtual time, a bare number is ns; reaching it is a good end."""
    status, out, _ = run(write(GOOD), "--until", until)
    assert status == cli.EXIT_DONE
    assert "ended         until: virtual time reached 4 ns\n" in out


def test_trace_chooses_events(run, write):
    """`--trace actor=GLOB` shows only such actors' events."""
    _, out, _ = run(write(GOOD), "--trace", "actor=nobody")
    assert out.startswith("ended         done\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--machine", "tiny-64m"],
        ["--set", "vm.swappiness=10"],
        ["--burst-pages", "1"],
        ["--check"],
        ["--check-every", "5"],
    ],
)
def test_machine_options_are_refused(run, write, words):
    """Options of a machine are wrong use for a simulation."""
    status, out, err = run(write(GOOD), *words)
    assert (status, out) == (cli.EXIT_WRONG_USE, "")
    assert err.startswith(f"kernelsim: {words[0]} = ")
    assert err.endswith("this workload is a simulation without a machine\n")


@pytest.mark.parametrize(
    ("body", "words", "said"),
    [
        ("x = 1\n", [], "no workload in it"),
        (GOOD, ["--until", "soon"], "--until = 'soon': a duration is"),
        (GOOD, ["--trace", "no_such_event"], "--trace = 'no_such_event': matches no event"),
        (GOOD, ["--check-every", "0"], "--check-every = 0: must be at least 1 event"),
        (GOOD, ["--seed", "x"], "--seed = 'x': must be a whole number"),
        (GOOD, ["--seed", "1.5"], "--seed = '1.5': must be a whole number"),
        ("@simulation\nasync def main(engine):\n    raise SystemExit(0)\n", [], "SystemExit: 0"),
        ("@simulation\nasync def main(engine):\n    1 / 0\n", [], "w.py:8: ZeroDivisionError"),
    ],
)
def test_wrong_use_is_one_line(run, write, body, words, said):
    """A mistake of the user or the workload's author is one line and status 2."""
    status, _, err = run(write(body), *words)
    assert status == cli.EXIT_WRONG_USE
    assert said in err
    assert err.count("\n") == 1


def test_missing_workload_is_one_line(run, tmp_path):
    """So is a file that is not there."""
    status, _, err = run(str(tmp_path / "none.py"))
    assert status == cli.EXIT_WRONG_USE
    assert err.endswith("none.py: No such file or directory\n")


def test_failed_expectation_is_status_1(run, write, tmp_path):
    """What the workload says must hold and does not is a failed check, also in run.json."""
    body = '@simulation\nasync def main(engine):\n    raise CheckFailedError("1 is not 2")\n'
    status, _, err = run(write(body), "--out", str(tmp_path / "out"))
    assert (status, err) == (cli.EXIT_CHECK_FAILED, "kernelsim: 1 is not 2\n")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["exit_state"] == "failed"


def test_crash_is_reported_with_the_command_that_replays_it(run, write, tmp_path):
    """A crash names seed, virtual time, actor, last events and the command; the log is kept."""
    path = write(CRASHES)
    folder = tmp_path / "out"
    status, _, err = run(path, "--seed", "3", "--out", str(folder))
    assert status == cli.EXIT_OUR_BUG
    error = "TypeError(\"faulty does not understand 'no such page'\")"
    logged = error.replace('"', '\\"')
    assert err.splitlines() == [
        f"faulty crashed at 7 ns: {error}",
        "seed 3, virtual time 7 ns",
        "last events:",
        "      0.000000000  faulty           ks_actor_start",
        f'      0.000000007  faulty           ks_actor_crash error="{logged}"',
        f"replay: kernelsim run {path} --seed 3",
    ]
    record = json.loads((folder / "run.json").read_text())
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert record["exit_state"] == last["exit_state"] == "crashed"
    assert f"{record['detail']}\n" == err.splitlines(keepends=True)[0]


def test_deadlock_is_reported_with_who_waits(run, write):
    """It names line, time and what waits for what; everybody's wait is in the log."""
    body = """
@simulation
async def main(engine):
    await engine.sleep(4)
    await engine.wait_queue("godot").wait()
"""
    status, out, err = run(write(body))
    assert status == cli.EXIT_WRONG_USE
    assert err.endswith("w.py:10: nothing can happen any more at 4 ns: main waits for godot\n")
    assert 'ks_deadlock waits_for="wait queue godot" since_ns=4' in out


INTERRUPTED = """
import os, signal

@simulation
async def main(engine):
    engine.log("main", "before")
    os.kill(os.getpid(), signal.{signal})
    while True:
        await engine.sleep(1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_run_leaves_whole_lines_and_says_so(write, tmp_path, name):
    """Ctrl-C and SIGTERM end the run cleanly with what was logged so far."""
    path = write(INTERRUPTED.replace("{signal}", name))
    words = [sys.executable, "-m", "kernelsim", "run", path, "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    lines = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert done.returncode == cli.EXIT_INTERRUPTED
    assert "Traceback" not in done.stderr
    assert [json.loads(line)["event"] for line in lines] == ["ks_run_start", "before", "ks_run_end"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["exit_state"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_help_says_what_each_knob_does_to_results(capsys):
    """Of every option that sounds as if it changed results: whether and how it does."""
    assert cli.exit_status(["run", "--help"]) == cli.EXIT_DONE
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for told in (
        "What is random on a real machine comes from it",
        "each seed is another legal order, and so gives other results",
        "With 1 every step is a message, which is slow. Counters and times stay the same, unless",
        "unless a schedule seed is given: it then finds other events to permute.",
        "Changes what is logged, no result",
        "Changes no result, only the time the run takes",
        "One that changes nothing yet is named in the summary",
    ):
        assert told in text


def test_help_of_the_oracle_says_so_too(capsys):
    """Its knobs do the same."""
    assert cli.exit_status(["oracle", "--help"]) == cli.EXIT_DONE
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert (
        "Decides the time of cache misses, the phase of the timer, the first CPU of a task" in text
    )
    assert "It changes no counter; with 1 every step is a message" in text
