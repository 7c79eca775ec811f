"""Each workload on a machine prints the summary beside it: the same text for the same seed.

After a change that is meant, read the difference that this makes:
`kernelsim run workloads/X.py | grep -v '^wall time' > workloads/X.out`
"""

import re

import pytest

from kernelsim.cli import main as cli
from kernelsim.workload.api import load_workload
from tests.workload_runs import FOLDER, ran

WALL_TIME = re.compile(r"^wall time .*\n", re.MULTILINE)
BURST_LINES = re.compile(r"^(wall time|burst pages) .*\n", re.MULTILINE)
# Workloads of very many pages or accesses, which messages would take minutes for: in bursts of 16
# pages instead, and of some the beginning by messages. Their mechanisms: tests/emergence.
LONG = {
    "backup_evicts_database",
    "buddy",
    "damon",
    "direct_reclaim_stall",
    "first_touch",
    "kswapd_bands",
    "kswapd_race",
    "malloc_8g",
    "memory_models",
    "memory_pressure",
    "mglru",
    "min_free_tradeoff",
    "numa_policies",
    "oom_order",
    "swap_storm",
    "swappiness",
    "time_slices",
    "two_lists",
    "watermarks",
    "zone_fallback",
    "zone_lock_contention",
}
# And where runs of those end that take long either way.
ENDS = {
    "memory_pressure": "500ms",
    "mglru": "500ms",
    "min_free_tradeoff": "2500ms",
    "page_cache_pipeline": "500ms",
    "swappiness": "1200ms",
    "time_slices": "250ms",
    "zone_reclaim": "300ms",
}
# Those of them that are there for the pressure: by then kswapd has reclaimed pages.
RECLAIMED = re.compile(r"^kswapd .* reclaimed [1-9]", re.MULTILINE)
PRESSED = {"memory_pressure", "mglru", "min_free_tradeoff", "swappiness", "zone_reclaim"}
# How far those with something of their own at the beginning are compared by messages: a run that
# far takes about a second.
BEGINNINGS = {
    "backup_evicts_database": "50ms",
    "buddy": "5ms",
    "first_touch": "4ms",
    "malloc_8g": "5ms",
    "mglru": "6ms",
    "numa_policies": "7ms",
    "swap_storm": "7500us",  # below min from 5956 us on: kswapd scans
    "time_slices": "8ms",
    "zone_fallback": "5ms",
    "zone_lock_contention": "4ms",
}
MACHINES = sorted(
    path.stem for path in FOLDER.glob("*.py") if load_workload(path).kind == "machine"
)


def test_there_is_a_workload_for_each_basic_scenario():
    """Fresh memory, all four bands, one lock, another node, a stall, a race."""
    assert {
        "direct_reclaim_stall",
        "first_touch",
        "kswapd_race",
        "memory_pressure",
        "remote_node",
        "zone_lock_contention",
    } <= set(MACHINES)


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_the_summary_is_the_expected_one(name):
    """The whole text but for the line of the wall time, which is there once."""
    status, told = ran(name)
    assert status == cli.EXIT_DONE
    printed, nr_wall = WALL_TIME.subn("", told)
    assert nr_wall == 1
    assert printed == (FOLDER / f"{name}.out").read_text()


def summary(capsys, name, *words):
    """Run a workload; return the summary, without the lines of the wall time and of bursts."""
    assert cli.exit_status(["run", str(FOLDER / f"{name}.py"), *words]) == cli.EXIT_DONE
    text, nr_lines = BURST_LINES.subn("", capsys.readouterr().out)
    assert nr_lines == 2
    return text


def whole(capsys, name):
    """Return the words that end a run where it is compared, and its summary in usual bursts."""
    if name not in ENDS:
        return [], BURST_LINES.sub("", (FOLDER / f"{name}.out").read_text())
    until = ["--until", ENDS[name]]
    expected = summary(capsys, name, *until)
    assert name not in PRESSED or RECLAIMED.search(expected)
    return until, expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MACHINES if name not in LONG])
def test_messages_print_what_bursts_print(name, capsys):
    """With `--burst-pages 1` no figure of the summary is another one."""
    until, expected = whole(capsys, name)
    assert summary(capsys, name, "--burst-pages", "1", *until) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LONG))
def test_short_bursts_print_what_long_ones_print(name, capsys):
    """With `--burst-pages 16`, not 512, no figure of the summary is another one."""
    until, expected = whole(capsys, name)
    assert summary(capsys, name, "--burst-pages", "16", *until) == expected


def without_cpu_time(text):
    """Return a summary without the CPU times of processes."""
    rest, start, table = text.partition("\npid ")
    header = table.partition("\n")[0]
    first, last = header.index("cpu"), header.index("run queue")
    return rest + start + "\n".join(line[:first] + line[last:] for line in table.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("name", BEGINNINGS)
def test_messages_begin_as_bursts_do(name, capsys):
    """Of workloads that are long for messages, the beginning is the same by messages.

    But for the CPU times: of the access in which the run ends, each may have counted a part.
    """
    assert name in LONG
    until = ["--until", BEGINNINGS[name]]
    by_messages = summary(capsys, name, "--burst-pages", "1", *until)
    assert without_cpu_time(by_messages) == without_cpu_time(summary(capsys, name, *until))


def test_a_broken_expectation_ends_with_exit_status_1(tmp_path, capsys):
    """Every expectation in the workloads is one that can fail."""
    text = (FOLDER / "first_touch.py").read_text()
    path = tmp_path / "broken.py"
    path.write_text(text.replace("written.minflt == 256 * MIB_PAGES", "written.minflt == 1"))
    assert cli.exit_status(["run", str(path)]) == cli.EXIT_CHECK_FAILED
    assert "each page written for the first time faults" in capsys.readouterr().err
