"""Behaviour of zoneinfo and pagetypeinfo beyond the golden files."""

from kernelsim.procfs.snapshot import NodeSnapshot, Snapshot, ZoneSnapshot
from kernelsim.procfs.zones import (
    render_buddyinfo,
    render_extfrag,
    render_pagetypeinfo,
    render_zoneinfo,
)


def machine(**figures: object) -> Snapshot:
    """Make a machine with an empty DMA zone and a Normal zone with the given figures."""
    normal = ZoneSnapshot(name="Normal", present=64, managed=64, **figures)
    zones = (ZoneSnapshot(name="DMA", protection=(0, 3)), normal)
    return Snapshot(nodes=(NodeSnapshot(nid=0, zones=zones, stats={"nr_dirty": 5}),))


def test_boost_is_added_to_the_printed_watermarks():
    """The three watermarks are printed with the momentary boost on top."""
    lines = render_zoneinfo(machine(min=10, low=12, high=14, boost=100)).splitlines()

    assert ["100", "110", "112", "114"] == [line.split()[1] for line in lines[-32:] if _mark(line)]


def _mark(line: str) -> bool:
    """Whether it is a line of the boost or a watermark."""
    return line.split(maxsplit=1)[0] in ("boost", "min", "low", "high")


def test_node_counters_stand_in_the_first_populated_zone():
    """An empty zone has sizes and protection only; node counters come with the first real one."""
    text = render_zoneinfo(machine())
    empty, _, populated = text.partition("Node 0, zone   Normal\n")

    assert "        protection: (0, 3)" == empty.splitlines()[-1]
    assert "per-node stats" not in empty
    assert populated.startswith("  per-node stats\n")
    assert "      nr_dirty     5\n" in populated


def test_empty_zones_have_no_buddy_line():
    """In buddyinfo stand populated zones only, eleven orders each."""
    counts = (5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 7)

    line = render_buddyinfo(machine(nr_free=counts))

    assert "Node 0, zone   Normal" + "".join(f"{n:7d}" for n in counts) + " \n" == line


def test_long_free_lists_are_cut_off():
    """A list is counted up to 100000 blocks in pagetypeinfo, and a sign says so."""
    lists = {"Movable": (123_456, *(0,) * 10)}

    lines = render_pagetypeinfo(machine(free_lists=lists)).splitlines()

    expected = "Node    0, zone   Normal, type      Movable >100000      0"
    assert any(line.startswith(expected) for line in lines)


def test_debugfs_says_how_far_free_memory_is_in_pieces():
    """The share of free memory in blocks too small; why an order fails, -1 while there is one."""
    files = dict(render_extfrag(machine(nr_free=(100, 50, *[0] * 8, 1))))
    unusable = "0.000 0.081 " + 9 * "0.163 "
    assert files["unusable_index"] == f"Node 0, zone   Normal {unusable}\n"
    assert files["extfrag_index"] == f"Node 0, zone   Normal {11 * '-1.000 '}\n"
    files = dict(render_extfrag(machine(nr_free=(1000, *[0] * 10))))
    assert files["extfrag_index"].split()[4:7] == ["-1.000", "0.499", "0.749"]
    assert files["unusable_index"].split()[4:6] == ["0.000", "1.000"]
