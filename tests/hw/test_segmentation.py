"""Segmentation: where a logical address lies, and each rule that can refuse it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.hw.segmentation import (
    CODE,
    DATA,
    STACK,
    SegmentDescriptor,
    SegmentTable,
    Selector,
)
from kernelsim.hw.translation import EXECUTE, READ, WRITE

SEGMENTS = (
    SegmentDescriptor(0x1_0000, 0x1000, CODE),
    SegmentDescriptor(0x5_0000, 0x800, DATA),
    SegmentDescriptor(0x9_0000, 0x400, STACK),
    SegmentDescriptor(0xF_0000, 0x1000, DATA, dpl=0),
    SegmentDescriptor(0, 0x1000, DATA, is_present=False),
    SegmentDescriptor(0, 0x1000, STACK, is_present=False),
)
KINDS = (CODE, DATA, STACK, "kernel", "absent", "absent stack")


def translate(kind, offset, access, *, rpl=3, cpl=3):
    """Translate an address of the segment of a kind."""
    table = SegmentTable(0x1000, SEGMENTS)
    return table.translate(Selector(KINDS.index(kind) + 1, rpl), offset, access, cpl=cpl)


@pytest.mark.mission("V1")
@pytest.mark.parametrize(
    ("kind", "offset", "access", "address"),
    [(CODE, 0xFFF, EXECUTE, 0x1_0FFF), (DATA, 0, WRITE, 0x5_0000), (STACK, 0x3FF, WRITE, 0x9_03FF)],
)
def test_the_address_is_base_plus_offset(kind, offset, access, address):
    """Two accesses: the descriptor, 8 bytes an index, and the data."""
    found = translate(kind, offset, access)
    assert (found.address, found.exception, found.accesses) == (address, "", 2)
    assert found.steps[0].address == 0x1000 + 8 * (KINDS.index(kind) + 1)


@pytest.mark.mission("V1")
@pytest.mark.parametrize(
    ("kind", "offset", "access", "levels", "exception"),
    [
        (CODE, 0x1000, EXECUTE, {}, "#GP"),
        (DATA, 0x800, READ, {}, "#GP"),
        (DATA, -1, READ, {}, "#GP"),
        (STACK, 0x400, WRITE, {}, "#SS"),
        (CODE, 0, WRITE, {}, "#GP"),
        (DATA, 0, EXECUTE, {}, "#GP"),
        ("kernel", 0, READ, {}, "#GP"),
        ("kernel", 0, READ, {"rpl": 3, "cpl": 0}, "#GP"),
        ("kernel", 0, READ, {"rpl": 0, "cpl": 0}, ""),
        (CODE, 0, EXECUTE, {"rpl": 0, "cpl": 0}, "#GP"),
        (STACK, 0, READ, {"rpl": 0, "cpl": 3}, "#GP"),
        ("absent", 0, READ, {}, "#NP"),
        ("absent stack", 0, READ, {}, "#SS"),
    ],
)
def test_limit_kind_privilege_and_presence_are_checked(kind, offset, access, levels, exception):
    """An access that may not be done has the processor's exception, and reads no data."""
    found = translate(kind, offset, access, **levels)
    assert (found.exception, found.accesses) == (exception, 1 + (not exception))
    assert bool(found.why) == bool(exception)


@pytest.mark.parametrize("index", [0, 7, -1])
def test_a_selector_of_no_segment_reads_nothing(index):
    """Entry 0 is none, and the table has an end."""
    found = SegmentTable(0x1000, SEGMENTS).translate(Selector(index), 0)
    assert (found.exception, found.accesses) == ("#GP", 0)


@given(st.integers(0, 1 << 30), st.integers(1, 1 << 20), st.integers(-10, (1 << 20) + 10))
def test_inside_the_limit_and_nowhere_else(base, size, offset):
    """Any base, any size."""
    table = SegmentTable(0, (SegmentDescriptor(base, size),))
    found = table.translate(Selector(1), offset)
    if 0 <= offset < size:
        assert found.address == base + offset
    else:
        assert (found.address, found.exception) == (-1, "#GP")
