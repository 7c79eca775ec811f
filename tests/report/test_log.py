"""Tests of the log of a run: its lines, whole, and what reaches the file when."""

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from kernelsim.errors import OutputError
from kernelsim.report.event_filter import EventFilter
from kernelsim.report.log import WAITING_MAX, RunLog
from kernelsim.report.log_file import LogFile
from kernelsim.trace.kmem import mm_page_free
from kernelsim.trace.vmscan import mm_vmscan_kswapd_wake

HEADER = '{"t_ns":0,"actor":"run","event":"ks_run_start","schema":1,"seed":7}\n'
WAKE = mm_vmscan_kswapd_wake(nid=1, zid=2, order=0)


@pytest.fixture
def path(tmp_path):
    """Where the log is."""
    return tmp_path / "events.jsonl"


def make_log(path, **options):
    """Open a log with its header written."""
    log = RunLog(path, **options)
    log.start({"seed": 7})
    return log


def write_two(path):
    """Log two events."""
    log = make_log(path)
    log.emit(5, "cpu0", "ks_sched_switch", {"cpu": 0, "prev_pid": 1})
    log.emit(6, "cpu0", "ks_actor_stop", {})
    log.close()


def test_lines(path):
    """Lines are t_ns, actor, event, then the fields."""
    write_two(path)
    two = (
        '{"t_ns":5,"actor":"cpu0","event":"ks_sched_switch","cpu":0,"prev_pid":1}\n'
        '{"t_ns":6,"actor":"cpu0","event":"ks_actor_stop"}\n'
    )
    assert path.read_text() == HEADER + two


def test_tracepoint_lines(path):
    """A tracepoint's line has its fields in Linux's order; many of one time are many lines."""
    with make_log(path, events=EventFilter(trace=("mm_page_free",))) as log:
        wake = mm_vmscan_kswapd_wake(order=0, nid=1, zid=2)
        log.emit(1_000, "kswapd1", wake.event, wake)
        for pfn in (7, 8, 9):
            log.emit(2_000, "node0", "mm_page_free", mm_page_free(pfn=pfn, order=0))
    assert path.read_text() == HEADER + (
        '{"t_ns":1000,"actor":"kswapd1","event":"mm_vmscan_kswapd_wake","nid":1,"zid":2,"order":0}\n'
        '{"t_ns":2000,"actor":"node0","event":"mm_page_free","pfn":7,"order":0}\n'
        '{"t_ns":2000,"actor":"node0","event":"mm_page_free","pfn":8,"order":0}\n'
        '{"t_ns":2000,"actor":"node0","event":"mm_page_free","pfn":9,"order":0}\n'
    )


def test_values(path):
    """Integers stay integers, NumPy's too and those of 64 bits; text is escaped as JSON."""
    actor = 'a"%d%\n{é'
    fields = {"a": np.uint64(2**64 - 1), "b": np.int32(-1), "c": True, "d": None, "e": 'x\n{"}'}
    with make_log(path) as log:
        log.emit(2**62, actor, "ks_x", fields)
    lines = path.read_bytes().splitlines()
    assert (
        lines[1]
        == (
            '{"t_ns":4611686018427387904,"actor":"a\\"%d%\\n{é","event":"ks_x",'
            '"a":18446744073709551615,"b":-1,"c":true,"d":null,"e":"x\\n{\\"}"}'
        ).encode()
    )
    assert msgspec.json.decode(lines[1])["actor"] == actor


def test_events_that_are_off_leave_no_trace(path):
    """A filter drops events the same way on every way in, and `wants` says so before."""
    with make_log(path, events=EventFilter(actors=("kswapd*",))) as log:
        page = mm_page_free(pfn=1, order=0)
        log.emit(1, "cpu0", "ks_fault", {"a": 1})
        log.emit(1, "kswapd0", page.event, page)
        assert not log.wants("cpu0", "ks_fault")
        assert not log.wants("kswapd0", "mm_page_free")
        assert log.wants("kswapd0", "ks_fault")
    assert path.read_text() == HEADER


def test_filter_is_asked_once(path):
    """The globs are matched once for each pair of actor and event."""
    asked = []

    class Counting:
        def wants(self, actor, event):
            asked.append((actor, event))
            return True

    with make_log(path, events=Counting()) as log:
        for _ in range(3):
            log.emit(1, "cpu0", "ks_fault", {})
            log.wants("cpu0", "ks_fault")
    assert asked == [("run", "ks_run_start"), ("cpu0", "ks_fault")]


def test_header_comes_first(path):
    """A second header, or one after other events, is a bug of ours."""
    with make_log(path) as log, pytest.raises(AssertionError, match="header"):
        log.start({})


def test_buffer_is_written_when_full(path):
    """The header is written at once, then pieces of the buffer's size, always whole lines."""
    with make_log(path, buffer_bytes=100) as log:
        assert path.read_text() == HEADER
        log.emit(1, "cpu0", "ks_x", {})
        log.emit(2, "cpu0", "ks_x", {})
        assert path.read_text() == HEADER
        log.emit(3, "cpu0", "ks_x", {})
        assert [
            line["t_ns"] for line in map(msgspec.json.decode, path.read_text().splitlines())
        ] == [
            0,
            1,
            2,
            3,
        ]
        log.emit(4, "cpu0", "ks_x", {})
        log.flush()
        assert path.read_text().endswith('{"t_ns":4,"actor":"cpu0","event":"ks_x"}\n')


def test_tracepoints_that_wait_keep_their_place(path):
    """Tracepoints become lines together, before whatever comes behind them and at the end."""
    with make_log(path) as log:
        for number in range(3 * WAITING_MAX // 2):
            log.emit(number, "kswapd1", "mm_vmscan_kswapd_wake", WAKE)
        assert log.nr_lines == 1 + 3 * WAITING_MAX // 2
        assert log.file.nr_lines == 1 + WAITING_MAX
        log.emit(5000, "cpu0", "ks_x", {"a": 1})
        assert log.file.nr_lines == log.nr_lines
        log.emit(5001, "kswapd1", "mm_vmscan_kswapd_wake", WAKE)
        log.flush()
        assert path.read_text().count("\n") == log.nr_lines
        log.emit(5002, "kswapd1", "mm_vmscan_kswapd_wake", WAKE)
    times = [msgspec.json.decode(line)["t_ns"] for line in path.read_text().splitlines()]
    assert times == [0, *range(3 * WAITING_MAX // 2), 5000, 5001, 5002]


def test_interrupted_line_is_not_written(path):
    """A line whose fields cannot be encoded, or that is cut short, leaves no bytes behind."""
    with make_log(path) as log:
        log.emit(1, "cpu0", "ks_x", {"a": 1})
        with pytest.raises(TypeError):
            log.emit(2, "cpu0", "ks_x", {"a": 1, "b": object()})
        log.flush()
        log.file.buffer += b'{"t_ns":3,"actor":"cp'
        log.emit(4, "cpu0", "ks_x", {"a": 2})
        log.file.buffer += b'{"t_ns":5,"actor":"cp'
        log.file.info(b'{"t_ns":6}\n')
        log.file.buffer += b'{"t_ns":7,"actor":"cp'
    assert path.read_text() == HEADER + (
        '{"t_ns":1,"actor":"cpu0","event":"ks_x","a":1}\n'
        '{"t_ns":4,"actor":"cpu0","event":"ks_x","a":2}\n'
        '{"t_ns":6}\n'
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from kernelsim.report.log import RunLog
log = RunLog(Path(sys.argv[1]))
log.start({})
for number in range(5000):
    log.emit(number, "cpu0", "ks_x", {"number": number})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_killed_run_leaves_a_readable_prefix(path):
    """What a killed run had flushed is there, whole lines, without a gap."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -9
    text = path.read_text()
    numbers = [msgspec.json.decode(line)["number"] for line in text.splitlines()[1:]]
    assert text.endswith("\n")
    assert 1000 < len(numbers) < 5000
    assert numbers == list(range(len(numbers)))


FULL = """
import resource, signal, sys
from pathlib import Path
from kernelsim.errors import OutputError
from kernelsim.report.log import RunLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
log = RunLog(Path(sys.argv[1]), buffer_bytes=4096)
log.start({})
try:
    for number in range(5000):
        log.emit(number, "cpu0", "ks_x", {"number": number})
except OutputError as error:
    print(error)
log.emit(5000, "cpu0", "ks_x", {})
log.close()
"""


@pytest.mark.slow
def test_no_room_left(path):
    """When the file may not grow, one line says so, and the file ends with its last whole line."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{path}: cannot write: File too large\n"
    lines = path.read_text().splitlines(keepends=True)
    assert 9_800 < path.stat().st_size <= 10_000
    assert lines[-1].endswith("}\n")
    assert [msgspec.json.decode(line)["number"] for line in lines[1:]] == list(
        range(len(lines) - 1)
    )


def test_full_device(tmp_path):
    """A device without room is reported once; closing afterwards is quiet."""
    link = tmp_path / "events.jsonl"
    link.symlink_to("/dev/full")
    log = RunLog(link)
    with pytest.raises(OutputError, match=r"events.jsonl: cannot write: No space left on device$"):
        log.start({})
    log.emit(1, "cpu0", "ks_x", {})
    log.close()


def test_file_that_cannot_be_opened(tmp_path):
    """A folder that is not there is reported when the log is opened."""
    with pytest.raises(OutputError, match="No such file or directory"):
        LogFile(tmp_path / "none" / "events.jsonl")


WRITES = """
import sys
from pathlib import Path
from kernelsim.report.event_filter import EventFilter
from kernelsim.report.log import RunLog
from kernelsim.trace.kmem import mm_page_free
with RunLog(Path(sys.argv[1]), events=EventFilter.parse(["kmem:*"])) as log:
    log.start({"workload": "w", "seed": 7})
    log.emit(4, "cpu0", "ks_x", {"cpu": 0, "b": 1, "a": "two words", "nested": {"z": 1, "y": 2}})
    for pfn in range(99):
        log.emit(5, "node0", "mm_page_free", mm_page_free(pfn=pfn, order=0))
"""


@pytest.mark.slow
def test_same_bytes_under_any_hash_seed(tmp_path):
    """The same events give the same file, keys in the order given."""
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", WRITES, str(tmp_path / hash_seed)]
        subprocess.run(command, env={"PYTHONHASHSEED": hash_seed}, check=True)
    text = (tmp_path / "1").read_text()
    assert text.splitlines()[1] == (
        '{"t_ns":4,"actor":"cpu0","event":"ks_x",'
        '"cpu":0,"b":1,"a":"two words","nested":{"z":1,"y":2}}'
    )
    assert len(text.splitlines()) == 101
    assert (tmp_path / "2").read_text() == text
