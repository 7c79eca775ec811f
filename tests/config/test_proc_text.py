"""Recorded texts: every line is read, and what is no such text is refused with file and line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.config import proc_text as p
from kernelsim.errors import RecordingError

CASES = Path(__file__).parent.parent / "oracle" / "cases"
BEFORE = CASES / "s01" / "before"
PARSERS: dict[str, Callable[[Path | str], object]] = {
    "zoneinfo": p.parse_zoneinfo,
    "meminfo": p.parse_meminfo,
    "vmstat": p.parse_vmstat,
    "buddyinfo": p.parse_buddyinfo,
    "pagetypeinfo": p.parse_pagetypeinfo,
    "swaps": p.parse_swaps,
    "nodes.txt": p.parse_nodes,
    "sysctl_vm.txt": p.parse_sysctl,
    "memory_blocks.txt": p.parse_memory_blocks,
}


@pytest.mark.parametrize("name", PARSERS)
def test_every_recorded_file_is_read(name: str) -> None:
    """No line of any recording is unknown."""
    files = sorted(CASES.glob(f"*/*/{name}"))

    assert files
    for file in files:
        PARSERS[name](file)


def test_node_files_are_read() -> None:
    """nodeN/meminfo, nodeN/numastat, nodeN/vmstat."""
    node = BEFORE / "node0"

    assert 468416 == p.parse_node_meminfo(node / "meminfo")["MemTotal"]
    assert 6063 == p.parse_numastat(node / "numastat")["numa_hit"]
    assert 109691 == p.parse_vmstat(node / "vmstat")["nr_free_pages"]


def test_zoneinfo_keeps_every_value() -> None:
    """The numbers of the values add up to the numbers of the text."""
    text = (CASES / "s04" / "before" / "zoneinfo").read_text()
    printed = sum(int(word.strip("(),:")) for word in text.split() if word.strip("(),:").isdigit())
    kept = 0
    for zone in p.parse_zoneinfo(text):
        kept += zone.nid + sum(zone.pages.values()) + sum(zone.protection)
        kept += sum(zone.stats.values()) + sum((zone.node_stats or {}).values())
        kept += (zone.node_unreclaimable or 0) + (zone.start_pfn or 0)
        for pageset in zone.pagesets:
            kept += pageset.cpu + sum(pageset.values.values()) + (pageset.vm_stats_threshold or 0)

    assert printed == kept


def test_zoneinfo_of_the_first_zone() -> None:
    """Sizes, watermarks without boost, lists and statistics are told apart."""
    zone = p.parse_zoneinfo(BEFORE / "zoneinfo")[1]

    assert (0, "DMA32", 4096) == (zone.nid, zone.name, zone.start_pfn)
    assert (653, 816, 979) == zone.watermarks
    assert (615, 816, 31, 6) == (
        zone.pagesets[0].count,
        zone.pagesets[0].high,
        zone.pagesets[0].batch,
        zone.pagesets[0].vm_stats_threshold,
    )
    assert 629 == zone.stats["numa_interleave"]


def test_printed_watermarks_contain_the_boost() -> None:
    """Min of the text less boost is the watermark."""
    text = (BEFORE / "zoneinfo").read_text().replace("boost    0", "boost    1", 1)
    zone = p.parse_zoneinfo(text)[0]

    assert (21, 26, 31) == zone.watermarks


def test_nodes_without_cpus() -> None:
    """An empty cpulist is a node without CPUs."""
    nodes = p.parse_nodes(CASES / "s04c" / "before" / "nodes.txt")

    assert {0: (0,), 1: (1,), 2: (), 3: ()} == nodes.cpus
    assert (0, 1) == nodes.states["has_cpu"]


def test_swaps_and_blocks() -> None:
    """Sizes in KiB; the block size is hexadecimal."""
    swap = p.parse_swaps(CASES / "d04_sw60" / "before" / "swaps")[0]
    blocks = p.parse_memory_blocks(BEFORE / "memory_blocks.txt")

    assert ("/dev/vda", 1048572, -2) == (swap.filename, swap.size_kb, swap.prio)
    assert (128 << 20, "none") == (blocks.block_size_bytes, blocks.blocks[0]["valid_zones"])


BROKEN = {
    "zoneinfo, first line": (
        p.parse_zoneinfo,
        "pages free 3\n",
        "zoneinfo:1: must begin with 'Node N, zone NAME'",
    ),
    "zoneinfo, empty": (p.parse_zoneinfo, "", "zoneinfo:1: must begin with 'Node N, zone NAME'"),
    "zoneinfo, strange line": (
        p.parse_zoneinfo,
        "Node 0, zone DMA\nhello\n",
        "zoneinfo:2: 'hello' is no line of zoneinfo",
    ),
    "zoneinfo, no number": (
        p.parse_zoneinfo,
        "Node 0, zone DMA\n  pages free     x\n",
        "zoneinfo:2: 'x' must be a whole number",
    ),
    "zoneinfo, cut off": (
        p.parse_zoneinfo,
        "Node 0, zone DMA\n  pages free     1\n",
        "zoneinfo:1: zone DMA has no line 'min'",
    ),
    "zoneinfo, value twice": (
        p.parse_zoneinfo,
        "Node 0, zone DMA\n  pages free     1\n  pages free     1\n",
        "zoneinfo:3: free comes twice in one zone",
    ),
    "zoneinfo, list without a cpu": (
        p.parse_zoneinfo,
        "Node 0, zone DMA\n              count: 0\n",
        "zoneinfo:2: count must follow a cpu line",
    ),
    "meminfo": (
        p.parse_meminfo,
        "MemTotal: 1 kB\nMemFree 2 kB\n",
        "meminfo:2: 'MemFree 2 kB' must be 'Name: number kB'",
    ),
    "meminfo, empty": (p.parse_meminfo, "", "meminfo:1: meminfo has no line 'MemTotal'"),
    "vmstat": (p.parse_vmstat, "a 1\nb\n", "vmstat:2: 'b' must be a name and a number"),
    "vmstat, twice": (p.parse_vmstat, "a 1\na 1\n", "vmstat:2: a comes twice"),
    "buddyinfo": (
        p.parse_buddyinfo,
        "Node 0, zone\n",
        "buddyinfo:1: 'Node 0, zone' must be 'Node N, zone NAME counts…'",
    ),
    "pagetypeinfo": (
        p.parse_pagetypeinfo,
        "Page block order: 9\nNode\n",
        "pagetypeinfo:2: 'Node' is no line of pagetypeinfo",
    ),
    "pagetypeinfo, columns": (
        p.parse_pagetypeinfo,
        "Number of blocks type A B\nNode 0, zone DMA 1 2 3\n",
        "pagetypeinfo:2: must have one number a migrate type: 2",
    ),
    "swaps": (
        p.parse_swaps,
        "nothing\n",
        "swaps:1: must begin with 'Filename Type Size Used Priority'",
    ),
    "nodes": (p.parse_nodes, "online 0\n", "nodes.txt:1: 'online 0' must be 'key = value'"),
    "nodes, list": (
        p.parse_nodes,
        "online = x\n",
        "nodes.txt:1: must be numbers and ranges such as 0-3,8",
    ),
    "sysctl": (
        p.parse_sysctl,
        "vm.x\n",
        "sysctl_vm.txt:1: 'vm.x' must be 'key = value'",
    ),
    "memory blocks": (
        p.parse_memory_blocks,
        "memory0/state = online\n",
        "memory_blocks.txt:1: memory0 has no line 'valid_zones'",
    ),
    "missing file": (
        p.parse_vmstat,
        Path("/nowhere/vmstat"),
        "/nowhere/vmstat: No such file or directory",
    ),
}


@pytest.mark.mission("B5")
@pytest.mark.parametrize(("parse", "source", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_text_is_refused_with_its_line(
    parse: Callable[[object], object], source: object, message: str
) -> None:
    """File, line and what the format asks for."""
    with pytest.raises(RecordingError) as caught:
        parse(source)

    assert message == str(caught.value)


@pytest.mark.mission("B5")
def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    """The first byte that is no UTF-8 is named."""
    file = tmp_path / "vmstat"
    file.write_bytes(b"a 1\n\xff")

    with pytest.raises(RecordingError) as caught:
        p.parse_vmstat(file)

    assert f"{file}: must be UTF-8 text; byte 4 is not" == str(caught.value)


@pytest.mark.mission("B5")
@given(st.data())
def test_a_damaged_text_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever becomes of a line, the outcome is a value or a RecordingError with a place."""
    name = data.draw(st.sampled_from(sorted(PARSERS)))
    lines = (BEFORE / name).read_text().splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    lines[index] = data.draw(
        st.sampled_from(["", lines[index] + " 1", lines[index][1:], lines[index][:-2], "Node 0"])
        | st.text(max_size=20)
    )
    message = f"{name}:1: fine"
    try:
        PARSERS[name]("\n".join(lines))
    except RecordingError as error:
        message = str(error)

    assert re.match(rf"{re.escape(name)}:\d+: ", message)
