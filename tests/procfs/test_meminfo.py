"""Behaviour of meminfo and swaps beyond the golden files."""

import attrs
import pytest

from kernelsim.config.proc_text import parse_swaps
from kernelsim.procfs.meminfo import (
    mem_available,
    meminfo_kb,
    render_meminfo,
    render_node_meminfo,
    render_swaps,
)
from kernelsim.procfs.snapshot import NodeSnapshot, Snapshot, SwapArea, ZoneSnapshot


def zone(name: str, **figures: int) -> ZoneSnapshot:
    """Make a zone of 1000 pages with the given counters."""
    return ZoneSnapshot(
        name=name, spanned=1000, present=1000, managed=1000, low=100, high=150, stats=figures
    )


def machine(stats: dict[str, int], **figures: int) -> Snapshot:
    """Make a machine of one node and one zone."""
    node = NodeSnapshot(nid=0, zones=(zone("Normal", nr_free_pages=500),), stats=stats)
    return Snapshot(nodes=(node,), **figures)


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({}, 500 - 40),
        ({"nr_active_file": 60, "nr_inactive_file": 20}, 460 + 80 - 40),
        ({"nr_active_file": 600, "nr_inactive_file": 200}, 460 + 800 - 100),
        ({"nr_slab_reclaimable": 30, "nr_kernel_misc_reclaimable": 10}, 460 + 40 - 20),
    ],
)
def test_available_keeps_half_or_the_low_watermark(stats: dict[str, int], expected: int):
    """Of cache and of slab, the smaller of half and the low watermark does not count."""
    assert expected == mem_available(machine(stats, totalreserve_pages=40))


def test_available_takes_the_low_watermark_with_its_boost():
    """A boosted low watermark keeps more of a large cache back."""
    snapshot = machine({"nr_active_file": 800})
    boosted = attrs.evolve(snapshot.nodes[0].zones[0], boost=70)
    node = attrs.evolve(snapshot.nodes[0], zones=(boosted,))

    assert 500 + 800 - 100 == mem_available(snapshot)
    assert 500 + 800 - 170 == mem_available(attrs.evolve(snapshot, nodes=(node,)))


def test_available_is_never_negative():
    """With less free than reserved, nothing is available."""
    assert 0 == mem_available(machine({}, totalreserve_pages=600))


def test_cached_leaves_out_swapcache_and_buffers():
    """Cached is the page cache of files alone, and no difference makes it negative."""
    stats = {"nr_file_pages": 100, "nr_swapcached": 30}

    assert 4 * 50 == meminfo_kb(machine(stats, buffers=20))["Cached"]
    assert 0 == meminfo_kb(machine(stats, buffers=90))["Cached"]


def test_highmem_lines_stand_with_high_memory_only():
    """HighTotal and LowTotal split the memory of a machine with a HighMem zone."""
    flat = machine({})
    zones = (zone("Normal", nr_free_pages=300), zone("HighMem", nr_free_pages=700))
    high = attrs.evolve(flat, nodes=(NodeSnapshot(nid=0, zones=zones),))

    assert "HighTotal" not in render_meminfo(flat)
    lines = render_meminfo(high).splitlines()
    assert "HighFree:           2800 kB" in lines
    assert "LowTotal:           4000 kB" in lines
    assert "LowFree:            1200 kB" in lines


def test_node_meminfo_counts_its_own_node():
    """nodeN/meminfo shows the zones of node N only."""
    first = NodeSnapshot(nid=0, zones=(zone("DMA32", nr_free_pages=1),))
    second = NodeSnapshot(nid=1, zones=(zone("Normal", nr_free_pages=900),))
    snapshot = Snapshot(nodes=(first, second))

    assert "Node 1 MemUsed:             400 kB" in render_node_meminfo(snapshot, 1).splitlines()


def test_swap_files_and_large_areas_keep_their_columns():
    """A swap file's type has a tab of its own; a size of eight digits has only one behind it."""
    area = SwapArea(path="/swapfile", type="file", size_kb=16777212, used_kb=4, prio=-2)

    line = render_swaps(attrs.evolve(machine({}), swaps=(area,))).splitlines()[1]

    assert f"/swapfile{' ' * 31}file\t\t16777212\t4\t\t-2" == line


def test_swaps_of_odd_names_keep_their_columns():
    """Blanks and backslashes are in octal, as by mangle_path; a reader finds the name."""
    area = SwapArea(path="/my swap\\file", type="file", size_kb=8, used_kb=4, prio=-2)

    text = render_swaps(attrs.evolve(machine({}), swaps=(area,)))

    assert f"/my\\040swap\\134file{' ' * 21}file\t\t8\t\t4\t\t-2" == text.splitlines()[1]
    assert area.path == parse_swaps(text)[0].filename
