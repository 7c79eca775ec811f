"""Hold the kernel's tunables: name, default, range, unit and meaning of each.

Linux: kernel/sysctl.c, mm/page_alloc.c, mm/page-writeback.c; Documentation/admin-guide/sysctl.
Differs: Keys that trigger an action (drop_caches, compact_memory) are no settings here, and NUMA
balancing and huge pages are off by default.
Interface: `Sysctl` is a value with one attribute a key (`vm.swappiness` is `vm_swappiness`);
`SYSCTLS` is the table, `IDLE` the part of it that changes nothing yet. Reading and writing values
is sysctl_write.py's.
Units: as the kernel's; None means "computed from the memory at boot".

To add a key, add its attribute to `Sysctl`. Then it is one of three, and a test knows which:
  - read where it is used, from the tunables in force (`kernel.sysctl.vm_swappiness`);
  - handled: something is computed from it, by a function in `ON_WRITE` (mm/page/zone_marks.py);
  - idle: a write changes nothing yet; `idle` says why, and the user is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from kernelsim.config.sysctl_field import SysctlValue, knob, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernelsim.config.era import Era

__all__ = [
    "IDLE",
    "SYSCTLS",
    "Sysctl",
    "SysctlEntry",
    "SysctlValue",
]

_INT_MAX: Final = (1 << 31) - 1
_INT_MIN: Final = -_INT_MAX - 1
_ULONG_MAX: Final = (1 << 63) - 1
_UINT_MAX: Final = (1 << 32) - 1
# Differs from Linux: The bit 4 of lru_gen.enabled stays 0, as on a processor that does not mark
# upper page tables as accessed.
_LRU_GEN_CAPS: Final = 3


@attrs.frozen(kw_only=True)
class Sysctl:
    """The tunables in force; every attribute is a key of the table with `.` and `-` as `_`.

    None in a memory-sized key (min_free_kbytes and the two reserves) means the kernel's formula.
    """

    vm_min_free_kbytes: int | None = knob(
        "vm.min_free_kbytes", None, 0, _INT_MAX, "KiB", "memory the min watermarks share out"
    )
    vm_user_reserve_kbytes: int | None = knob(
        "vm.user_reserve_kbytes", None, 0, _ULONG_MAX, "KiB", "kept for one user in mode 2"
    )
    vm_admin_reserve_kbytes: int | None = knob(
        "vm.admin_reserve_kbytes",
        None,
        0,
        _ULONG_MAX,
        "KiB",
        "kept for root when overcommitting",
        idle="all processes are root's, who may use it",
    )
    vm_swappiness: int = knob(
        "vm.swappiness", 60, 0, 200, "weight", "cost of swapping against that of reading files"
    )
    vm_lowmem_reserve_ratio: tuple[int, ...] = attrs.field(
        default=(256, 256, 32, 0, 0),
        metadata={
            "name": "vm.lowmem_reserve_ratio",
            "minimum": _INT_MIN,
            "maximum": _INT_MAX,
            "unit": "1/pages",
            "doc": "a zone keeps 1/ratio of the zones above it from their users; 0 keeps none",
        },
    )
    vm_watermark_scale_factor: int = knob(
        "vm.watermark_scale_factor", 10, 1, 3000, "1/10000", "distance between the watermarks"
    )
    vm_watermark_boost_factor: int = knob(
        "vm.watermark_boost_factor", 15000, 0, _INT_MAX, "1/10000", "boost on a mixed pageblock"
    )
    vm_overcommit_memory: int = knob(
        "vm.overcommit_memory", 0, 0, 2, "mode", "0 guess, 1 always, 2 never"
    )
    vm_overcommit_ratio: int = knob(
        "vm.overcommit_ratio", 50, 0, _INT_MAX, "percent", "share of RAM that counts in mode 2"
    )
    vm_overcommit_kbytes: int = knob(
        "vm.overcommit_kbytes", 0, 0, _ULONG_MAX, "KiB", "RAM that counts in mode 2; 0: the ratio"
    )
    vm_zone_reclaim_mode: int = knob(
        "vm.zone_reclaim_mode",
        0,
        0,
        _INT_MAX,
        "bits",
        "1 reclaim locally, 2 write, 4 unmap and swap as well",
    )
    vm_min_unmapped_ratio: int = knob(
        "vm.min_unmapped_ratio",
        1,
        0,
        100,
        "percent",
        "unmapped file pages that start node reclaim",
    )
    vm_min_slab_ratio: int = knob(
        "vm.min_slab_ratio",
        5,
        0,
        100,
        "percent",
        "reclaimable slab that starts node reclaim",
    )
    vm_dirty_ratio: int = knob(
        "vm.dirty_ratio",
        20,
        0,
        100,
        "percent",
        "dirty share at which a writer has to wait",
    )
    vm_dirty_background_ratio: int = knob(
        "vm.dirty_background_ratio",
        10,
        0,
        100,
        "percent",
        "dirty share that wakes the flusher",
    )
    vm_dirty_bytes: int = knob(
        "vm.dirty_bytes",
        0,
        0,
        _ULONG_MAX,
        "bytes",
        "the same in bytes; 0: the ratio counts",
    )
    vm_dirty_background_bytes: int = knob(
        "vm.dirty_background_bytes",
        0,
        0,
        _ULONG_MAX,
        "bytes",
        "the same in bytes; 0: the ratio",
    )
    vm_dirty_expire_centisecs: int = knob(
        "vm.dirty_expire_centisecs",
        3000,
        0,
        _INT_MAX,
        "10 ms",
        "age at which dirty data is old",
    )
    vm_dirty_writeback_centisecs: int = knob(
        "vm.dirty_writeback_centisecs",
        500,
        0,
        _INT_MAX,
        "10 ms",
        "period of the flusher; 0: off",
    )
    vm_dirtytime_expire_seconds: int = knob(
        "vm.dirtytime_expire_seconds",
        43200,
        0,
        _INT_MAX,
        "s",
        "age of lazily dirty inodes",
        idle="reading a file does not make it dirty",
    )
    vm_page_cluster: int = knob(
        "vm.page-cluster", 3, 0, 31, "log2 pages", "swap readahead reads up to 2^n pages"
    )
    vm_vfs_cache_pressure: int = knob(
        "vm.vfs_cache_pressure",
        100,
        0,
        _INT_MAX,
        "percent",
        "reclaim of dentries and inodes",
        idle="there are no dentries and inodes",
    )
    vm_percpu_pagelist_high_fraction: int = knob(
        "vm.percpu_pagelist_high_fraction", 0, 0, _INT_MAX, "1/zone", "pcp high; 0: from watermarks"
    )
    vm_highmem_is_dirtyable: int = knob(
        "vm.highmem_is_dirtyable",
        0,
        0,
        1,
        "flag",
        "count high memory as dirtyable (32-bit)",
    )
    vm_oom_kill_allocating_task: int = knob(
        "vm.oom_kill_allocating_task", 0, 0, _INT_MAX, "flag", "kill the task that ran out"
    )
    vm_oom_dump_tasks: int = knob(
        "vm.oom_dump_tasks", 1, 0, _INT_MAX, "flag", "print the task table on OOM"
    )
    vm_panic_on_oom: int = knob(
        "vm.panic_on_oom", 0, 0, 2, "mode", "0 kill, 1 panic, 2 panic also inside a policy"
    )
    vm_max_map_count: int = knob(
        "vm.max_map_count", 65530, 0, _INT_MAX, "VMAs", "areas one process may have"
    )
    vm_mmap_min_addr: int = knob(
        "vm.mmap_min_addr",
        65536,
        0,
        _ULONG_MAX,
        "bytes",
        "lowest address a process may map",
        idle="the lowest address a process may map is fixed",
    )
    vm_numa_zonelist_order: str = word(
        "vm.numa_zonelist_order",
        "Node",
        "order of fallback",
        idle="by node is the only order, in Linux too",
    )
    vm_extfrag_threshold: int = knob(
        "vm.extfrag_threshold",
        500,
        0,
        1000,
        "1/1000",
        "fragmentation that justifies compaction",
    )
    vm_compaction_proactiveness: int = knob(
        "vm.compaction_proactiveness",
        20,
        0,
        100,
        "weight",
        "background compaction; 0: none",
    )
    vm_compact_unevictable_allowed: int = knob(
        "vm.compact_unevictable_allowed",
        1,
        0,
        1,
        "flag",
        "compaction may move mlocked pages",
    )
    vm_numa_stat: int = knob("vm.numa_stat", 1, 0, 1, "flag", "count numa_hit and its like")
    vm_stat_interval: int = knob(
        "vm.stat_interval",
        1,
        1,
        _INT_MAX,
        "s",
        "period in which per-cpu counters are summed",
        idle="counters are exact at all times",
    )
    vm_laptop_mode: int = knob(
        "vm.laptop_mode",
        0,
        0,
        _INT_MAX,
        "s",
        "write out after a read",
        idle="what is dirty is written as without it",
    )
    vm_legacy_va_layout: int = knob(
        "vm.legacy_va_layout",
        0,
        0,
        1,
        "flag",
        "bottom-up placing of mappings",
        idle="addresses are given out top-down",
    )
    kernel_randomize_va_space: int = knob(
        "kernel.randomize_va_space",
        2,
        0,
        2,
        "mode",
        "what a new process has at random places: 0 nothing, 1 all but its heap, 2 all",
    )
    # Differs from Linux: NUMA balancing is off by default; Debian switches it on.
    kernel_numa_balancing: int = knob(
        "kernel.numa_balancing",
        0,
        0,
        3,
        "bits",
        "1 move tasks and pages together, 2 tiering",
        idle="pages stay where they are",
    )
    lru_gen_enabled: int = knob(
        "lru_gen.enabled",
        0,
        0,
        _UINT_MAX,
        "bits",
        "1 the multi-generational LRU, 2 its aging walks page tables; y all, n none",
        text_format="0x{:04x}",
        words={"y": _LRU_GEN_CAPS, "n": 0},
        mask=_LRU_GEN_CAPS,
    )
    lru_gen_min_ttl_ms: int = knob(
        "lru_gen.min_ttl_ms",
        0,
        0,
        _UINT_MAX,
        "ms",
        "rather than evict pages used since, call the OOM killer; 0: never",
    )
    # Differs from Linux: Transparent huge pages are never made; Debian's default is to make them
    # always.
    transparent_hugepage_enabled: str = word(
        "transparent_hugepage.enabled",
        "always madvise [never]",
        "transparent huge pages",
        idle="huge pages are never made",
    )


@attrs.frozen(kw_only=True)
class SysctlEntry:
    """One row of the table; `minimum`/`maximum`, of 6.1, are None for a key that holds a word."""

    name: str
    attribute: str
    default: SysctlValue
    minimum: int | None
    maximum: int | None
    unit: str
    words: tuple[str, ...]
    doc: str
    text_format: str
    aliases: Mapping[str, int]
    """Words that may be written for numbers."""
    mask: int
    """Bits of a number that are kept."""
    idle: str
    """Why writing it changes nothing yet but what is shown; empty when it works."""

    def limits(self, era: Era) -> tuple[int, int]:
        """Return the lowest and the highest number the key may hold; not for words."""
        assert self.minimum is not None
        assert self.maximum is not None
        return self.minimum, era.sysctl_maximum.get(self.name, self.maximum)


SYSCTLS: Final[dict[str, SysctlEntry]] = {
    field.metadata["name"]: SysctlEntry(
        name=field.metadata["name"],
        attribute=field.name,
        default=field.default,
        minimum=field.metadata.get("minimum"),
        maximum=field.metadata.get("maximum"),
        unit=field.metadata.get("unit", ""),
        words=field.metadata.get("words", ()),
        doc=field.metadata["doc"],
        text_format=field.metadata.get("text_format", "{}"),
        aliases=field.metadata.get("aliases", {}),
        mask=field.metadata.get("mask", -1),
        idle=field.metadata.get("idle", ""),
    )
    for field in attrs.fields(Sysctl)
}

IDLE: Final[dict[str, str]] = {name: entry.idle for name, entry in SYSCTLS.items() if entry.idle}
"""Keys that change nothing yet, with the reason."""
