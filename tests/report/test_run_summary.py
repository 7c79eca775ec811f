"""Tests of the summary of a run: what happened to whom, and what the knobs did to it."""

from pathlib import Path

import attrs
import pytest

from kernelsim.config.machine_file import load_machine
from kernelsim.report.machine_run import RunOutcome, idle_settings, run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.report.run_summary import WALL, summary_text
from kernelsim.units import parse_duration
from kernelsim.workload.api import Workload
from kernelsim.workload.machine import MachineHandle


async def small_main(machine: MachineHandle) -> None:
    """Touch a little more memory than there is."""
    process = await machine.spawn("hog")
    area = await process.mmap("55M")
    await process.touch(area, write=True)


def run(main, **options) -> RunOutcome:
    """Run a function on the smallest machine."""
    options = {"machine": "tiny-64m", **options}
    return run_machine(Workload(main, "machine"), RunOptions(**options), name="small.py")


def test_summary_says_what_happened_and_to_whom():
    """The summary has faults, swap, zones and the process; only its wall time varies."""
    texts = []
    for _ in range(2):
        text = summary_text(run(small_main).summary)
        texts.append([line for line in text.splitlines() if not line.startswith(WALL)])
    assert texts[0] == texts[1]
    text = "\n".join(texts[0])
    assert "ended           done" in text
    assert "page faults     14080, 0 of them major" in text
    assert "node 0 DMA32  158  197  236" in text
    assert " hog " in text


def test_summary_names_signals_and_checks():
    """A process that a signal ended shows its name; checks are told of when there were any."""

    async def main(machine: MachineHandle) -> None:
        process = await machine.spawn("stray")
        await process.touch_pages([1], [1])

    checked = run(main, check=True).summary
    assert ("checks", "ran 1 times, found nothing wrong") in checked.facts
    processes = next(table for table in checked.tables if table.title.startswith("processes"))
    assert processes.rows[0][:3] == ("100", "stray", "SIGSEGV")
    assert "checks" not in dict(run(main).summary.facts)


def test_processes_are_one_table_and_the_longest_wait_for_memory_comes_first():
    """The hog that reclaims and swaps stands above those that did nothing, whatever their pid."""

    async def main(machine: MachineHandle) -> None:
        idle = [await machine.spawn(f"idle{number}") for number in range(2)]
        hog = await machine.spawn("hog")
        await hog.touch(await hog.mmap("80M"), write=True)
        await idle[1].touch(await idle[1].mmap("32M"))

    tables = {table.title.partition(",")[0]: table for table in run(main).summary.tables}
    processes = tables["processes"]
    assert [row[1] for row in processes.rows] == ["hog", "idle1", "idle0"]
    assert processes.headers[-3:] == ("locks", "reclaim", "I/O")
    assert "time of the processes" not in tables


def test_the_stalls_of_a_kernel_thread_have_their_time():
    """A driver that waits for reclaim, with no process that does: the time is the driver's."""
    waited = []

    async def main(machine: MachineHandle) -> None:
        hog = await machine.spawn("hog")
        await hog.touch(await hog.mmap("40M"), write=True)
        driver = machine.kernel_thread("driver")
        await driver.alloc_pages(100_000, "GFP_ATOMIC | __GFP_NOWARN")
        began_ns = machine.now_ns
        await driver.alloc_pages(8)
        waited.append(machine.now_ns - began_ns)
        assert hog.stats.reclaim_ns == 0

    line = dict(run(main).summary.facts)["direct reclaim"]
    stalls, in_all = line.split(", ")[:2]
    told_ns = parse_duration(in_all.removesuffix(" in all").replace(" ", ""))
    assert stalls != "0 stalls"
    assert 0.9 * waited[0] < told_ns <= waited[0]


@pytest.mark.parametrize(("nr_processes", "nr_rows", "last"), [(21, 21, "p"), (60, 21, "and 40")])
def test_a_long_table_says_how_many_more(nr_processes, nr_rows, last):
    """Twenty rows and one that counts the rest; what is left out is never a single one."""

    async def main(machine: MachineHandle) -> None:
        for _ in range(nr_processes):
            await machine.spawn("p")

    rows = run(main).summary.tables[-1].rows
    assert len(rows) == nr_rows
    assert rows[-1][1].startswith(last)


def test_summary_says_what_each_knob_does_to_results():
    """Seeds and the burst always, the others when given."""

    async def main(machine: MachineHandle) -> None:
        await machine.sleep("1ms")

    plain = dict(run(main).summary.facts)
    assert plain["seed"] == (
        "1: addresses, cache misses, timer phase, first CPU; a workload's draws"
    )
    assert plain["schedule seed"].startswith("none: ")
    assert plain["burst pages"].startswith("512: most pages in one event of the log;")
    assert "trace" not in plain
    knobs = RunOptions(
        seed=3, schedule_seed=0, burst_pages=1, trace=("kmem:*",), machine="tiny-64m"
    )
    told = dict(run_machine(Workload(main, "machine"), knobs, name="w.py").summary.facts)
    assert told["seed"].startswith("3: ")
    assert told["schedule seed"].startswith("0: its own order of simultaneous events")
    assert told["burst pages"] == "1: every step by messages: slower, the same counters"
    assert told["trace"] == "kmem:*: chooses what is logged, changes no result"


def test_a_setting_that_changes_nothing_is_told_in_the_summary():
    """A note with the reason; settings that work have none."""

    async def main(machine):
        await machine.sleep("1ms")

    workload = Workload(main, "machine", "tiny-64m", None, {"vm.swappiness": 3})
    outcome = run_machine(workload, RunOptions(settings=("vm.laptop_mode=5",)), name="w.py")
    (note,) = outcome.machine.notes
    assert note.startswith("vm.laptop_mode is accepted and changes nothing yet: ")


def test_a_machine_file_that_sets_what_changes_nothing_is_told_so(tmp_path: Path):
    """As for a setting of the run; a machine that was recorded chose nothing."""

    async def main(machine: MachineHandle) -> None:
        await machine.sleep("1ms")

    path = tmp_path / "m.toml"
    path.write_text(
        'name = "m"\n[[node]]\ncpus = "0"\nmemory = "64M"\n'
        '[sysctl]\n"vm.laptop_mode" = 30\n"vm.swappiness" = 3\n'
    )
    workload = Workload(main, "machine", str(path))
    (note,) = run_machine(workload, RunOptions(), name="w.py").machine.notes
    assert note.startswith("vm.laptop_mode is accepted and changes nothing yet: ")
    spec = load_machine(path)
    recorded = attrs.evolve(spec, boot=attrs.evolve(spec.boot, zones=("of a kernel",)))
    assert idle_settings(recorded, {}) == []
    assert idle_settings(recorded, {"vm.laptop_mode": 30}) == ["vm.laptop_mode"]
