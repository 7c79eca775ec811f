"""The kernel's own addresses on 32 bits: direct map, vmalloc, permanent and temporary kmaps.

The direct map reaches 896 MB; what lies above has no address of its own. vmalloc gives addresses
that follow each other to pages that do not. kmap lends a page one of a few slots, and who finds
none sleeps until another task gives one back. kmap_atomic has slots of each CPU, and never sleeps.
"""

from itertools import pairwise

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.mm.core.mem import I64
from kernelsim.workload import MachineHandle, ProcessHandle, workload
from kernelsim.workload.kernel_thread import KernelThreadHandle

MIB = 1 << 20
PAGE = 4096
HIGH = "GFP_KERNEL | __GFP_HIGHMEM"
MACHINE = machine_from_toml(
    {"name": "i386-1g", "arch": "i386", "node": [{"cpus": "0-1", "memory": "1G"}]}
)
NR_PAGES = MIB // PAGE
DIRECT_MAP = 896 * MIB
PAGE_OFFSET = 0xC000_0000
SLEEP_NS = 1_000_000


async def show_direct_map(machine: MachineHandle, driver: KernelThreadHandle) -> None:
    """Print where each region lies, and that lowmem has an address by itself."""
    layout = machine.kernel_layout
    for region in layout.regions:
        kib = (region.end - region.start) >> 10
        machine.note(f"{region.start:#x}-{region.end - 1:#x} {kib:7} KiB  {region.name}")
    low, high = await driver.alloc_pages(1), await driver.alloc_pages(1, HIGH)
    [low_pfn], [high_pfn] = low.tolist(), high.tolist()
    address = driver.address_of(low_pfn)
    machine.note(f"frame {low_pfn:#x} is at {address:#x}; frame {high_pfn:#x} has no address")
    machine.expect(address == PAGE_OFFSET + low_pfn * PAGE, "virtual is physical + 0xc0000000")
    machine.expect(
        driver.address_of(high_pfn) is None and high_pfn * PAGE >= DIRECT_MAP,
        "the direct map ends at 896 MB",
    )
    await driver.free_pages(low)
    await driver.free_pages(high)


def nr_runs(pfns: I64) -> int:
    """Return how many runs of frames that follow each other there are."""
    return int(1 + sum(after != before + 1 for before, after in pairwise(pfns.tolist())))


async def show_vmalloc(machine: MachineHandle, driver: KernelThreadHandle) -> None:
    """Compare 256 pages of the direct map with a vmalloc of as many."""
    pages = await driver.alloc_pages(4 * NR_PAGES, HIGH)
    await driver.free_pages(pages[::2])  # memory is in pieces now
    began_ns = machine.now_ns
    direct = await driver.alloc_pages(NR_PAGES)
    direct_ns = machine.now_ns - began_ns
    began_ns = machine.now_ns
    area = await driver.vmalloc("1M")
    vmalloc_ns = machine.now_ns - began_ns
    if not machine.expect(area is not None, "there is room for 1 MiB") or area is None:
        return
    machine.note(
        f"vmalloc(1M): {area.address:#x}, {len(area.pfns)} frames in {nr_runs(area.pfns)} runs"
    )
    machine.note(f"1 MiB of the direct map took {direct_ns} ns, by vmalloc {vmalloc_ns} ns")
    machine.note(machine.proc("vmallocinfo").strip())
    machine.expect(nr_runs(area.pfns) > 1, "vmalloc's pages do not follow each other")
    machine.expect(vmalloc_ns > direct_ns, "vmalloc is dearer than the direct map")
    machine.expect("VmallocUsed:        1024 kB" in machine.proc("meminfo"), "meminfo counts it")
    layout = machine.kernel_layout
    too_large = layout.vmalloc_end - layout.vmalloc_start
    none = await driver.vmalloc(too_large)
    machine.expect(none is None, "more than the whole area does not fit")
    await driver.vfree(area)
    again = await driver.vmalloc("1M")
    if again is not None:
        machine.note(f"freed, and asked for again: {again.address:#x}; TLBs are not flushed yet")
        machine.expect(again.address > area.address, "addresses wait for a flush of the TLBs")
        await driver.vfree(again)
    await driver.free_pages(direct)
    await driver.free_pages(pages[1::2])


async def show_kmap(
    machine: MachineHandle, driver: KernelThreadHandle, other: KernelThreadHandle
) -> None:
    """Use up all slots; one more sleeps until one is given back, a temporary one is there."""
    slots = machine.kernel_layout.last_pkmap
    pages = (await driver.alloc_pages(slots + 2, HIGH)).tolist()
    for page in pages[:slots]:
        await driver.kmap(page)
    machine.note(f"kmap: {slots} slots are in use")
    woken: list[int] = []

    async def wait_for_a_slot(_process: ProcessHandle) -> None:
        address = await other.kmap(pages[slots])
        woken.append(machine.now_ns)
        machine.note(f"one more got {address:#x}")

    began_ns = machine.now_ns
    program = await machine.spawn("waiter", wait_for_a_slot)
    await machine.sleep(SLEEP_NS)
    machine.expect(not woken, "when slots run out, kmap sleeps")
    to, source = await driver.copy_highpage(pages[slots + 1], pages[0])
    machine.note(f"kmap_atomic meanwhile: {source:#x} and {to:#x}, without waiting")
    machine.expect(to == source - PAGE, "two slots of the CPU's own in the fixmap")
    await driver.kunmap(pages[0])
    await program.wait()
    machine.note(f"it slept {woken[0] - began_ns} ns, until kunmap gave a slot back")
    machine.expect(woken[0] - began_ns >= SLEEP_NS, "until kunmap gives one back")


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Show the three ways to an address."""
    driver, other = machine.kernel_thread("driver", cpu=0), machine.kernel_thread("other", cpu=1)
    await show_direct_map(machine, driver)
    await show_vmalloc(machine, driver)
    await show_kmap(machine, driver, other)
