"""Workloads of malloc: what they expect holds."""

from pathlib import Path

import pytest

from kernelsim.cli import main as cli

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
