"""Render what describes the machine and its time: nodes, memory blocks, sysctls, uptime, stat.

Linux: drivers/base/node.c, drivers/base/memory.c, fs/proc/uptime.c, fs/proc/stat.c.
Differs: Time is virtual, so boot was at second 0 of the epoch. Of the interrupts there are only
those that one CPU sends another.

Interface: `render_*` return whole files; `node_states` and `sysctl_lines` their parts.
Units: nanoseconds in the snapshot; seconds, or ticks of 10 ms, in the files.
"""

from collections.abc import Mapping
from typing import Final

from kernelsim.config.number_list import format_number_list
from kernelsim.procfs.snapshot import MemoryBlock, NodeSnapshot, Snapshot
from kernelsim.sched.psi import FIXED_1, FSHIFT, Pressure
from kernelsim.units import NS_PER_MS, NS_PER_US

NS_PER_TICK: Final = 10 * NS_PER_MS  # USER_HZ is 100
NR_SOFTIRQS: Final = 10
NORMAL_ZONES: Final = ("DMA", "DMA32", "Normal")


def node_states(snapshot: Snapshot) -> dict[str, str]:
    """Return the node lists of /sys/devices/system/node by file name.

    Source: Linux 6.1 drivers/base/node.c:node_state_attr
    """
    nodes = snapshot.nodes
    online = [node.nid for node in nodes]
    states = {
        "has_normal_memory": [n.nid for n in nodes if _has_memory(n, NORMAL_ZONES)],
        "has_memory": [n.nid for n in nodes if _has_memory(n, ())],
        "has_cpu": [n.nid for n in nodes if n.cpus],
        "possible": list(snapshot.possible_nodes) or online,
        "online": online,
    }
    return {name: format_number_list(nids) for name, nids in states.items()}


def _has_memory(node: NodeSnapshot, names: tuple[str, ...]) -> bool:
    """Whether a zone of these names (of any, when empty) has memory."""
    return any(zone.populated for zone in node.zones if not names or zone.name in names)


def render_distance(node: NodeSnapshot) -> str:
    """Render nodeN/distance."""
    return " ".join(str(distance) for distance in node.distances) + "\n"


def render_cpulist(node: NodeSnapshot) -> str:
    """Render nodeN/cpulist."""
    return format_number_list(node.cpus) + "\n"


def render_nodes(snapshot: Snapshot) -> str:
    """Render nodes.txt of a recording: node states, then distances and CPUs of each node."""
    if not snapshot.numa:
        return ""
    lines = [f"{name} = {nids}\n" for name, nids in node_states(snapshot).items()]
    lines += [f"node{node.nid}/distance = {render_distance(node)}" for node in snapshot.nodes]
    lines += [f"node{node.nid}/cpulist = {render_cpulist(node)}" for node in snapshot.nodes]
    return "".join(lines)


def render_memory_blocks(snapshot: Snapshot) -> str:
    """Render memory_blocks.txt of a recording; empty without memory hotplug."""
    if not snapshot.block_size_bytes:
        return ""
    lines = [
        f"block_size_bytes = {snapshot.block_size_bytes:x}",
        f"auto_online_blocks = {snapshot.auto_online_blocks}",
    ]
    for block in snapshot.memory_blocks:
        for name, text in memory_block_files(block).items():
            lines.append(f"memory{block.index}/{name} = {text}")
    return "".join(f"{line}\n" for line in lines)


def memory_block_files(block: MemoryBlock) -> dict[str, str]:
    """Return the files of one memory block without their newlines."""
    return {
        "state": block.state,
        "valid_zones": block.valid_zones,
        "removable": f"{block.removable:d}",
    }


def render_sysctl_vm(snapshot: Snapshot) -> str:
    """Render sysctl_vm.txt of a recording: `key = value` lines and the uptime."""
    lines = [f"{name} = {text}\n" for name, text in snapshot.sysctls.items()]
    return "".join(lines) + f"uptime = {render_uptime(snapshot)}"


def render_uptime(snapshot: Snapshot) -> str:
    """Render /proc/uptime: virtual seconds since boot and idle seconds of all CPUs.

    Source: Linux 6.1 fs/proc/uptime.c:uptime_proc_show
    """
    return " ".join(_seconds(time) for time in (snapshot.uptime_ns, snapshot.idle_ns)) + "\n"


def _seconds(time_ns: int) -> str:
    """Return seconds with two decimals, rounded down."""
    hundredths = time_ns // NS_PER_TICK
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def render_stat(snapshot: Snapshot) -> str:
    """Render /proc/stat.

    Source: Linux 6.1 fs/proc/stat.c:show_stat
    """
    times = {
        str(cpu.cpu): (cpu.user_ns, 0, cpu.system_ns, cpu.idle_ns, cpu.iowait_ns)
        for cpu in snapshot.cpus
    }
    total = tuple(sum(column) for column in zip(*times.values(), strict=True)) or (0,) * 5
    lines = [f"cpu  {_ticks(total)}"]
    lines += [f"cpu{cpu} {_ticks(spent)}" for cpu, spent in times.items()]
    lines += [
        f"intr {snapshot.interrupts}",
        f"ctxt {snapshot.context_switches}",
        "btime 0",
        f"processes {snapshot.processes_created}",
        f"procs_running {sum(each.state == 'R' for each in snapshot.processes)}",
        f"procs_blocked {snapshot.nr_iowait}",
        "softirq " + " ".join(["0"] * (NR_SOFTIRQS + 1)),
    ]
    return "".join(f"{line}\n" for line in lines)


def _ticks(times_ns: tuple[int, ...]) -> str:
    """Return user, nice, system, idle and iowait in ticks; irq, steal and guests are 0."""
    return " ".join([*(str(time // NS_PER_TICK) for time in times_ns), *["0"] * 5])


def render_pressure(lines: Mapping[str, Pressure]) -> str:
    """Render a file of /proc/pressure.

    Args:
        lines: What it says of "some" and "full".

    Source: Linux 6.1 kernel/sched/psi.c:psi_show
    """
    return "".join(pressure_line(kind, pressure) for kind, pressure in lines.items())


def pressure_line(kind: str, pressure: Pressure) -> str:
    """Return one line: percent of the last 10, 60 and 300 s, and microseconds since boot."""
    averages = (
        f"avg{seconds}={average >> FSHIFT}.{(average % FIXED_1) * 100 >> FSHIFT:02d}"
        for seconds, average in zip((10, 60, 300), pressure.averages, strict=True)
    )
    return f"{kind} {' '.join(averages)} total={pressure.total_ns // NS_PER_US}\n"
