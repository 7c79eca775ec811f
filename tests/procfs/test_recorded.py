"""Golden test of every renderer: a recorded snapshot, read and rendered, is the recorded text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelsim.errors import RecordingError
from kernelsim.procfs.meminfo import mem_available
from kernelsim.procfs.tree import render_recording
from tests.procfs.recorded import read_snapshot

CASES = Path(__file__).parent.parent / "oracle" / "cases"
SNAPSHOTS = sorted(path.parent for path in CASES.glob("*/*/zoneinfo"))
RECORDED = [path for folder in SNAPSHOTS for path in sorted(folder.rglob("*")) if path.is_file()]


def name_of(path: Path) -> str:
    """Name a recorded path in the list of tests."""
    return str(path.relative_to(CASES))


def boosted_cases() -> Iterator[str]:
    """Name the cases in which a zone has its watermarks boosted at some snapshot."""
    for folder in SNAPSHOTS:
        if any(zone.boost for _, zone in read_snapshot(folder).zones()):
            yield folder.parent.name


@pytest.mark.mission("P17")
@pytest.mark.parametrize("path", RECORDED, ids=name_of)
def test_recorded_text_comes_back(path: Path):
    """A recorded file, read into a snapshot and rendered, is the recorded text byte for byte."""
    folder = path.parent if path.parent in SNAPSHOTS else path.parent.parent
    focus = str(path.relative_to(folder))

    rendered = dict(render_recording(read_snapshot(folder, focus=focus)))

    assert path.read_text() == rendered[focus]


def test_every_kind_of_file_is_recorded():
    """The golden test meets every file a snapshot directory has."""
    names = {path.name for path in RECORDED}

    assert names == {
        *("zoneinfo", "meminfo", "vmstat", "buddyinfo", "pagetypeinfo", "swaps", "numastat"),
        *("nodes.txt", "memory_blocks.txt", "sysctl_vm.txt"),
    }


def test_available_memory_follows_from_the_zones():
    """MemAvailable is what zones and counters give, wherever no boost was ever in the reserve."""
    boosted = set(boosted_cases())
    whole = [folder for folder in SNAPSHOTS if (folder / "meminfo").exists()]
    folders = [folder for folder in whole if folder.parent.name not in boosted]
    assert len(folders) > 10

    for folder in folders:
        by_file = read_snapshot(folder, focus="meminfo")
        by_zones = read_snapshot(folder)
        assert by_file.totalreserve_pages == by_zones.totalreserve_pages, name_of(folder)
        assert mem_available(by_file) > 0


def test_missing_snapshot_names_the_file(tmp_path: Path):
    """A folder without zoneinfo is refused with the file's name."""
    with pytest.raises(RecordingError, match="zoneinfo"):
        read_snapshot(tmp_path)
