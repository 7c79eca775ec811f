"""The four bands of free memory: green, blue, orange, red.

Green is above the high watermark: pages are simply free. Blue is between high and low: memory gets
short, and still nobody has to do anything. Orange is between low and min: kswapd has been woken and
reclaims until free memory is green again, while processes go on. Red is below min: whoever asks
for pages reclaims first, and waits.
"""

from kernelsim.workload import MachineHandle, workload

PAGE = 4096
MIB = 1 << 20
BANDS = ("green", "blue", "orange", "red")
WORK = ("pgscan_kswapd", "pgscan_direct")


def band_of(machine: MachineHandle) -> str:
    """Return the colour of the free memory at this moment."""
    zone = machine.zone(0, "DMA32")
    return BANDS[(zone.free <= zone.high) + (zone.free <= zone.low) + (zone.free <= zone.min)]


@workload(machine="small-512m")
async def main(machine: MachineHandle) -> None:
    """Write down to red, page by page near the watermarks, then let kswapd bring green back."""
    process = await machine.spawn("hog", cpu=0)
    region = await process.mmap("800M")
    order: list[str] = []
    work_at: dict[str, tuple[int, ...]] = {}
    offset = 0
    while band_of(machine) != "red" or not process.stats.reclaim_ns:
        band, zone = band_of(machine), machine.zone(0, "DMA32")
        if band not in order:
            order.append(band)
            vmstat = machine.vmstat
            work_at[band] = tuple(vmstat[name] for name in WORK)
            machine.note(
                f"{band:6} {zone.free:6} pages free; scanned so far: by kswapd {work_at[band][0]}, "
                f"by the process {work_at[band][1]}"
            )
        length = MIB if zone.free > zone.high + MIB // PAGE else PAGE
        await process.touch(region, write=True, offset=offset, length=length)
        offset += length
    await machine.sleep("2s")
    machine.note(f"then {band_of(machine)}, {machine.zone(0, 'DMA32').free} pages free")
    machine.note(f"in direct reclaim: {process.stats.reclaim_ns // 1000} us")
    machine.expect(order == list(BANDS), "free memory falls through them one by one")
    machine.expect(work_at["orange"] == (0, 0), "above low nobody reclaims")
    machine.expect(band_of(machine) == "green", "kswapd goes on until high")
