"""Runs of pages of a trace, held against a model that reads one line after the other."""

import gzip
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.workload.lackey import (
    AccessRun,
    AddressRegion,
    lackey_footprint,
    read_lackey,
    regions_of,
)
from tests.lackey_trace import HEADER, line_of, write_trace

BIG = 1 << 20


def model_visits(lines):
    """Bundle access lines to visits, one line after the other: [vpn, write, exec, accesses]."""
    visits = []
    open_visit = {}
    for kind, address, size in lines:
        fetch, write = kind == "I", kind in "SM"
        for vpn in range(address >> 12, (address + size - 1 >> 12) + 1):
            last = open_visit.get(fetch)
            if last is not None and last[0] == vpn and last[1] >= write:
                last[3] += 1
            else:
                open_visit[fetch] = [vpn, write, fetch, 1]
                visits.append(open_visit[fetch])
    return visits


def model_runs(lines):
    """Join neighbouring visits of one kind on ascending pages."""
    runs = []
    for vpn, write, fetch, accesses in model_visits(lines):
        last = runs[-1] if runs else None
        if last and last[2:4] == [write, fetch] and last[0] + last[1] == vpn:
            last[1] += 1
            last[4] += accesses
        else:
            runs.append([vpn, 1, write, fetch, accesses])
    return [AccessRun(*run) for run in runs]


def model_blocks(accesses, block_bytes):
    """Deal access lines out to blocks of whole lines, as a reader of `block_bytes` meets them."""
    blocks = {}
    end = 0
    for access in accesses:
        end += len(line_of(*access))
        # A line belongs to the read that brings its last byte.
        blocks.setdefault(-(-end // block_bytes), []).append(access)
    return blocks.values()


NEAR = st.builds(
    lambda page, offset: (page << 12) + offset, st.integers(0, 6), st.integers(0, 4095)
)
EDGE = st.builds(lambda page, back: (page << 12) - back, st.integers(1, 6), st.integers(0, 9))
FAR = st.sampled_from([0x1FFEFFF9A8, 0x7FFF_FFFF_FFF8, 0xFFFF_FFFF_FFFF_F000])
ACCESSES = st.lists(
    st.tuples(st.sampled_from("ILSM"), NEAR | EDGE | FAR, st.integers(1, 512)),
    min_size=1,
    max_size=60,
)


@given(ACCESSES)
def test_reader_equals_line_by_line_model(tmp_path_factory, accesses):
    """Runs of a trace in one block are exactly those of the model, straddling accesses included."""
    text = HEADER + "".join(line_of(*access) for access in accesses)
    path = write_trace(tmp_path_factory.mktemp("lackey"), text)

    assert model_runs(accesses) == list(read_lackey(path, block_bytes=BIG))


@given(ACCESSES, st.integers(1, 300))
def test_small_blocks_cut_runs_where_they_end(tmp_path_factory, accesses, block_bytes):
    """However small the blocks, each is bundled as the model bundles its whole lines."""
    path = write_trace(
        tmp_path_factory.mktemp("lackey"), "".join(line_of(*access) for access in accesses)
    )
    blocks = model_blocks(accesses, block_bytes)

    expected = [run for block in blocks for run in model_runs(block)]
    assert expected == list(read_lackey(path, block_bytes=block_bytes))


def test_loads_then_stores_of_a_page_are_two_runs(tmp_path):
    """Loads before the first store are one run, the store and all after it another."""
    lines = [("L", 0x5000, 8), ("L", 0x5008, 8), ("S", 0x5000, 4), ("L", 0x5000, 4)]
    path = write_trace(tmp_path, "".join(line_of(*line) for line in lines))

    assert [
        AccessRun(vpn=5, nr_pages=1, write=False, exec=False, nr_accesses=2),
        AccessRun(vpn=5, nr_pages=1, write=True, exec=False, nr_accesses=2),
    ] == list(read_lackey(path))


def test_ascending_pages_are_one_run(tmp_path):
    """A write that walks upwards through memory is one run of pages."""
    path = write_trace(tmp_path, "".join(line_of("S", 0x10000 + 512 * i, 8) for i in range(64)))

    run = AccessRun(vpn=16, nr_pages=8, write=True, exec=False, nr_accesses=64)
    assert [run] == list(read_lackey(path))


def test_gzip_traces_are_unpacked(tmp_path):
    """A trace that ends in .gz gives the same runs."""
    text = HEADER + line_of("I", 0x400000, 4) + line_of("M", 0x500FFC, 8)
    packed = tmp_path / "t.lackey.gz"
    packed.write_bytes(gzip.compress(text.encode()))

    assert list(read_lackey(write_trace(tmp_path, text))) == list(read_lackey(packed))


def test_footprint_counts_lines_and_pages(tmp_path):
    """The footprint counts access lines, and each page once; straddling touches both pages."""
    lines = [("I", 0x1000, 4), ("S", 0x1FFC, 8), ("L", 0x9000, 8), ("L", 0x9000, 8)]
    footprint = lackey_footprint(
        write_trace(tmp_path, HEADER + "".join(line_of(*n) for n in lines))
    )

    assert (4, 3, 2) == (footprint.nr_accesses, footprint.nr_pages, footprint.nr_pages_written)


def test_regions_join_over_small_gaps(tmp_path):
    """Pages with up to 16 untouched ones between them share a region, 17 part them."""
    pages = [0x100, 0x111, 0x123, 0x124]
    text = "".join(line_of("L", page << 12, 8) for page in pages) + line_of("S", 0x124000, 8)

    assert regions_of(write_trace(tmp_path, text + line_of("I", 0x111000, 2))) == (
        AddressRegion(vpn=0x100, nr_pages=0x12, write=False, exec=True),
        AddressRegion(vpn=0x123, nr_pages=2, write=True, exec=False),
    )


@pytest.mark.mission("B5")
@pytest.mark.slow
def test_recording_of_a_real_program(tmp_path, require_tool):
    """A trace valgrind makes of /bin/true now is read, and equals the model's runs."""
    valgrind = require_tool("valgrind", "valgrind")
    path = tmp_path / "true.lackey"
    subprocess.run(
        [valgrind, "--tool=lackey", "--trace-mem=yes", f"--log-file={path}", "/bin/true"],
        check=True,
        capture_output=True,
    )
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("=="):
            address, size = line[3:].split(",")
            lines.append((line[:2].strip(), int(address, 16), int(size)))
    runs = list(read_lackey(path, block_bytes=1 << 30))

    assert model_runs(lines) == runs
    footprint = lackey_footprint(path)
    assert len(lines) == footprint.nr_accesses > 50_000
    regions = regions_of(path)
    assert all(
        any(r.vpn <= run.vpn and run.vpn + run.nr_pages <= r.vpn + r.nr_pages for r in regions)
        for run in runs
    )
