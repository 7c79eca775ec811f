"""A maple tree against a dictionary; and how many nodes it takes, which the kernel's rules say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.check.maple_tree import check_maple_tree
from kernelsim.mm.core.maple_tree import MapleTree
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.sim.rng import Rng

INDEXES = 400


class Nodes:
    """Counts nodes that are taken and given back."""

    nr = 0

    def alloc(self) -> int:
        """Take one."""
        self.nr += 1
        return self.nr

    def free(self, _row: int) -> None:
        """Give one back."""
        self.nr -= 1


def area(first: int, last: int) -> VmArea:
    """Return what is stored for a range."""
    return VmArea(first, last + 1, VmFlag.VM_READ)


def areas_of(model: dict[int, VmArea]) -> list[VmArea]:
    """Return what is left of entries, each piece as long as it is in one."""
    pieces: list[VmArea] = []
    before = None
    for index in sorted(model):
        if before is not None and pieces[-1].end == index and model[index] is before:
            pieces[-1] = area(pieces[-1].start, index)
        else:
            pieces.append(area(index, index))
        before = model[index]
    return pieces


def sound(tree: MapleTree[VmArea], nodes: Nodes, model: dict[int, VmArea]) -> None:
    """Fail unless the tree has what the dictionary has, in sound nodes."""
    low, found = 0, []
    for node in tree.nodes():
        for last, entry in zip(node.pivots, node.slots, strict=True) if node.is_leaf else ():
            if entry is not None:
                assert all(model.get(index) is entry for index in range(low, last + 1))
                found.append(area(low, last))
            low = last + 1
    assert found == areas_of(model)
    others = [line for line in check_maple_tree(tree, []) if "has other mappings" not in line]
    assert others == []
    assert nodes.nr == tree.nr_nodes


@given(seed=st.integers(0, 10_000), most=st.sampled_from([2, 5, INDEXES // 3]))
@settings(max_examples=12, deadline=None)
def test_stores_like_a_dictionary(seed: int, most: int) -> None:
    """Ranges stored over others, and holes, leave what a dictionary has; no node is lost."""
    rng, nodes = Rng(seed, "maple"), Nodes()
    tree: MapleTree[VmArea] = MapleTree(nodes.alloc, nodes.free)
    model: dict[int, VmArea] = {}
    for step in range(240):
        first = rng.below(INDEXES)
        last = min(INDEXES - 1, first + rng.below(most))
        entry = area(first, last) if rng.chance(3 if step < 160 else 1, 5) else None
        tree.store(first, last, entry)
        for index in range(first, last + 1):
            model.pop(index, None)
            if entry is not None:
                model[index] = entry
        index = rng.below(INDEXES + 2)
        behind = next((model[at] for at in range(index, INDEXES) if at in model), None)
        assert tree.find(index) is behind
        if step % 20 == 0:
            sound(tree, nodes, model)
    tree.store(0, INDEXES, None)
    assert nodes.nr == 0
    assert tree.root is None


@pytest.mark.mission("V12")
def test_nodes_of_many_mappings() -> None:
    """Of ranges with holes between, stored upwards, a leaf keeps 8 of each and a node 9 of those.

    A neighbour that takes what there is no room for is filled but for one slot, and up to the next
    range, as no leaf but the last ends with a hole (lib/maple_tree.c:mas_push_data).
    """
    nodes = Nodes()
    tree: MapleTree[VmArea] = MapleTree(nodes.alloc, nodes.free)
    for number in range(7):
        tree.store(10 + 2 * number, 10 + 2 * number, area(0, 1))
    assert (nodes.nr, tree.height) == (1, 1)  # 7 ranges and 8 holes
    for number in range(7, 1000):
        tree.store(10 + 2 * number, 10 + 2 * number, area(0, 1))
    leaves = -(-(2 * 1000 + 1) // 16)
    above = -(-leaves // 9)
    assert tree.height == 4
    assert nodes.nr == leaves + above + -(-above // 9) + 1


def test_a_copy_in_order_is_sound() -> None:
    """What a fork fills in order has no leaf that is too small, the last one included."""
    for number in range(1, 200, 3):
        nodes = Nodes()
        tree: MapleTree[VmArea] = MapleTree(nodes.alloc, nodes.free)
        ranges = [area(10 + 3 * at, 11 + 3 * at) for at in range(number)]
        with tree.bulk():
            for each in ranges:
                tree.store(each.start, each.end - 1, each)
        assert list(check_maple_tree(tree, ranges)) == []
        assert nodes.nr == tree.nr_nodes
