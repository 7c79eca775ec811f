"""Recorded cases of a real kernel, run here whole and compared row by row."""

from pathlib import Path

import pytest

from kernelsim.oracle.case_run import run_case

pytestmark = [pytest.mark.mission("B1", "partly")]

CASES = Path(__file__).parent / "cases"
BOOTED = ("s01", "s02", "s03", "s04", "s04c", "s04e", "s05", "s05p", "s07", "s08", "s09")


def outside(comparison, topic=None):
    """Name the rows outside their class, of one topic or of all."""
    return [row.name for row in comparison.rows if not row.ok and topic in (None, row.topic)]


@pytest.mark.mission("P16")
@pytest.mark.parametrize("case", BOOTED)
def test_machines_after_boot(case, tmp_path):
    """Zones, free pages and page counts of a machine that has just booted: every row inside."""
    comparison = run_case(CASES / case, tmp_path)

    assert [] == outside(comparison)
    assert comparison.topics["zones"].total > 0


@pytest.mark.slow
def test_demand_paging(tmp_path):
    """Write, read and give back 64 MiB: every row inside, and the sizes in between as recorded."""
    comparison = run_case(CASES / "d02_anon", tmp_path)

    assert [] == outside(comparison)
    ours = (tmp_path / "workload.out").read_text().splitlines()
    recorded = (CASES / "d02_anon" / "workload.out").read_text().splitlines()
    for key in ("VmSize_kB=", "VmData_kB=", "minflt="):
        assert values(recorded, key) == values(ours, key)


def values(lines, key):
    """Return every value of a key, in order."""
    return [
        word.removeprefix(key) for line in lines for word in line.split() if word.startswith(key)
    ]


@pytest.mark.slow
def test_swapping_one_and_a_half_times_the_memory(tmp_path):
    """700 MiB on a machine of 512 MiB, three passes: 19 of 20 rows inside, zones all."""
    comparison = run_case(CASES / "d04_sw60", tmp_path)

    assert [] == outside(comparison, "zones")
    assert len(comparison.rows) * 95 < 100 * sum(row.ok for row in comparison.rows)
