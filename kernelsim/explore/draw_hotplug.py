"""Draw memory that comes and goes: DIMMs, and processes that write to the files of memory blocks.

Interface: `draw_slots` makes room for DIMMs in a machine, `draw_hotplug` returns what puts them in
and takes them out, and who brings their blocks online and offline meanwhile.
"""

from typing import Any, Final

from kernelsim.actors.process.calls.sysfs import MEMORY
from kernelsim.config.machine import MachineSpec
from kernelsim.explore.draw_site import Site
from kernelsim.mm.page.memory_hotplug import OFFLINE, ONLINE, ONLINE_KERNEL, ONLINE_MOVABLE
from kernelsim.sim.rng import Rng
from kernelsim.units import MIB, PAGE_SIZE

HOTPLUGGER: Final = "hotplugger"
HOTPLUG_CHANCE: Final = 16  # in one run of so many
BLOCK_MIB: Final = 128  # the smallest there is
NODE_MIB: Final = (6, 8, 8, 12)  # of the first, which holds the struct pages of a DIMM: 2 MiB
FIRST_BLOCK: Final = 32  # DIMMs lie from 4 GiB on
PAUSES_MS: Final = (0, 0, 1, 5, 20, 100)
STATES: Final = (ONLINE_MOVABLE, ONLINE_MOVABLE, ONLINE_MOVABLE, ONLINE_KERNEL, ONLINE)


def draw_slots(rng: Rng, table: dict[str, Any]) -> None:
    """Change the table of a machine to one with free slots for DIMMs of the size of a block."""
    table["arch"], table["era"] = "x86_64", "6.1"
    first = table["node"][0]
    first["memory"] = f"{rng.choice(NODE_MIB)}M"
    for node in table["node"]:  # they lie one behind the other: none in the others' way
        node.pop("start", None)
    memory_mib = sum(int(node.get("memory", "0M")[:-1]) for node in table["node"])
    table["maxmem"] = f"{memory_mib + BLOCK_MIB * rng.choice((1, 1, 2))}M"


def draw_hotplug(rng: Rng, site: Site, spec: MachineSpec) -> tuple[list[str], list[str], list[str]]:
    """Return the lines that come before all others, among them, and behind them.

    Args:
        rng: Where all is drawn from.
        site: The machine.
        spec: The same, with the room it has for DIMMs.
    """
    first, end = spec.dimm_window
    nr_slots = (end - first) * PAGE_SIZE // (BLOCK_MIB * MIB)
    lines, last = [], []
    for number in range(nr_slots):
        nid = rng.choice(site.with_memory)
        lines.append(f"host object_add memory-backend-ram,id=m{number},size={BLOCK_MIB}M")
        lines.append(f"host device_add pc-dimm,id=d{number},memdev=m{number},node={nid}")
        if rng.chance(1, 2):
            last += [f"sleep 0.{rng.choice(('0001', '001', '01'))}", f"host device_del d{number}"]
    if rng.chance(1, 3):  # blocks are online before anybody runs
        lines.insert(0, _line(rng, [f"poke:{MEMORY}auto_online_blocks:{rng.choice(STATES)}"], ""))
    among = [_line(rng, _writes(rng, nr_slots), " &") for _ in range(rng.choice((1, 1, 2)))]
    return lines, among, last


def _line(rng: Rng, steps: list[str], end: str) -> str:
    cpu = [f"cpu:{rng.below(2)}"] if rng.chance(1, 3) else []
    return " ".join(["memhog", f"name:{HOTPLUGGER}", *cpu, *steps]) + end


def _writes(rng: Rng, nr_slots: int) -> list[str]:
    """Bring blocks online and offline in turns, now and then one that cannot be."""
    steps = []
    for turn in range(rng.between(2, 8)):
        block = FIRST_BLOCK + rng.below(nr_slots)
        if rng.chance(1, 12):
            block = rng.choice((0, FIRST_BLOCK + nr_slots))  # with holes, or none at all
        word = OFFLINE if turn % 2 else rng.choice(STATES)
        steps += [f"poke:{MEMORY}memory{block}/state:{word}", f"sleep:{rng.choice(PAUSES_MS)}"]
    return steps
