"""The bins of dlmalloc 2.8.6: rings of small chunks, tries of larger ones.

malloc.c: insert_small_chunk, insert_large_chunk, unlink_large_chunk and their siblings.

A chunk's size word has PINUSE (the chunk below is in use) and CINUSE (it is itself). Free chunks
below 256 bytes are in a ring for each size, others in 32 tries: two for each power of two. A trie
branches on the bits of the size below the first, so that the way down is never longer than their
number; chunks of the size of a node hang in a ring on it.

Interface: `Bins`; it finds, inserts and takes out. Units: bytes; addresses of chunks, 0 for none.
"""

from typing import Final

from kernelsim.units import PAGE_SHIFT

SIZE_T: Final = 8
HEADER: Final = 2 * SIZE_T  # from a chunk to its block
MIN_CHUNK_SIZE: Final = 32
PINUSE: Final = 1
CINUSE: Final = 2
INUSE: Final = PINUSE | CINUSE
SIZE_MASK: Final = -8
NSMALLBINS: Final = 32
SMALLBIN_SHIFT: Final = 3
MIN_LARGE_SIZE: Final = 256
NTREEBINS: Final = 32
TREEBIN_SHIFT: Final = 8
SIZE_BITS: Final = 64


def tree_index(size: int) -> int:
    """Return the trie of a chunk that is not small.

    Source: dlmalloc 2.8.6 malloc.c:compute_tree_index
    """
    units = size >> TREEBIN_SHIFT
    if units > 0xFFFF:  # noqa: PLR2004 - the last trie takes all from 16 MiB on
        return NTREEBINS - 1
    power = units.bit_length() - 1
    return 2 * power + (size >> power + TREEBIN_SHIFT - 1 & 1)


def first_bit(index: int) -> int:
    """Return the bit of the size on which the root of a trie branches."""
    if index == NTREEBINS - 1:
        return SIZE_BITS - 1
    return (index >> 1) + TREEBIN_SHIFT - 2


class Bins:
    """All free chunks but the top and the designated victim.

    Attributes:
        head: By chunk, its size and flags.
        prev_foot: By chunk, the size of the free chunk below it.
        smallmap: Bit n: the ring of size 8 n holds something.
        treemap: Bit n: trie n holds something.
        touched: Pages that were stored to, in order, for the kernel to hear of; 0 is the library's.
    """

    def __init__(self) -> None:
        self.head: dict[int, int] = {}
        self.prev_foot: dict[int, int] = {}
        self.smallmap = 0
        self.treemap = 0
        self.touched: dict[int, None] = {}
        self.fd = {index: index for index in range(NSMALLBINS)}  # an index is its ring's place
        self._bk = dict(self.fd)
        self.root = [0] * NTREEBINS
        self.child: dict[int, list[int]] = {}
        self._parent: dict[int, int] = {}  # of nodes; of a root it is 0, a chunk on a ring has none

    def set_head(self, chunk: int, head: int) -> None:
        """Write the size word of a chunk."""
        self.head[chunk] = head
        self.touched[chunk + SIZE_T >> PAGE_SHIFT] = None

    def set_foot(self, chunk: int, size: int) -> None:
        """Write the size of a chunk behind its end."""
        self.prev_foot[chunk + size] = size
        self.touched[chunk + size >> PAGE_SHIFT] = None

    def insert(self, chunk: int, size: int) -> None:
        """Put a free chunk where it belongs."""
        if size < MIN_LARGE_SIZE:
            index = size >> SMALLBIN_SHIFT
            self.smallmap |= 1 << index
            self._link(chunk, index, self.fd[index])
        else:
            self._insert_large(chunk, size)

    def unlink(self, chunk: int, size: int) -> None:
        """Take a chunk out of its bin."""
        if size < MIN_LARGE_SIZE:
            index = size >> SMALLBIN_SHIFT
            self._unlink_ring(chunk)
            if self.fd[index] == index:
                self.smallmap &= ~(1 << index)
        else:
            self.unlink_large(chunk)

    def _link(self, chunk: int, bck: int, fwd: int) -> None:
        """Put a chunk between two of a ring."""
        self.fd[chunk], self._bk[chunk] = fwd, bck
        self.fd[bck] = self._bk[fwd] = chunk
        for each in (chunk, bck, fwd):
            self.touched[each + HEADER >> PAGE_SHIFT] = None

    def _unlink_ring(self, chunk: int) -> int:
        """Take a chunk out of its ring; return the one before it."""
        fwd, bck = self.fd.pop(chunk), self._bk.pop(chunk)
        if bck != chunk:
            self.fd[bck], self._bk[fwd] = fwd, bck
            self.touched[fwd + HEADER >> PAGE_SHIFT] = None
            self.touched[bck + HEADER >> PAGE_SHIFT] = None
        return bck

    def _insert_large(self, chunk: int, size: int) -> None:
        index = tree_index(size)
        self.child[chunk] = [0, 0]
        if not self.root[index]:
            self.treemap |= 1 << index
            self.root[index] = chunk
            self._add_node(chunk, 0)
            return
        node, bit = self.root[index], first_bit(index)
        while self.head[node] & SIZE_MASK != size:
            children, side = self.child[node], size >> bit & 1
            bit -= 1
            if not children[side]:
                children[side] = chunk
                self.touched[node + HEADER >> PAGE_SHIFT] = None
                self._add_node(chunk, node)
                return
            node = children[side]
        self._link(chunk, node, self.fd[node])

    def _add_node(self, chunk: int, parent: int) -> None:
        self._parent[chunk] = parent
        self.fd[chunk] = self._bk[chunk] = chunk
        self.touched[chunk + HEADER >> PAGE_SHIFT] = None

    def unlink_large(self, chunk: int) -> None:
        """Take a chunk out of its trie; what replaces a node is one of its size, or a leaf below.

        Source: dlmalloc 2.8.6 malloc.c:unlink_large_chunk
        """
        children = self.child.pop(chunk)
        heir = self._unlink_ring(chunk)
        if heir == chunk:
            heir = self._take_leaf(children)
        parent = self._parent.pop(chunk, None)
        if parent is None:
            return
        if parent:
            of_parent = self.child[parent]
            of_parent[of_parent.index(chunk)] = heir
            self.touched[parent + HEADER >> PAGE_SHIFT] = None
        else:
            index = self.root.index(chunk)
            self.root[index] = heir
            if not heir:
                self.treemap &= ~(1 << index)
        if heir:
            self._parent[heir] = parent
            self.child[heir] = children
            self.touched[heir + HEADER >> PAGE_SHIFT] = None
            for each in children:
                if each:
                    self._parent[each] = heir
                    self.touched[each + HEADER >> PAGE_SHIFT] = None

    def _take_leaf(self, children: list[int]) -> int:
        """Take the leaf farthest to the right away from below; return it, 0 if nothing is there."""
        slots = children
        while True:
            side = 1 if slots[1] else 0
            leaf = slots[side]
            if not leaf:
                return 0
            below = self.child[leaf]
            if not any(below):
                slots[side] = 0
                self.touched[leaf + HEADER >> PAGE_SHIFT] = None
                return leaf
            slots = below

    # ---- the best fit ----

    def best_fit(self, nb: int) -> int:
        """Return the smallest chunk of a trie that has room for a request that is not small, or 0.

        Source: dlmalloc 2.8.6 malloc.c:tmalloc_large
        """
        index = tree_index(nb)
        best, rest = 0, 1 << SIZE_BITS
        node, bit, right = self.root[index], first_bit(index), 0
        while node:
            left_over = (self.head[node] & SIZE_MASK) - nb
            if 0 <= left_over < rest:
                best, rest = node, left_over
                if not rest:
                    return best
            children = self.child[node]
            node = children[nb >> bit & 1]
            bit -= 1
            if children[1] and children[1] != node:
                right = children[1]  # the deepest subtree of larger ones that was passed
        node = right
        if not node and not best:
            larger = self.treemap & (-2 << index)
            node = self.root[(larger & -larger).bit_length() - 1] if larger else 0
        return self._smallest(node, nb, best, rest)

    def smallest(self, nb: int) -> int:
        """Return the smallest chunk of any trie, of which all have room for a small request.

        Source: dlmalloc 2.8.6 malloc.c:tmalloc_small
        """
        index = (self.treemap & -self.treemap).bit_length() - 1
        return self._smallest(self.root[index], nb, 0, 1 << SIZE_BITS)

    def _smallest(self, node: int, nb: int, best: int, rest: int) -> int:
        """Walk down a subtree, always to the smaller side; return what fits best."""
        while node:
            left_over = (self.head[node] & SIZE_MASK) - nb
            if 0 <= left_over < rest:
                best, rest = node, left_over
            left, right = self.child[node]
            node = left or right
        return best
