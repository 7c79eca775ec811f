"""Memory policies of mappings: which pieces get one, and where they split and merge.

Linux: mm/mempolicy.c: mbind_range, queue_pages_test_walk, set_mempolicy_home_node, 6.1.
Interface: `range_of` reads the range of a call, `has_hole` tells whether all of it is mapped,
`mbind_range` gives a range a policy, `set_home_node` its policies a node where they look first.
Units: addresses and lengths in bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.mm.page.mempolicy import MPOL_BIND, MPOL_PREFERRED_MANY, Mempolicy
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import page_align
from kernelsim.units import PAGE_SIZE

ADDRESS_SPACE: Final = 1 << 64  # where addresses begin again


def range_of(address: int, length: int) -> tuple[int, int] | int:
    """Return start and end of a range in whole pages, or a negative errno.

    Source: Linux 6.1 mm/mempolicy.c:do_mbind, :set_mempolicy_home_node
    """
    end = (address + page_align(length)) % ADDRESS_SPACE
    if address % PAGE_SIZE or end < address:
        return -errno.EINVAL
    return address, end


def has_hole(mm: MmStruct, start: int, end: int, *, allowed: bool) -> bool:
    """Tell whether a range has a hole; where holes are allowed, whether it is nothing else.

    Source: Linux 6.1 mm/mempolicy.c:queue_pages_test_walk, :queue_pages_range
    """
    if allowed:
        return mm.map.find_vma_intersection(start, end) is None
    return not mm.map.covers(start, end)


def mbind_range(mm: MmStruct, start: int, end: int, policy: Mempolicy | None) -> int:
    """Give what is mapped of a range a policy; return 0, or -ENOMEM with nothing changed.

    Source: Linux 6.1 mm/mempolicy.c:mbind_range, mm/mmap.c:split_vma
    """
    # Differs from Linux: A range that would make too many mappings is refused by mbind as a whole;
    # Linux leaves those that it has come to by then with their new policy.
    pieces = [vma for vma in mm.map.overlapping(start, end) if vma.policy != policy]
    splits = sum(
        (whole := mm.map.find_vma(vma.start)) is not None
        and (whole.start < vma.start) + (vma.end < whole.end)
        for vma in pieces
    )
    if splits and len(mm.map) + splits > mm.commit.sysctl.vm_max_map_count:
        return -errno.ENOMEM
    for vma in pieces:
        mm.map.remove(vma.start, vma.end)
        mm.map.insert(attrs.evolve(vma, policy=policy))
    return 0


def set_home_node(mm: MmStruct, start: int, end: int, nid: int) -> int:
    """Let the policies of a range look at a node first; return 0 or a negative errno.

    A policy that has no such node ends it; those before it have theirs by then.

    Source: Linux 6.1 mm/mempolicy.c:set_mempolicy_home_node
    """
    error = -errno.ENOENT
    for vma in mm.map.overlapping(start, end):
        if vma.policy is None:
            continue
        if vma.policy.mode not in (MPOL_BIND, MPOL_PREFERRED_MANY):
            return -errno.EOPNOTSUPP
        error = mbind_range(mm, vma.start, vma.end, attrs.evolve(vma.policy, home_node=nid))
        if error:
            return error
    return error
