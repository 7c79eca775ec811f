"""Tests of whole machines of each architecture: page tables, addresses, where pages come from."""

import errno

import pytest

from kernelsim.config.zones import ZoneType
from kernelsim.errors import SyscallError
from kernelsim.mm.core.mem import Z_FREE
from tests.small_machine import PAGE, run, small_machine

pytestmark = pytest.mark.mission("V4")

SPAN = 64 << 20  # bytes touched
STARTS = {"x86_64": 0x7000_0000_0000, "i386": 0x4000_0000, "i386pae": 0x4000_0000}


def free_by_zone(machine):
    """Return the free pages of each zone by its type, with those on per-cpu lists."""
    free = machine.mem.zone[:, Z_FREE] + machine.mem.pcp_count.sum(axis=1)
    return dict(zip(machine.kernel.phys.zone_types, free.tolist(), strict=True))


@pytest.mark.parametrize(
    ("arch", "tables"),
    [("i386", 64 // 4), ("i386pae", 64 // 2 + 1), ("x86_64", 64 // 2 + 2)],
)
def test_a_table_maps_as_much_as_its_entries_say(arch, tables):
    """4 MiB in two levels of 1024 entries; 2 MiB in three levels or four of 512.

    Counted is what VmPTE counts: everything below the top table.
    """

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(SPAN, address=STARTS[arch])
        done = await process.touch(region, write=True)
        assert done.minflt == SPAN // PAGE
        again = await process.touch(region, write=True)
        assert again.minflt == 0
        nr_tables = int(machine.kernel.mms.mms.nr_ptes[process._process.mm.number])
        await process.munmap(region)
        left = int(machine.kernel.mms.mms.nr_ptes[process._process.mm.number])
        await process.exit()
        return nr_tables, left

    assert run(small_machine(memory="128M", arch=arch), main).result == (tables, 0)


@pytest.mark.mission("V7")
@pytest.mark.parametrize("arch", ["i386", "i386pae"])
def test_a_32_bit_process_has_three_gib_of_addresses(arch):
    """The stack ends there, mappings go below it, and more than there is cannot be mapped."""

    async def main(machine):
        process = await machine.spawn("p")
        areas = process._process.mm.map.areas
        region = await process.mmap("1G", noreserve=True)
        with pytest.raises(SyscallError) as refused:
            await process.mmap("2G", noreserve=True)
        assert areas[0].start == 0x0804_8000
        assert areas[-1].end == 0xC000_0000
        assert region.address + region.length == 0xB800_0000
        return refused.value.errno

    fixed = {"kernel.randomize_va_space": 0}
    spec = small_machine(memory="128M", arch=arch, sysctl=fixed)
    assert run(spec, main).result == errno.ENOMEM


def test_page_tables_lie_in_high_memory_too():
    """With CONFIG_HIGHPTE, as Debian has it; the top one may not, and is there before."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(SPAN, address=STARTS["i386"])
        before = free_by_zone(machine)
        await process.touch(region, write=True)
        after = free_by_zone(machine)
        return {zone: before[zone] - after[zone] for zone in before}

    taken = run(small_machine(memory="1G", arch="i386"), main).result
    assert taken[ZoneType.ZONE_HIGHMEM] == SPAN // PAGE + 16
    assert taken[ZoneType.ZONE_NORMAL] == 0
