"""Kernel memory that swap takes: nodes for pages and shadows, bios for what is read or written.

Linux: lib/xarray.c, mm/swap_state.c:init_swap_address_space, mm/page_io.c, block/bio.c (6.1).
Differs: Pages and shadows of swap are looked up in columns; of the trees that Linux has for them
there is what they take of memory, a tree for each 64 MiB of all areas behind each other.

A node holds 64 slots, one above it 64 nodes, and the top of a tree four of these. They exist while
a slot below them has a page or a shadow.

Each page that is read or written has a bio, though many of them become one request.

Interface: `swap_node_get` for a slot that gets an entry, `swap_node_put` for one that loses it;
`swap_bio_alloc` when its reading or writing begins, `swap_bio_put` when that is done.
"""

from typing import Final

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.slab import kmem_cache_alloc, kmem_cache_free
from kernelsim.mm.core.slab_cache import BIO, RADIX_TREE_NODE
from kernelsim.mm.swap.swap_area import TN_COUNT, TN_NID, TN_SLAB, SwapArea

XA_CHUNK_SHIFT: Final = 6
_TOP_SHIFT: Final = 2  # SWAP_ADDRESS_SPACE_SHIFT is 14
_LEVELS: Final = 3


@leaf
def swap_node_get(swap: SwapArea, slot: int, nid: int) -> None:
    """Count an entry that a slot gets, and make the nodes down to it.

    Source: Linux 6.1 mm/swap_state.c:add_to_swap_cache, lib/xarray.c:xas_create
    """
    at, base, nr = slot >> XA_CHUNK_SHIFT, 0, len(swap.map) >> XA_CHUNK_SHIFT
    for level in range(_LEVELS):
        node = swap.node[base + at]
        node[TN_COUNT] += 1
        if node[TN_COUNT] > 1:
            break
        node[TN_SLAB] = kmem_cache_alloc(swap.slabs, RADIX_TREE_NODE, nid)
        node[TN_NID] = nid
        shift = XA_CHUNK_SHIFT if level == 0 else _TOP_SHIFT
        base, at, nr = base + nr, at >> shift, (nr + (1 << shift) - 1) >> shift


@leaf
def swap_node_put(swap: SwapArea, slot: int) -> None:
    """Count an entry less, and free the nodes that hold nothing any more.

    Source: Linux 6.1 mm/swap_state.c:clear_shadow_from_swap_cache, lib/xarray.c:xas_delete_node
    """
    at, base, nr = slot >> XA_CHUNK_SHIFT, 0, len(swap.map) >> XA_CHUNK_SHIFT
    for level in range(_LEVELS):
        node = swap.node[base + at]
        assert node[TN_COUNT] > 0, "a slot without an entry loses it"
        node[TN_COUNT] -= 1
        if node[TN_COUNT]:
            break
        kmem_cache_free(swap.slabs, RADIX_TREE_NODE, int(node[TN_NID]), int(node[TN_SLAB]))
        shift = XA_CHUNK_SHIFT if level == 0 else _TOP_SHIFT
        base, at, nr = base + nr, at >> shift, (nr + (1 << shift) - 1) >> shift


@inlined_leaf
def swap_bio_alloc(swap: SwapArea, slot: int, nid: int) -> None:
    """Take a bio for a slot that is going to be read or written.

    Source: Linux 6.1 mm/page_io.c:__swap_writepage, :swap_readpage
    """
    swap.bio[slot] = 1 + kmem_cache_alloc(swap.slabs, BIO, nid)


@inlined_leaf
def swap_bio_put(swap: SwapArea, slot: int, nid: int) -> None:
    """Free the bio of a slot, if there is one.

    Source: Linux 6.1 mm/page_io.c:end_swap_bio_write, :end_swap_bio_read
    """
    if swap.bio[slot]:
        kmem_cache_free(swap.slabs, BIO, nid, int(swap.bio[slot]) - 1)
        swap.bio[slot] = 0
