"""Each workload on a machine prints the summary beside it: the same text for the same seed.

After a change that is meant, read the difference that this makes:
`kernelsim run workloads/X.py | grep -v '^wall time' > workloads/X.out`
"""

import re
from pathlib import Path

import pytest

from kernelsim.cli import main as cli
from kernelsim.workload.api import load_workload

FOLDER = Path(__file__).parents[2] / "workloads"
WALL_TIME = re.compile(r"^wall time .*\n", re.MULTILINE)
BURST_LINES = re.compile(r"^(wall time|burst pages) .*\n", re.MULTILINE)
# Workloads of very many pages or accesses, which messages would take minutes for: bursts of 16
# pages instead, whole. Bursts against messages in their mechanisms: tests/emergence.
LONG = {
    "backup_evicts_database",
    "buddy",
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
# And where runs of those end that take long either way: by then pages are reclaimed, or queue.
ENDS = {
    "memory_pressure": "500ms",
    "mglru": "500ms",
    "min_free_tradeoff": "2500ms",
    "page_cache_pipeline": "500ms",
    "swappiness": "1200ms",
    "time_slices": "250ms",
    "zone_reclaim": "300ms",
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
def test_the_summary_is_the_expected_one(name, capsys):
    """The whole text but for the line of the wall time, which is there once."""
    path = FOLDER / f"{name}.py"
    assert cli.exit_status(["run", str(path)]) == cli.EXIT_DONE
    printed, nr_wall = WALL_TIME.subn("", capsys.readouterr().out)
    assert nr_wall == 1
    assert printed == path.with_suffix(".out").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_messages_print_what_bursts_print(name, capsys):
    """With `--burst-pages 1`, 16 for the long ones, no figure of the summary is another one."""
    path = FOLDER / f"{name}.py"
    words = ["run", str(path), "--burst-pages", "16" if name in LONG else "1"]
    expected = path.with_suffix(".out").read_text()
    if name in ENDS:
        words += ["--until", ENDS[name]]
        assert cli.exit_status(["run", str(path), "--until", ENDS[name]]) == cli.EXIT_DONE
        expected = capsys.readouterr().out
    assert cli.exit_status(words) == cli.EXIT_DONE
    printed, nr_lines = BURST_LINES.subn("", capsys.readouterr().out)
    assert nr_lines == 2
    assert printed == BURST_LINES.sub("", expected)


def test_a_broken_expectation_ends_with_exit_status_1(tmp_path, capsys):
    """Every expectation in the workloads is one that can fail."""
    text = (FOLDER / "first_touch.py").read_text()
    path = tmp_path / "broken.py"
    path.write_text(text.replace("written.minflt == 256 * MIB_PAGES", "written.minflt == 1"))
    assert cli.exit_status(["run", str(path)]) == cli.EXIT_CHECK_FAILED
    assert "each page written for the first time faults" in capsys.readouterr().err
