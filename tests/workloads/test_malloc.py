"""Workloads of malloc: what they expect holds."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli
from tests.changed_workload import changed_workload

FOLDER = Path(__file__).parents[2] / "workloads"


@pytest.mark.mission("V14")
def test_the_heap_and_mappings_of_malloc(capsys):
    """0x21000 for the first byte; small blocks come again free of charge, large ones are mapped."""
    assert cli.exit_status(["run", str(FOLDER / "malloc_brk_mmap.py")]) == cli.EXIT_DONE
    assert "expectations    19 held" in capsys.readouterr().out


@pytest.mark.mission("V16")
def test_addresses_are_not_memory(capsys):
    """Malloc makes VSZ grow, writing makes RSS grow."""
    assert cli.exit_status(["run", str(FOLDER / "rss_vs_vsz.py")]) == cli.EXIT_DONE
    assert "expectations    7 held" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.mission("V15")
def test_one_program_on_five_allocators(capsys):
    """What each takes from the kernel for the same blocks, side by side."""
    assert cli.exit_status(["run", str(FOLDER / "five_allocators.py")]) == cli.EXIT_DONE
    told = capsys.readouterr().out
    assert "expectations    3 held" in told
    for name in ("ptmalloc2", "dlmalloc", "jemalloc", "tcmalloc", "libumem"):
        assert told.count(f"\n{name} ") == 3


@pytest.mark.mission("V14")
@pytest.mark.mission("V16")
@pytest.mark.mission("V18")
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("malloc_brk_mmap", ('"ptmalloc2"', '"dlmalloc"'), "malloc(1) reserves 132 KiB"),
        ("malloc_brk_mmap", ('"200K"', '"100K"'), "malloc(200K) made a mapping of its own"),
        ("rss_vs_vsz", ("in blocks[:", "in blocks[2:"), "RSS grows by what is written"),
        ("rss_vs_vsz", ('"ptmalloc2"', '"jemalloc"'), "free of a mapping gives both back"),
        ("malloc_8g", ('SIZE = "1G"', 'SIZE = "256M"'), "touching ends it"),
    ],
)
def test_what_they_state_can_fail(name, change, said, tmp_path, capsys):
    """With another allocator, smaller blocks or fewer that are written: status 1."""
    assert cli.exit_status(["run", changed_workload(name, change, tmp_path)]) == 1
    assert said in capsys.readouterr().err
