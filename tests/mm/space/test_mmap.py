"""The VMA map: placing, splitting, merging, and how mappings print."""

import errno

import pytest

from kernelsim.mm.space.mmap import (
    MMAP_MIN_ADDR,
    TASK_SIZE,
    MappedFile,
    VmArea,
)
from kernelsim.mm.space.unmapped_area import get_unmapped_area
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    VM_DATA_DEFAULT_FLAGS,
    VM_STACK_FLAGS,
    VmFlag,
)
from kernelsim.mm.space.vma_map import VmaMap
from kernelsim.units import GIB, MIB, PAGE_SIZE

RW = VM_DATA_DEFAULT_FLAGS
RO = VmFlag.VM_READ
BASE = 0x7FFF_F7FF_F000


def area(start_page: int, end_page: int, flags: VmFlag = RW) -> VmArea:
    """Return an anonymous mapping of pages [start, end)."""
    return VmArea(start_page * PAGE_SIZE, end_page * PAGE_SIZE, flags, None, start_page)


def pages(areas: VmaMap) -> list[tuple[int, int]]:
    """Return the page ranges of a map."""
    return [(vma.start // PAGE_SIZE, vma.end // PAGE_SIZE) for vma in areas]


@pytest.mark.mission("V12")
def test_equal_neighbours_merge_on_both_sides() -> None:
    """Filling the hole between two equal mappings makes one."""
    areas = VmaMap()
    areas.insert(area(10, 20))
    areas.insert(area(30, 40))
    assert areas.insert(area(20, 30)) == area(10, 40)
    assert pages(areas) == [(10, 40)]


@pytest.mark.mission("V12")
@pytest.mark.parametrize(
    "other",
    [
        area(20, 30, RW | VmFlag.VM_LOCKED),
        area(20, 30, RO),
        VmArea(20 * PAGE_SIZE, 30 * PAGE_SIZE, RW, MappedFile("/bin/true"), 20),
        VmArea(20 * PAGE_SIZE, 30 * PAGE_SIZE, RW, None, 20, policy="bind:1"),
        VmArea(20 * PAGE_SIZE, 30 * PAGE_SIZE, RW, None, 7),
    ],
)
def test_different_neighbours_stay_apart(other: VmArea) -> None:
    """Other flags, file, policy or file position keep mappings apart."""
    areas = VmaMap()
    areas.insert(area(10, 20))
    areas.insert(other)
    assert pages(areas) == [(10, 20), (20, 30)]


def test_device_mappings_never_merge() -> None:
    """VM_PFNMAP mappings stay as they were made."""
    areas = VmaMap()
    areas.insert(area(10, 20, RW | VmFlag.VM_PFNMAP))
    areas.insert(area(20, 30, RW | VmFlag.VM_PFNMAP))
    assert len(areas) == 2


@pytest.mark.mission("V12")
def test_unmapping_the_middle_splits() -> None:
    """What is cut out is returned; the rests keep their place in the file."""
    areas = VmaMap()
    file = MappedFile("/lib/a")
    areas.insert(VmArea(0x10000, 0x20000, RO, file, 100))
    assert areas.remove(0x14000, 0x16000) == [VmArea(0x14000, 0x16000, RO, file, 104)]
    assert list(areas) == [
        VmArea(0x10000, 0x14000, RO, file, 100),
        VmArea(0x16000, 0x20000, RO, file, 106),
    ]


def test_unmapping_over_several_mappings_and_holes() -> None:
    """All pieces inside the range come back, ascending."""
    areas = VmaMap()
    for start in (10, 30, 50):
        areas.insert(area(start, start + 10))
    removed = areas.remove(15 * PAGE_SIZE, 55 * PAGE_SIZE)
    assert removed == [area(15, 20), area(30, 40), area(50, 55)]
    assert pages(areas) == [(10, 15), (55, 60)]
    assert areas.remove(20 * PAGE_SIZE, 30 * PAGE_SIZE) == []


def test_find_vma_finds_the_one_above() -> None:
    """find_vma gives the mapping at or above an address, as Linux's does."""
    areas = VmaMap()
    areas.insert(area(10, 20))
    areas.insert(area(30, 40))
    assert areas.find_vma(5 * PAGE_SIZE) == area(10, 20)
    assert areas.find_vma(20 * PAGE_SIZE - 1) == area(10, 20)
    assert areas.find_vma(20 * PAGE_SIZE) == area(30, 40)
    assert areas.find_vma(40 * PAGE_SIZE) is None
    assert areas.find_vma_intersection(20 * PAGE_SIZE, 30 * PAGE_SIZE) is None
    assert areas.find_vma_prev(35 * PAGE_SIZE) == area(10, 20)
    assert areas.covers(10 * PAGE_SIZE, 20 * PAGE_SIZE)
    assert not areas.covers(15 * PAGE_SIZE, 35 * PAGE_SIZE)


def test_new_mappings_go_top_down() -> None:
    """Each mapping lies right below the one before; a hole is used again when it is big enough."""
    areas = VmaMap()
    starts = []
    for length in (MIB, 2 * MIB, MIB):
        start = get_unmapped_area(areas, BASE, 0, length, 0)
        areas.insert(VmArea(start, start + length, RW | VmFlag(1 << (14 + len(starts))), None, 0))
        starts.append(start)
    assert starts == [BASE - MIB, BASE - 3 * MIB, BASE - 4 * MIB]
    areas.remove(starts[1], starts[0])
    assert get_unmapped_area(areas, BASE, 0, 3 * MIB, 0) == BASE - 7 * MIB
    assert get_unmapped_area(areas, BASE, 0, 2 * MIB, 0) == starts[1]
    assert get_unmapped_area(areas, BASE, 0, MIB, 0) == starts[0] - MIB


def test_stack_keeps_its_guard_gap() -> None:
    """Nothing is placed in the megabyte below a mapping that grows down."""
    areas = VmaMap()
    areas.insert(VmArea(BASE - MIB, BASE, VM_STACK_FLAGS))
    assert get_unmapped_area(areas, BASE, 0, PAGE_SIZE, 0) == BASE - 2 * MIB - PAGE_SIZE
    inside = BASE - MIB - 10 * PAGE_SIZE
    assert get_unmapped_area(areas, BASE, inside, PAGE_SIZE, 0) != inside


def test_hint_is_taken_when_free() -> None:
    """A free hint is used, rounded down; a taken one is not."""
    areas = VmaMap()
    assert get_unmapped_area(areas, BASE, 0x1234567, PAGE_SIZE, 0) == 0x1234000
    areas.insert(area(0x1234, 0x1235))
    assert get_unmapped_area(areas, BASE, 0x1234000, PAGE_SIZE, 0) == BASE - PAGE_SIZE
    assert get_unmapped_area(areas, BASE, 0x1233000, 2 * PAGE_SIZE, 0) == BASE - 2 * PAGE_SIZE
    assert get_unmapped_area(areas, BASE, 5, PAGE_SIZE, 0) == MMAP_MIN_ADDR


def test_fixed_address_rules() -> None:
    """MAP_FIXED takes the place or fails; NOREPLACE refuses what is taken."""
    areas = VmaMap()
    areas.insert(area(0x1234, 0x1235))
    assert get_unmapped_area(areas, BASE, 0x1234000, PAGE_SIZE, MAP_FIXED) == 0x1234000
    for address, flags, error in (
        (0x1234001, MAP_FIXED, errno.EINVAL),
        (0x1000, MAP_FIXED, errno.EPERM),
        (TASK_SIZE, MAP_FIXED, errno.ENOMEM),
        (0x1234000, MAP_FIXED_NOREPLACE, errno.EEXIST),
    ):
        assert get_unmapped_area(areas, BASE, address, PAGE_SIZE, flags) == -error


def test_bottom_up_when_there_is_no_room_below_mmap_base() -> None:
    """Above mmap_base is used last, from a third of the address space on; then ENOMEM."""
    areas = VmaMap()
    areas.insert(VmArea(MMAP_MIN_ADDR, BASE, RW))
    assert get_unmapped_area(areas, BASE, 0, MIB, 0) == BASE
    assert get_unmapped_area(areas, BASE, 0, GIB, 0) == -errno.ENOMEM


def test_write_only_on_x86_is_readable() -> None:
    """Any access right permits reading; writing needs VM_WRITE; nothing permits nothing."""
    assert area(1, 2, VmFlag.VM_WRITE).permits(write=False)
    assert not area(1, 2, RO).permits(write=True)
    assert not area(1, 2, VmFlag.VM_NONE).permits(write=False)
