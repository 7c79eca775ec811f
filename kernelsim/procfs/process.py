"""Render the files of /proc/PID: maps, smaps, smaps_rollup, numa_maps, status, statm, stat.

Linux: fs/proc/task_mmu.c, fs/proc/array.c, 6.1.
Differs: Groups, terminals and handlers of signals do not exist and are printed as none in the files
of a process; huge pages are printed as 0.

Interface: `render_*` return whole files.
Units: kB in maps-like files and status, pages in statm and the rss of stat, ticks of 10 ms in stat.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from kernelsim.config.number_list import format_number_list
from kernelsim.procfs.snapshot import PAGE_KB, MemoryUsage, ProcessSnapshot, VmaSnapshot
from kernelsim.procfs.system import NS_PER_TICK
from kernelsim.units import KIB, PAGE_SIZE

ZOMBIE: Final = "Z"
STATE_NAMES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "disk sleep",
    "T": "stopped",
    ZOMBIE: "zombie",
}
MAX_NUMNODES: Final = 1024  # bits of Mems_allowed; Debian's CONFIG_NODES_SHIFT is 10
ALL_CAPABILITIES: Final = (1 << 41) - 1
RLIM_INFINITY: Final = (1 << 64) - 1
SIGCHLD: Final = 17
DEFAULT_PRIORITY: Final = 20
NUMA_AREAS: Final = {"[heap]": "heap", "[stack]": "stack"}  # what numa_maps names


def render_maps(process: ProcessSnapshot) -> str:
    """Render /proc/PID/maps.

    Source: Linux 6.1 fs/proc/task_mmu.c:show_map_vma
    """
    return "".join(f"{_map_line(process, vma)}\n" for vma in process.vmas)


def _map_line(process: ProcessSnapshot, vma: VmaSnapshot) -> str:
    """Return the line of one area; the name stands in a column that depends on the word size."""
    line = f"{vma.start:08x}-{vma.end:08x} {vma.flags} {vma.offset:08x} {vma.dev} {vma.inode} "
    return line.ljust(25 + 6 * process.word_bytes) + vma.name if vma.name else line


def render_smaps(process: ProcessSnapshot) -> str:
    """Render /proc/PID/smaps.

    Source: Linux 6.1 fs/proc/task_mmu.c:show_smap
    """
    lines: list[str] = []
    for vma in process.vmas:
        lines.append(_map_line(process, vma))
        lines.append(_usage_line("Size", vma.end - vma.start))
        lines += [_usage_line(name, PAGE_SIZE) for name in ("KernelPageSize", "MMUPageSize")]
        lines += _usage_lines(vma.usage, rollup=False)
        lines.append("THPeligible:    0")
        lines.append("VmFlags: " + "".join(f"{flag} " for flag in vma.vm_flags))
    return "".join(f"{line}\n" for line in lines)


def render_smaps_rollup(process: ProcessSnapshot) -> str:
    """Render /proc/PID/smaps_rollup: the sum over all areas; empty without any.

    Source: Linux 6.1 fs/proc/task_mmu.c:show_smaps_rollup
    """
    if not process.vmas:
        return ""
    first, last = process.vmas[0], process.vmas[-1]
    whole = VmaSnapshot(start=first.start, end=last.end, flags="---p", name="[rollup]")
    usage = MemoryUsage(
        **{
            field.name: sum(getattr(vma.usage, field.name) for vma in process.vmas)
            for field in attrs.fields(MemoryUsage)
        }
    )
    lines = [_map_line(process, whole), *_usage_lines(usage, rollup=True)]
    return "".join(f"{line}\n" for line in lines)


def _usage_lines(usage: MemoryUsage, *, rollup: bool) -> Iterator[str]:
    """Yield the figures of smaps; the rollup splits Pss by kind."""
    yield _usage_line("Rss", usage.rss)
    yield _usage_line("Pss", usage.pss)
    yield _usage_line("Pss_Dirty", usage.pss_dirty)
    if rollup:
        yield _usage_line("Pss_Anon", usage.pss_anon)
        yield _usage_line("Pss_File", usage.pss_file)
        yield _usage_line("Pss_Shmem", usage.pss_shmem)
    yield _usage_line("Shared_Clean", usage.shared_clean)
    yield _usage_line("Shared_Dirty", usage.shared_dirty)
    yield _usage_line("Private_Clean", usage.private_clean)
    yield _usage_line("Private_Dirty", usage.private_dirty)
    yield _usage_line("Referenced", usage.referenced)
    yield _usage_line("Anonymous", usage.anonymous)
    yield _usage_line("LazyFree", usage.lazyfree)
    for name in ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped"):
        yield _usage_line(name, 0)
    for name in ("Shared_Hugetlb", "Private_Hugetlb"):
        yield _usage_line(name, 0)
    yield _usage_line("Swap", usage.swap)
    yield _usage_line("SwapPss", usage.swap_pss)
    yield _usage_line("Locked", usage.locked)


def _usage_line(name: str, size_bytes: int) -> str:
    """Return a line of smaps."""
    return f"{name + ':':<16}{size_bytes // KIB:>8} kB"


def render_numa_maps(process: ProcessSnapshot) -> str:
    """Render /proc/PID/numa_maps: the policy of each area and where its pages are.

    Source: Linux 6.1 fs/proc/task_mmu.c:show_numa_map
    """
    return "".join(f"{' '.join(_numa_words(vma))}\n" for vma in process.vmas)


def _numa_words(vma: VmaSnapshot) -> Iterator[str]:
    """Yield the words of one area; figures stand only where there are pages."""
    yield f"{vma.start:08x}"
    yield vma.policy
    if vma.name in NUMA_AREAS:
        yield NUMA_AREAS[vma.name]
    elif vma.name and not vma.name.startswith("["):
        yield f"file={vma.name}"
    numa = vma.numa
    pages = sum(numa.pages_by_node)
    if not pages:
        return
    figures = {
        "anon": numa.anon,
        "dirty": numa.dirty,
        "mapped": 0 if pages in (numa.anon, numa.dirty) else pages,
        "mapmax": numa.mapcount_max if numa.mapcount_max > 1 else 0,
        "swapcache": numa.swapcache,
    }
    yield from (f"{name}={count}" for name, count in figures.items() if count)
    if numa.active < pages:
        yield f"active={numa.active}"
    if numa.writeback:
        yield f"writeback={numa.writeback}"
    yield from (f"N{nid}={count}" for nid, count in enumerate(numa.pages_by_node) if count)
    yield f"kernelpagesize_kB={PAGE_KB}"


def status_memory_kb(process: ProcessSnapshot) -> dict[str, int]:
    """Return the memory lines of status, in order.

    Source: Linux 6.1 fs/proc/task_mmu.c:task_mem
    """
    text = min(process.text_bytes, process.exec_vm * PAGE_SIZE)
    pages = {
        "VmPeak": max(process.hiwater_vm, process.total_vm),
        "VmSize": process.total_vm,
        "VmLck": process.locked_vm,
        "VmPin": process.pinned_vm,
        "VmHWM": max(process.hiwater_rss, process.rss),
        "VmRSS": process.rss,
        "RssAnon": process.rss_anon,
        "RssFile": process.rss_file,
        "RssShmem": process.rss_shmem,
        "VmData": process.data_vm,
        "VmStk": process.stack_vm,
    }
    return {
        **{name: count * PAGE_KB for name, count in pages.items()},
        "VmExe": text // KIB,
        "VmLib": (process.exec_vm * PAGE_SIZE - text) // KIB,
        "VmPTE": process.pgtables_bytes // KIB,
        "VmSwap": process.swap * PAGE_KB,
    }


def render_status(
    process: ProcessSnapshot, *, nr_cpus: int = 1, max_nodes: int = MAX_NUMNODES
) -> str:
    """Render /proc/PID/status.

    Args:
        process: the process.
        nr_cpus: CPUs the kernel may have; the CPU mask has as many bits.
        max_nodes: nodes it may have; the node mask has as many bits.

    Source: Linux 6.1 fs/proc/array.c:proc_pid_status
    """
    lines = [*_status_identity(process)]
    if process.state != ZOMBIE:  # which has no memory
        memory = status_memory_kb(process).items()
        lines += [f"{name}:\t{kb:8d} kB" for name, kb in memory]
        lines += [f"HugetlbPages:\t{0:8d} kB", "CoreDumping:\t0", "THP_enabled:\t1"]
    lines.append("Threads:\t1")
    lines += _status_security(process)
    lines += [
        f"Cpus_allowed:\t{bit_mask(process.cpus_allowed, nr_cpus)}",
        f"Cpus_allowed_list:\t{format_number_list(process.cpus_allowed)}",
        f"Mems_allowed:\t{bit_mask(process.mems_allowed, max_nodes)}",
        f"Mems_allowed_list:\t{format_number_list(process.mems_allowed)}",
        f"voluntary_ctxt_switches:\t{process.voluntary_switches}",
        f"nonvoluntary_ctxt_switches:\t{process.nonvoluntary_switches}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _status_identity(process: ProcessSnapshot) -> Iterator[str]:
    """Yield the lines that identify the process."""
    yield f"Name:\t{process.comm}"
    yield "Umask:\t0022"
    yield f"State:\t{process.state} ({STATE_NAMES[process.state]})"
    numbers = {"Tgid": process.pid, "Ngid": 0, "Pid": process.pid, "PPid": process.ppid}
    for name, number in {**numbers, "TracerPid": 0}.items():
        yield f"{name}:\t{number}"
    for name in ("Uid", "Gid"):
        yield f"{name}:" + f"\t{process.uid}" * 4
    yield "FDSize:\t64"
    yield "Groups:\t "
    for name in ("NStgid", "NSpid", "NSpgid", "NSsid"):
        yield f"{name}:\t{process.pid}"


def _status_security(process: ProcessSnapshot) -> Iterator[str]:
    """Yield signals (none) and capabilities (all of them for root)."""
    yield "SigQ:\t0/0"
    for name in ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"):
        yield f"{name}:\t{0:016x}"
    own = 0 if process.uid else ALL_CAPABILITIES
    sets = {"CapInh": 0, "CapPrm": own, "CapEff": own, "CapBnd": ALL_CAPABILITIES, "CapAmb": 0}
    for name, capabilities in sets.items():
        yield f"{name}:\t{capabilities:016x}"
    for name in ("NoNewPrivs", "Seccomp", "Seccomp_filters"):
        yield f"{name}:\t0"
    yield "Speculation_Store_Bypass:\tnot vulnerable"
    yield "SpeculationIndirectBranch:\tnot affected"


def bit_mask(numbers: Iterable[int], nr_bits: int) -> str:
    """Return a set of numbers as the kernel prints bitmaps: hex groups of 32 bits, by commas."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    groups = []
    for low in range(0, nr_bits, 32):
        width = (min(nr_bits - low, 32) + 3) // 4
        groups.append(f"{mask >> low & 0xFFFFFFFF:0{width}x}")
    return ",".join(reversed(groups))


def render_statm(process: ProcessSnapshot) -> str:
    """Render /proc/PID/statm: size, resident, shared, text, lib (0), data, dirty (0), in pages.

    Source: Linux 6.1 fs/proc/array.c:proc_pid_statm
    """
    text = -(-process.text_bytes // PAGE_SIZE)
    shared = process.rss_file + process.rss_shmem
    data = process.data_vm + process.stack_vm
    return f"{process.total_vm} {process.rss} {shared} {text} 0 {data} 0\n"


def render_stat(process: ProcessSnapshot) -> str:
    """Render /proc/PID/stat, 52 fields.

    Source: Linux 6.1 fs/proc/array.c:do_task_stat
    """
    identity = [process.pid, f"({process.comm})", process.state, process.ppid]
    identity += [process.pid, process.pid, 0, -1, 0]  # pgrp session tty_nr tpgid flags
    faults = [process.minflt, 0, process.majflt, 0]
    times = [process.utime_ns // NS_PER_TICK, process.stime_ns // NS_PER_TICK, 0, 0]
    schedule = [DEFAULT_PRIORITY, 0, 1, 0, process.start_ns // NS_PER_TICK]
    memory = [process.total_vm * PAGE_SIZE, process.rss, RLIM_INFINITY]
    addresses = [process.start_code, process.end_code, process.start_stack, 0, 0]  # kstkesp, eip
    signals = [0] * 4
    waiting = [0, 0, 0, SIGCHLD, process.cpu]  # wchan nswap cnswap exit_signal processor
    waiting += [0] * 5  # rt_priority policy, waits for block devices, guest times
    data = [process.start_data, process.end_data, process.start_brk]
    data += [0] * 4 + [process.exit_code]  # behind arguments and environment
    groups = (identity, faults, times, schedule, memory, addresses, signals, waiting, data)
    return " ".join(str(field) for group in groups for field in group) + "\n"
