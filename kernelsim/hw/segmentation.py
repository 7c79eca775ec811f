"""Segmentation: a selector names a descriptor; base plus offset is the address.

Source: Intel SDM volume 3A, chapter 3 (descriptors) and 5 (limit, type and privilege checks).
Differs: Segments that expand down, conforming code, call gates and the hidden part of segment
registers are not there: each reference reads its descriptor.
Interface: `SegmentTable`.
Units: bytes.
"""

from typing import Final

import attrs

from kernelsim.hw.translation import (
    EXECUTE,
    GP,
    NP,
    READ,
    SS,
    WRITE,
    Step,
    Translation,
    refused,
)

DESCRIPTOR_BYTES: Final = 8
CODE: Final = "code"
DATA: Final = "data"
STACK: Final = "stack"
MAY: Final = {CODE: (READ, EXECUTE), DATA: (READ, WRITE), STACK: (READ, WRITE)}


@attrs.frozen
class Selector:
    """What a segment register holds.

    Attributes:
        index: Of the descriptor; 0 is no segment.
        rpl: Requested privilege level, 0 (kernel) to 3 (user).
    """

    index: int
    rpl: int = 3


@attrs.frozen
class SegmentDescriptor:
    """A segment.

    Attributes:
        base: Address of its first byte.
        size: Its bytes: the limit + 1.
        kind: CODE, DATA or STACK, which decides what may be done.
        dpl: Privilege level that it takes, 0 to 3.
        is_present: It is in memory.
    """

    base: int
    size: int
    kind: str = DATA
    dpl: int = 3
    is_present: bool = True


class SegmentTable:
    """A table of descriptors in memory.

    Args:
        address: Where it begins.
        descriptors: From index 1 on.
    """

    def __init__(self, address: int, descriptors: tuple[SegmentDescriptor, ...]) -> None:
        self.address = address
        self._descriptors: list[SegmentDescriptor | None] = [None, *descriptors]

    def __getitem__(self, index: int) -> SegmentDescriptor:
        descriptor = self._descriptors[index]
        assert descriptor is not None, "entry 0 is no segment"
        return descriptor

    def put(self, index: int, descriptor: SegmentDescriptor) -> None:
        """Write a descriptor: the segment is elsewhere, or of another size, from now on."""
        self._descriptors[index] = descriptor

    def translate(
        self, selector: Selector, offset: int, access: str = READ, *, cpl: int = 3
    ) -> Translation:
        """Translate a logical address.

        Args:
            selector: Of the segment.
            offset: Of the byte in it.
            access: READ, WRITE or EXECUTE.
            cpl: Privilege level of the program.
        """
        index = selector.index
        if not 0 < index < len(self._descriptors):
            return refused(GP, f"selector {index} is none of a segment")
        steps = (Step("segment table", index, self.address + index * DESCRIPTOR_BYTES),)
        segment = self[index]
        if access not in MAY[segment.kind]:
            return refused(GP, f"no {access} of {segment.kind}", steps)
        if not may_use(segment, selector.rpl, cpl):
            levels = f"privilege {max(cpl, selector.rpl)}, the segment is of {segment.dpl}"
            return refused(GP, levels, steps)
        if not segment.is_present:
            return refused(SS if segment.kind == STACK else NP, "it is not present", steps)
        if not 0 <= offset < segment.size:
            limit = f"offset {offset:#x} is beyond the limit {segment.size - 1:#x}"
            return refused(SS if segment.kind == STACK else GP, limit, steps)
        return Translation(segment.base + offset, steps)


def may_use(segment: SegmentDescriptor, rpl: int, cpl: int) -> bool:
    """Tell whether a program of a privilege level may use a segment, as a register names it."""
    if segment.kind == STACK:
        return rpl == cpl == segment.dpl
    if segment.kind == CODE:
        return cpl == segment.dpl and rpl <= cpl
    return max(cpl, rpl) <= segment.dpl
