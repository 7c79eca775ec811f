"""Tests of whole runs: what they leave behind, how they end, that a seed repeats them."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from kernelsim.errors import (
    ConfigError,
    InvariantViolation,
    WorkloadError,
)
from kernelsim.report.machine_run import RunOutcome, run_machine
from kernelsim.report.progress import Progress, free_bar
from kernelsim.report.run_options import RunOptions
from kernelsim.report.run_summary import summary_text
from kernelsim.units import NS_PER_S
from kernelsim.workload.api import Workload
from tests.small_machine import OpenMachine, opened

pytestmark = [pytest.mark.mission("B2")]

NR_SEEDS = 8
PROGRAM = """
import sys
from itertools import pairwise
from pathlib import Path
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload

async def main(machine):
    first = await machine.spawn("first")
    second = await machine.spawn("second", program)
    area = await first.mmap("44M")
    await first.touch(area, write=True)
    await machine.snapshot("full")
    await second.wait()
    await first.munmap(area)

async def program(process):
    area = await process.mmap("10M")
    await process.touch(area, write=True, passes=2)

for seed in range(int(sys.argv[1])):
    out = Path(sys.argv[2]) / str(seed)
    options = RunOptions(machine="tiny-64m", seed=seed, schedule_seed=seed, out=out)
    run_machine(Workload(main, "machine"), options, name="program.py")
"""


async def small_main(machine: OpenMachine) -> str:
    """Touch a little more memory than there is, take a snapshot, sleep."""
    process = await machine.spawn("hog")
    area = await process.mmap("55M")
    await process.touch(area, write=True)
    await machine.snapshot("full")
    await machine.sleep("2s")
    return "result"


def run(main, *, name: str = "small.py", **options) -> RunOutcome:
    """Run a function on the smallest machine."""
    options = {"machine": "tiny-64m", **options}
    return run_machine(Workload(opened(main), "machine"), RunOptions(**options), name=name)


def digests(directory: Path) -> dict[str, str]:
    """Return a digest of each file; of run.json without its wall-clock time."""
    found: dict[str, str] = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name == "run.json":
            record = json.loads(data)
            assert record.pop("wall_ns") > 0
            assert record.pop("compile_ns") >= 0
            data = json.dumps(record).encode()
        found[str(path.relative_to(directory))] = hashlib.sha256(data).hexdigest()
    return found


@pytest.mark.slow
@pytest.mark.mission("B2")
def test_same_seed_same_bytes(tmp_path: Path):
    """Every file of eight runs but the wall time is the same under another hash seed."""
    runs = []
    for hash_seed in ("0", "4711"):
        out = tmp_path / hash_seed
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", PROGRAM, str(NR_SEEDS), str(out)]
        subprocess.run(command, env=environment, check=True)
        runs.append(digests(out))
    assert runs[0] == runs[1]
    files = {"events.jsonl", "metrics.parquet", "run.json", "proc/meminfo"}
    assert {f"{NR_SEEDS - 1}/{name}" for name in files} <= set(runs[0])
    assert "0/snapshots/full/proc/zoneinfo" in runs[0]
    logs = [digest for name, digest in runs[0].items() if name.endswith("events.jsonl")]
    assert len(set(logs)) == NR_SEEDS  # and each seed is another run


@pytest.mark.slow
def test_what_a_run_leaves_behind(tmp_path: Path):
    """Log, trees, counters and record agree on seed, time, end and faults."""
    outcome = run(small_main, out=tmp_path, seed=5)
    assert outcome.result == "result"
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["seed"] == 5
    assert record["exit_state"] == "done"
    assert record["snapshots"] == ["full"]
    assert outcome.machine.ended is not None
    assert record["virtual_ns"] == outcome.machine.ended.now_ns
    assert record["replay"] == "kernelsim run small.py --machine tiny-64m --seed 5"
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert (first["event"], first["machine"], first["seed"]) == ("ks_run_start", "tiny-64m", 5)
    assert (last["event"], last["exit_state"]) == ("ks_run_end", "done")
    assert record["nr_events"] == last["nr_events"] == len(lines)
    vmstat = dict(line.split() for line in (tmp_path / "proc/vmstat").read_text().splitlines())
    table = duckdb.read_parquet(str(tmp_path / "metrics.parquet"))
    rows = table.select("t_ns", "pgfault", "node0_DMA32_free").fetchall()
    assert rows[0] == (0, 0, 9007)
    assert rows[-1][:2] == (record["virtual_ns"], int(vmstat["pgfault"]))
    assert (tmp_path / "proc/uptime").read_text().startswith(f"{record['virtual_ns'] // NS_PER_S}.")


@pytest.mark.slow
def test_looking_on_changes_no_event(tmp_path: Path):
    """With checks the log has the same lines but for its header, which says so."""
    run(small_main, out=tmp_path / "plain")
    run(small_main, out=tmp_path / "checked", check=True, check_every=4000)
    logs = [
        (tmp_path / name / "events.jsonl").read_text().splitlines()[1:]
        for name in ("plain", "checked")
    ]
    assert logs[0] == logs[1]
    metrics = [(tmp_path / n / "metrics.parquet").read_bytes() for n in ("plain", "checked")]
    assert metrics[0] == metrics[1]


def test_tunables_and_limits_are_put_in_force():
    """The user's tunable beats the workload's, and the run ends at its time limit."""

    async def main(machine: OpenMachine) -> None:
        assert machine.sysctl("vm.swappiness") == 7
        assert machine.sysctl("vm.page-cluster") == 0
        await machine.sleep("10s")

    settings = {"vm.swappiness": 3, "vm.page-cluster": 0}
    workload = Workload(opened(main), "machine", "tiny-64m", "3s", settings)
    outcome = run_machine(workload, RunOptions(settings=("vm.swappiness=7",)), name="w.py")
    assert outcome.machine.ended is not None
    assert (outcome.machine.ended.state, outcome.machine.now_ns) == ("until", 3 * NS_PER_S)


def test_failed_expectation(tmp_path: Path):
    """The outcome has it beside the summary, and the run's files are there."""

    async def main(machine: OpenMachine) -> None:
        await machine.sleep("1s")
        machine.expect(False, "that pigs fly")

    outcome = run(main, out=tmp_path)
    line = main.__code__.co_firstlineno + 2
    failed = f"FAILED {__file__}:{line}: that pigs fly (at 1 s)"
    assert str(outcome.failure) == failed
    assert outcome.summary.expectations == (failed,)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["exit_state"] == "failed"
    assert "pigs" in record["detail"]
    assert (tmp_path / "proc/zoneinfo").exists()


def test_broken_invariant_is_reported_with_the_way_to_replay_it(tmp_path: Path):
    """A check that fails between two events ends the run with seed, last events and command."""

    async def main(machine: OpenMachine) -> None:
        await machine.spawn("one")
        machine.mem.zone[0, 6] += 1
        for _ in range(50):
            await machine.sleep("1s")

    with pytest.raises(InvariantViolation) as caught:
        run(main, out=tmp_path, seed=9, check=True, check_every=10)
    text = str(caught.value)
    assert "counted 3841" in text
    assert "seed 9" in text
    assert "ks_process_start" in text
    assert text.endswith(
        "replay: kernelsim run small.py --machine tiny-64m --seed 9 --check-every 10"
    )
    assert json.loads((tmp_path / "run.json").read_text())["exit_state"] == "failed"


def test_deadlock_is_reported(tmp_path: Path):
    """A workload that waits for what never comes ends with a report; samples keep nothing alive."""

    async def main(machine: OpenMachine) -> None:
        await machine.engine.wait_queue("godot").wait()

    with pytest.raises(WorkloadError, match="nothing can happen any more at"):
        run(main, out=tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["exit_state"] == "deadlock"


def test_ctrl_c_keeps_what_was_written(tmp_path: Path):
    """An interrupted run has a whole log, its trees and a record that says so."""

    async def main(machine: OpenMachine) -> None:
        await machine.sleep("1s")
        machine.engine.interrupt()
        await machine.sleep("1s")

    with pytest.raises(KeyboardInterrupt):
        run(main, out=tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["exit_state"] == "interrupted"
    assert (tmp_path / "events.jsonl").read_text().endswith("}\n")


def test_mistake_of_the_author_names_the_line(tmp_path: Path):
    """An exception raised in the workload's file is the author's, in one line."""
    path = tmp_path / "w.py"
    path.write_text("async def main(machine):\n    return 1 // 0\n")
    scope: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)  # noqa: S102 - as loaded
    with pytest.raises(WorkloadError, match=r"w\.py:2: ZeroDivisionError"):
        run(scope["main"], name=str(path))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise SystemExit(0)", "w.py:3: SystemExit: 0"),
        ("raise BaseException('odd')", "w.py:3: BaseException: odd"),
        ("await machine.snapshot(5)", "w.py:3: snapshot name 5 must be letters"),
        ("await (await machine.spawn('a', program)).wait()", "w.py:6: ValueError: in program"),
        ("await machine.spawn('a', 'text')", "w.py:3: a program is an async function"),
        ("await (await machine.spawn('a')).munmap(5)", "w.py:3: munmap wants a mapping"),
        ("await (await machine.spawn('a')).madvise_dontneed(5)", "wants a mapping"),
    ],
)
def test_mistakes_of_authors_end_a_run_whole(body: str, told: str, tmp_path: Path):
    """However a workload raises, or its program: one line names its own line, run.json is there."""
    path = tmp_path / "w.py"
    text = f"\nasync def main(machine):\n    {body}\n"
    path.write_text(text + "\nasync def program(process):\n    raise ValueError('in program')\n")
    scope: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)  # noqa: S102 - as loaded
    with pytest.raises(WorkloadError) as caught:
        run(scope["main"], name=str(path), out=tmp_path / "out")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["exit_state"] in ("failed", "crashed")
    assert record["detail"] == str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"machine": None}, "choose one"),
        ({"machine": "no-such"}, "no-such"),
        ({"settings": ("vm.swappiness=300",)}, "vm.swappiness"),
        ({"settings": ("vm.swappiness",)}, "KEY=VALUE"),
        ({"burst_pages": 0}, "burst_pages"),
        ({"until": "soon"}, "soon"),
        ({"trace": ("nothing_like_it",)}, "nothing_like_it"),
    ],
)
def test_wrong_options_write_nothing(options: dict, text: str, tmp_path: Path):
    """A wrong option is refused in one line before the directory is touched."""
    out = tmp_path / "out"
    with pytest.raises(ConfigError) as caught:
        run(small_main, out=out, **options)
    assert text in str(caught.value)
    assert not out.exists()


def test_snapshot_names():
    """A snapshot has a plain name that no other has."""

    async def bad(machine: OpenMachine) -> None:
        await machine.snapshot("../x")

    async def twice(machine: OpenMachine) -> None:
        await machine.snapshot("a")
        await machine.snapshot("a")

    with pytest.raises(WorkloadError, match="letters, digits"):
        run(bad)
    with pytest.raises(WorkloadError, match="already"):
        run(twice)


def test_display_on_a_terminal_only():
    """The display draws zones against their marks on a terminal, and is off elsewhere."""
    machine = run(small_main).machine
    assert not Progress(machine.kernel, console=Console(file=io.StringIO())).is_on
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    progress = Progress(machine.kernel, console=console)
    progress._due_ns = 0
    progress.look()
    progress.stop()
    assert "node 0 DMA32" in screen.getvalue()
    assert "virtual time" in screen.getvalue()
    bar = free_bar(10, 1000, [20, 30, 40]).plain  # 40 cells for 160 pages, a mark at 20, 30, 40
    assert bar == "██···|·|··|" + "·" * 29 + " 10"
    assert free_bar(10, 1000, [20, 30, 40]).spans[0].style == "red"


def test_a_run_may_end_before_its_process_begins():
    """A run that ends at once still has a summary: nothing happened yet."""
    outcome = run(small_main, until="1us")
    assert ("ended", "until: virtual time reached 1000 ns") in outcome.summary.facts
    assert outcome.machine.processes[0].stats.rss_pages == 0


def test_touching_what_is_no_mapping_is_the_authors_mistake():
    """The workload is told what touch wants."""

    async def main(machine):
        process = await machine.spawn("hog")
        await process.touch(12345)

    with pytest.raises(WorkloadError, match="touch wants a mapping, as mmap returns it, not 12345"):
        run(main)


def test_wall_time_is_told_without_compiling(tmp_path: Path, monkeypatch):
    """Summary and run.json say apart from the wall time what compiling took."""

    async def main(machine: OpenMachine) -> None:
        await machine.sleep("1ms")

    texts = []
    for compile_ns in (90 * 10**9, 0):
        monkeypatch.setattr(
            "kernelsim.report.machine_run.compile_leaves", lambda *, enabled, ns=compile_ns: ns
        )
        run(main)  # whatever this run still compiles
        out = tmp_path / str(compile_ns)
        texts.append(summary_text(run(main, out=out).summary))
        record = json.loads((out / "run.json").read_text())
        assert record["compile_ns"] == compile_ns
        assert record["wall_ns"] < 80 * 10**9
    wall = [next(line for line in text.splitlines() if "wall time" in line) for text in texts]
    assert wall[0].endswith(", and 90 s for compiling")
    assert "compiling" not in wall[1]
