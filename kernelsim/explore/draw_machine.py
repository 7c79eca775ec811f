"""Draw a machine: any that a machine file can say, small ones more often.

What has to do with memory (swap, reserves, ZONE_MOVABLE) is drawn as a share of the machine's, so
that the smallest machine gets into all the states a large one can. Some begin just below the end
of a zone, so that few pages are enough for two.
Interface: `draw_machine` returns the table of a machine file and its machine; `tunables` the values
that a run may write.
Units: MiB and KiB in names.
"""

from collections.abc import Callable
from typing import Any, Final

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import ConfigError
from kernelsim.sim.rng import Rng
from kernelsim.units import PAGE_SIZE, parse_size

SMALL_MIB: Final = (2, 2, 3, 3, 3, 4, 6)  # of a machine's only node
NODE_MIB: Final = (1, 2, 2, 3)  # of one of several
LARGE_MIB: Final = (128, 256, 512, 1024, 4096, 65_536)
ARCHES: Final = ("x86_64",) * 6 + ("i386", "i386pae")
NR_NODES: Final = (1,) * 6 + (2, 2, 2, 3, 4)
NR_CPUS: Final = (1, 1, 1, 2, 2, 3, 4)  # of a node
NEAR_MIB: Final = (0, 0, 0, 13, 14)  # where the first begins; ZONE_DMA ends at 16
FAR_MIB: Final = (0, 0, 893, 4094)  # low memory of i386 ends at 895, ZONE_DMA32 at 4096
FILE_PERCENT: Final = (1, 10, 40, 100, 200)  # of memory, a file
SWAP_PERCENT: Final = (3, 15, 30, 60, 60, 100, 100, 200, 400)  # of memory, an area
GENERATIONS: Final = (1, 3, 3)  # without walks of page tables, and with them
ATTEMPTS: Final = 50  # draws until one is a machine; most are


def draw_machine(
    rng: Rng, change: Callable[[Rng, dict[str, Any]], None] | None = None
) -> tuple[dict[str, Any], MachineSpec]:
    """Return a machine file's table and its machine.

    Args:
        rng: Where all is drawn from.
        change: Done to the table of nodes, before swap, files and tunables are drawn to fit.
    """
    for _ in range(ATTEMPTS):
        table = _draw_nodes(rng)
        if change is not None:
            change(rng, table)
        memory_kib = sum(parse_size(node.get("memory", 0)) for node in table["node"]) // 1024
        _draw_swap(rng, table, memory_kib)
        _draw_files(rng, table, memory_kib)
        table["sysctl"] = _draw_sysctls(rng, table, memory_kib)
        try:
            spec = machine_from_toml(table)
        except ConfigError:
            continue
        return table, spec
    table = {"name": "drawn", "node": [{"cpus": "0", "memory": "16M"}]}
    return table, machine_from_toml(table)


def _draw_nodes(rng: Rng) -> dict[str, Any]:
    table: dict[str, Any] = {"name": "drawn", "arch": rng.choice(ARCHES)}
    table["era"] = "classic" if rng.chance(1, 12) else "6.1"
    nr_nodes, is_large = rng.choice(NR_NODES), rng.chance(1, 40)
    sizes = LARGE_MIB if is_large else SMALL_MIB if nr_nodes == 1 else NODE_MIB
    start = rng.choice(FAR_MIB if is_large else NEAR_MIB)
    nodes, first_cpu, memory_mib = [], 0, 0
    for nid in range(nr_nodes):
        node: dict[str, Any] = {}
        nr_cpus = 0 if nid and rng.chance(1, 6) else rng.choice(NR_CPUS)
        if nr_cpus:
            node["cpus"] = f"{first_cpu}-{first_cpu + nr_cpus - 1}"
            first_cpu += nr_cpus
        if not (nid and nr_cpus and rng.chance(1, 8)):  # else a node of CPUs only
            size = rng.choice(sizes)
            if nid and rng.chance(1, 3):  # a hole before it
                start += rng.choice((1, 3, 16, 100))
            if start:
                node["start"] = f"{start}M"
            node["memory"] = f"{size}M"
            start, memory_mib = start + size, memory_mib + size
        nodes.append(node)
    table["node"] = nodes
    if rng.chance(1, 6):
        table["movablecore"] = f"{rng.choice((256, 512, 768, 896)) * memory_mib}K"
    if len(nodes) > 1 and rng.chance(1, 2):
        table["distances"] = _distances(rng, len(nodes))
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


def _draw_swap(rng: Rng, table: dict[str, Any], memory_kib: int) -> None:
    nr_areas = rng.choice((0, 1, 1, 1, 1, 1, 1, 2, 2, 3))
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
        size_kib = max(64, rng.choice(SWAP_PERCENT) * memory_kib // 100) & ~3  # whole pages
        swap: dict[str, Any] = {"size": f"{size_kib}K", "device": device["name"]}
        if rng.chance(1, 4):
            swap["prio"] = rng.choice((-5, 0, 3, 3))
        swaps.append(swap)
    if devices:
        table["device"], table["swap"] = devices, swaps


def _draw_files(rng: Rng, table: dict[str, Any], memory_kib: int) -> None:
    """Draw files, on a disk of their own or beside swap areas."""
    nr_files = rng.choice((0, 0, 1, 2, 3))
    devices = table.get("device", [])
    if nr_files and (not devices or rng.chance(1, 2)):
        devices = [*devices, {"name": "vdd", "kind": rng.choice(("ssd", "nvme", "hdd"))}]
        table["device"] = devices
    files = []
    for number in range(nr_files):
        size_kib = max(1, rng.choice(FILE_PERCENT) * memory_kib // 100 + rng.choice((0, 0, 1)))
        device = rng.choice([device["name"] for device in devices])
        files.append({"path": f"/{'pqr'[number]}", "size": f"{size_kib}K", "device": device})
    if files:
        table["files"] = files
        if rng.chance(1, 3):
            _fill_disks(rng, table, memory_kib)


def _fill_disks(rng: Rng, table: dict[str, Any], memory_kib: int) -> None:
    """Leave so little room on the disks that some runs fill them."""
    room = rng.choice((0, 4, 64, memory_kib // 16, memory_kib // 4))
    devices = []
    for device in table["device"]:
        parts = [*table.get("swap", ()), *table["files"]]
        sizes = [parse_size(part["size"]) for part in parts if part["device"] == device["name"]]
        pages = sum(-(-each // PAGE_SIZE) for each in sizes)
        devices.append(device | {"size": f"{pages * PAGE_SIZE // 1024 + room}K"})
    table["device"] = devices


def _draw_sysctls(rng: Rng, table: dict[str, Any], memory_kib: int) -> dict[str, Any]:
    """Draw the tunables in force at boot, a few of them."""
    is_classic = table["era"] == "classic"
    drawn = {}
    for name, values in tunables(is_classic=is_classic, memory_kib=memory_kib).items():
        if rng.chance(1, 8):
            drawn[name] = rng.choice(values)
    if not is_classic and rng.chance(1, 3):  # a third of all runs: it is half of reclaim
        drawn["lru_gen.enabled"] = rng.choice(GENERATIONS)
    return drawn


def tunables(*, is_classic: bool, memory_kib: int) -> dict[str, tuple[int, ...]]:
    """Return the tunables a run may write, with values from harmless to wild."""
    shares = (0, 256, 64, 32, 16, 8, 2)
    of_generations: dict[str, tuple[int, ...]] = {
        "lru_gen.enabled": (0, *GENERATIONS),
        "lru_gen.min_ttl_ms": (0, 0, 0, 10, 1000),
    }
    return {
        **({} if is_classic else of_generations),
        "vm.swappiness": (0, 1, 10, 60, 100) if is_classic else (0, 1, 10, 60, 100, 150, 200),
        "vm.min_free_kbytes": tuple(memory_kib // share if share else 0 for share in shares),
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
        "vm.vfs_cache_pressure": (0, 100, 1000),
        "vm.dirty_ratio": (1, 5, 20, 100),
        "vm.dirty_background_ratio": (1, 5, 10),
        "vm.dirty_expire_centisecs": (1, 100, 3000),
        "vm.dirty_writeback_centisecs": (10, 100, 500),
    }
