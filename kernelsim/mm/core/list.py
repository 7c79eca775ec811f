"""Doubly linked lists of page frames: rows of `Mem.lists` and the two link columns.

Linux: include/linux/list.h. A page is on one list at a time; a list ends at pfn 0.
Interface: `list_add` puts in front (Linux's list_add), `list_add_tail` at the end, `list_del`
needs the right list number. `walk_list` is for checkers.
"""

from typing import Final

from kernelsim.hw.leaf import leaf
from kernelsim.mm.core.mem import I32, L_COUNT, L_HEAD, L_TAIL, Mem

WALK_OUTSIDE: Final = 1  # a link leads out of memory
WALK_TWICE: Final = 2  # a page is on two lists, or the list bites its tail
WALK_PREV: Final = 3  # a page's prev is not the page before it
WALK_TAIL: Final = 4  # the list does not end at its tail
WALK_COUNT: Final = 5  # the count is wrong


@leaf
def list_add(mem: Mem, number: int, pfn: int) -> None:
    """Put a page in front of a list."""
    head = mem.lists[number, L_HEAD]
    mem.pages.prev[pfn] = 0
    mem.pages.next[pfn] = head
    if head:
        mem.pages.prev[head] = pfn
    else:
        mem.lists[number, L_TAIL] = pfn
    mem.lists[number, L_HEAD] = pfn
    mem.lists[number, L_COUNT] += 1


@leaf
def list_add_tail(mem: Mem, number: int, pfn: int) -> None:
    """Put a page at the end of a list."""
    tail = mem.lists[number, L_TAIL]
    mem.pages.next[pfn] = 0
    mem.pages.prev[pfn] = tail
    if tail:
        mem.pages.next[tail] = pfn
    else:
        mem.lists[number, L_HEAD] = pfn
    mem.lists[number, L_TAIL] = pfn
    mem.lists[number, L_COUNT] += 1


@leaf
def list_del(mem: Mem, number: int, pfn: int) -> None:
    """Take a page off the list it is on.

    Loops that empty a list end here at the latest, however corrupt it is.
    """
    assert mem.lists[number, L_COUNT] > 0, "a page is taken off a list that is empty"
    before = mem.pages.prev[pfn]
    after = mem.pages.next[pfn]
    if before:
        mem.pages.next[before] = after
    else:
        mem.lists[number, L_HEAD] = after
    if after:
        mem.pages.prev[after] = before
    else:
        mem.lists[number, L_TAIL] = before
    mem.pages.next[pfn] = 0
    mem.pages.prev[pfn] = 0
    mem.lists[number, L_COUNT] -= 1


@leaf
def walk_list(mem: Mem, number: int, owner: I32) -> tuple[int, int]:
    """Follow a list from its head and enter its number + 1 for each page in `owner`; read only.

    Args:
        mem: The machine's memory.
        number: List number.
        owner: int32[pfn], 0 for pages on no list seen so far.

    Returns:
        (0, entries) for a sound list, else (a WALK_* code, the pfn where it shows).
    """
    nr_pfns = owner.shape[0]
    before = 0
    entries = 0
    pfn = int(mem.lists[number, L_HEAD])
    while pfn:
        if pfn < 0 or pfn >= nr_pfns:
            return WALK_OUTSIDE, pfn
        if owner[pfn]:
            return WALK_TWICE, pfn
        if mem.pages.prev[pfn] != before:
            return WALK_PREV, pfn
        owner[pfn] = number + 1
        entries += 1
        before = pfn
        pfn = int(mem.pages.next[pfn])
    if mem.lists[number, L_TAIL] != before:
        return WALK_TAIL, before
    if mem.lists[number, L_COUNT] != entries:
        return WALK_COUNT, entries
    return 0, entries
