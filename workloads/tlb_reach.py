"""How far the TLB reaches, and what a page walk costs beyond it.

A TLB remembers translations of 1,536 pages, 6 MiB. A working set within that finds them all; one
beyond it walks the four levels of the page table at nearly every page.
"""

from kernelsim.workload import MachineHandle, workload

PAGE = 4096
PASSES = 20
SIZES = (256, 1024, 1536, 1792, 2048, 4096)
REACH = 1536


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Use working sets of several sizes again and again."""
    process = await machine.spawn("walker", cpu=0)
    region = await process.mmap(max(SIZES) * PAGE)
    await process.touch(region, write=True)
    took: dict[int, float] = {}
    for pages in SIZES:
        await process.touch(region, length=pages * PAGE)
        again = await process.touch(region, length=pages * PAGE, passes=PASSES)
        took[pages] = again.latency_ns / (pages * PASSES)
        machine.note(
            f"{pages:4} pages, {pages * PAGE >> 10:5} KiB: {took[pages]:6.1f} ns an access"
        )
    within = [took[pages] for pages in SIZES if pages <= REACH]
    machine.expect(max(within) < 1.05 * min(within), "within its reach an access costs the same")
    machine.expect(took[4096] > 1.2 * took[REACH], "beyond it each access walks")
