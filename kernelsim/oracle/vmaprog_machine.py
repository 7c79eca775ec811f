"""The machine that ran the recorded programs of system calls, and the process each of them is.

From the table in shared/oracle/syscalls/FORMAT.md; the `#` lines of a recording say the same.
Interface: `recorded_machine`, `RECORDED_PROGRAM`.
Units: bytes, pages.
"""

from typing import Final

import attrs

from kernelsim.config.emulated import EMULATED_CPU, emulated_disk
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.config.zones import ZoneType
from kernelsim.mm.space.static_program import StaticProgram
from kernelsim.units import PAGE_SIZE

MEMTOTAL_PAGES: Final = 245_930
SWAP_SIZE: Final = "128M"
RECORDED_PROGRAM: Final = StaticProgram(
    path="/vmaprog", text_bytes=5 * PAGE_SIZE, data_bytes=0x52E40, bss_bytes=0, has_libc=False
)


def recorded_machine(*, has_swap: bool) -> MachineSpec:
    """Return the machine: one emulated CPU, 1 GB of memory, a disk with ext4, nothing at random.

    Args:
        has_swap: On a disk that is memory, as zram is: a page is written in the step that asks.
    """
    spec = machine_from_toml(
        {
            "name": "vmaprog",
            "node": [{"cpus": "0", "memory": "1G"}],
            "device": [{"name": "zram0", "kind": "zram"}] if has_swap else [],
            "swap": [{"device": "zram0", "size": SWAP_SIZE}] if has_swap else [],
            "sysctl": {"kernel.randomize_va_space": 0, "vm.page-cluster": 0},
        }
    )
    (node,) = spec.nodes
    missing = MEMTOTAL_PAGES - node.managed_pages
    zones = tuple(
        attrs.evolve(zone, managed_pages=zone.managed_pages + missing)
        if zone.type is ZoneType.ZONE_DMA32
        else zone
        for zone in node.zones
    )
    return attrs.evolve(
        spec,
        nodes=(attrs.evolve(node, zones=zones),),
        latency=EMULATED_CPU,
        devices=(emulated_disk("vda"), *spec.devices),
    )
