"""Render /proc/meminfo, nodeN/meminfo and /proc/swaps.

Linux: fs/proc/meminfo.c, drivers/base/node.c:node_read_meminfo, mm/swapfile.c:swap_show,
mm/page_alloc.c:si_mem_available.
Differs: Huge pages, zswap, NFS and bounce buffers do not exist, so their lines in meminfo show 0.

Interface: `render_*` return the whole file, `meminfo_kb` the figures behind it.
Units: kB in the files, pages in the snapshot.
"""

from typing import Final

from kernelsim.procfs.snapshot import PAGE_KB, Snapshot

HIGH_ZONES: Final = ("HighMem",)
WIDE_SWAP_KB: Final = 10_000_000
HUGE_NAMES: Final = (
    "AnonHugePages",
    "ShmemHugePages",
    "ShmemPmdMapped",
    "FileHugePages",
    "FilePmdMapped",
)
HUGEPAGE_COUNTS: Final = ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")
# Lines of nodeN/meminfo after the page cache, in order.
NODE_NAMES: Final = (
    "Mapped",
    "AnonPages",
    "Shmem",
    "KernelStack",
    "PageTables",
    "SecPageTables",
    "NFS_Unstable",
    "Bounce",
    "WritebackTmp",
    "KReclaimable",
    "Slab",
    "SReclaimable",
    "SUnreclaim",
    *HUGE_NAMES,
)


def render_meminfo(snapshot: Snapshot) -> str:
    """Render /proc/meminfo.

    Source: Linux 6.1 fs/proc/meminfo.c:meminfo_proc_show
    """
    lines = [_line(name, kb) for name, kb in meminfo_kb(snapshot).items()]
    lines += [f"{name + ':':<16}{0:>8}" for name in HUGEPAGE_COUNTS]
    lines += [_line("Hugepagesize", snapshot.hugepage_kb), _line("Hugetlb", 0)]
    lines += [_line(f"DirectMap{size}", kb) for size, kb in snapshot.direct_map_kb.items()]
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, kb: int) -> str:
    """Return a line of /proc/meminfo; its longest name leaves the columns."""
    if name == "HardwareCorrupted":
        return f"{name}: {kb:5d} kB"
    return f"{name + ':':<16}{kb:8d} kB"


def meminfo_kb(snapshot: Snapshot) -> dict[str, int]:
    """Return the kB figures of /proc/meminfo in their order, up to the huge pages."""
    node, zone = snapshot.node_stat, snapshot.zone_stat
    free = zone("nr_free_pages")
    swapcached = node("nr_swapcached")
    pages = {
        "MemTotal": snapshot.zone_sum(lambda each: each.managed),
        "MemFree": free,
        "MemAvailable": mem_available(snapshot),
        "Buffers": snapshot.buffers,
        "Cached": max(node("nr_file_pages") - swapcached - snapshot.buffers, 0),
        "SwapCached": swapcached,
        **_lru_pages(snapshot),
        "Mlocked": zone("nr_mlock"),
        **_highmem_pages(snapshot),
        "SwapTotal": snapshot.swap_total,
        "SwapFree": snapshot.swap_free,
        "Zswap": 0,
        "Zswapped": 0,
        "Dirty": node("nr_dirty"),
        "Writeback": node("nr_writeback"),
        "AnonPages": node("nr_anon_pages"),
        "Mapped": node("nr_mapped"),
        "Shmem": node("nr_shmem"),
        **_slab_pages(snapshot),
    }
    return {
        **{name: count * PAGE_KB for name, count in pages.items()},
        "KernelStack": node("nr_kernel_stack"),
        "PageTables": node("nr_page_table_pages") * PAGE_KB,
        "SecPageTables": node("nr_sec_page_table_pages") * PAGE_KB,
        "NFS_Unstable": 0,
        "Bounce": zone("nr_bounce") * PAGE_KB,
        "WritebackTmp": node("nr_writeback_temp") * PAGE_KB,
        "CommitLimit": snapshot.commit_limit * PAGE_KB,
        "Committed_AS": snapshot.committed_as * PAGE_KB,
        "VmallocTotal": snapshot.vmalloc_total_kb,
        "VmallocUsed": snapshot.vmalloc_used * PAGE_KB,
        "VmallocChunk": 0,
        "Percpu": snapshot.percpu * PAGE_KB,
        "HardwareCorrupted": 0,
        **dict.fromkeys(HUGE_NAMES, 0),
    }


def mem_available(snapshot: Snapshot) -> int:
    """Estimate the pages new programs can get without swapping."""
    node = snapshot.node_stat
    return si_mem_available(
        free=snapshot.zone_stat("nr_free_pages"),
        totalreserve=snapshot.totalreserve_pages,
        low=snapshot.zone_sum(lambda zone: zone.low + zone.boost),
        cache=node("nr_active_file") + node("nr_inactive_file"),
        reclaimable=node("nr_slab_reclaimable") + node("nr_kernel_misc_reclaimable"),
    )


def si_mem_available(
    *, free: int, totalreserve: int, low: int, cache: int, reclaimable: int
) -> int:
    """Estimate the pages new programs can get without swapping.

    Args:
        free: Free pages.
        totalreserve: Pages kept free in all zones.
        low: Sum of the low watermarks, boosts included.
        cache: Pages on the file lists; half of a small cache is held to be in use.
        reclaimable: Kernel memory that shrinkers can free, judged alike.

    Source: Linux 6.1 mm/page_alloc.c:si_mem_available
    """
    available = free - totalreserve
    available += cache - min(cache // 2, low)
    available += reclaimable - min(reclaimable // 2, low)
    return max(available, 0)


def _lru_pages(snapshot: Snapshot) -> dict[str, int]:
    """Return the lines of the LRU lists."""
    lists = {
        f"{state.capitalize()}({kind})": snapshot.node_stat(f"nr_{state}_{kind}")
        for kind in ("anon", "file")
        for state in ("active", "inactive")
    }
    return {
        "Active": lists["Active(anon)"] + lists["Active(file)"],
        "Inactive": lists["Inactive(anon)"] + lists["Inactive(file)"],
        **lists,
        "Unevictable": snapshot.node_stat("nr_unevictable"),
    }


def _highmem_pages(snapshot: Snapshot) -> dict[str, int]:
    """Return the lines of a kernel with high memory; without it there are none."""
    if not any(zone.name in HIGH_ZONES for _, zone in snapshot.zones()):
        return {}
    # ZONE_MOVABLE is high memory here when its pages would be; no such machine is recorded.
    total = snapshot.zone_sum(lambda zone: zone.managed)
    free = snapshot.zone_stat("nr_free_pages")
    high = snapshot.zone_sum(lambda zone: zone.managed if zone.name in HIGH_ZONES else 0)
    high_free = snapshot.zone_sum(
        lambda zone: zone.stats.get("nr_free_pages", 0) if zone.name in HIGH_ZONES else 0
    )
    return {
        "HighTotal": high,
        "HighFree": high_free,
        "LowTotal": total - high,
        "LowFree": free - high_free,
    }


def _slab_pages(snapshot: Snapshot) -> dict[str, int]:
    """Return the lines of the slab allocator."""
    reclaimable = snapshot.node_stat("nr_slab_reclaimable")
    unreclaimable = snapshot.node_stat("nr_slab_unreclaimable")
    return {
        "KReclaimable": reclaimable + snapshot.node_stat("nr_kernel_misc_reclaimable"),
        "Slab": reclaimable + unreclaimable,
        "SReclaimable": reclaimable,
        "SUnreclaim": unreclaimable,
    }


def render_node_meminfo(snapshot: Snapshot, nid: int) -> str:
    """Render nodeN/meminfo.

    Source: Linux 6.1 drivers/base/node.c:node_read_meminfo
    """
    node = snapshot.of_node(nid)
    kb = meminfo_kb(node)
    kb["MemUsed"] = kb["MemTotal"] - kb["MemFree"]
    kb["FilePages"] = node.node_stat("nr_file_pages") * PAGE_KB
    names = ["MemTotal", "MemFree", "MemUsed", "SwapCached", *_lru_pages(node), "Mlocked"]
    names += [*_highmem_pages(node), "Dirty", "Writeback", "FilePages", *NODE_NAMES]
    # The two lines of huge file pages are one column narrower in 6.1.
    widths = {name: 23 if name in ("FileHugePages", "FilePmdMapped") else 24 for name in names}
    lines = [f"Node {nid} {name}:{kb[name]:>{widths[name] - len(name) - 1}} kB" for name in names]
    lines += [
        f"Node {nid} {name + ':':<17}{0:>5}" for name in HUGEPAGE_COUNTS if "Rsvd" not in name
    ]
    return "".join(f"{line}\n" for line in lines)


def render_swaps(snapshot: Snapshot) -> str:
    """Render /proc/swaps.

    Source: Linux 6.1 mm/swapfile.c:swap_show
    """
    lines = ["Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"]
    for area in snapshot.swaps:
        path = mangle_path(area.path)
        padding = " " * max(40 - len(path), 1)
        kind = "partition" if area.type == "partition" else "file\t"
        sizes = f"{_swap_size(area.size_kb)}{_swap_size(area.used_kb)}"
        lines.append(f"{path}{padding}{kind}\t{sizes}{area.prio}")
    return "".join(f"{line}\n" for line in lines)


def mangle_path(path: str) -> str:
    """Return a path with blanks, tabs, line ends and backslashes in octal, as in swaps.

    Source: Linux 6.1 fs/seq_file.c:mangle_path
    """
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in path)


def _swap_size(kb: int) -> str:
    """Return a size and the tabs behind it; eight digits reach the next stop by themselves."""
    return f"{kb}\t" if kb >= WIDE_SWAP_KB else f"{kb}\t\t"
