"""The state of memory read from a recorded kernel's text."""

import shutil
from pathlib import Path

import pytest

from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.zones import MIGRATE_TYPES
from kernelsim.errors import RecordingError

CASES = Path(__file__).parent.parent / "oracle" / "cases"


def test_free_blocks_by_migratetype() -> None:
    """Blocks by type and order add up to the zone's free pages, but for the drift of reading."""
    machine = machine_from_proc(CASES / "s01" / "before")
    dma32 = machine.boot.zones[1]

    assert (len(MIGRATE_TYPES), 11) == (len(dma32.free), len(dma32.free[0]))
    assert 98 == dma32.free[MIGRATE_TYPES.index("Movable")][10]
    assert (16, 226, 6, 0, 0) == dma32.pageblocks
    assert abs(dma32.nr_free - dma32.stats["nr_free_pages"]) < 64
    assert (653, 816, 979) == (dma32.watermark_min, dma32.watermark_low, dma32.watermark_high)


def test_more_free_pages_than_a_zone_has_are_refused(tmp_path: Path) -> None:
    """Free blocks that hold more pages than the zone manages are no state of a kernel."""
    shutil.copy(CASES / "s01" / "before" / "zoneinfo", tmp_path)
    blocks = " ".join(["999999"] * 11)
    (tmp_path / "buddyinfo").write_text(f"Node 0, zone    DMA32 {blocks} \n")

    with pytest.raises(RecordingError, match=r"free blocks of node 0 zone DMA32: .* it manages"):
        machine_from_proc(tmp_path)
