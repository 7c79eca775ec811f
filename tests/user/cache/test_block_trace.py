"""Tests of reading traces of block I/O: both forms, and every mistake with its line."""

import gzip
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.errors import ConfigError, RecordingError
from kernelsim.units import NS_PER_MS, PAGE_SIZE
from kernelsim.user.cache.block_trace import read_csv, read_msr
from kernelsim.user.cache.csv_form import CsvForm, parse_csv_form
from kernelsim.user.cache.requests import Request

MSR = (
    "128166372003061629,hm,0,Read,8192,4096,2833\n"
    "128166372003061729,hm,0,Write,12287,2,100\n"
    "128166372003061529,hm,1,Read,8192,512,100\r\n"
    "\n"
    "128166372013061629,hm,0,Read,40960,0,7"
)
MSR_REQUESTS = [
    Request(0, 2, 1),
    Request(10_000, 2, 2),
    Request(10_000, 2 | 1 << 51, 1),
    Request(1_000_000_000, 10, 0),
]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_msr_trace(tmp_path, name):
    """Times are 100 ns, a request touches the pages of its bytes, each disk has its own."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(MSR.encode()) if name.endswith(".gz") else MSR.encode())
    assert list(read_msr(path)) == MSR_REQUESTS


def test_csv_of_objects(tmp_path):
    """Objects are pages in the order of their first mention; a header is found by itself."""
    path = tmp_path / "t.csv"
    path.write_text("size;when;name\n7;1.5;a\n7;2.5;b\n9;2.25;a\n")
    form = parse_csv_form("time-col=2, obj-id-col=3,obj-size-col=1, delimiter=;", "-t")
    assert list(read_csv(path, form)) == [
        Request(0, 0, 1),
        Request(1_000_000_000, 1, 1),
        Request(1_000_000_000, 0, 1),
    ]


def test_csv_of_blocks(tmp_path):
    """With the size of a block, requests touch pages of a disk: the form of a vSCSI trace."""
    path = tmp_path / "t.csv"
    path.write_text("version,time,op,size,lbn\n1,5633898,2a,512,7\n1,5633900,2a,6656,8\n")
    text = "time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true"
    form = parse_csv_form(text, "-t", unit_ns=NS_PER_MS, block_bytes=512)
    assert list(read_csv(path, form)) == [Request(0, 0, 1), Request(2 * NS_PER_MS, 1, 2)]


@given(
    offset=st.integers(0, 1 << 40), size=st.integers(1, 1 << 20), block=st.sampled_from([1, 512])
)
def test_a_request_is_for_the_pages_of_its_bytes(tmp_path_factory, offset, size, block):
    """First and last byte lie on its first and last page."""
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text(f"{offset},{size}")
    [request] = read_csv(path, CsvForm(id_col=1, size_col=2, block_bytes=block))
    assert request.page == offset * block // PAGE_SIZE
    assert request.page + request.nr_pages - 1 == (offset * block + size - 1) // PAGE_SIZE


GOOD = b"1,hm,0,Read,0,512,1\n"
BROKEN = [
    (b"", None, "must hold at least one request"),
    (b"\n\n", None, "must hold at least one request"),
    (GOOD + b"1,2,3\n", 2, "must be timestamp,host,disk,Read|Write,offset,size,latency"),
    (b"Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime\n", 1, "must be timestamp"),
    (GOOD + b"1,hm,0,read,0,512,1\n", 2, "must be timestamp,host"),
    (GOOD + b"x,hm,0,Read,0,512,1\n", 2, "the timestamp must be a whole number"),
    (GOOD + b"1,hm,0,Read,-4,512,1\n", 2, "the offset must be a whole number of at most 20"),
    (GOOD + b"1,hm,0,Read,0," + b"9" * 21 + b",1\n", 2, "the size must be a whole number"),
    (GOOD + b"1,hm,0,Read,0,2000000000,1\n", 2, "a request has at most 1 GiB, not 2000000000"),
    (GOOD + b"1,hm,0,Read,9223372036854775807,512,1\n", 2, "a disk ends at 2**63 bytes"),
    (GOOD + b"\0\n", 2, "must be text; this is binary"),
    (GOOD + b"1" * 5000, 2, "a line has less than 4096 bytes"),
    (GOOD + b"1,\xff,0,Read,0,\xff,1\n", 2, "the size must be a whole number"),
]


@pytest.mark.parametrize(("data", "line", "rule"), BROKEN)
def test_a_mistake_of_a_trace_is_one_line(tmp_path, data, line, rule):
    """File, line and rule."""
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=re.escape(rule)) as caught:
        list(read_msr(path))
    assert (caught.value.file, caught.value.line) == (path, line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "line", "rule"),
    [
        (b"1,2,3\n1,2\n", 2, "must have 3 columns or more, not 2"),
        (b"1,2,3\n1,x,3\n", 2, "the object id must be a whole number"),
        (b"1,2,3\nnan,2,3\n", 2, "the time must be a number"),
        (b"1,2,3\n1,2,3.5\n", 2, "the size must be a whole number"),
    ],
)
def test_a_mistake_of_a_csv_is_one_line(tmp_path, data, line, rule):
    """A column that is not there, or holds something else."""
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=rule) as caught:
        list(read_csv(path, CsvForm(id_col=2, time_col=1, size_col=3, block_bytes=512)))
    assert caught.value.line == line


def test_a_damaged_file_is_told(tmp_path):
    """A gzip file cut short is told after its whole lines; so is one that is none, or missing."""
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(GOOD * 1000)[:-9])
    with pytest.raises(RecordingError, match="must be a whole gzip file"):
        list(read_msr(path))
    path.write_bytes(GOOD)
    with pytest.raises(RecordingError, match="must be a whole gzip file"):
        list(read_msr(path))
    with pytest.raises(RecordingError, match=r"must be readable \(No such file"):
        list(read_msr(tmp_path / "none"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time-col=1",
        "obj-id-col",
        "obj-id-col=0",
        "obj-id-col=x",
        "obj-id-col=²",
        "obj-id-col=99999999999999999999",
        "obj-id-col=1, obj-id-col=2",
        "obj-id-col=1, color=2",
        "obj-id-col=1, delimiter=::",
        "obj-id-col=1, has-header=maybe",
    ],
)
def test_columns_that_mean_nothing(text):
    """One line that says what is understood."""
    with pytest.raises(ConfigError, match="must be as in time-col=1, obj-id-col=2"):
        parse_csv_form(text, "--trace-type-params")


def test_blocks_need_sizes():
    """How many blocks a request is for must be told."""
    with pytest.raises(ConfigError, match="needs obj-size-col=N"):
        parse_csv_form("obj-id-col=1", "-t", block_bytes=512)
