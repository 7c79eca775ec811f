"""Which mappings become one: flags, places, and whose anonymous pages they may hold."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.space.anon_vma import AnonVma
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.vm_flags import VM_DATA_DEFAULT_FLAGS, VmFlag
from kernelsim.mm.space.vma_map import VmaMap
from kernelsim.units import PAGE_SIZE

RW = VM_DATA_DEFAULT_FLAGS
READ_ONLY = RW & ~VmFlag.VM_WRITE


def area(first: int, end: int, flags: VmFlag = RW, anon_vma: AnonVma | None = None) -> VmArea:
    """Return an anonymous mapping of pages [first, end)."""
    chain = () if anon_vma is None else (anon_vma,)
    start = first * PAGE_SIZE
    return VmArea(start, end * PAGE_SIZE, flags, None, first, anon_vma=anon_vma, anon_chain=chain)


def ranges(areas: VmaMap) -> list[tuple[int, int]]:
    """Return first and last page of each mapping."""
    return [(vma.start // PAGE_SIZE, vma.end // PAGE_SIZE) for vma in areas]


def test_what_lies_between_two_that_cannot_be_one_joins_the_upper() -> None:
    """Each neighbour holds pages of its own anon_vma."""
    areas = VmaMap()
    areas.place(area(10, 20, anon_vma=AnonVma()))
    areas.place(area(30, 40, anon_vma=AnonVma()))
    areas.insert(area(20, 30))
    assert ranges(areas) == [(10, 20), (20, 40)]


def test_one_that_was_touched_does_not_join_untouched_neighbours() -> None:
    """As after mlock and munlock of the middle of an untouched mapping; the other way it does."""
    areas = VmaMap()
    for part in (area(0, 2), area(2, 4, READ_ONLY, AnonVma()), area(4, 6)):
        areas.place(part)
    touched = attrs.evolve(areas.areas[1], flags=RW)
    assert areas.vma_merge(touched) is None
    areas.place(touched)
    assert areas.vma_merge(attrs.evolve(areas.areas[0], flags=RW)) is not None
    assert ranges(areas) == [(0, 4), (4, 6)]


def test_a_copy_made_by_fork_joins_no_fresh_mapping() -> None:
    """It is in the anon_vma of its parent, too."""
    areas, parent = VmaMap(), AnonVma()
    child = AnonVma(parent=parent)
    forked = attrs.evolve(area(10, 20, anon_vma=child), anon_chain=(child, parent))
    areas.place(forked)
    areas.insert(area(20, 30))
    assert ranges(areas) == [(10, 20), (20, 30)]


def test_the_first_page_is_put_with_those_of_a_neighbour() -> None:
    """Of one that differs in permissions only; then both can become one."""
    areas = VmaMap()
    areas.place(area(10, 20, READ_ONLY, AnonVma()))
    upper = areas.anon_vma_prepare(areas.place(area(20, 30)))
    assert upper.anon_vma is areas.areas[0].anon_vma
    areas.vma_merge(attrs.evolve(upper, flags=READ_ONLY))
    assert ranges(areas) == [(10, 30)]


def test_the_heap_never_joins_the_mapping_above() -> None:
    """What brk adds becomes part of what is below."""
    areas = VmaMap()
    areas.place(area(10, 20))
    areas.place(area(30, 40))
    areas.append(area(20, 30))
    assert ranges(areas) == [(10, 30), (30, 40)]


def test_a_mapping_is_cut_once() -> None:
    """Not where it begins, nor where there is none."""
    areas = VmaMap()
    areas.place(area(10, 20))
    found = [areas.split(page * PAGE_SIZE) for page in (10, 15, 15, 20, 25)]
    assert found == [False, True, False, False, False]
    assert ranges(areas) == [(10, 15), (15, 20)]


def test_a_hole_in_the_guard_gap_of_a_stack_is_passed_over_if_it_is_below_the_stack() -> None:
    """The search goes on below the gap; one below an ordinary mapping in the gap is taken."""
    areas = VmaMap()
    areas.place(area(1000, 1001, RW | VmFlag.VM_GROWSDOWN))
    areas.place(area(990, 991))
    top = 1001 * PAGE_SIZE
    assert areas.unmapped_area_topdown(5 * PAGE_SIZE, 0, top) == (1000 - 256 - 5) * PAGE_SIZE
    areas.place(area(991, 1000))
    assert areas.unmapped_area_topdown(5 * PAGE_SIZE, 0, top) == 985 * PAGE_SIZE


class Counted:
    """Gives out numbers in place of vm_area_structs, and knows which are in use."""

    def __init__(self) -> None:
        self.nr_given = 0
        self.in_use: set[int] = set()

    def vm_area_alloc(self) -> int:
        """Give out the next."""
        self.nr_given += 1
        self.in_use.add(self.nr_given)
        return self.nr_given

    def vm_area_free(self, row: int) -> None:
        """Take one back that is in use."""
        self.in_use.remove(row)

    def vma_link_file(self, mm: int, vma: VmArea) -> None:
        """No file is mapped."""

    def vma_unlink_file(self, mm: int, vma: VmArea) -> None:
        """Nor unmapped."""


STEPS = st.lists(
    st.tuples(st.sampled_from("pirsm"), st.integers(0, 30), st.integers(1, 9)), max_size=30
)


@given(STEPS)
def test_each_mapping_has_one_vm_area_struct(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is placed, joined, cut or removed; one that is cut in two takes one more."""
    counted = Counted()
    areas = VmaMap(mms=counted)
    for step, first, nr in steps:
        flags = RW if nr % 2 else READ_ONLY
        if step == "p":
            areas.place(area(first, first + nr, flags))
        elif step == "i" and not areas.overlapping(first * PAGE_SIZE, (first + nr) * PAGE_SIZE):
            areas.insert(area(first, first + nr, flags))
        elif step == "r":
            areas.remove(first * PAGE_SIZE, (first + nr) * PAGE_SIZE)
        elif step == "s":
            before, is_cut = counted.nr_given, areas.split(first * PAGE_SIZE)
            assert counted.nr_given - before == int(is_cut)
        elif step == "m":
            areas.vma_merge(area(first, first + nr, flags))
        assert len(areas.rows) == len(areas)
        assert set(areas.rows) == counted.in_use
