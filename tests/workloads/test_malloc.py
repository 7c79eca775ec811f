"""Workloads of malloc: what they expect holds."""

import pytest

from kernelsim.cli import main as cli
from tests.workload_runs import ran


@pytest.mark.mission("V14")
def test_the_heap_and_mappings_of_malloc():
    """0x21000 for the first byte; small blocks come again free of charge, large ones are mapped."""
    status, told = ran("malloc_brk_mmap")
    assert status == cli.EXIT_DONE
    assert "expectations    19 held" in told


@pytest.mark.mission("V16")
def test_addresses_are_not_memory():
    """Malloc makes VSZ grow, writing makes RSS grow."""
    status, told = ran("rss_vs_vsz")
    assert status == cli.EXIT_DONE
    assert "expectations    7 held" in told


@pytest.mark.slow
@pytest.mark.mission("V15")
def test_one_program_on_five_allocators():
    """What each takes from the kernel for the same blocks, side by side."""
    status, told = ran("five_allocators")
    assert status == cli.EXIT_DONE
    assert "expectations    3 held" in told
    for name in ("ptmalloc2", "dlmalloc", "jemalloc", "tcmalloc", "libumem"):
        assert told.count(f"\n{name} ") == 3
