"""A node of a maple tree, and where the content of one that is too full is cut.

Linux: include/linux/maple_tree.h, lib/maple_tree.c (6.1), as an allocation tree of mm/mmap.c.
Interface: `MapleNode`; `MapleCells` is what a node holds, or would hold if it had room.
Units: indexes, which are addresses in the tree of an address space; slots.
"""

from typing import Any, Final

import attrs

MAPLE_RANGE64_SLOTS: Final = 16  # of a leaf
MAPLE_ARANGE64_SLOTS: Final = 10  # of a node above, which keeps the largest gaps, too
LEAF_MIN_SLOTS: Final = MAPLE_RANGE64_SLOTS // 2 - 2  # mt_min_slots: more than so many
NODE_MIN_SLOTS: Final = MAPLE_ARANGE64_SLOTS // 2 - 1
ULONG_MAX: Final = (1 << 64) - 1

# Pivots, the last index of each slot, and what is in them: nodes, or entries, None for nothing.
MapleCells = tuple[list[int], list[Any]]


@attrs.define(eq=False)
class MapleNode:
    """A node: slot i is for the indexes up to `pivots[i]`, from behind those of the slot before.

    Attributes:
        is_leaf: Its slots are entries.
        pivots: Last index of each slot, all there are; Linux leaves out the last one.
        slots: Nodes below, or entries.
        row: Of the slab it lies in.
        is_dead: It is no more in the tree.
    """

    is_leaf: bool
    pivots: list[int]
    slots: list[Any]
    row: int
    is_dead: bool = False


def slot_count(*, is_leaf: bool) -> int:
    """Return the most slots of a node (mt_slots)."""
    return MAPLE_RANGE64_SLOTS if is_leaf else MAPLE_ARANGE64_SLOTS


def min_slot_count(*, is_leaf: bool) -> int:
    """Return how many slots are too few for a node that is not the root (mt_min_slots)."""
    return LEAF_MIN_SLOTS if is_leaf else NODE_MIN_SLOTS


def no_null_split(slots: list[Any], split: int, *, is_leaf: bool) -> int:
    """Move a cut so that what lies before it does not end with nothing.

    Source: Linux 6.1 lib/maple_tree.c:mab_no_null_split
    """
    if slots[split] is not None:
        return split
    is_room = split < slot_count(is_leaf=is_leaf) - 1
    if is_room and len(slots) - 1 - split > min_slot_count(is_leaf=is_leaf):
        return split + 1
    return split - 1


def calc_splits(slots: list[Any], *, is_leaf: bool, bulk: bool = False) -> list[int]:
    """Return the last slots of all nodes but one that a content is cut into: none, one or two.

    Args:
        slots: The content.
        is_leaf: It is that of a leaf.
        bulk: More is to come behind, so the first node is filled.

    Source: Linux 6.1 lib/maple_tree.c:mas_mab_to_node, :mab_calc_split, :mab_middle_node
    """
    end, most = len(slots) - 1, slot_count(is_leaf=is_leaf)
    if end < most:
        return []
    if bulk:
        split = end - min_slot_count(is_leaf=is_leaf)
        return [split if slots[split] is not None else split - 1]
    split = end // 2
    if end >= 2 * most or (slots[split] is None and end >= 2 * most - 1):
        split = end // 3
        mid_split = no_null_split(slots, split * 2, is_leaf=is_leaf)
        return [no_null_split(slots, split, is_leaf=is_leaf), mid_split]
    return [no_null_split(slots, split, is_leaf=is_leaf)]


def push_split(
    own: MapleCells, neighbour: MapleNode, *, is_left: bool
) -> tuple[MapleCells, int] | None:
    """Tell how a node's neighbour takes some of a content for which the node has no room.

    Args:
        own: The content.
        neighbour: Of the same node above.
        is_left: It is the one before.

    Returns:
        The content of both, and the last slot of the first; None if there is not enough room.

    Source: Linux 6.1 lib/maple_tree.c:mas_push_data
    """
    is_leaf, (pivots, slots) = neighbour.is_leaf, own
    most = slot_count(is_leaf=is_leaf)
    total = len(slots) + len(neighbour.slots) - 2
    if total >= 2 * most - 2 - is_leaf - (pivots[-1] == ULONG_MAX):
        return None
    if is_left:
        both, split = (neighbour.pivots + pivots, neighbour.slots + slots), most - 2
    else:
        both, split = (pivots + neighbour.pivots, slots + neighbour.slots), total - (most - 2)
    return both, no_null_split(both[1], split, is_leaf=is_leaf)


def stored(
    leaf: MapleNode, low: int, first: int, last: int, entry: object, *, at: int, end: int
) -> tuple[MapleCells, int, int]:
    """Return what a leaf holds once an entry is in place of what [first, last] holds.

    Nothing becomes one with the nothing beside it.

    Args:
        leaf: The leaf.
        low: Its first index.
        first: Of the entry.
        last: Of the entry, in the same leaf.
        entry: What; None for nothing.
        at: Slot of `first`.
        end: Slot of `last`.

    Returns:
        The content, and the first and last index of the slot that the entry is in.

    Source: Linux 6.1 lib/maple_tree.c:mas_store_b_node, :mas_wr_extend_null
    """
    pivots, slots = leaf.pivots, leaf.slots
    start = pivots[at - 1] + 1 if at else low
    if entry is None:
        if slots[end] is None:
            last = pivots[end]
        elif last == pivots[end] and end + 1 < len(slots) and slots[end + 1] is None:
            end += 1
            last = pivots[end]
        if slots[at] is None:
            first = start
        elif first == start and at and slots[at - 1] is None:
            at -= 1
            first = pivots[at - 1] + 1 if at else low
            start = first
    new_pivots, new_slots = pivots[:at], slots[:at]
    if start < first:
        new_pivots.append(first - 1)
        new_slots.append(slots[at])
    new_pivots.append(last)
    new_slots.append(entry)
    if last < pivots[end]:
        new_pivots.append(pivots[end])
        new_slots.append(slots[end])
    return (new_pivots + pivots[end + 1 :], new_slots + slots[end + 1 :]), first, last
