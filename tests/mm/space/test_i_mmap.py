"""From a file to its mappings: what enters and leaves the chains, against a plain list."""

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.space.i_mmap import FV_MM, FV_NR_PAGES, FV_PGOFF, FV_VPN, IMmap
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mmap import MappedFile, VmArea
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SIZE
from tests.commit_account import commit_account


def area(vpn, number, *, nr_pages=4, pgoff=0):
    """Return a mapping of a file."""
    file = MappedFile(f"/{number}", number=number)
    start = vpn * PAGE_SIZE
    return VmArea(start, start + nr_pages * PAGE_SIZE, VmFlag.VM_READ, file, pgoff)


def listed(i_mmap, number):
    """Return what a file leads to."""
    columns = (FV_MM, FV_VPN, FV_NR_PAGES, FV_PGOFF)
    return sorted(tuple(row[at] for at in columns) for row in i_mmap.mappings(number))


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 3), st.integers(0, 9)), max_size=60))
def test_files_lead_to_the_mappings_that_are_there(steps):
    """A step enters a mapping of a file in an mm, or removes it if it is there."""
    i_mmap, model = IMmap(), {}
    for number, mm, place in steps:
        key = (number, mm, 8 * place)
        if model.pop(key, None):
            i_mmap.unlink(mm, area(8 * place, number))
        else:
            model[key] = True
            i_mmap.link(mm, area(8 * place, number))
    for number in range(25):
        wanted = sorted((mm, vpn, 4, 0) for file, mm, vpn in model if file == number)
        assert listed(i_mmap, number) == wanted


def test_a_file_that_was_never_mapped_leads_nowhere():
    """Also one whose number is behind all that are known."""
    assert IMmap().mappings(0) == []
    assert IMmap().mappings(1000) == []


def test_mappings_that_merge_and_split_are_entered_as_they_are():
    """Two that become one are one; a hole in the middle makes two of it; exit leaves none."""
    registry = MmRegistry(commit_account(1 << 20))
    mm = registry.mm_alloc(100)
    mm.map.insert(area(16, 5))
    mm.map.insert(area(20, 5, pgoff=4))
    merged = listed(registry.i_mmap, 5)
    mm.map.remove(18 * PAGE_SIZE, 22 * PAGE_SIZE)
    parts = listed(registry.i_mmap, 5)
    mm.map.remove(0, 100 * PAGE_SIZE)

    assert merged == [(mm.number, 16, 8, 0)]
    assert parts == [(mm.number, 16, 2, 0), (mm.number, 22, 2, 6)]
    assert listed(registry.i_mmap, 5) == []
    assert mm.map.nr_of_files == 0
