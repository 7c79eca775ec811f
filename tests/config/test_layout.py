"""Where ZONE_MOVABLE begins, against the kernel's own way told step by step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.config.layout import MAX_ORDER_NR_PAGES, movable_starts
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.config.zones import ZONE_DMA32_END_PFN, ZONE_DMA_END_PFN, ZoneType

Node = tuple[tuple[int, int], ...]


@st.composite
def memory_of_nodes(draw: st.DrawFn) -> tuple[list[Node], int]:
    """Draw nodes with up to two ranges each, one behind the other, and pages to be movable."""
    pfn, nodes = 1, []
    for nr_ranges in draw(st.lists(st.integers(0, 2), min_size=1, max_size=4)):
        node = []
        for _ in range(nr_ranges):
            size = draw(st.integers(1, 1_000_000))
            node.append((pfn, pfn + size))
            pfn += size + draw(st.sampled_from((0, 1000)))
        nodes.append(tuple(node))
    total = sum(end - first for node in nodes for first, end in node)
    return nodes, draw(st.integers(0, max(total - 1, 0)))


def naive_starts(nodes: list[Node], movable: int) -> list[int | None]:
    """Deal the kernel's pages out page range by page range, as the kernel does."""
    if not movable:
        return [None] * len(nodes)
    top = max(end for node in nodes for _, end in node)
    lowest = max(low for low in (0, ZONE_DMA_END_PFN, ZONE_DMA32_END_PFN) if low < top)
    required = sum(end - first for node in nodes for first, end in node) - movable
    starts, usable = [0] * len(nodes), sum(map(bool, nodes))
    while True:
        share = required // usable
        for nid, node in enumerate(nodes):
            if node and required < share:
                share = required // usable
            remaining = share
            for first, end in node:
                start = max(first, starts[nid])
                if start >= end:
                    continue
                if start < lowest:
                    kernel_pages = min(end, lowest) - start
                    remaining -= min(kernel_pages, remaining)
                    required -= min(kernel_pages, required)
                    if end <= lowest:
                        starts[nid] = end
                        continue
                    start = lowest
                size = min(end - start, remaining)
                starts[nid] = start + size
                required -= min(required, size)
                remaining -= size
                if not remaining:
                    break
        usable -= 1
        if not usable or required <= usable:
            break
    aligned = [-(-start // MAX_ORDER_NR_PAGES) * MAX_ORDER_NR_PAGES for start in starts]
    return [
        start if node and start < node[-1][1] else None
        for start, node in zip(aligned, nodes, strict=True)
    ]


@pytest.mark.mission("P11")
@given(memory_of_nodes())
def test_movable_begins_where_the_kernel_has_its_share(drawn: tuple[list[Node], int]) -> None:
    """Uneven nodes, holes, and memory that only the lower zones have."""
    nodes, movable = drawn
    assert movable_starts(nodes, arch="x86_64", movable=movable) == naive_starts(nodes, movable)


@pytest.mark.mission("P11")
@pytest.mark.parametrize("size", ["1G", "2G"])
def test_all_memory_movable_is_none(size: str) -> None:
    """A kernel that would be left without memory makes no ZONE_MOVABLE."""
    node = {"cpus": "0", "memory": "1G"}
    spec = machine_from_toml({"name": "m", "movablecore": size, "node": [node]})
    assert spec.nodes[0].zone(ZoneType.ZONE_MOVABLE).present_pages == 0
    assert spec.nodes[0].zone(ZoneType.ZONE_DMA32).present_pages == 258048
