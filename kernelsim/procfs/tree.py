"""Lay the rendered files out: as /proc and /sys, or as a recording's snapshot directory.

Interface: `render_tree` and `render_recording` yield (relative path, text); the caller writes
them where it wants, and beside the tree the symbolic links of hardware.py:`tree_links`. Paths use
`/` and never leave the directory.
"""

from collections.abc import Callable, Iterator
from typing import Final

from kernelsim.procfs.hardware import (
    cpu_tree,
    render_cpuinfo,
    render_diskstats,
    render_mm_stat,
)
from kernelsim.procfs.lru_gen import render_lru_gen
from kernelsim.procfs.meminfo import render_meminfo, render_node_meminfo, render_swaps
from kernelsim.procfs.process import (
    MAX_NUMNODES,
    bit_mask,
    render_maps,
    render_numa_maps,
    render_smaps,
    render_smaps_rollup,
    render_statm,
    render_status,
)
from kernelsim.procfs.process import render_stat as render_process_stat
from kernelsim.procfs.slabinfo import render_slabinfo
from kernelsim.procfs.snapshot import ProcessSnapshot, Snapshot
from kernelsim.procfs.system import (
    memory_block_files,
    node_states,
    render_cpulist,
    render_distance,
    render_memory_blocks,
    render_nodes,
    render_pressure,
    render_stat,
    render_sysctl_vm,
    render_uptime,
)
from kernelsim.procfs.vmallocinfo import render_vmallocinfo
from kernelsim.procfs.vmstat import render_node_vmstat, render_numastat, render_vmstat
from kernelsim.procfs.zones import (
    render_buddyinfo,
    render_extfrag,
    render_pagetypeinfo,
    render_zoneinfo,
)

Files = Iterator[tuple[str, str]]

MEMORY_FILES: Final[dict[str, Callable[[Snapshot], str]]] = {
    "zoneinfo": render_zoneinfo,
    "meminfo": render_meminfo,
    "vmstat": render_vmstat,
    "buddyinfo": render_buddyinfo,
    "pagetypeinfo": render_pagetypeinfo,
    "swaps": render_swaps,
}
NODE_FILES: Final[dict[str, Callable[[Snapshot, int], str]]] = {
    "meminfo": render_node_meminfo,
    "numastat": render_numastat,
    "vmstat": render_node_vmstat,
}
MACHINE_FILES: Final[dict[str, Callable[[Snapshot], str]]] = {
    **MEMORY_FILES,
    "slabinfo": render_slabinfo,
    "uptime": render_uptime,
    "stat": render_stat,
    "cpuinfo": render_cpuinfo,
    "diskstats": render_diskstats,
}
WALKING_FILES: Final = ("smaps", "smaps_rollup", "numa_maps")  # they walk the page tables
PROC_SYS: Final = ("vm.", "kernel.")
LRU_GEN: Final = "lru_gen."
EXTFRAG_THRESHOLD: Final = "vm.extfrag_threshold"  # kernels that compact memory have it
DEBUG_LRU_GEN: Final = "kernel/debug/lru_gen"


def render_tree(snapshot: Snapshot) -> Files:
    """Yield every file of the machine below `proc/` and `sys/`."""
    for name, render in MACHINE_FILES.items():
        yield f"proc/{name}", render(snapshot)
    if snapshot.vmallocinfo:
        yield "proc/vmallocinfo", render_vmallocinfo(snapshot)
    for key, text in snapshot.sysctls.items():
        if key.startswith(PROC_SYS):
            yield f"proc/sys/{key.replace('.', '/', 1)}", f"{text}\n"
        if key.startswith(LRU_GEN):
            yield f"sys/kernel/mm/{key.replace('.', '/', 1)}", f"{text}\n"
    if any(key.startswith(LRU_GEN) for key in snapshot.sysctls):
        yield f"sys/{DEBUG_LRU_GEN}", render_lru_gen(snapshot)
    if EXTFRAG_THRESHOLD in snapshot.sysctls:
        yield from _below("sys/kernel/debug/extfrag", render_extfrag(snapshot))
    for resource, lines in snapshot.pressure.items():
        yield f"proc/pressure/{resource}", render_pressure(lines)
    nr_cpus = number_of_cpus(snapshot)
    for process in snapshot.processes:
        yield from _below(f"proc/{process.pid}", process_files(snapshot, process))
    yield from _below("sys/devices/system/cpu", cpu_tree(snapshot))
    if snapshot.numa:
        yield from _below("sys/devices/system/node", _node_tree(snapshot, nr_cpus))
    for disk in snapshot.disks:
        if disk.mm_stat:
            yield f"sys/block/{disk.name}/mm_stat", render_mm_stat(disk)
    if snapshot.block_size_bytes:
        yield from _below("sys/devices/system/memory", _memory_block_tree(snapshot))


def _below(folder: str, files: Files) -> Files:
    """Put files into a folder."""
    return ((f"{folder}/{name}", text) for name, text in files)


def render_recording(snapshot: Snapshot) -> Files:
    """Yield the files of a snapshot directory as recordings have them."""
    for name, render in MEMORY_FILES.items():
        yield name, render(snapshot)
    yield "nodes.txt", render_nodes(snapshot)
    yield "memory_blocks.txt", render_memory_blocks(snapshot)
    yield "sysctl_vm.txt", render_sysctl_vm(snapshot)
    for node in snapshot.nodes if snapshot.numa else ():
        for name, render_node in NODE_FILES.items():
            yield f"node{node.nid}/{name}", render_node(snapshot, node.nid)


def number_of_cpus(snapshot: Snapshot) -> int:
    """Return the CPUs of a machine, 1 where the snapshot says nothing of them."""
    return len(snapshot.cpus) or sum(len(node.cpus) for node in snapshot.nodes) or 1


def process_files(snapshot: Snapshot, process: ProcessSnapshot) -> Files:
    """Yield the files of one process, by their names in its directory."""
    nr_cpus = number_of_cpus(snapshot)
    yield "comm", f"{process.comm}\n"
    yield "cmdline", f"{process.comm}\0"
    yield "maps", render_maps(process)
    yield "smaps", render_smaps(process)
    yield "smaps_rollup", render_smaps_rollup(process)
    if snapshot.numa:
        yield "numa_maps", render_numa_maps(process)
    yield "stat", render_process_stat(process)
    yield "statm", render_statm(process)
    max_nodes = MAX_NUMNODES if snapshot.numa else 1
    yield "status", render_status(process, nr_cpus=nr_cpus, max_nodes=max_nodes)
    yield "oom_score", f"{process.oom_score}\n"
    yield "oom_score_adj", f"{process.oom_score_adj}\n"


def _node_tree(snapshot: Snapshot, nr_cpus: int) -> Files:
    """Yield the node lists and the files of each node."""
    for name, nids in node_states(snapshot).items():
        yield name, f"{nids}\n"
    for node in snapshot.nodes:
        for name, render in NODE_FILES.items():
            yield f"node{node.nid}/{name}", render(snapshot, node.nid)
        yield f"node{node.nid}/distance", render_distance(node)
        yield f"node{node.nid}/cpulist", render_cpulist(node)
        yield f"node{node.nid}/cpumap", f"{bit_mask(node.cpus, nr_cpus)}\n"


def _memory_block_tree(snapshot: Snapshot) -> Files:
    """Yield the files of the memory blocks."""
    yield "block_size_bytes", f"{snapshot.block_size_bytes:x}\n"
    yield "auto_online_blocks", f"{snapshot.auto_online_blocks}\n"
    for block in snapshot.memory_blocks:
        yield f"memory{block.index}/phys_index", f"{block.index:08x}\n"
        yield f"memory{block.index}/online", f"{block.state != 'offline':d}\n"
        for name, text in memory_block_files(block).items():
            yield f"memory{block.index}/{name}", f"{text}\n"
