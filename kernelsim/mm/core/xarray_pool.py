"""The arrays that the trees of page caches lie in: they grow, so they are asked for afresh.

Interface: `XArrayPool.reserve` makes room before entries are stored; `pool.xa` is what leaves take.
Units: rows, one for each node.
"""

import attrs
import numpy as np

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import Slabs
from kernelsim.mm.core.slab_cache import new_slabs
from kernelsim.mm.core.xarray import (
    NR_MARKS,
    NR_NODE_FIELDS,
    NR_SHADOW_FIELDS,
    NR_STATES,
    XA_CHUNK_SHIFT,
    XA_CHUNK_SIZE,
    XA_LEVELS_MAX,
    XA_NR_FREE,
    XArray,
)


def make_xarray(nr_rows: int, nr_trees: int, nr_nodes: int, slabs: Slabs) -> XArray:
    """Return trees without entries, the lowest free row on top of the stack.

    Args:
        nr_rows: Nodes there is room for, row 0 included.
        nr_trees: Trees, number 0 included, which no file has.
        nr_nodes: Nodes of the machine.
        slabs: What the nodes of the trees lie in.
    """
    xa = XArray(
        slots=np.zeros((nr_rows, XA_CHUNK_SIZE), np.int64),
        node=np.zeros((nr_rows, NR_NODE_FIELDS), np.int64),
        marks=np.zeros((nr_rows, NR_MARKS), np.uint64),
        root=np.zeros(nr_trees, np.int32),
        free_row=np.zeros(nr_rows, np.int32),
        shadow_nodes=np.zeros((nr_nodes, NR_SHADOW_FIELDS), np.int64),
        state=np.zeros(NR_STATES, np.int64),
        slabs=slabs,
    )
    xa.state[XA_NR_FREE] = nr_rows - 1
    xa.free_row[: nr_rows - 1] = np.arange(nr_rows - 1, 0, -1, dtype=np.int32)
    return xa


@leaf
def rows_wanted(nr_entries: int) -> int:
    """Return the most nodes that it takes to store entries in a row in one tree.

    On each level a run has two nodes more than it fills if neither end falls on a border, and a
    tree that grows higher puts one above what it had.
    """
    nr_rows = 0
    for level in range(1, XA_LEVELS_MAX + 1):
        nr_rows += (nr_entries >> level * XA_CHUNK_SHIFT) + 3
    return nr_rows


@attrs.define
class XArrayPool:
    """The nodes of all trees; `xa` is replaced when it grows, so pass `pool.xa` afresh.

    Attributes:
        nr_nodes: Nodes of the machine.
        slabs: What the nodes of the trees lie in; on no page if left out.
    """

    nr_nodes: int = 1
    slabs: Slabs = attrs.field(
        default=attrs.Factory(lambda self: new_slabs(1, self.nr_nodes, 1), True)
    )
    xa: XArray = attrs.field(
        default=attrs.Factory(lambda self: make_xarray(64, 8, self.nr_nodes, self.slabs), True)
    )

    def nr_in_use(self) -> int:
        """Return the nodes in use."""
        return len(self.xa.free_row) - 1 - int(self.xa.state[XA_NR_FREE])

    def reserve(self, nr_entries: int) -> None:
        """Make sure that `nr_entries` entries in a row can be stored in one tree."""
        nr_rows = rows_wanted(nr_entries)
        old = self.xa
        nr_free = int(old.state[XA_NR_FREE])
        if nr_free >= nr_rows:
            return
        rows = len(old.free_row)
        wanted = rows
        while nr_free + wanted - rows < nr_rows:
            wanted *= 2
        grown = make_xarray(wanted, len(old.root), self.nr_nodes, self.slabs)
        for new, before in ((grown.slots, old.slots), (grown.node, old.node)):
            new[:rows] = before
        grown.marks[:rows] = old.marks
        # New rows go under the old stack: rows used before are taken first, as before.
        grown.free_row[: wanted - rows] = np.arange(wanted - 1, rows - 1, -1, dtype=np.int32)
        grown.free_row[wanted - rows : wanted - rows + nr_free] = old.free_row[:nr_free]
        grown.state[XA_NR_FREE] = wanted - rows + nr_free
        self.xa = grown._replace(root=old.root, shadow_nodes=old.shadow_nodes)

    def add_tree(self, number: int) -> None:
        """Make sure there is a tree of a number."""
        nr_trees = len(self.xa.root)
        if number < nr_trees:
            return
        root = np.zeros(max(2 * nr_trees, number + 1), np.int32)
        root[:nr_trees] = self.xa.root
        self.xa = self.xa._replace(root=root)
