"""Watermarks from vm.min_free_kbytes: the classic rule, and that of 6.1.

The machine follows the classic rule. Beside it stands what 6.1 makes of the same zones:
vm.watermark_scale_factor may put the marks further apart than a quarter of min.
"""

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.config.zones import zone_types
from kernelsim.mm.page.watermark import ZoneManaged, setup_per_zone_wmarks
from kernelsim.workload import MachineHandle, workload

MACHINE = machine_from_toml(
    {"name": "classic-512m", "era": "classic", "node": [{"cpus": "0", "memory": "512M"}]}
)
KBYTES = 67_584
QUARTERS, HALVES = 4, 2  # of a page
ZONES = ("DMA", "DMA32")
TYPES = zone_types("x86_64")[:2]


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Write the tunable, read the marks, and let a process fall through them."""
    machine.sysctl("vm.min_free_kbytes", KBYTES)
    zones = [machine.zone(0, name) for name in ZONES]
    marks_kb = [4 * sum(getattr(zone, mark) for zone in zones) for mark in ("min", "low", "high")]
    machine.note(
        f"min_free_kbytes {KBYTES}: min {marks_kb[0]}, low {marks_kb[1]}, "
        f"high {marks_kb[2]} kB in all zones"
    )
    for zone in zones:
        machine.expect(
            0 <= 5 * zone.min - 4 * zone.low < QUARTERS, "low is min * 5 / 4, in whole pages"
        )
        machine.expect(0 <= 3 * zone.min - 2 * zone.high < HALVES, "high is min * 3 / 2, likewise")
    managed = [
        ZoneManaged(nid=0, type=kind, managed_pages=zone.managed)
        for kind, zone in zip(TYPES, zones, strict=True)
    ]
    for factor in (10, 500):
        marks = setup_per_zone_wmarks(
            managed, min_free_kbytes=KBYTES, watermark_scale_factor=factor
        )[1]
        machine.note(
            f"6.1, watermark_scale_factor {factor:3}, {ZONES[1]}: min {4 * marks.wmark_min}, "
            f"low {4 * marks.wmark_low}, high {4 * marks.wmark_high} kB"
        )
    process = await machine.spawn("hog")
    region = await process.mmap("440M")
    await process.touch(region, write=True, length=4096 * (zones[1].free - zones[1].low))
    machine.expect(machine.vmstat["pageoutrun"] == 0, "above low kswapd sleeps")
    await process.touch(region, write=True, length="440M")
    machine.expect(machine.vmstat["pageoutrun"] > 0, "below low it runs")
