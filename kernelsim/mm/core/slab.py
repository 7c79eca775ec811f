"""Objects of the kernel that come many to a slab of pages: where one is taken from and freed to.

Linux: mm/slub.c (6.1).
Differs: A slab cache has its current slab, and the short list of partial ones before that of the
node, once a node, not once a CPU.
Differs: A slab gets its pages right behind the step that needed its first object, not before; if
none are to be had, its objects lie on no page. Linux leaves a page that gets no node out of swap.
For bios pages are asked for again, and who writes waits for them (actors/alloc/mempool.py).
Differs: Of all slab caches there are those of page-cache nodes, buffer heads, bios of swap,
processes and their mappings, maple nodes of these (none of anon_vma); what the others held at boot
stays.

A leaf that needs an object takes it at once. When there is none it opens a new slab, which owes its
pages; a slab that is empty and not kept gives them back. The task whose step that was settles both
with the page allocator (actors/alloc/slab.py); compiled runs do the same as far as nobody can
notice (mm/burst/slab_pages.py), and stop where that is not enough.

Interface: leaves over `Slabs`: `kmem_cache_alloc` returns the row of the slab that the object lies
in, which its owner keeps for `kmem_cache_free`; row 0 is memory that the kernel had at boot. What
is to be settled comes from `take_owed` and `take_empty`; `slab_paid` and `slab_gone` end that.
Units: objects, slabs, pages; bytes of sizes.
"""

import numpy as np

from kernelsim.hw.leaf import inlined_leaf, leaf
from kernelsim.mm.core.mem import I64, Slabs
from kernelsim.mm.core.slab_cache import (
    CPU_PARTIAL,
    CURRENT,
    EMPTY,
    FULL,
    NO_PAGE,
    NODE_PARTIAL,
    NR_KMEM_CACHES,
    SB_CACHE,
    SB_INUSE,
    SB_NEXT,
    SB_NID,
    SB_OBJECTS,
    SB_ORDER,
    SB_PFN,
    SB_PREV,
    SB_STATE,
    SC_COUNT,
    SC_CPU_COUNT,
    SC_CPU_HEAD,
    SC_CPU_MAX,
    SC_CURRENT,
    SC_HEAD,
    SC_MIN_PARTIAL,
    SC_NR_BOOT,
    SC_NR_INUSE,
    SC_NR_OBJECTS,
    SC_NR_SLABS,
    SC_OBJECTS,
    SC_SIZE,
    SC_TAIL,
    SLAB_BOOT,
    SLAB_EMPTY,
    SLAB_EMPTY_HEAD,
    SLAB_FREE,
    SLAB_OWED,
    SLAB_OWED_HEAD,
    SLAB_OWED_TAIL,
    SLAB_ROWS,
)
from kernelsim.units import PAGE_SIZE


@inlined_leaf
def has_slab_work(slabs: Slabs) -> bool:
    """Tell whether slabs owe pages, or give some back."""
    return slabs.state[SLAB_OWED] != 0 or slabs.state[SLAB_EMPTY] != 0


@leaf
def kmem_cache_alloc(slabs: Slabs, cache: int, nid: int) -> int:
    """Take an object; return the row of its slab.

    Source: Linux 6.1 mm/slub.c:slab_alloc_node, :___slab_alloc
    """
    own = slabs.cache[nid * NR_KMEM_CACHES + cache]
    own[SC_NR_INUSE] += 1
    row = int(own[SC_CURRENT])
    if row and slabs.row[row, SB_INUSE] < slabs.row[row, SB_OBJECTS]:
        slabs.row[row, SB_INUSE] += 1
        return row
    if row:
        slabs.row[row, SB_STATE] = FULL
        own[SC_CURRENT] = 0
    if slabs.state[SLAB_BOOT]:
        return 0
    row = take_partial(slabs, own)
    if row == 0 and own[SC_NR_BOOT]:
        own[SC_NR_BOOT] -= 1
        return 0
    if row == 0:
        row = open_slab(slabs, cache, nid)
    if row:
        own[SC_CURRENT] = row
        slabs.row[row, SB_STATE] = CURRENT
        slabs.row[row, SB_INUSE] += 1
    return row


@leaf
def take_partial(slabs: Slabs, own: I64) -> int:
    """Take a slab with free objects off its list; 0 if there is none.

    Some of the node's come along for the next times.

    Source: Linux 6.1 mm/slub.c:get_partial_node
    """
    row = int(own[SC_CPU_HEAD])
    if row:
        own[SC_CPU_HEAD] = slabs.row[row, SB_NEXT]
        own[SC_CPU_COUNT] -= 1
        return row
    row = int(own[SC_HEAD])
    if row == 0:
        return 0
    remove_partial(slabs, own, row)
    nr_more = own[SC_CPU_MAX] // 2 + 1
    while nr_more and own[SC_HEAD]:
        more = int(own[SC_HEAD])
        remove_partial(slabs, own, more)
        push_cpu_partial(slabs, own, more)
        nr_more -= 1
    return row


@leaf
def open_slab(slabs: Slabs, cache: int, nid: int) -> int:
    """Return a new slab, which owes its pages; 0 if there can be no more.

    Source: Linux 6.1 mm/slub.c:new_slab
    """
    state = slabs.state
    row = int(state[SLAB_FREE])
    if row:
        state[SLAB_FREE] = slabs.row[row, SB_NEXT]
    elif state[SLAB_ROWS] < len(slabs.row):
        row = int(state[SLAB_ROWS])
        state[SLAB_ROWS] += 1
    else:
        return 0
    own = slabs.row[row]
    own[:] = 0
    own[SB_CACHE], own[SB_NID] = cache, nid
    own[SB_OBJECTS] = slabs.cache[nid * NR_KMEM_CACHES + cache, SC_OBJECTS]
    if state[SLAB_OWED]:
        slabs.row[state[SLAB_OWED_TAIL], SB_NEXT] = row
    else:
        state[SLAB_OWED_HEAD] = row
    state[SLAB_OWED_TAIL] = row
    state[SLAB_OWED] += 1
    return row


@leaf
def kmem_cache_free(slabs: Slabs, cache: int, nid: int, row: int) -> None:
    """Give an object back to its slab; `nid` says whose it was if that is of boot.

    Source: Linux 6.1 mm/slub.c:__slab_free
    """
    if row == 0:
        slabs.cache[nid * NR_KMEM_CACHES + cache, SC_NR_INUSE] -= 1
        slabs.cache[nid * NR_KMEM_CACHES + cache, SC_NR_BOOT] += 1
        return
    slab = slabs.row[row]
    own = slabs.cache[slab[SB_NID] * NR_KMEM_CACHES + cache]
    assert slab[SB_INUSE] > 0, "an object is freed to a slab that has none in use"
    own[SC_NR_INUSE] -= 1
    slab[SB_INUSE] -= 1
    if slab[SB_PFN] == 0:
        return  # its list is found when it is paid
    if slab[SB_STATE] == FULL:
        put_cpu_partial(slabs, own, row)
    elif slab[SB_STATE] == NODE_PARTIAL and slab[SB_INUSE] == 0:
        if own[SC_COUNT] >= own[SC_MIN_PARTIAL]:
            remove_partial(slabs, own, row)
            give_up(slabs, row)


@leaf
def put_cpu_partial(slabs: Slabs, own: I64, row: int) -> None:
    """Put a slab that got a free object on the short list; when it is long all go to the node's.

    Source: Linux 6.1 mm/slub.c:put_cpu_partial, :__unfreeze_partials
    """
    if own[SC_CPU_COUNT] >= own[SC_CPU_MAX]:
        old = int(own[SC_CPU_HEAD])
        own[SC_CPU_HEAD] = 0
        own[SC_CPU_COUNT] = 0
        while old:
            after = int(slabs.row[old, SB_NEXT])
            if slabs.row[old, SB_INUSE] == 0 and own[SC_COUNT] >= own[SC_MIN_PARTIAL]:
                give_up(slabs, old)
            else:
                add_partial(slabs, own, old)
            old = after
    push_cpu_partial(slabs, own, row)


@inlined_leaf
def push_cpu_partial(slabs: Slabs, own: I64, row: int) -> None:
    """Put a slab in front of the short list."""
    slabs.row[row, SB_STATE] = CPU_PARTIAL
    slabs.row[row, SB_NEXT] = own[SC_CPU_HEAD]
    own[SC_CPU_HEAD] = row
    own[SC_CPU_COUNT] += 1


@leaf
def add_partial(slabs: Slabs, own: I64, row: int) -> None:
    """Put a slab at the end of the node's partial ones."""
    slab, tail = slabs.row[row], own[SC_TAIL]
    slab[SB_STATE], slab[SB_PREV], slab[SB_NEXT] = NODE_PARTIAL, tail, 0
    if tail:
        slabs.row[tail, SB_NEXT] = row
    else:
        own[SC_HEAD] = row
    own[SC_TAIL] = row
    own[SC_COUNT] += 1


@leaf
def remove_partial(slabs: Slabs, own: I64, row: int) -> None:
    """Take a slab off the node's partial ones."""
    before, after = slabs.row[row, SB_PREV], slabs.row[row, SB_NEXT]
    if before:
        slabs.row[before, SB_NEXT] = after
    else:
        own[SC_HEAD] = after
    if after:
        slabs.row[after, SB_PREV] = before
    else:
        own[SC_TAIL] = before
    own[SC_COUNT] -= 1


@inlined_leaf
def give_up(slabs: Slabs, row: int) -> None:
    """Let a slab without objects in use give its pages back.

    Source: Linux 6.1 mm/slub.c:discard_slab
    """
    slabs.row[row, SB_STATE] = EMPTY
    slabs.row[row, SB_NEXT] = slabs.state[SLAB_EMPTY_HEAD]
    slabs.state[SLAB_EMPTY_HEAD] = row
    slabs.state[SLAB_EMPTY] += 1


@leaf
def take_owed(slabs: Slabs) -> int:
    """Return the first slab that owes its pages, whose turn it is; 0 for none."""
    state = slabs.state
    if not state[SLAB_OWED]:
        return 0
    row = int(state[SLAB_OWED_HEAD])
    state[SLAB_OWED_HEAD] = slabs.row[row, SB_NEXT]
    state[SLAB_OWED] -= 1
    return row


@leaf
def take_empty(slabs: Slabs) -> int:
    """Return a slab that gives its pages back, whose turn it is; 0 for none."""
    state = slabs.state
    if not state[SLAB_EMPTY]:
        return 0
    row = int(state[SLAB_EMPTY_HEAD])
    state[SLAB_EMPTY_HEAD] = slabs.row[row, SB_NEXT]
    state[SLAB_EMPTY] -= 1
    return row


def find_pageless(slabs: Slabs, cache: int) -> int:
    """Return a slab of a cache that there were no pages for, with objects in use; 0 for none."""
    rows = slabs.row[: slabs.state[SLAB_ROWS]]
    is_pageless = (rows[:, SB_CACHE] == cache) & (rows[:, SB_PFN] == NO_PAGE)
    return int(np.argmax(is_pageless & (rows[:, SB_INUSE] > 0)))  # row 0 is none of any cache


@leaf
def slab_paid(slabs: Slabs, row: int, pfn: int, order: int) -> None:
    """Enter the pages that a slab owed, or had none of so far; NO_PAGE if there are none.

    A slab of a lower order than the usual has room for fewer objects, but for those it has.
    """
    slab = slabs.row[row]
    cache = int(slab[SB_CACHE])
    own = slabs.cache[slab[SB_NID] * NR_KMEM_CACHES + cache]
    slab[SB_PFN], slab[SB_ORDER] = pfn, order
    objects = (PAGE_SIZE << order) // own[SC_SIZE]
    slab[SB_OBJECTS] = max(objects, slab[SB_INUSE])
    if pfn != NO_PAGE:
        own[SC_NR_SLABS] += 1
        own[SC_NR_OBJECTS] += slab[SB_OBJECTS]
    if slab[SB_STATE] == FULL and slab[SB_INUSE] < slab[SB_OBJECTS]:
        put_cpu_partial(slabs, own, row)


@leaf
def slab_gone(slabs: Slabs, row: int) -> None:
    """Note that the pages of an empty slab are on their way back."""
    slab = slabs.row[row]
    own = slabs.cache[slab[SB_NID] * NR_KMEM_CACHES + slab[SB_CACHE]]
    if slab[SB_PFN] != NO_PAGE:
        own[SC_NR_SLABS] -= 1
        own[SC_NR_OBJECTS] -= slab[SB_OBJECTS]
    slab[:] = 0
    slab[SB_NEXT] = slabs.state[SLAB_FREE]
    slabs.state[SLAB_FREE] = row
