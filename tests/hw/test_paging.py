"""Paging: walks of one to five levels, and what the tables take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.hw.paging import MODES, Mapping, PageTable
from kernelsim.hw.segmentation import SegmentDescriptor, SegmentTable, Selector
from kernelsim.hw.segmented_paging import SegmentedPaging
from kernelsim.hw.translation import EXECUTE, READ, WRITE

MIB = 1 << 20
LEVELS = {
    "one level": 1, "two levels": 2, "PAE": 3, "16 KiB pages": 3, "four levels": 4,
    "five levels": 5,
}  # fmt: skip


@pytest.mark.mission("V4")
@pytest.mark.parametrize(("name", "levels"), LEVELS.items())
def test_a_walk_reads_one_entry_a_level(name, levels):
    """The entry of the address in each table; then comes the data."""
    mode = MODES[name]
    table = PageTable(mode, 0x10_0000)
    address = 0x7654_3210
    table.map(address, Mapping(42))
    found = table.translate(address)
    offset = address & (1 << mode.page_bits) - 1
    assert (found.address, found.accesses) == ((42 << mode.page_bits) + offset, levels + 1)
    assert [step.table for step in found.steps] == list(mode.tables)
    assert found.steps[0].address == 0x10_0000 + mode.entry_bytes * found.steps[0].index


@pytest.mark.mission("V3")
def test_what_tables_take_on_32_bits():
    """One level 4 MB a process, two 4 KB and 4 MB, 0.804 MB with a fifth in use."""
    assert sum(PageTable(MODES["one level"]).nr_bytes for _ in range(100)) == 400 * MIB
    two = PageTable(MODES["two levels"])
    assert two.nr_bytes == 4096
    for part in range(1024):
        two.map(part << 22, Mapping(1))
        if part == 204:  # a fifth of 1024 is 204.8
            assert abs(two.nr_bytes - 0.804 * MIB) < 4096
    assert two.nr_bytes == 4096 + 4 * MIB


@pytest.mark.mission("V7")
@pytest.mark.parametrize(
    ("name", "last"), [("four levels", (1 << 47) - 1), ("five levels", (1 << 56) - 1)]
)
def test_addresses_must_be_canonical(name, last):
    """The bits above those translated are all like the highest of them."""
    table = PageTable(MODES[name])
    first = (1 << 64) - 1 - last
    told = [table.translate(each).exception for each in (last, last + 1, first - 1, first)]
    assert told == ["#PF", "#GP", "#GP", "#PF"]


@pytest.mark.mission("V2")
@pytest.mark.parametrize(
    ("mapping", "access", "user", "why"),
    [
        (Mapping(1, writable=False), WRITE, True, "it may only be read"),
        (Mapping(1, executable=False), EXECUTE, True, "it may not be executed"),
        (Mapping(1, user=False), READ, True, "it is the kernel's"),
        (Mapping(1, user=False), READ, False, ""),
        (Mapping(1), WRITE, True, ""),
    ],
)
def test_flags_of_an_entry_are_checked(mapping, access, user, why):
    """A page that may not be used so is a page fault, after the whole walk."""
    table = PageTable(MODES["four levels"])
    table.map(0x1000, mapping)
    found = table.translate(0x1000, access, user=user)
    assert (found.why, found.exception, len(found.steps)) == (why, "#PF" if why else "", 4)


ADDRESSES = st.integers(0, (1 << 32) - 1)


@given(st.sampled_from(sorted(LEVELS)), st.dictionaries(ADDRESSES, st.integers(0, 1 << 20)))
def test_walks_find_what_was_mapped(name, pages):
    """As a dictionary from page to frame would say; nothing else is there."""
    mode, table, naive = MODES[name], PageTable(MODES[name]), {}
    for address, frame in pages.items():
        table.map(address, Mapping(frame))
        naive[address >> mode.page_bits] = frame
    for address in [*pages, 0, 0xFFFF_FFFF]:
        found = table.translate(address)
        frame = naive.get(address >> mode.page_bits)
        offset = address & (1 << mode.page_bits) - 1
        expected = -1 if frame is None else (frame << mode.page_bits) + offset
        assert found.address == expected
        assert (found.exception == "#PF") == (frame is None)


@pytest.mark.mission("V6")
def test_segments_and_pages_take_three_accesses():
    """Segment table, page table, data; a limit is checked before a page is looked for."""
    pages = PageTable(MODES["one level"], 0x40_0000)
    pages.map(0x2345, Mapping(7))
    space = SegmentedPaging(SegmentTable(0x1000, (SegmentDescriptor(0, 0x3000),)), {1: pages})
    found = space.translate(Selector(1), 0x2345)
    assert (found.address, found.accesses) == (0x7345, 3)
    assert [step.address for step in found.steps] == [0x1008, 0x40_0000 + 4 * 2]
    assert [space.translate(Selector(1), at).exception for at in (0x1000, 0x3000)] == ["#PF", "#GP"]
