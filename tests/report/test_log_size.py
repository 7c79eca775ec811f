"""Tests of what is said of a large log."""

import json

import pytest

from kernelsim.report import log_size
from kernelsim.report.log_size import MB, size_remark
from kernelsim.units import NS_PER_S

pytestmark = [pytest.mark.mission("B6")]


def line(event, actor="a"):
    """Return a line of a log; all are about as long."""
    fields = {"t_ns": 1, "actor": actor, "event": event}
    return json.dumps(fields, separators=(",", ":")).ljust(200) + "\n"


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Return a log of 2 MB: 60 % ks_fault, 38 % isolated pages, the rest swapped in."""
    monkeypatch.setattr(log_size, "LARGE_BYTES", MB)
    events = ["ks_fault"] * 30 + ["mm_vmscan_lru_isolate"] * 19 + ["ks_swapin"]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(line(event, 'x"event":"no') for event in events * 200))
    return path


def test_a_large_log_tells_what_fills_it_and_how_to_thin_it(log):
    """The largest first; only what is much, and what no report needs, is to be left out."""
    remark = size_remark(log, 30 * NS_PER_S)
    assert remark.startswith("events.jsonl has 2 MB, 4 MB a virtual minute: ")
    percents = [word for word in remark.split() if word.isdigit()][2:5]
    assert [int(word) for word in percents] == pytest.approx([60, 38, 2], abs=5)
    assert remark.endswith("; a report needs no more with --trace not=mm_vmscan_lru_isolate")


def test_a_log_of_a_long_run_may_be_large(log):
    """What counts is a virtual minute; and a short run is no nuisance."""
    assert not size_remark(log, 600 * NS_PER_S)
    log.write_text(line("ks_fault"))
    assert not size_remark(log, 1)
