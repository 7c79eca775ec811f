"""Tests of events as lines of the kernel's own trace."""

import re
from pathlib import Path

import pytest

from kernelsim.cli.main import exit_status
from kernelsim.report.event_reader import EventReader
from kernelsim.report.ftrace_text import FORMS, FtraceText, fields_text
from kernelsim.report.samples import Samples
from kernelsim.report.sinks import Event
from kernelsim.trace.registry import TRACEPOINTS
from tests.real_tools import pressed_run

pytestmark = [pytest.mark.mission("B6")]

# As tools take such lines apart: task, pid, CPU, flags, seconds, event, fields.
LINE = re.compile(
    r"\s*(.+)-(\d+)\s+\[(\d{3})\]\s+([dX.][Nnp.][Hhs.]\S*)\s+(\d+\.\d{6}): (\w+): (.*)"
)
INACTIVE = {
    "nid": 0, "nr_scanned": 32, "nr_reclaimed": 5, "nr_dirty": 1, "nr_writeback": 2,
    "nr_congested": 0, "nr_immediate": 0, "nr_activate0": 3, "nr_activate1": 4, "nr_ref_keep": 6,
    "nr_unmap_fail": 7, "priority": 12, "reclaim_flags": 0x9,
}  # fmt: skip


def test_fields_have_the_names_that_the_kernel_prints():
    """Names, order and flags of the vmscan events are those that the postprocess scripts look for.

    Source: Linux 6.1 include/trace/events/vmscan.h
    """
    for event, fields, text in (
        (
            "mm_vmscan_lru_shrink_inactive",
            INACTIVE,
            (
                "nid=0 nr_scanned=32 nr_reclaimed=5 nr_dirty=1 nr_writeback=2 nr_congested=0 "
                "nr_immediate=0 nr_activate_anon=3 nr_activate_file=4 nr_ref_keep=6 "
                "nr_unmap_fail=7 priority=12 flags=RECLAIM_WB_ANON|RECLAIM_WB_ASYNC"
            ),
        ),
        ("mm_vmscan_kswapd_wake", {"nid": 1, "zid": 2, "order": 0}, "nid=1 order=0"),
        (
            "mm_vmscan_direct_reclaim_begin",
            {"order": 0, "gfp_flags": 0xCC0},
            "order=0 gfp_flags=GFP_KERNEL",
        ),
        (
            "mm_vmscan_throttled",
            {"nid": 0, "usec_timeout": 100000, "usec_delayed": 4000, "reason": 1},
            "nid=0 usec_timeout=100000 usect_delayed=4000 reason=VMSCAN_THROTTLE_WRITEBACK",
        ),
        ("ks_actor_crash", {"error": "a\nb"}, r'error="a\nb"'),
    ):
        assert fields_text(Event(0, "hog-100", event, fields)) == text


@pytest.mark.parametrize("name", FORMS)
def test_forms_use_fields_that_there_are(name):
    """Each form is of a declared event and names only its fields."""
    fields = {field.name for field in TRACEPOINTS[name].fields}
    assert set(re.findall(r"{(\w+)}", FORMS[name])) <= fields


def test_a_task_has_its_cpu_and_a_thread_a_pid():
    """The CPU is that of the last switch; threads are numbered, what is no task has pid 0."""
    text = FtraceText()
    switch = {"prev": "", "next": "hog-100"}
    for event, told in (
        (Event(5, "cpu3", "ks_sched_switch", switch), ("cpu3", "0", "003", "0.000000")),
        (Event(1_234_567_890, "hog-100", "a", {}), ("hog", "100", "003", "1.234567")),
        (Event(0, "kswapd0", "a", {}), ("kswapd0", "2", "000", "0.000000")),
        (Event(0, "kswapd1", "a", {}), ("kswapd1", "3", "000", "0.000000")),
        (Event(0, "kswapd0", "a", {}), ("kswapd0", "2", "000", "0.000000")),
        (Event(0, "node0", "a", {}), ("node0", "0", "000", "0.000000")),
        (Event(0, "flush-8:0", "a", {}), ("flush-8:0", "4", "000", "0.000000")),
        (Event(0, "flush-100", "a", {}), ("flush", "100", "000", "0.000000")),
    ):
        text.look(event)
        found = LINE.fullmatch(text.line(event))
        assert found is not None
        task, pid, cpu, _, seconds, _, _ = found.groups()
        assert (task, pid, cpu, seconds) == told


def test_a_trace_adds_up_to_the_counters(tmp_path: Path, capsys):
    """Every event is a line; pages that they say were reclaimed are those that vmstat counted."""
    out = pressed_run(tmp_path / "run")
    capsys.readouterr()
    assert exit_status(["inspect", str(out), "--ftrace"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found)
    assert len(lines) == sum(1 for _ in EventReader(out / "events.jsonl"))
    reclaimed = {"kswapd": 0, "direct": 0}
    for each in found:
        if each and each[6] == "mm_vmscan_lru_shrink_inactive":
            who = "kswapd" if each[1].startswith("kswapd") else "direct"
            reclaimed[who] += int(re.search(r"nr_reclaimed=(\d+)", each[7])[1])
    samples = Samples(out / "metrics.parquet")
    for who, pages in reclaimed.items():
        assert pages == samples.of(f"pgsteal_{who}")[-1] > 0
    capsys.readouterr()
    assert exit_status(["inspect", str(out), "--ftrace", "--event", "mm_vmscan*"]) == 0
    chosen = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert chosen == [line for line in lines if ": mm_vmscan" in line]  # on the same CPUs, too
    assert any("[000]" not in line for line in chosen)
    assert exit_status(["inspect", str(out), "--ftrace", "--json"]) == 2
