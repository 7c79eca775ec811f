"""What a system call that fails must leave as it is, and what Linux itself leaves half done.

Interface: `State.of` before and after a call, `require_same` compares them.
Units: bytes, pages.
"""

import errno
from typing import Any

import attrs

from kernelsim.actors.process.calls import advising, locking, mapping, mempolicy, protecting
from kernelsim.mm.space import vm_flags
from tests.small_machine import PAGE


@attrs.frozen
class State:
    """What a call that fails must leave as it is.

    Attributes:
        areas: Of the caller: start, end, what it is, and the page of the file at `start`.
        sizes: Of its address space, and what is promised to all.
    """

    areas: list[tuple[int, int, Any, int]]
    sizes: tuple[Any, ...]

    @classmethod
    def of(cls, kernel, mm):
        """Return that of an address space."""
        areas = [
            (vma.start, vma.end, (vma.flags, vma.file, vma.policy), vma.pgoff) for vma in mm.map
        ]
        sizes = (
            mm.total_vm, mm.data_vm, mm.exec_vm, mm.stack_vm, mm.locked_vm, mm.def_flags, mm.brk,
            attrs.astuple(mm.rlimits), kernel.mms.commit.committed_pages,
        )  # fmt: skip
        return cls(areas, sizes)

    def outside(self, ranges):
        """Return the areas without some ranges, neighbours that are alike as one."""
        pieces = []
        for start, end, kind, pgoff in self.areas:
            kept = [(start, end)]
            for low, high in ranges:
                kept = [
                    part
                    for first, last in kept
                    for part in ((first, min(last, low)), (max(first, high), last))
                    if part[0] < part[1]
                ]
            for first, last in kept:
                what = (kind, pgoff * PAGE - start)  # alike in neighbours that are one
                if pieces and pieces[-1][1:] == (first, what):
                    first = pieces.pop()[0]  # noqa: PLW2901 - they become one
                pieces.append((first, last, what))
        return pieces

    def require_same(self, after, value, number):
        """Compare with what there is after a call that failed."""
        ranges = left_behind(self, value, number)
        text = f"{value} fails with {errno.errorcode[number]}"
        if not ranges:
            assert after.areas == self.areas, f"{text} and changes what is mapped"
            assert after.sizes == self.sizes, f"{text} and changes sizes"
        assert after.outside(ranges) == self.outside(ranges), f"{text} and changes other mappings"


def left_behind(state, value, number):
    """Return the ranges in which Linux keeps what a call did before it failed, rising.

    Source: Linux 6.1 mm/mmap.c:mmap_region (what was there is unmapped before memory is charged),
        mm/mprotect.c:do_mprotect_pkey, mm/mlock.c:apply_vma_lock_flags,
        mm/madvise.c:madvise_walk_vmas (mapping by mapping, up to the one that refuses),
        mm/mremap.c:mremap_to (target and tail are unmapped first),
        mm/mempolicy.c:do_mbind (pages that do not move are told of at the end),
        :set_mempolicy_home_node
    """
    kept = KEPT.get(type(value), ())
    if number not in kept:
        return []
    length = getattr(value, "old_length", value.length)
    low, high = value.address // PAGE * PAGE, value.address + length + PAGE
    if isinstance(value, protecting.Mprotect) and value.prot & vm_flags.PROT_GROWSDOWN:
        low = min(low, next((area[0] for area in state.areas if area[1] > low), low))
    if isinstance(value, protecting.Mremap):
        if not value.flags & 6:
            return []
        return sorted([(low, high), (value.new_address, value.new_address + value.length + PAGE)])
    if isinstance(value, mapping.Mmap) and not value.flags & vm_flags.MAP_FIXED:
        return []
    return [(low, high)]


KEPT = {
    mapping.Mmap: (errno.ENOMEM,),
    protecting.Mprotect: (errno.ENOMEM, errno.EACCES, errno.EINVAL),
    protecting.Mremap: (errno.ENOMEM, errno.EFAULT, errno.EINVAL, errno.EAGAIN),
    locking.Mlock2: (errno.ENOMEM,),
    locking.Munlock: (errno.ENOMEM,),
    advising.Madvise: (errno.ENOMEM, errno.EINVAL, errno.EAGAIN, errno.EACCES, errno.EFAULT),
    mempolicy.Mbind: (errno.EIO,),
    mempolicy.SetMempolicyHomeNode: (errno.EOPNOTSUPP, errno.EINVAL),
}
