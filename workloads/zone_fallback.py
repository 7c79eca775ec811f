"""Where requests go when high memory is full, and what the lower zones keep from them.

On a 32-bit machine a request that may use HighMem falls back to Normal, then to DMA. Each lower
zone keeps a reserve from requests that a higher zone could have served: vm.lowmem_reserve_ratio
says what part of the zones above.
"""

import re

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.config.zones import zone_types
from kernelsim.mm.page.watermark import ZoneManaged, setup_per_zone_lowmem_reserve
from kernelsim.workload import MachineHandle, workload

MIB = 1 << 20
MACHINE = machine_from_toml(
    {"name": "i386-1280m", "arch": "i386", "node": [{"cpus": "0", "memory": "1280M"}]}
)
ZONES = ("HighMem", "Normal", "DMA")
RATIOS = (256, 32, 0, 0)
NOTE_PAGES = (8 * MIB >> 12, 64 * MIB >> 12, 256 * MIB >> 12, 0)  # of DMA, Normal, HighMem, Movable


def note_the_worked_number(machine: MachineHandle) -> None:
    """Print the reserves of a machine of 8 MB DMA, 64 MB Normal and 256 MB HighMem."""
    zones = [
        ZoneManaged(nid=0, type=kind, managed_pages=pages)
        for kind, pages in zip(zone_types("i386"), NOTE_PAGES, strict=True)
    ]
    (_, normal, high, _), (_, _, of_normal, _), *_ = setup_per_zone_lowmem_reserve(zones, RATIOS)
    machine.note(
        f"8, 64 and 256 MB: DMA keeps {normal} pages from Normal and {high} from HighMem, "
        f"Normal keeps {of_normal} from HighMem"
    )
    machine.expect((normal, high, of_normal) == (64, 320, 2048), "as the formula says")


def note_zones(machine: MachineHandle) -> dict[str, int]:
    """Print what zoneinfo says of each zone; return what each keeps from HighMem, in pages."""
    kept: dict[str, int] = {}
    for part in machine.proc("zoneinfo").split("Node ")[1:]:
        name = re.findall(r"zone +(\w+)", part)[0]
        if name not in ZONES:
            continue
        spanned, present, managed = (
            int(re.findall(rf"^ +{word} +(\d+)", part, re.MULTILINE)[0])
            for word in ("spanned", "present", "managed")
        )
        protection = re.findall(r"protection: \((.*)\)", part)[0].split(", ")
        kept[name] = int(protection[2])
        machine.note(
            f"{name:8} {spanned:7} pages spanned, {spanned - present:4} of them holes, "
            f"{managed:7} managed; {kept[name]:5} kept from HighMem"
        )
    return kept


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Fill the machine until two zones are at their low watermarks, and the last one gives."""
    note_the_worked_number(machine)
    kept = note_zones(machine)
    floor = {name: machine.zone(0, name).low + kept[name] for name in ZONES}
    before = {name: machine.zone(0, name).free for name in ZONES}
    process = await machine.spawn("hog")
    region = await process.mmap("1200M")
    order: list[str] = []
    offset = 0
    while len(order) < len(ZONES):
        await process.touch(region, write=True, offset=offset, length=MIB)
        offset += MIB
        for name in ZONES:
            if name not in order and machine.zone(0, name).free < before[name] - MIB // 4096 // 2:
                order.append(name)
    machine.note(f"{offset // MIB} MiB written, from {', then '.join(order)}")
    for name in ZONES:
        machine.note(
            f"{name:8} {machine.zone(0, name).free:6} pages free; "
            f"low watermark and reserve: {floor[name]}"
        )
    machine.expect(order == list(ZONES), "the nearest zone first")
    machine.expect(machine.zone(0, "DMA").free >= kept["DMA"], "DMA keeps its reserve")
