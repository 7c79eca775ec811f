"""Swapping to a compressed disk: what it costs, what it takes, and that it gives all back."""

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.explore.calm import left_over_slots
from kernelsim.mm.core.mem import PG_kernel
from tests.small_machine import run


def zram_machine(*, memory="16M", permille=500):
    """Describe a machine that swaps to zram."""
    return machine_from_toml(
        {
            "name": "zram",
            "node": [{"cpus": "0-1", "memory": memory}],
            "device": [{"name": "zram0", "kind": "zram", "compressed_permille": permille}],
            "swap": [{"size": "32M", "device": "zram0"}],
        }
    )


def zram_pages(machine):
    """Return the pages that zram has."""
    return machine.kernel.zrams["zram0"].pages


def test_pages_that_are_swapped_out_take_half_a_page_of_memory():
    """What is stored is counted as nr_zspages and in mm_stat; all comes back whole."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("9M")
        await process.touch(region, write=True)
        out, pages = process.stats.swap_pages, zram_pages(machine)
        assert out > 500
        assert out // 2 <= pages <= out * 2 // 3 + 4
        assert machine.vmstat["nr_zspages"] == pages
        for _ in range(2):
            result = await process.touch(region)
            assert result.signal == 0
        await process.touch(region, write=True)
        assert machine.kernel.devices["zram0"].nr_in_flight == 0
        await process.exit()
        # Reclaim still holds a few pages that nobody wants, and they their slots.
        left = left_over_slots(machine.kernel).tolist()
        assert set(machine.kernel.zrams["zram0"].objects) <= set(left)
        assert len(left) < 128
        assert machine.vmstat["nr_zspages"] == zram_pages(machine) <= 4 * len(left)

    done = run(zram_machine(memory="8M"), main)
    assert done.vm_events["swap_ra"] == 0


def test_a_fault_on_zram_is_cpu_time_and_lets_the_slot_go():
    """It waits for no disk, and what it stored is free when the page is back."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("18M")
        await process.touch(region, write=True)
        before, io_ns = process.stats.pgmajfault, process.stats.io_ns
        await process.touch(region, length="1M")
        assert process.stats.pgmajfault > before
        assert process.stats.io_ns == io_ns
        swap = machine.kernel.swap
        stored = len(machine.kernel.zrams["zram0"].objects)
        assert stored == int(swap.stored.sum()) + int(swap.freed[0])

    run(zram_machine(), main)


def test_when_nothing_shrinks_and_memory_is_gone_pages_stay():
    """A write that finds no memory fails; the OOM killer may have its turn, nothing else breaks."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("30M")
        result = await process.touch(region, write=True)
        assert result.signal in (0, 9)
        flags = machine.mem.pages.flags
        return int(((flags & PG_kernel) != 0).sum())

    run(zram_machine(permille=1000), main)


def test_swapoff_of_zram_empties_it():
    """And its memory is free."""

    async def main(machine):
        process, other = [await machine.spawn(name) for name in ("p", "other")]
        region = await process.mmap("17M")
        await process.touch(region, write=True)
        await process.syscall("munmap", type(region)(region.address, 9 << 20))
        await other.syscall("swapoff", "/dev/zram0")
        assert zram_pages(machine) == 0
        assert process.stats.swap_pages == 0

    run(zram_machine(), main)
