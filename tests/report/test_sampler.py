"""Tests of the samples of a run's counters: how many, how far apart, what of processes."""

from itertools import pairwise
from pathlib import Path

import duckdb

from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.report.sampler import PROCESS_COLUMNS, ROWS_MAX, Sampler, longer
from kernelsim.units import NS_PER_MS, NS_PER_S
from kernelsim.workload.api import Workload
from tests.small_machine import OpenMachine, opened, small_machine


def run(main, **options):
    """Run a function on the smallest machine."""
    workload = Workload(opened(main), "machine")
    return run_machine(workload, RunOptions(**{"machine": "tiny-64m"} | options), name="small.py")


def test_samples_stay_few_and_keep_their_distance():
    """However long a run, there are at most ROWS_MAX rows, at equal distances that divide 1 s."""
    intervals = [NS_PER_MS]
    while intervals[-1] < 4 * NS_PER_S:
        intervals.append(intervals[-1] * longer(intervals[-1]))
    assert [ns // NS_PER_MS for ns in intervals] == [1, 2, 4, 8, 40, 200, 1000, 2000, 4000]

    async def main(machine: OpenMachine) -> None:
        sampler = Sampler(machine.kernel, rows_max=20)
        while machine.now_ns < 3 * NS_PER_S:
            sampler.take()
            await machine.sleep(sampler.due_ns - machine.now_ns)
        sampler.finish()
        t_ns = sampler.recorder().column("t_ns").tolist()
        assert len(t_ns) <= 20
        assert t_ns[0] == 0
        assert t_ns[-1] == machine.now_ns
        assert {b - a for a, b in pairwise(t_ns[:-1])} == {200 * NS_PER_MS}
        assert ROWS_MAX > 20

    run(main)


def test_processes_are_sampled_beside_the_machine(tmp_path: Path):
    """Each living process has a row a sample; the last is what its handle says of it."""

    async def main(machine: OpenMachine) -> None:
        first, second = await machine.spawn("first"), await machine.spawn("second")
        await first.touch(await first.mmap("4M"), write=True)
        await machine.sleep("2ms")
        await first.kill()
        await first.wait()
        await second.touch(await second.mmap("2M"), write=True)

    outcome = run(main, out=tmp_path)
    table = duckdb.read_parquet(str(tmp_path / "processes.parquet"))
    assert tuple(table.columns) == PROCESS_COLUMNS
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
    first, second = outcome.machine.processes
    of_first = [row for row in rows if row["pid"] == first.pid]
    last = [row for row in rows if row["pid"] == second.pid][-1]
    assert max(row["minflt"] for row in of_first) > 0
    assert of_first[-1]["t_ns"] < last["t_ns"] == outcome.machine.now_ns
    assert (last["rss"], last["minflt"]) == (second.stats.rss_pages, second.stats.pgfault)
    assert (last["utime_ns"], last["stime_ns"]) == (second.stats.utime_ns, second.stats.stime_ns)


def test_samples_and_files_change_nothing_that_a_workload_reads(tmp_path: Path):
    """What /proc/pressure says is the same with and without them; reading it is part of the run."""

    async def main(machine: OpenMachine) -> None:
        hog = await machine.spawn("hog")
        area = await hog.mmap("24M")
        await hog.touch(area, write=True)
        await machine.snapshot("halfway")
        assert not machine.capture().pressure  # who wants memory only reads no pressure
        other = await machine.spawn("other")
        await other.touch(await other.mmap("2M"), write=True, passes=2000)
        await hog.touch(area, write=True)
        for resource in ("memory", "io", "cpu"):
            machine.note(machine.proc(f"pressure/{resource}"))

    spec = small_machine(memory="16M", swap="64M", cpus=("0-1",))
    alone = run(main, machine=spec).machine.notes
    watched = run(main, machine=spec, out=tmp_path).machine.notes
    assert " total=0\n" not in alone[0]
    assert alone == watched
