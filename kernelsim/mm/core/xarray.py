"""The index of a page cache: which page of a file is where, as a tree of nodes with 64 slots.

Linux: lib/xarray.c, include/linux/xarray.h, as mm/filemap.c uses them (6.1).
Differs: A file whose only cached page is its first has a node for it, too; Linux keeps that one
entry in the root.

An entry is 0 (nothing), a page (its pfn, > 0), or what is remembered of a page that was evicted
(its shadow, negated, < 0). What shared memory has in swap is an entry below all shadows: SWAP_ENTRY
less its slot. Marks say which entries below a slot are dirty, under writeback, or to be written by
a sync that has begun.

Interface: leaves over an `XArray`, whose trees are numbered: `xa_load`, `xa_store`, `xa_next`,
`xa_next_marked`, `xa_set_mark`, `xa_clear_mark`. Whoever stores new entries reserves nodes first
(xarray_pool.py). For loops over neighbours `xa_leaf` gives the row that 64 of them share.
Units: page indexes.
"""

from typing import Final, NamedTuple

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import I32, I64, I64_2D, U64_2D, Slabs
from kernelsim.mm.core.slab import kmem_cache_alloc, kmem_cache_free
from kernelsim.mm.core.slab_cache import RADIX_TREE_NODE

XA_CHUNK_SHIFT: Final = 6
XA_CHUNK_SIZE: Final = 1 << XA_CHUNK_SHIFT  # slots of a node
XA_CHUNK_MASK: Final = XA_CHUNK_SIZE - 1
XA_LEVELS_MAX: Final = 6  # nodes from root to slot: 2**36 pages, the 256 TiB of the largest file

PAGECACHE_TAG_DIRTY: Final = 0  # marks; include/linux/fs.h
PAGECACHE_TAG_WRITEBACK: Final = 1
PAGECACHE_TAG_TOWRITE: Final = 2
NR_MARKS: Final = 3

# Columns of XArray.node
XN_SHIFT: Final = 0  # 6 * levels below it
XN_PARENT: Final = 1  # row, 0 for the root
XN_OFFSET: Final = 2  # its slot in the parent
XN_COUNT: Final = 3  # slots in use
XN_VALUES: Final = 4  # of them, shadows
XN_NID: Final = 5  # node of the machine its memory is of
XN_PREV: Final = 6  # neighbours on the list of nodes that hold nothing but shadows
XN_NEXT: Final = 7
XN_TREE: Final = 8
XN_SLAB: Final = 9  # slab it lies in
NR_NODE_FIELDS: Final = 10

# Columns of XArray.shadow_nodes, a row for each node of the machine
SN_HEAD: Final = 0  # the one that became so first
SN_TAIL: Final = 1
SN_COUNT: Final = 2
NR_SHADOW_FIELDS: Final = 3

# Entries of XArray.state
XA_NR_FREE: Final = 0  # rows on the stack of free ones
NR_STATES: Final = 1

SWAP_ENTRY: Final = -(1 << 62)

_ONE: Final = np.uint64(1)
_NO_MARKS: Final = np.uint64(0)
_LISTED: Final = -1  # of XN_PREV for the first node on a list


class XArray(NamedTuple):
    """All trees of the machine; row 0 of the nodes is never used."""

    slots: I64_2D  # [row, slot] entry, or the row of a node below
    node: I64_2D  # [row, XN_*]
    marks: U64_2D  # [row, PAGECACHE_TAG_*] a bit a slot
    root: I32  # [tree] row of its top node, 0 = empty
    free_row: I32  # stack of free rows
    shadow_nodes: I64_2D  # [nid, SN_*] nodes that hold nothing but shadows, oldest first
    state: I64  # [XA_*]
    slabs: Slabs  # what nodes lie in


@inlined_leaf
def xa_leaf(xa: XArray, tree: int, index: int) -> int:
    """Return the row whose slots hold the entries of `index` and its 63 neighbours; 0 for none."""
    row = int(xa.root[tree])
    if row == 0 or index >> (xa.node[row, XN_SHIFT] + XA_CHUNK_SHIFT):
        return 0
    for _ in range(XA_LEVELS_MAX):
        shift = xa.node[row, XN_SHIFT]
        if row == 0 or shift == 0:
            break
        row = int(xa.slots[row, (index >> shift) & XA_CHUNK_MASK])
    return row


@inlined_leaf
def is_shadow(entry: int) -> bool:
    """Tell whether an entry is what is remembered of a page of a file."""
    return SWAP_ENTRY < entry < 0


@leaf
def xa_load(xa: XArray, tree: int, index: int) -> int:
    """Return the entry of an index.

    Source: Linux 6.1 lib/xarray.c:xa_load
    """
    row = xa_leaf(xa, tree, index)
    return int(xa.slots[row, index & XA_CHUNK_MASK]) if row else 0


@leaf
def xa_store(xa: XArray, tree: int, index: int, entry: int, nid: int) -> int:
    """Put an entry at an index; 0 empties it, drops its marks, and the nodes that get empty.

    Args:
        xa: The trees.
        tree: Which one.
        index: Where.
        entry: 0, a pfn, or a shadow, negated.
        nid: Whose memory new nodes are of.

    Returns:
        What was there.

    Source: Linux 6.1 lib/xarray.c:xas_store
    """
    row = xa_leaf(xa, tree, index)
    if row == 0:
        if entry == 0:
            return 0
        row = xa_create(xa, tree, index, nid)
    offset = index & XA_CHUNK_MASK
    old = int(xa.slots[row, offset])
    xa.slots[row, offset] = entry
    node = xa.node[row]
    node[XN_COUNT] += (entry != 0) - (old != 0)
    node[XN_VALUES] += is_shadow(entry) - is_shadow(old)
    if entry <= 0 and old > 0:
        for mark in range(NR_MARKS):
            xa_clear_mark_below(xa, row, offset, mark)
    workingset_update_node(xa, row)
    if node[XN_COUNT] == 0:
        xa_delete_node(xa, tree, row)
    return old


@leaf
def xa_create(xa: XArray, tree: int, index: int, nid: int) -> int:
    """Make the nodes down to an index; return the lowest one.

    Source: Linux 6.1 lib/xarray.c:xas_create
    """
    row = int(xa.root[tree])
    for _ in range(XA_LEVELS_MAX):
        if row and index >> (xa.node[row, XN_SHIFT] + XA_CHUNK_SHIFT) == 0:
            break
        shift = xa.node[row, XN_SHIFT] + XA_CHUNK_SHIFT if row else 0
        if row == 0:
            while index >> (shift + XA_CHUNK_SHIFT):
                shift += XA_CHUNK_SHIFT
        top = xa_alloc_node(xa, tree, 0, 0, shift, nid)
        if row:
            xa.slots[top, 0] = row
            xa.node[top, XN_COUNT] = 1
            xa.node[row, XN_PARENT] = top
            for mark in range(NR_MARKS):
                if xa.marks[row, mark] != _NO_MARKS:
                    xa.marks[top, mark] = _ONE
        xa.root[tree] = top
        row = top
    for _ in range(XA_LEVELS_MAX):
        shift = xa.node[row, XN_SHIFT]
        if shift == 0:
            break
        offset = (index >> shift) & XA_CHUNK_MASK
        below = int(xa.slots[row, offset])
        if below == 0:
            below = xa_alloc_node(xa, tree, row, offset, shift - XA_CHUNK_SHIFT, nid)
            xa.slots[row, offset] = below
            xa.node[row, XN_COUNT] += 1
        row = below
    return row


@leaf
def xa_alloc_node(xa: XArray, tree: int, parent: int, offset: int, shift: int, nid: int) -> int:
    """Take a free row for a node without entries."""
    nr_free = xa.state[XA_NR_FREE]
    assert nr_free > 0, "nodes of a page cache are reserved before entries are stored"
    row = int(xa.free_row[nr_free - 1])
    xa.state[XA_NR_FREE] = nr_free - 1
    node = xa.node[row]
    node[:] = 0
    node[XN_SHIFT] = shift
    node[XN_PARENT] = parent
    node[XN_OFFSET] = offset
    node[XN_NID] = nid
    node[XN_TREE] = tree
    node[XN_SLAB] = kmem_cache_alloc(xa.slabs, RADIX_TREE_NODE, nid)
    return row


@leaf
def xa_delete_node(xa: XArray, tree: int, row: int) -> None:
    """Give back a node without entries, and those above it that become so; cut the tree's height.

    Source: Linux 6.1 lib/xarray.c:xas_delete_node, :xas_shrink
    """
    for _ in range(XA_LEVELS_MAX):
        if row == 0 or xa.node[row, XN_COUNT]:
            break
        parent = int(xa.node[row, XN_PARENT])
        if parent:
            xa.slots[parent, xa.node[row, XN_OFFSET]] = 0
            xa.node[parent, XN_COUNT] -= 1
        else:
            xa.root[tree] = 0
        xa_free_node(xa, row)
        row = parent
    for _ in range(XA_LEVELS_MAX):
        top = int(xa.root[tree])
        is_needed = xa.node[top, XN_COUNT] != 1 or xa.slots[top, 0] == 0
        if top == 0 or xa.node[top, XN_SHIFT] == 0 or is_needed:
            break
        below = int(xa.slots[top, 0])
        xa.node[below, XN_PARENT] = 0
        xa.root[tree] = below
        xa.slots[top, 0] = 0
        xa_free_node(xa, top)


@leaf
def xa_free_node(xa: XArray, row: int) -> None:
    """Put a row whose slots are all empty on the stack of free ones."""
    node = xa.node[row]
    kmem_cache_free(xa.slabs, RADIX_TREE_NODE, int(node[XN_NID]), int(node[XN_SLAB]))
    xa.marks[row] = _NO_MARKS
    xa.node[row] = 0
    xa.free_row[xa.state[XA_NR_FREE]] = row
    xa.state[XA_NR_FREE] += 1


@leaf
def workingset_update_node(xa: XArray, row: int) -> None:
    """Put a node on the list of those that hold nothing but shadows, or take it off.

    Source: Linux 6.1 mm/workingset.c:workingset_update_node
    """
    node = xa.node[row]
    is_shadows = node[XN_COUNT] != 0 and node[XN_COUNT] == node[XN_VALUES]
    if is_shadows == (node[XN_PREV] != 0):
        return
    nodes = xa.shadow_nodes[node[XN_NID]]
    if is_shadows:
        tail = nodes[SN_TAIL]
        node[XN_PREV] = tail or _LISTED
        node[XN_NEXT] = 0
        if tail:
            xa.node[tail, XN_NEXT] = row
        else:
            nodes[SN_HEAD] = row
        nodes[SN_TAIL] = row
        nodes[SN_COUNT] += 1
        return
    before, after = node[XN_PREV], node[XN_NEXT]
    if before == _LISTED:
        nodes[SN_HEAD] = after
    else:
        xa.node[before, XN_NEXT] = after
    if after:
        xa.node[after, XN_PREV] = before
    else:
        nodes[SN_TAIL] = 0 if before == _LISTED else before
    node[XN_PREV] = 0
    node[XN_NEXT] = 0
    nodes[SN_COUNT] -= 1


@leaf
def xa_next(xa: XArray, tree: int, index: int, last: int) -> int:
    """Return the first index from `index` to `last` that has a page; -1 for none.

    Source: Linux 6.1 lib/xarray.c:xas_find
    """
    while index <= last:
        row = xa_leaf(xa, tree, index)
        if row == 0:
            index = xa_skip(xa, tree, index)
            if index < 0:
                return -1
            continue
        end = min(last, index | XA_CHUNK_MASK)
        while index <= end:
            if xa.slots[row, index & XA_CHUNK_MASK] > 0:
                return index
            index += 1
    return -1


@leaf
def xa_skip(xa: XArray, tree: int, index: int) -> int:
    """Return the first index behind one without a lowest node that might have one; -1 for none."""
    row = int(xa.root[tree])
    if row == 0 or index >> (xa.node[row, XN_SHIFT] + XA_CHUNK_SHIFT):
        return -1
    for _ in range(XA_LEVELS_MAX):
        shift = xa.node[row, XN_SHIFT]
        below = int(xa.slots[row, (index >> shift) & XA_CHUNK_MASK])
        if below == 0 or shift == 0:
            break
        row = below
    return int(((index >> shift) + 1) << shift)


@leaf
def xa_next_marked(xa: XArray, tree: int, index: int, last: int, mark: int) -> int:
    """Return the first index from `index` to `last` that has a mark; -1 for none.

    Source: Linux 6.1 lib/xarray.c:xas_find_marked
    """
    while index <= last:
        row = int(xa.root[tree])
        if row == 0 or index >> (xa.node[row, XN_SHIFT] + XA_CHUNK_SHIFT):
            return -1
        shift = 0
        found = False
        for _ in range(XA_LEVELS_MAX):
            shift = xa.node[row, XN_SHIFT]
            offset = (index >> shift) & XA_CHUNK_MASK
            if not xa.marks[row, mark] >> np.uint64(offset) & _ONE:
                break
            if shift == 0:
                found = True
                break
            row = int(xa.slots[row, offset])
        if found:
            return index
        index = ((index >> shift) + 1) << shift
    return -1


@leaf
def xa_get_mark(xa: XArray, tree: int, index: int, mark: int) -> bool:
    """Tell whether the entry of an index has a mark."""
    row = xa_leaf(xa, tree, index)
    return bool(row and xa.marks[row, mark] >> np.uint64(index & XA_CHUNK_MASK) & _ONE)


@leaf
def xa_set_mark(xa: XArray, tree: int, index: int, mark: int) -> None:
    """Mark the page at an index; there is one.

    Source: Linux 6.1 lib/xarray.c:xa_set_mark
    """
    row = xa_leaf(xa, tree, index)
    offset = index & XA_CHUNK_MASK
    assert xa.slots[row, offset] > 0, "only pages of a page cache have marks"
    xa_set_mark_below(xa, row, offset, mark)


@inlined_leaf
def xa_set_mark_below(xa: XArray, row: int, offset: int, mark: int) -> None:
    """Mark a slot of a node, and those above it; they are marked if another one below them is."""
    for _ in range(XA_LEVELS_MAX):
        if row == 0:
            break
        before = xa.marks[row, mark]
        xa.marks[row, mark] = before | _ONE << np.uint64(offset)
        if before != _NO_MARKS:
            break
        offset = xa.node[row, XN_OFFSET]
        row = int(xa.node[row, XN_PARENT])


@leaf
def xa_clear_mark(xa: XArray, tree: int, index: int, mark: int) -> None:
    """Take a mark from the page at an index.

    Source: Linux 6.1 lib/xarray.c:xa_clear_mark
    """
    row = xa_leaf(xa, tree, index)
    if row:
        xa_clear_mark_below(xa, row, index & XA_CHUNK_MASK, mark)


@leaf
def xa_clear_mark_below(xa: XArray, row: int, offset: int, mark: int) -> None:
    """Take a mark from a slot of a node, and from those above that have no other below them."""
    for _ in range(XA_LEVELS_MAX):
        if row == 0:
            break
        xa.marks[row, mark] &= ~(_ONE << np.uint64(offset))
        if xa.marks[row, mark] != _NO_MARKS:
            break
        offset = xa.node[row, XN_OFFSET]
        row = int(xa.node[row, XN_PARENT])
