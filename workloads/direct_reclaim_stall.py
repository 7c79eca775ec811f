"""The same fault in three bands: cheap, unaffected, stalled.

A process writes page after page and keeps the latency of each fault. Above low a fault costs what
a fault costs. Between low and min kswapd works beside it, and the fault costs the same. Below min
the faulting process reclaims, and waits as long as the disk makes it wait.
"""

from kernelsim.workload import MachineHandle, workload

PAGE = 4096
STALLS = 24  # faults below min to be seen before the run ends


@workload(machine="small-512m")
async def main(machine: MachineHandle) -> None:
    """Fill the machine, then fault one page at a time."""
    low = machine.zone(0, "DMA32").low
    process = await machine.spawn("probe", cpu=0)
    region = await process.mmap("800M")
    filled = 0
    while machine.zone(0, "DMA32").free > low + 512:
        await process.touch(region, write=True, offset=filled, length=256 * PAGE)
        filled += 256 * PAGE

    latency: dict[str, list[int]] = {"above low": [], "low to min": [], "below min": []}
    for offset in range(filled, region.length, PAGE):
        free = machine.zone(0, "DMA32").free
        reclaimed_ns = process.stats.reclaim_ns
        result = await process.touch(region, write=True, offset=offset, length=PAGE)
        band = "above low" if free > low else "low to min"
        band = band if process.stats.reclaim_ns == reclaimed_ns else "below min"
        latency[band].append(result.latency_ns)
        if len(latency["below min"]) == STALLS:
            break

    typical = {}
    for band, values in latency.items():
        typical[band] = sorted(values)[len(values) // 2]
        machine.note(
            f"{band}: {len(values)} faults, median {typical[band]} ns, worst {max(values)} ns"
        )
    machine.expect(typical["low to min"] <= 2 * typical["above low"], "kswapd holds nobody up")
    machine.expect(typical["below min"] > 10 * typical["above low"], "direct reclaim does")
