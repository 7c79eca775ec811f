"""The comparison of runs, held against totals of the reference program and small made-up runs."""

import json
import shutil
from pathlib import Path

import pytest

from kernelsim.errors import RecordingError
from kernelsim.oracle.compare import compare_runs, render, to_json, topic
from kernelsim.oracle.compare_rows import SLACK, rows_of

CASES = Path(__file__).parent.parent / "oracle" / "cases"
REAL = CASES / "d04_sw60"
REPEAT = CASES / "d04_sw60_r2"
# The reference program's totals for REAL and REPEAT: rows inside, rows, sum of errors.
TOTALS = {
    "faults and memory": (72, 79, 9.08174519927143),
    "swap": (15, 15, 0.3874379762831417),
    "page cache": (24, 24, 0.37130596593437437),
    "malloc and overcommit": (5, 5, 0.0),
    "reclaim": (19, 22, 5.828002203161809),
    "numa": (3, 3, 0.0035911242610402114),
    "migration and hotplug": (2, 3, 2.0445873875340963),
    "zones": (27, 27, 0.0),
}
OUTSIDE = [
    "A meminfo#2.MemFree",
    "vmdelta pass2.pgfault",
    "vmdelta pass2.pgscan_direct",
    "vmdelta pass2.pgactivate",
    "vmdelta pass2.nr_inactive_anon",
    "vmdelta pass3_read.pgfault",
    "vmdelta pass3_read.pgactivate",
    "vmdelta pass3_read.pgmigrate_success",
    "vmdelta pass3_read.nr_anon_pages",
    "zoneinfo holding node0/DMA32.free",
    "meminfo holding.MemFree_kB",
]


def make_run(folder, text, name="run"):
    """Write a run that is nothing but a workload.out."""
    run = folder / name
    run.mkdir()
    (run / "workload.out").write_text(text)
    return run


def judged(folder, real, ours):
    """Compare two texts of workload.out; return the rows by name."""
    for name in ("real", "ours"):
        shutil.rmtree(folder / name, ignore_errors=True)
    comparison = compare_runs(make_run(folder, real, "real"), make_run(folder, ours, "ours"))
    return {row.name: row for row in comparison.rows}


def test_totals_of_a_repeat_are_those_of_the_reference():
    """A recording and its repeat: rows, totals and the rows outside are the reference's."""
    comparison = compare_runs(REAL, REPEAT)

    assert list(TOTALS) == list(comparison.topics)
    for label, total in comparison.topics.items():
        assert TOTALS[label] == (total.inside, total.total, pytest.approx(total.error_sum))
    assert OUTSIDE == [row.name for row in comparison.rows if not row.ok]
    assert not comparison.ok


def test_rows_a_kernel_does_not_repeat_are_left_out():
    """Held against itself, only the rows its repeat confirms count, and all are inside."""
    comparison = compare_runs(REAL, REAL)

    assert comparison.ok
    # Three more rows are inside against the repeat: it lacks them, and 0 would do.
    assert sum(inside for inside, _, _ in TOTALS.values()) - 3 == len(comparison.rows)
    assert 0.0 == sum(total.error_sum for total in comparison.topics.values())


def test_table_lists_rows_outside_then_totals():
    """The table names each row outside, each topic in alphabetic order, and the total."""
    comparison = compare_runs(REAL, REPEAT)
    lines = render(comparison).splitlines()

    assert len(OUTSIDE) + len(TOTALS) + 1 == len(lines)
    assert (
        "OUT  close meminfo holding.MemFree_kB"
        "                                   real         7320.0 ours        15820.0 error 1.161"
    ) in lines
    assert "zones                      27 of   27 rows inside, mean error 0.000" in lines
    assert "total                     167 of  178" == lines[-1]
    every = render(comparison, all_rows=True).splitlines()
    assert 178 + len(TOTALS) + 1 == len(every)
    assert any(line.startswith("ok   exact ") for line in every)


def test_json_has_rows_and_topics():
    """The JSON text has one object a row and a triple a topic."""
    parsed = json.loads(to_json(compare_runs(REAL, REPEAT)))

    assert 178 == len(parsed["rows"])
    assert [3, 3] == parsed["topics"]["numa"][:2]
    assert {"row", "topic", "class", "real", "ours", "error", "ok"} == set(parsed["rows"][0])


STEP = "proc=A step=2 op=touchw:a ret={ret} errno=0 minflt={minflt} majflt=0 ms=5\n"


@pytest.mark.parametrize(
    ("minflt", "ours", "ok"),
    [
        (10000, 10200, True),
        (10000, 10201, False),
        (4000, 4080, True),
        (100, 164, True),
        (100, 165, False),
        (10, 42, True),
        (10, 43, False),
    ],
)
def test_near_rows_have_two_percent_or_64_pages(tmp_path, minflt, ours, ok):
    """A near row may be off by 2 % or 64 pages, a figure below 64 by half of that."""
    rows = judged(tmp_path, STEP.format(ret=0, minflt=minflt), STEP.format(ret=0, minflt=ours))

    assert ok == rows["A touchw:a.minflt"].ok


@pytest.mark.parametrize(
    ("real", "ours", "ok"), [(0, 1, False), (-1, -1, True), (-1, 0, False), (5, 6, True)]
)
def test_results_of_failed_steps_must_match(tmp_path, real, ours, ok):
    """A result of 0 or below is exact, a count is near."""
    rows = judged(tmp_path, STEP.format(ret=real, minflt=0), STEP.format(ret=ours, minflt=0))

    assert ok == rows["A touchw:a.ret"].ok


def test_slack_of_kb_figures_is_in_pages(tmp_path):
    """512 pages are 2048 kB where the figure is one of kB."""
    line = "proc=A mem VmRSS_kB=0 VmPTE_kB={}\n"

    assert judged(tmp_path, line.format(4000), line.format(6048))["A mem.VmPTE_kB"].ok
    assert not judged(tmp_path, line.format(4000), line.format(6049))["A mem.VmPTE_kB"].ok


def test_repeated_steps_are_told_apart(tmp_path):
    """The second step of the same text is a row of its own; the line's place does not count."""
    first, second = STEP.format(ret=0, minflt=9000), STEP.format(ret=0, minflt=0)
    other = "proc=B step=2 op=touchw:a ret=0 errno=0 minflt=1 majflt=0 ms=5\n"
    rows = judged(tmp_path, first + other + second, other + first + second)

    assert 9000.0 == rows["A touchw:a.minflt"].ours
    assert 0.0 == rows["A touchw:a#2.minflt"].ours
    assert all(row.ok for row in rows.values())


def test_missing_rows_count_as_zero_where_zero_would_do(tmp_path):
    """A row our run does not have is outside, unless 0 is inside its class."""
    real = "vmdelta label=x pgfault=500 now=1\nvmdelta label=x pswpin=100 now=1\n"
    rows = judged(tmp_path, real, "")

    assert (False, None) == (rows["vmdelta x.pgfault"].ok, rows["vmdelta x.pgfault"].ours)
    assert rows["vmdelta x.pswpin"].ok
    assert not judged(tmp_path, "blk memory1 online removable=1\n", "")["block memory1#1"].ok


def test_deltas_of_one_kind_are_summed(tmp_path):
    """Scans of kswapd and of direct reclaim are one row, as are the stalls of all zones."""
    text = "".join(
        f"vmdelta label=x {key}=1000 now=1\n"
        for key in ("pgscan_kswapd", "pgscan_direct", "allocstall_dma", "allocstall_movable")
    )
    rows = judged(tmp_path, text, text)

    assert 2000.0 == rows["vmdelta x.pgscan"].real
    assert 1000.0 == rows["vmdelta x.pgscan_direct"].real
    assert 2000.0 == rows["vmdelta x.allocstall"].real


def test_order_of_victims_is_exact(tmp_path):
    """The OOM killer's victims must be the same in the same order."""
    real, ours = make_run(tmp_path, "", "real"), make_run(tmp_path, "", "ours")
    line = "Out of memory: Killed process {} ({})\noom-kill:constraint=CONSTRAINT_NONE,x\n"
    (real / "dmesg.txt").write_text(line.format(1, "C") + line.format(2, "B"))
    (ours / "dmesg.txt").write_text(line.format(8, "B") + line.format(9, "C"))

    rows = compare_runs(real, ours).rows
    assert [("oom victims", False), ("oom constraints", True)] == [(r.name, r.ok) for r in rows]
    assert ["oom", "oom"] == [row.topic for row in rows]


def test_watermarks_of_boot_are_not_compared():
    """A recorded watermark counts only where it equals the kernel's formula."""
    real, ours = rows_of(REAL, real=True), rows_of(REAL, real=False)
    dropped = [name for name in ours if name not in real]

    assert dropped
    assert all(name.rsplit(".", 1)[1] in {"min", "low", "high", "protection"} for name in dropped)
    assert any(name.startswith("zoneinfo ") and name.endswith(".min") for name in real)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("zoneinfo before node0/DMA.min", "zones"),
        ("zoneinfo before node0/DMA.free", "faults and memory"),
        ("A where:a.n3", "numa"),
        ("A mem.VmSwap_kB", "swap"),
        ("vmdelta x.pgscan", "reclaim"),
        ("vmdelta x.nr_dirtied", "page cache"),
        ("A probe:4G.ok", "malloc and overcommit"),
        ("block memory3#1", "migration and hotplug"),
    ],
)
def test_topics_by_name(name, label):
    """A row's topic is told by its name, the first pattern decides."""
    assert label == topic(name)


def test_slack_classes_are_those_of_the_format():
    """Exact, near, close and loose have the slack the format states."""
    assert {
        "exact": (0.0, 0),
        "near": (0.02, 64),
        "close": (0.15, 512),
        "loose": (0.60, 2048),
    } == SLACK


@pytest.mark.parametrize(
    ("text", "told"),
    [("vmdelta pgfault=1\n", ":1: a vmdelta line"), ("\nvmdelta label=x a=z\n", ":2: a must be")],
)
def test_malformed_runs_name_file_and_line(tmp_path, text, told):
    """A malformed line of workload.out is refused with its place."""
    with pytest.raises(RecordingError) as caught:
        rows_of(make_run(tmp_path, text), real=False)
    assert f"workload.out{told}" in str(caught.value)


def test_missing_directories_are_refused(tmp_path):
    """A run that is no directory is refused with its name, on either side."""
    with pytest.raises(RecordingError, match="nowhere"):
        compare_runs(tmp_path / "nowhere", REAL)
    with pytest.raises(RecordingError, match="nowhere"):
        compare_runs(REAL, tmp_path / "nowhere")


def test_recordings_without_sysctls_are_refused():
    """A recording needs its sysctls to tell which watermarks count."""
    with pytest.raises(RecordingError, match=r"sysctl_vm\.txt: must be readable"):
        compare_runs(REPEAT, REAL)
