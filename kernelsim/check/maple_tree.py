"""Check that the tree of an address space has the mappings that its list has, in sound nodes.

Interface: `check_maple_trees`. Units: slots, nodes.
"""

from collections.abc import Iterator

from kernelsim.actors.core.kernel import Kernel
from kernelsim.mm.core.maple_node import ULONG_MAX, MapleNode, min_slot_count, slot_count
from kernelsim.mm.core.maple_tree import MapleTree
from kernelsim.mm.space.mmap import VmArea


def check_maple_trees(kernel: Kernel) -> Iterator[str]:
    """Compare the trees of all address spaces with their mappings."""
    for number, mm in kernel.mms.by_number.items():
        tree = mm.map.tree
        for problem in check_maple_tree(tree, list(mm.map)):
            yield f"mm {number}: {problem}"


def check_maple_tree(tree: MapleTree[VmArea], areas: list[VmArea]) -> Iterator[str]:
    """Compare a tree with the mappings that it is to have, in order."""
    nodes = list(tree.nodes())
    if len(nodes) != tree.nr_nodes:
        yield f"{len(nodes)} nodes are in the maple tree, {tree.nr_nodes} are counted"
    found: list[tuple[int, int, VmArea]] = []
    low = 0
    for node in nodes:
        yield from _check_node(node, is_root=node is tree.root)
        for last, entry in zip(node.pivots, node.slots, strict=True):
            if not node.is_leaf:
                if entry.pivots[-1] != last:
                    yield f"a node is for what is below {last:#x}, and ends elsewhere"
                continue
            if entry is not None:
                found.append((low, last, entry))
            low = last + 1
    if nodes and low != ULONG_MAX + 1:
        yield f"the maple tree ends at {low:#x}"
    if found != [(vma.start, vma.end - 1, vma) for vma in areas]:
        yield f"the maple tree has other mappings than the {len(areas)} there are"


def _check_node(node: MapleNode, *, is_root: bool) -> Iterator[str]:
    """Check what holds for each node."""
    nr, is_leaf = len(node.slots), node.is_leaf
    # The last ones of a tree that a fork has filled may have one less than others.
    fewest = (1 if is_leaf else 2) if is_root else min_slot_count(is_leaf=is_leaf) - 1
    if node.is_dead or not fewest <= nr <= slot_count(is_leaf=is_leaf):
        yield f"a node of a maple tree has {nr} slots, or is free"
    if is_leaf and node.slots[-1] is None and node.pivots[-1] != ULONG_MAX:
        yield f"a leaf that ends at {node.pivots[-1]:#x} ends with a hole"
