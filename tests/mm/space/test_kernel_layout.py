"""Where the kernel has what: boundaries of 32 and 64 bits."""

import pytest

from kernelsim.mm.space.init_mm import make_init_mm
from kernelsim.mm.space.kernel_layout import kernel_layout

MIB = 1 << 20
PFNS_896M = 896 * MIB // 4096


@pytest.mark.mission("V8")
def test_the_direct_map_of_32_bits_ends_at_896_mib():
    """Then 8 MiB hole, vmalloc, two pages, 1024 slots of kmap (PAE: 512), fixmap at the top."""
    layout = kernel_layout("i386", PFNS_896M)
    assert (layout.page_offset, layout.high_memory) == (0xC000_0000, 0xF800_0000)
    assert layout.vmalloc_start == 0xF880_0000
    assert layout.pkmap_base == layout.vmalloc_end + 2 * 4096
    assert (layout.last_pkmap, kernel_layout("i386pae", PFNS_896M).last_pkmap) == (1024, 512)
    assert (layout.fix_to_virt(0), layout.fix_to_virt(1)) == (0xFFFF_F000, 0xFFFF_E000)
    assert layout.virt(1) == 0xC000_1000
    assert [layout.is_lowmem(pfn) for pfn in (0, PFNS_896M - 1, PFNS_896M)] == [True, True, False]
    own, other = layout.kmap_atomic_addr(0, 15), layout.kmap_atomic_addr(1, 0)
    assert own - other == 4096


@pytest.mark.parametrize("arch", ["x86_64", "i386", "i386pae"])
def test_regions_follow_each_other(arch):
    """Rising, none in another, the first above user space; each address has its region's name."""
    layout = kernel_layout(arch, PFNS_896M)
    edges = [edge for region in layout.regions for edge in (region.start, region.end)]
    assert edges == sorted(edges)
    assert edges[0] >= layout.task_size
    for region in layout.regions:
        assert layout.region_of(region.start) == layout.region_of(region.end - 1) == region
    assert layout.region_of(layout.task_size - 1) is None


def test_frames_are_found_by_their_address():
    """In the direct map by the address alone, else by an entry or a slot."""
    init_mm = make_init_mm("i386", PFNS_896M, 1)
    slot = init_mm.pkmap.kmap_high(PFNS_896M + 5)
    at = init_mm.layout.pkmap_addr(slot)
    assert init_mm.frame_of(0xC000_1234) == 1
    assert (init_mm.frame_of(at + 8), init_mm.frame_of(at + 4096)) == (PFNS_896M + 5, None)
    assert init_mm.frame_of(init_mm.layout.vmalloc_start) is None
