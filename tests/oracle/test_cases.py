"""Recorded cases of a real kernel, run here whole and compared row by row.

Rows outside their class are those of ratchet.json and no others: what was inside once stays so,
and as many rows are compared.
"""

import re
from pathlib import Path

import pytest

from tools.ratchet import fallen, read_ratchet, rows_outside, tightened

pytestmark = [pytest.mark.mission("B1", "partly")]

CASES = Path(__file__).parent / "cases"
RATCHET = read_ratchet()
NUMA = ("d11", "d12", "d18")
BOOTED = [case for case in RATCHET.outside if case.startswith("s")]


@pytest.mark.mission("P16")
@pytest.mark.parametrize("case", BOOTED)
def test_machines_after_boot(case, tmp_path):
    """Zones, free pages and page counts of a machine that has just booted: every row inside."""
    assert rows_outside(CASES / case, tmp_path) == (RATCHET.compared[case], [])


@pytest.mark.slow
def test_demand_paging(tmp_path):
    """Write, read and give back 64 MiB: every row inside, and the sizes in between as recorded."""
    assert rows_outside(CASES / "d02_anon", tmp_path) == (RATCHET.compared["d02_anon"], [])
    ours = (tmp_path / "workload.out").read_text().splitlines()
    recorded = (CASES / "d02_anon" / "workload.out").read_text().splitlines()
    for key in ("VmSize_kB=", "VmData_kB=", "minflt="):
        assert values(recorded, key) == values(ours, key)


@pytest.mark.mission("V14")
def test_a_dynamic_program_and_its_heap(tmp_path):
    """Every row inside, and /proc/self/maps 64 times as recorded, but for the addresses."""
    assert rows_outside(CASES / "d01", tmp_path) == (RATCHET.compared["d01"], [])
    texts = [(folder / "workload.out").read_text() for folder in (tmp_path, CASES / "d01")]
    ours, recorded = [
        [
            (int(end, 16) - int(start, 16), *words)
            for start, end, *words in re.findall(
                r"^(\w+)-(\w+) (\S+) (\w+) \S+ \S+ *(.*)$", text, re.MULTILINE
            )
        ]
        for text in texts
    ]
    assert ours == recorded
    assert texts[1].count("begin=/proc/self/maps") == 64


@pytest.mark.mission("V11")
def test_fork_and_shared_memory(tmp_path):
    """Every row inside; faults of reads and stores to memory that both have are as recorded."""
    assert rows_outside(CASES / "d03", tmp_path) == (RATCHET.compared["d03"], [])
    ours = (tmp_path / "workload.out").read_text().splitlines()
    recorded = (CASES / "d03" / "workload.out").read_text().splitlines()
    for key in ("parent_byte0=", "parent_before=", "parent_after=", "child_minflt="):
        assert values(recorded, key) == values(ours, key)
    for op in ("touchw:a", "vforkw:a:8M"):
        assert faults(recorded, op) == faults(ours, op)


def faults(lines, op):
    """Return the minor faults of each step of a kind."""
    return [values([line], "minflt=") for line in lines if f"op={op} " in line]


def values(lines, key):
    """Return every value of a key, in order."""
    return [
        word.removeprefix(key) for line in lines for word in line.split() if word.startswith(key)
    ]


@pytest.mark.slow
def test_swapping_one_and_a_half_times_the_memory(tmp_path):
    """700 MiB on a machine of 512 MiB, three passes: only the rows outside that were so before."""
    nr_rows, outside = rows_outside(CASES / "d04_sw60", tmp_path)
    assert nr_rows == RATCHET.compared["d04_sw60"]
    assert {} == fallen(RATCHET.outside, {"d04_sw60": outside})


@pytest.mark.slow
@pytest.mark.parametrize("case", ["d02", "d02_file", "d05_hot2", "d06"])
def test_reading_files(case, tmp_path):
    """Mappings of all kinds, a hot file beside a stream, readahead: rows outside that were so."""
    nr_rows, outside = rows_outside(CASES / case, tmp_path)
    assert nr_rows == RATCHET.compared[case]
    assert {} == fallen(RATCHET.outside, {case: outside})


@pytest.mark.slow
def test_locked_memory_beside_thrashing_neighbours(tmp_path):
    """150 MiB locked stay whole while 650 MiB pass: only the rows outside that were so before."""
    nr_rows, outside = rows_outside(CASES / "d16", tmp_path)
    assert nr_rows == RATCHET.compared["d16"]
    assert {} == fallen(RATCHET.outside, {"d16": outside})


@pytest.mark.slow
@pytest.mark.mission("R5")
@pytest.mark.parametrize("case", ["d04_mix_sw60", "d04_sw0", "d05_hot1"])
def test_files_beside_anonymous_memory(case, tmp_path):
    """A file read under pressure, swappiness 0: only the rows outside that were so before."""
    nr_rows, outside = rows_outside(CASES / case, tmp_path)
    assert nr_rows == RATCHET.compared[case]
    assert {} == fallen(RATCHET.outside, {case: outside})


@pytest.mark.slow
@pytest.mark.mission("R12")
@pytest.mark.parametrize("case", ["d08_576", "d08c"])
def test_oom_kills(case, tmp_path):
    """Victims in the recorded order, their reports: only rows outside that were so before."""
    nr_rows, outside = rows_outside(CASES / case, tmp_path)
    assert nr_rows == RATCHET.compared[case]
    assert {} == fallen(RATCHET.outside, {case: outside})


@pytest.mark.slow
def test_four_processes_thrash(tmp_path):
    """Each works at random on 200 MiB of 512 MiB for 20 s: only the rows outside that were so."""
    nr_rows, outside = rows_outside(CASES / "d15", tmp_path)
    assert nr_rows == RATCHET.compared["d15"]
    assert {} == fallen(RATCHET.outside, {"d15": outside})


@pytest.mark.slow
@pytest.mark.parametrize("case", ["d13_squeeze1g", "d17_wm512"])
def test_zones_that_fill(case, tmp_path):
    """HighMem before Normal before DMA, wide watermarks: only rows outside that were so before."""
    nr_rows, outside = rows_outside(CASES / case, tmp_path)
    assert nr_rows == RATCHET.compared[case]
    assert {} == fallen(RATCHET.outside, {case: outside})


@pytest.mark.mission("V17")
@pytest.mark.parametrize("case", ["d09_noswap", "d10_mmap", "d13_malloc"])
def test_promises_of_malloc(case, tmp_path):
    """Overcommit modes 0, 1 and 2, as root and as a user: which malloc fails is as recorded."""
    nr_rows, outside = rows_outside(CASES / case, tmp_path)
    assert nr_rows == RATCHET.compared[case]
    assert {} == fallen(RATCHET.outside, {case: outside})


@pytest.mark.slow
@pytest.mark.mission("R13")
@pytest.mark.parametrize("case", ["d07", "d07_flush"])
def test_writing_files(case, tmp_path):
    """A writer faster than its disk, and a disk without history: only rows outside that were so."""
    nr_rows, outside = rows_outside(CASES / case, tmp_path)
    assert nr_rows == RATCHET.compared[case]
    assert {} == fallen(RATCHET.outside, {case: outside})


@pytest.mark.slow
@pytest.mark.mission("P9")
@pytest.mark.mission("P14")
@pytest.mark.parametrize("case", [case for case in RATCHET.outside if case[:3] in NUMA])
def test_nodes(case, tmp_path):
    """Policies, nodes that are full, zone_reclaim_mode: only rows outside that were so before."""
    nr_rows, outside = rows_outside(CASES / case, tmp_path)
    assert nr_rows == RATCHET.compared[case]
    assert {} == fallen(RATCHET.outside, {case: outside})


def test_the_ratchet_only_turns_towards_better():
    """A row that is inside by now is taken out; one that fell is named and not let in."""
    allowed = {"a": ["x", "y"], "b": ["z"]}
    found = {"a": ["y", "new"], "c": ["w"]}
    assert {"a": ["y"], "b": ["z"]} == tightened(allowed, found)
    assert {"a": ["new"], "c": ["w"]} == fallen(allowed, found)


@pytest.mark.slow
@pytest.mark.mission("P5")
def test_memory_hotplug(tmp_path):
    """A DIMM comes, goes online, is used, goes offline, and leaves: rows outside that were so."""
    nr_rows, outside = rows_outside(CASES / "d14", tmp_path)
    assert nr_rows == RATCHET.compared["d14"]
    assert {} == fallen(RATCHET.outside, {"d14": outside})
