"""What follows from memory that goes online or offline, against a recorded machine."""

import pytest

from kernelsim.check.pages import check_pages
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.mm.boot.mm_init import build
from kernelsim.mm.core.mem import (
    PAGEBLOCK_NR_PAGES,
    Z_FREE,
    Z_MANAGED,
    Z_PRESENT,
    Z_SPANNED,
    Z_START_PFN,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
    PG_reserved,
)
from kernelsim.mm.page.free_area import free_area_counts
from kernelsim.mm.page.memory_hotplug import (
    block_range,
    memory_changed,
    offline_pages,
    online_pages,
    valid_zones,
    zone_for_block,
)
from kernelsim.mm.page.page_isolation import (
    ALREADY_ISOLATED,
    ISOLATED,
    start_isolate_page_range,
    undo_isolate_page_range,
)
from kernelsim.mm.page.phys_mem import MemoryBlock, PhysMem

DMA, DMA32, NORMAL, MOVABLE = range(4)
RECORDED = (3840, 96688)  # managed pages of DMA and DMA32 of the recorded machine
MARKS = (Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH)


def memory() -> PhysMem:
    """Return the recorded machine of 512 MiB as it booted, with slots for 4 blocks at 4 GiB."""
    node = {"cpus": "0", "memory": "512M"}
    phys = build(machine_from_toml({"name": "hot", "maxmem": "1G", "node": [node]}))
    for zone, managed in enumerate(RECORDED):
        phys.mem.zone[zone, Z_MANAGED] = managed
    phys.memory_blocks.blocks += [MemoryBlock(index=32 + n, state="offline") for n in range(4)]
    return phys


def online(phys: PhysMem, index: int, word: str) -> None:
    """Bring a block online."""
    block = phys.block(index)
    zone = zone_for_block(phys, block, word)
    online_pages(phys.mem, zone, *block_range(phys, index))
    block.state, block.zone = "online", zone
    memory_changed(phys, zone)


def offline(phys: PhysMem, index: int) -> None:
    """Take a block offline that has only free pages."""
    block = phys.block(index)
    zone, (start, end) = block.zone, block_range(phys, index)
    assert start_isolate_page_range(phys.mem, zone, start, end, True) == ISOLATED
    offline_pages(phys.mem, zone, start, end)
    block.state, block.zone = "offline", None
    memory_changed(phys, zone)


def marks(phys: PhysMem, zone: int) -> list[int]:
    """Return the watermarks of a zone."""
    return phys.mem.zone[zone, list(MARKS)].tolist()


@pytest.mark.mission("P5")
def test_marks_and_reserves_are_those_of_a_recorded_machine() -> None:
    """512 MiB more, movable, then away, then for the kernel: what Linux 6.1 had at each step."""
    phys = memory()
    for index in range(32, 36):
        online(phys, index, "online_movable")

    assert [357, 488, 619] == marks(phys, MOVABLE)
    assert [263, 359, 455] == marks(phys, DMA32)
    assert [0, 0, 0, 512, 512] == phys.mem.lowmem_reserve[DMA32].tolist()

    for index in (34, 35, 32, 33):
        offline(phys, index)

    assert [0, 0] == phys.mem.zone[MOVABLE, [Z_SPANNED, Z_MANAGED]].tolist()
    assert [606, 757, 908] == marks(phys, DMA32)

    for index in range(32, 36):
        online(phys, index, "online_kernel")

    assert 3838 == phys.tunables.now.vm_min_free_kbytes
    assert [542, 677, 812] == marks(phys, NORMAL)
    assert [0, 0, 512, 512, 512] == phys.mem.lowmem_reserve[DMA32].tolist()


def test_a_block_goes_where_its_neighbours_are() -> None:
    """The word `online` means movable inside a movable zone, else the zone of the kernel."""
    phys = memory()
    assert "Normal Movable" == valid_zones(phys, phys.block(33))
    online(phys, 32, "online_movable")
    online(phys, 34, "online_movable")

    assert "Movable Normal" == valid_zones(phys, phys.block(33))
    assert "Movable" == valid_zones(phys, phys.block(34))
    assert [1 << 20, 3 << 15, 2 << 15] == phys.mem.zone[
        MOVABLE, [Z_START_PFN, Z_SPANNED, Z_PRESENT]
    ].tolist()


def test_a_zone_that_grows_has_no_memory_in_the_hole_it_ended_at() -> None:
    """The rest of the pageblock it ended in is reserved; a pageblock that is all hole is not."""
    node = {"cpus": "0", "memory": "13M"}
    table = {"name": "half", "movablecore": "4M", "maxmem": "141M", "node": [node]}
    phys = build(machine_from_toml(table))
    phys.memory_blocks.blocks.append(MemoryBlock(index=32, state="offline"))
    end = 13 << 8
    online(phys, 32, "online_movable")

    flags = phys.mem.pages.flags[end : end + PAGEBLOCK_NR_PAGES]
    assert [PG_reserved] * 256 == flags[:256].tolist()
    assert not flags[256:].any()
    assert [] == check_pages(phys.mem)


def test_zonelists_follow_the_first_and_the_last_memory_of_a_zone() -> None:
    """A zone is tried as long as it has memory, and no longer."""
    phys = memory()
    before = phys.zonelists
    online(phys, 32, "online_movable")
    assert (MOVABLE, *before[0]) == phys.zonelists[0]
    offline(phys, 32)
    assert before == phys.zonelists


def test_isolated_pages_do_not_count_as_free_and_come_back() -> None:
    """What is isolated and let go is free again, in the blocks it was in."""
    phys = memory()
    online(phys, 32, "online_kernel")
    start, end = block_range(phys, 32)
    free, blocks = int(phys.mem.zone[NORMAL, Z_FREE]), free_area_counts(phys.mem, NORMAL)

    assert ISOLATED == start_isolate_page_range(phys.mem, NORMAL, start, end, False)
    assert free - (end - start) == phys.mem.zone[NORMAL, Z_FREE]
    assert ALREADY_ISOLATED == start_isolate_page_range(phys.mem, NORMAL, start, end, False)

    undo_isolate_page_range(phys.mem, NORMAL, start, end)
    assert free == phys.mem.zone[NORMAL, Z_FREE]
    assert (blocks == free_area_counts(phys.mem, NORMAL)).all()
