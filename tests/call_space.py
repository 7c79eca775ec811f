"""An address space as the manual pages see it: a list of mappings, and who asks.

Interface: `Space`; `up` and `no` are how answers are written.
Units: bytes.
"""

import errno
from typing import Any

import attrs

from kernelsim.units import PAGE_SIZE

WORD = 1 << 64


@attrs.frozen
class Space:
    """An address space as a call finds it.

    Attributes:
        areas: Its mappings, rising.
        task_size: First address behind those of a process.
        locked_bytes: Of locked mappings.
        memlock: RLIMIT_MEMLOCK.
        is_root: Whose it is.
        files: Descriptors: whether they may be read, and written.
        with_memory: Nodes.
    """

    areas: tuple[Any, ...]
    task_size: int
    locked_bytes: int
    memlock: int
    is_root: bool
    files: dict[int, tuple[bool, bool]]
    with_memory: tuple[int, ...]

    def at(self, address):
        """Return the first mapping that ends above an address."""
        return next((area for area in self.areas if area.end > address), None)

    def over(self, address):
        """Return the mapping an address lies in."""
        area = self.at(address)
        return area if area is not None and area.start <= address else None

    def inside(self, start, end):
        """Return the mappings that have a byte of a range."""
        return [area for area in self.areas if area.start < end and area.end > start]

    def hole(self, start, end):
        """Return the first address of a range where nothing is mapped; `end` for none."""
        at = start
        for area in self.inside(start, end):
            if area.start > at:
                return at
            at = area.end
        return min(at, end)

    def may_lock(self):
        """Tell whether anything may be locked at all."""
        return self.is_root or self.memlock > 0


def up(length):
    """Round up to a page, as a word."""
    return (length + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE % WORD


def no(*names):
    """Return answers: negative errnos."""
    return tuple(-getattr(errno, name) for name in names)


def is_inner(space, address):
    """Tell whether an address would cut a mapping that may not be cut, such as [vdso]."""
    area = space.over(address)
    cut = area is not None and area.start < address
    return cut and area.file is not None and area.file.is_special


def cuts_special(space, start, end):
    """Tell whether a range begins or ends inside such a mapping."""
    return is_inner(space, start) or is_inner(space, end)
