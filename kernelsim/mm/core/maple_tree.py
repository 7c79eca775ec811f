"""A tree of ranges of indexes, none overlapping: a maple tree.

Linux: lib/maple_tree.c (6.1).
Differs: The nodes of a maple tree keep no gaps: holes are looked for elsewhere (vma_map.py). A node
is changed where it lies, with readers beside the writer or not.

A leaf has a slot for each range and one for each hole between; only the last leaf ends with a hole.
A node whose content outgrows it gives some to a neighbour, or is cut in two; one that has too few
slots becomes one with its neighbour, or shares with it, and so on upwards.

Interface: `MapleTree.store` puts an entry, or None, in place of what a range holds; `find` looks
up; `bulk` is for who fills a tree in order. `nr_nodes`, `height` and
`walk` are for who looks at it.
Units: indexes, which are addresses in the tree of an address space; `last` is inclusive.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Generic, TypeVar

from kernelsim.mm.core.maple_node import (
    LEAF_MIN_SLOTS,
    MAPLE_RANGE64_SLOTS,
    ULONG_MAX,
    MapleCells,
    MapleNode,
    calc_splits,
    min_slot_count,
    push_split,
    slot_count,
    stored,
)

Entry = TypeVar("Entry")
Path = list[tuple[MapleNode, int]]  # from the root to a leaf: nodes, and slots in them


class MapleTree(Generic[Entry]):
    """One tree.

    Args:
        alloc: Takes a node; returns the row of the slab it lies in.
        free: Gives one back.

    Attributes:
        root: The top node; None while there is no entry.
        nr_nodes: How many it has.
    """

    __slots__ = ("_alloc", "_bulk", "_free", "nr_nodes", "root")

    def __init__(
        self, alloc: Callable[[], int] = lambda: 0, free: Callable[[int], None] = lambda _row: None
    ) -> None:
        self.root: MapleNode | None = None
        self.nr_nodes = 0
        self._alloc = alloc
        self._free = free
        self._bulk = False

    @property
    def height(self) -> int:
        """Nodes from the root to a leaf, which a look-up reads."""
        height, node = 0, self.root
        while node is not None:
            height, node = height + 1, None if node.is_leaf else node.slots[0]
        return height

    def find(self, index: int) -> Entry | None:
        """Return the entry of an index, or the first one behind it.

        Source: Linux 6.1 lib/maple_tree.c:mas_find, :mtree_range_walk
        """
        node = self.root
        if node is None:
            return None
        while not node.is_leaf:
            node = node.slots[bisect_left(node.pivots, index)]
        at = bisect_left(node.pivots, index)
        entry: Entry | None = node.slots[at]
        if entry is None and at + 1 < len(node.slots):
            entry = node.slots[at + 1]  # what follows a hole is none
        return entry

    def nodes(self) -> Iterator[MapleNode]:
        """Return the nodes, each before those below it, in order."""
        left = [] if self.root is None else [self.root]
        while left:
            node = left.pop()
            yield node
            if not node.is_leaf:
                left.extend(reversed(node.slots))

    def walk(self, index: int) -> list[tuple[MapleNode, int]]:
        """Return the nodes from the root to the leaf that an index is in, and the slot in each.

        Source: Linux 6.1 lib/maple_tree.c:mas_walk
        """
        return self._walk(index)[0]

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """While this lasts ranges are stored in order, each behind all that there are.

        Source: Linux 6.1 lib/maple_tree.c:mas_expected_entries, :mas_destroy
        """
        self._bulk = True
        yield
        self._bulk = False
        if self.root is not None and not self.root.is_leaf:
            self._balance_end()

    def store(self, first: int, last: int, entry: Entry | None) -> None:
        """Put an entry, or nothing, in place of what is in a range.

        Source: Linux 6.1 lib/maple_tree.c:mas_wr_store_entry, :mas_wr_modify
        """
        if self.root is None:
            if entry is not None:
                self._store_root(first, last, entry)
            return
        path, low = self._walk(first)
        leaf, at = path[-1]
        most = leaf.pivots[-1]
        if last > most or (entry is None and last == most != ULONG_MAX):
            self._store_spanning(path, low, first, last, entry)
            return
        end = bisect_left(leaf.pivots, last)
        if at == end and leaf.pivots[end] == last and entry is not None:
            if first == (leaf.pivots[at - 1] + 1 if at else low):
                leaf.slots[at] = entry
                return
        cells, first, last = stored(leaf, low, first, last, entry, at=at, end=end)
        nr = len(cells[1])
        if entry is None and first == 0 and last == ULONG_MAX:
            self._clear()
        elif nr > MAPLE_RANGE64_SLOTS:
            self._split(path, cells)
        elif nr <= LEAF_MIN_SLOTS and len(path) > 1:
            self._rebalance(path, low, cells)
        else:
            leaf.pivots, leaf.slots = cells

    def _walk(self, index: int) -> tuple[Path, int]:
        """Return the way to the leaf that an index is in, and the leaf's first index."""
        path: Path = []
        node, low = self.root, 0
        while node is not None:
            at = bisect_left(node.pivots, index)
            path.append((node, at))
            if node.is_leaf:
                break
            if at:
                low = node.pivots[at - 1] + 1
            node = node.slots[at]
        return path, low

    def _store_root(self, first: int, last: int, entry: Entry) -> None:
        """Make the first node.

        Source: Linux 6.1 lib/maple_tree.c:mas_root_expand
        """
        cells: MapleCells = ([first - 1], [None]) if first else ([], [])
        pivots, slots = cells[0] + [last], cells[1] + [entry]
        if last != ULONG_MAX:
            pivots.append(ULONG_MAX)
            slots.append(None)
        self.root = self._new(pivots, slots, is_leaf=True)

    def _split(self, path: Path, cells: MapleCells) -> None:
        """Make room for a content that a node has none for, upwards as far as it takes.

        Source: Linux 6.1 lib/maple_tree.c:mas_split, :mas_split_final_node
        """
        while True:
            node, _ = path.pop()
            pivots, slots = cells
            if len(slots) <= slot_count(is_leaf=node.is_leaf):
                node.pivots, node.slots = cells
                return
            parent, at = path[-1] if path else (None, 0)
            if parent is not None:
                if self._push(parent, at, cells, -1) or self._push(parent, at, cells, 1):
                    return
            (split,) = calc_splits(slots, is_leaf=node.is_leaf, bulk=self._bulk)
            right = self._new(pivots[split + 1 :], slots[split + 1 :], is_leaf=node.is_leaf)
            node.pivots, node.slots = pivots[: split + 1], slots[: split + 1]
            nodes, ends = [node, right], [node.pivots[-1], right.pivots[-1]]
            if parent is None:
                self.root = self._new(ends, nodes, is_leaf=False)
                return
            cells = (
                parent.pivots[:at] + ends + parent.pivots[at + 1 :],
                parent.slots[:at] + nodes + parent.slots[at + 1 :],
            )

    def _push(self, parent: MapleNode, at: int, cells: MapleCells, side: int) -> bool:
        """Let the neighbour on a side take some of a node's content; tell whether it has room."""
        if not 0 <= at + side < len(parent.slots):
            return False
        pushed = push_split(cells, parent.slots[at + side], is_left=side < 0)
        if pushed is None:
            return False
        (pivots, slots), split = pushed
        first = min(at, at + side)
        left, right = parent.slots[first], parent.slots[first + 1]
        left.pivots, left.slots = pivots[: split + 1], slots[: split + 1]
        right.pivots, right.slots = pivots[split + 1 :], slots[split + 1 :]
        parent.pivots[first] = left.pivots[-1]
        return True

    def _rebalance(self, path: Path, low: int, cells: MapleCells) -> None:
        """Put what is left of a node together with a neighbour's.

        Source: Linux 6.1 lib/maple_tree.c:mas_rebalance
        """
        self._rebuild(path, path.copy(), low, cells)

    def _store_spanning(
        self, left: Path, low: int, first: int, last: int, entry: Entry | None
    ) -> None:
        """Store a range that ends in another leaf than it begins in, or a hole that ends a leaf.

        Source: Linux 6.1 lib/maple_tree.c:mas_wr_spanning_store, :mas_extend_spanning_null
        """
        right, _ = self._walk(min(last + 1, ULONG_MAX))
        (leaf, at), (other, end) = left[-1], right[-1]
        if last == ULONG_MAX:
            end = len(other.slots)
        elif entry is None and other.slots[end] is None:
            last = other.pivots[end]
            end += 1
        (pivots, slots), first, _ = stored(
            leaf, low, first, leaf.pivots[-1], entry, at=at, end=len(leaf.slots) - 1
        )
        if first == 0 and last == ULONG_MAX and entry is None:
            self._clear()
            return
        pivots[-1] = last
        self._rebuild(left, right, low, (pivots + other.pivots[end:], slots + other.slots[end:]))

    def _rebuild(self, left: Path, right: Path, low: int, cells: MapleCells) -> None:
        """Put a content in place of the nodes from one leaf to another, and so on upwards.

        Args:
            left: Way to the first leaf.
            right: Way to the last one.
            low: First index of the first leaf.
            cells: What they are to hold.

        Source: Linux 6.1 lib/maple_tree.c:mas_spanning_rebalance, :mast_ascend
        """
        old = {left[-1][0]: None, right[-1][0]: None}
        while True:
            is_leaf = left[-1][0].is_leaf
            is_whole = low == 0 and cells[0][-1] == ULONG_MAX
            if not is_whole and len(cells[1]) <= min_slot_count(is_leaf=is_leaf):
                low, cells = self._add_neighbour(left, right, low, cells, old)
                is_whole = low == 0 and cells[0][-1] == ULONG_MAX
            nodes = self._cut(cells, is_leaf=is_leaf)
            for node in old:
                self._drop(node)
            if is_whole and (len(nodes) == 1 or len(left) == 1):
                top = self.root
                ends = [node.pivots[-1] for node in nodes]
                self.root = nodes[0] if len(nodes) == 1 else self._new(ends, nodes, is_leaf=False)
                if top is not None:
                    self._drop_all(top)
                return
            left.pop()
            right.pop()
            (first, at), (last, end) = left[-1], right[-1]
            between = first.slots[at:end] if first is last else first.slots[at:] + last.slots[:end]
            for node in between:
                self._drop_all(node)
            low = self._low_of(left)
            cells = (
                first.pivots[:at] + [node.pivots[-1] for node in nodes] + last.pivots[end + 1 :],
                first.slots[:at] + nodes + last.slots[end + 1 :],
            )
            old = {first: None, last: None}

    def _add_neighbour(
        self, left: Path, right: Path, low: int, cells: MapleCells, old: dict[MapleNode, None]
    ) -> tuple[int, MapleCells]:
        """Add what the next node on a level holds to a content, or else that before.

        Source: Linux 6.1 lib/maple_tree.c:mast_spanning_rebalance
        """
        pivots, slots = cells
        if _move(right, 1):
            node = right[-1][0]
            old[node] = None
            return low, (pivots + node.pivots, slots + node.slots)
        _move(left, -1)
        node = left[-1][0]
        old[node] = None
        return self._low_of(left), (node.pivots + pivots, node.slots + slots)

    def _low_of(self, path: Path) -> int:
        """Return the first index of the node that a way leads to."""
        for node, at in reversed(path[:-1]):
            if at:
                return node.pivots[at - 1] + 1
        return 0

    def _cut(self, cells: MapleCells, *, is_leaf: bool) -> list[MapleNode]:
        """Return as many nodes as a content takes."""
        pivots, slots = cells
        cuts = [-1, *calc_splits(slots, is_leaf=is_leaf), len(slots) - 1]
        ranges = [slice(before + 1, end + 1) for before, end in pairwise(cuts)]
        return [self._new(pivots[part], slots[part], is_leaf=is_leaf) for part in ranges]

    def _balance_end(self) -> None:
        """Let the last leaf have some of the one before, if it has too little.

        Source: Linux 6.1 lib/maple_tree.c:mas_destroy_rebalance
        """
        path, _ = self._walk(ULONG_MAX)
        (parent, at), (leaf, _) = path[-2:]
        if len(leaf.slots) >= LEAF_MIN_SLOTS - 1 or at == 0:
            return
        before = parent.slots[at - 1]
        split = MAPLE_RANGE64_SLOTS // 2
        split += before.slots[split] is None
        leaf.pivots = before.pivots[split + 1 :] + leaf.pivots
        leaf.slots = before.slots[split + 1 :] + leaf.slots
        before.pivots, before.slots = before.pivots[: split + 1], before.slots[: split + 1]
        parent.pivots[at - 1] = before.pivots[-1]

    def _new(self, pivots: list[int], slots: list[Any], *, is_leaf: bool) -> MapleNode:
        self.nr_nodes += 1
        return MapleNode(is_leaf, pivots, slots, self._alloc())

    def _drop(self, node: MapleNode) -> None:
        """Free a node."""
        if not node.is_dead:
            node.is_dead = True
            self.nr_nodes -= 1
            self._free(node.row)

    def _drop_all(self, node: MapleNode) -> None:
        """Free a node and all below, but for what lies below one that is free."""
        if node.is_dead:
            return
        self._drop(node)
        if not node.is_leaf:
            for below in node.slots:
                self._drop_all(below)

    def _clear(self) -> None:
        """Have no entry any more.

        Source: Linux 6.1 lib/maple_tree.c:mas_new_root, :mte_destroy_walk
        """
        if self.root is not None:
            self._drop_all(self.root)
        self.root = None


def _move(path: Path, side: int) -> bool:
    """Go on to the next node of a level, or that before; tell whether there is one."""
    depth = len(path)
    for level in range(depth - 2, -1, -1):
        node, at = path[level]
        if 0 <= at + side < len(node.slots):
            path[level:] = [(node, at + side)]
            node = node.slots[at + side]
            while len(path) < depth:
                at = 0 if side > 0 else len(node.slots) - 1
                path.append((node, at))
                node = node.slots[at]
            return True
    return False
