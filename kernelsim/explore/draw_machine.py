"""Draw a machine: any that a machine file can say, small ones more often.

Interface: `draw_machine` returns the table of a machine file and its machine; `tunables` the values
that a run may write.
Units: MiB in names.
"""

from typing import Any, Final

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import ConfigError
from kernelsim.sim.rng import Rng

SMALL_MIB: Final = (5, 6, 8, 8, 8, 10, 12, 16, 32)  # of a node
LARGE_MIB: Final = (128, 256, 512, 1024, 4096, 65_536)
ARCHES: Final = ("x86_64",) * 6 + ("i386", "i386pae")
NR_NODES: Final = (1,) * 6 + (2, 2, 2, 3, 4)
NR_CPUS: Final = (1, 1, 1, 2, 2, 3, 4)  # of a node
ATTEMPTS: Final = 50  # draws until one is a machine; most are


def draw_machine(rng: Rng) -> tuple[dict[str, Any], MachineSpec]:
    """Return a machine file's table and its machine."""
    for _ in range(ATTEMPTS):
        table = _draw_table(rng)
        try:
            spec = machine_from_toml(table)
        except ConfigError:
            continue
        return table, spec
    table = {"name": "drawn", "node": [{"cpus": "0", "memory": "16M"}]}
    return table, machine_from_toml(table)


def _draw_table(rng: Rng) -> dict[str, Any]:
    table: dict[str, Any] = {"name": "drawn", "arch": rng.choice(ARCHES)}
    table["era"] = "classic" if rng.chance(1, 12) else "6.1"
    sizes = LARGE_MIB if rng.chance(1, 40) else SMALL_MIB
    nodes, first_cpu, start = [], 0, 0
    for nid in range(rng.choice(NR_NODES)):
        node: dict[str, Any] = {}
        nr_cpus = 0 if nid and rng.chance(1, 6) else rng.choice(NR_CPUS)
        if nr_cpus:
            node["cpus"] = f"{first_cpu}-{first_cpu + nr_cpus - 1}"
            first_cpu += nr_cpus
        if not (nid and nr_cpus and rng.chance(1, 8)):  # else a node of CPUs only
            size = rng.choice(sizes)
            if nid and rng.chance(1, 3):  # a hole before it
                start += rng.choice((1, 3, 16, 100))
                node["start"] = f"{start}M"
            node["memory"] = f"{size}M"
            start += size
        nodes.append(node)
    table["node"] = nodes
    if rng.chance(1, 10):
        table["movablecore"] = f"{rng.choice((4, 8, 16))}M"
    if len(nodes) > 1 and rng.chance(1, 2):
        table["distances"] = _distances(rng, len(nodes))
    _draw_swap(rng, table)
    table["sysctl"] = _draw_sysctls(rng, table)
    return table


def _distances(rng: Rng, nr_nodes: int) -> list[list[int]]:
    """Draw a table, perhaps one that is not symmetric."""
    choices = (11, 16, 20, 21, 31, 40, 120, 254)
    rows = [
        [10 if a == b else rng.choice(choices) for b in range(nr_nodes)] for a in range(nr_nodes)
    ]
    if rng.chance(3, 4):
        for a in range(nr_nodes):
            for b in range(a):
                rows[a][b] = rows[b][a]
    return rows


def _draw_swap(rng: Rng, table: dict[str, Any]) -> None:
    nr_areas = rng.choice((0, 1, 1, 1, 1, 2, 3))
    devices, swaps = [], []
    for number in range(nr_areas):
        device: dict[str, Any] = {
            "name": f"vd{'abc'[number]}",
            "kind": rng.choice(("ssd", "ssd", "nvme", "nvme", "hdd")),
        }
        if rng.chance(1, 3):
            device["queue_depth"] = rng.choice((1, 2, 8, 64))
        if rng.chance(1, 4):
            device["read_latency"] = rng.choice((0, 1_000, 1_000_000, 20_000_000))
        if rng.chance(1, 4):
            device["bandwidth"] = rng.choice(("100K", "1M", "20M", "8G"))
        devices.append(device)
        swap: dict[str, Any] = {"size": rng.choice(("64K", "1M", "4M", "16M", "64M", "256M"))}
        swap["device"] = device["name"]
        if rng.chance(1, 4):
            swap["prio"] = rng.choice((-5, 0, 3, 3))
        swaps.append(swap)
    if devices:
        table["device"], table["swap"] = devices, swaps


def _draw_sysctls(rng: Rng, table: dict[str, Any]) -> dict[str, Any]:
    """Draw the tunables in force at boot, a few of them."""
    is_classic = table["era"] == "classic"
    drawn = {}
    for name, values in tunables(is_classic=is_classic).items():
        if rng.chance(1, 8):
            drawn[name] = rng.choice(values)
    return drawn


def tunables(*, is_classic: bool) -> dict[str, tuple[int, ...]]:
    """Return the tunables a run may write, with values from harmless to wild."""
    return {
        "vm.swappiness": (0, 1, 10, 60, 100) if is_classic else (0, 1, 10, 60, 100, 150, 200),
        "vm.min_free_kbytes": (0, 32, 64, 256, 1024, 4096, 12_288),
        "vm.watermark_scale_factor": (1, 10, 100, 500, 1000),
        "vm.watermark_boost_factor": (0, 1000, 15_000, 50_000),
        "vm.overcommit_memory": (0, 1, 2),
        "vm.overcommit_ratio": (0, 50, 100, 400),
        "vm.page-cluster": (0, 1, 3, 5),
        "vm.percpu_pagelist_high_fraction": (0, 8, 50, 1000),
        "vm.oom_kill_allocating_task": (0, 1),
        "vm.oom_dump_tasks": (0, 1),
        "vm.panic_on_oom": (0, 0, 0, 0, 1, 2),
        "vm.max_map_count": (5, 20, 200, 65_530),
        "vm.user_reserve_kbytes": (0, 1024, 131_072),
        "vm.numa_stat": (0, 1),
    }
