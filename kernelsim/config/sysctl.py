"""Hold the kernel's tunables: name, default, range, unit and meaning of each.

Linux: kernel/sysctl.c, mm/page_alloc.c, mm/page-writeback.c; Documentation/admin-guide/sysctl.
Differs: keys that trigger an action (drop_caches, compact_memory) are steps of a
workload, no settings; NUMA balancing, MGLRU and huge pages are off by default.
Interface: `Sysctl` is a value with one attribute a key (`vm.swappiness` is `vm_swappiness`);
`SYSCTLS` is the table, `IDLE` the part of it that changes nothing yet;
`parse_setting("vm.swappiness=10")` reads one `--set`; `with_settings` returns a changed copy;
`sysctl_from_text` reads a recorded listing. What a write does beyond is in sysctl_write.py.
Units: as the kernel's; None means "computed from the memory at boot".
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from kernelsim.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "IDLE",
    "SYSCTLS",
    "Sysctl",
    "SysctlEntry",
    "SysctlValue",
    "parse_setting",
    "parse_value",
    "rule_of",
    "sysctl_from_text",
    "sysctl_text",
    "with_settings",
]

_INT_MAX: Final = (1 << 31) - 1
_INT_MIN: Final = -_INT_MAX - 1
_ULONG_MAX: Final = (1 << 63) - 1
_DIGITS_MAX: Final = 20  # of a number of 64 bits; Python refuses to convert very many
HIGH_FRACTION_MIN: Final = 8  # mm/page_alloc.c:MIN_PERCPU_PAGELIST_HIGH_FRACTION

SysctlValue = int | str | tuple[int, ...] | None


def _knob(
    name: str,
    default: SysctlValue,
    minimum: int,
    maximum: int,
    unit: str,
    doc: str,
) -> Any:  # noqa: ANN401 (an attrs field)
    """Return the field of one integer key."""
    metadata = {"name": name, "minimum": minimum, "maximum": maximum, "unit": unit, "doc": doc}
    return attrs.field(default=default, metadata=metadata)


def _word(name: str, default: str, words: tuple[str, ...], doc: str) -> Any:  # noqa: ANN401
    """Return the field of a key that holds one of a few words."""
    return attrs.field(default=default, metadata={"name": name, "words": words, "doc": doc})


@attrs.frozen(kw_only=True)
class Sysctl:
    """The tunables in force; every attribute is a key of the table with `.` and `-` as `_`.

    None in a memory-sized key (min_free_kbytes and the two reserves) means the kernel's formula.
    """

    vm_min_free_kbytes: int | None = _knob(
        "vm.min_free_kbytes", None, 0, _INT_MAX, "KiB", "memory the min watermarks share out"
    )
    vm_user_reserve_kbytes: int | None = _knob(
        "vm.user_reserve_kbytes", None, 0, _ULONG_MAX, "KiB", "kept for one user in mode 2"
    )
    vm_admin_reserve_kbytes: int | None = _knob(
        "vm.admin_reserve_kbytes", None, 0, _ULONG_MAX, "KiB", "kept for root when overcommitting"
    )
    vm_swappiness: int = _knob(
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
    vm_watermark_scale_factor: int = _knob(
        "vm.watermark_scale_factor", 10, 1, 3000, "1/10000", "distance between the watermarks"
    )
    vm_watermark_boost_factor: int = _knob(
        "vm.watermark_boost_factor", 15000, 0, _INT_MAX, "1/10000", "boost on a mixed pageblock"
    )
    vm_overcommit_memory: int = _knob(
        "vm.overcommit_memory", 0, 0, 2, "mode", "0 guess, 1 always, 2 never"
    )
    vm_overcommit_ratio: int = _knob(
        "vm.overcommit_ratio", 50, 0, _INT_MAX, "percent", "share of RAM that counts in mode 2"
    )
    vm_overcommit_kbytes: int = _knob(
        "vm.overcommit_kbytes", 0, 0, _ULONG_MAX, "KiB", "RAM that counts in mode 2; 0: the ratio"
    )
    vm_zone_reclaim_mode: int = _knob(
        "vm.zone_reclaim_mode", 0, 0, _INT_MAX, "bits", "1 reclaim locally, 2 write, 4 swap as well"
    )
    vm_min_unmapped_ratio: int = _knob(
        "vm.min_unmapped_ratio", 1, 0, 100, "percent", "unmapped file pages that start node reclaim"
    )
    vm_min_slab_ratio: int = _knob(
        "vm.min_slab_ratio", 5, 0, 100, "percent", "reclaimable slab that starts node reclaim"
    )
    vm_dirty_ratio: int = _knob(
        "vm.dirty_ratio", 20, 0, 100, "percent", "dirty share at which a writer has to wait"
    )
    vm_dirty_background_ratio: int = _knob(
        "vm.dirty_background_ratio", 10, 0, 100, "percent", "dirty share that wakes the flusher"
    )
    vm_dirty_bytes: int = _knob(
        "vm.dirty_bytes", 0, 0, _ULONG_MAX, "bytes", "the same in bytes; 0: the ratio counts"
    )
    vm_dirty_background_bytes: int = _knob(
        "vm.dirty_background_bytes", 0, 0, _ULONG_MAX, "bytes", "the same in bytes; 0: the ratio"
    )
    vm_dirty_expire_centisecs: int = _knob(
        "vm.dirty_expire_centisecs", 3000, 0, _INT_MAX, "10 ms", "age at which dirty data is old"
    )
    vm_dirty_writeback_centisecs: int = _knob(
        "vm.dirty_writeback_centisecs", 500, 0, _INT_MAX, "10 ms", "period of the flusher; 0: off"
    )
    vm_dirtytime_expire_seconds: int = _knob(
        "vm.dirtytime_expire_seconds", 43200, 0, _INT_MAX, "s", "age of lazily dirty inodes"
    )
    vm_page_cluster: int = _knob(
        "vm.page-cluster", 3, 0, 31, "log2 pages", "swap readahead reads up to 2^n pages"
    )
    vm_vfs_cache_pressure: int = _knob(
        "vm.vfs_cache_pressure", 100, 0, _INT_MAX, "percent", "reclaim of dentries and inodes"
    )
    vm_percpu_pagelist_high_fraction: int = _knob(
        "vm.percpu_pagelist_high_fraction", 0, 0, _INT_MAX, "1/zone", "pcp high; 0: from watermarks"
    )
    vm_highmem_is_dirtyable: int = _knob(
        "vm.highmem_is_dirtyable", 0, 0, 1, "flag", "count high memory as dirtyable (32-bit)"
    )
    vm_oom_kill_allocating_task: int = _knob(
        "vm.oom_kill_allocating_task", 0, 0, _INT_MAX, "flag", "kill the task that ran out"
    )
    vm_oom_dump_tasks: int = _knob(
        "vm.oom_dump_tasks", 1, 0, _INT_MAX, "flag", "print the task table on OOM"
    )
    vm_panic_on_oom: int = _knob(
        "vm.panic_on_oom", 0, 0, 2, "mode", "0 kill, 1 panic, 2 panic also inside a policy"
    )
    vm_max_map_count: int = _knob(
        "vm.max_map_count", 65530, 0, _INT_MAX, "VMAs", "areas one process may have"
    )
    vm_mmap_min_addr: int = _knob(
        "vm.mmap_min_addr", 65536, 0, _ULONG_MAX, "bytes", "lowest address a process may map"
    )
    vm_numa_zonelist_order: str = _word(
        "vm.numa_zonelist_order", "Node", ("Node",), "order of fallback; only by node is left"
    )
    vm_extfrag_threshold: int = _knob(
        "vm.extfrag_threshold", 500, 0, 1000, "1/1000", "fragmentation that justifies compaction"
    )
    vm_compaction_proactiveness: int = _knob(
        "vm.compaction_proactiveness", 20, 0, 100, "weight", "background compaction; 0: none"
    )
    vm_compact_unevictable_allowed: int = _knob(
        "vm.compact_unevictable_allowed", 1, 0, 1, "flag", "compaction may move mlocked pages"
    )
    vm_numa_stat: int = _knob("vm.numa_stat", 1, 0, 1, "flag", "count numa_hit and its like")
    vm_stat_interval: int = _knob(
        "vm.stat_interval", 1, 1, _INT_MAX, "s", "period in which per-cpu counters are summed"
    )
    vm_laptop_mode: int = _knob("vm.laptop_mode", 0, 0, _INT_MAX, "s", "write out after a read")
    vm_legacy_va_layout: int = _knob(
        "vm.legacy_va_layout", 0, 0, 1, "flag", "bottom-up placing of mappings"
    )
    kernel_randomize_va_space: int = _knob(
        "kernel.randomize_va_space", 2, 0, 2, "mode", "address-space randomisation"
    )
    # Differs from Linux: Debian switches NUMA balancing on by default; here it is off.
    kernel_numa_balancing: int = _knob(
        "kernel.numa_balancing", 0, 0, 3, "bits", "1 move tasks and pages together, 2 tiering"
    )
    lru_gen_enabled: str = _word(
        "lru_gen.enabled", "0x0000", ("0x0000",), "multi-generational LRU; the classic LRU is built"
    )
    # Differs from Linux: Debian's default is always; here huge pages are never made.
    transparent_hugepage_enabled: str = _word(
        "transparent_hugepage.enabled",
        "always madvise [never]",
        ("always madvise [never]",),
        "transparent huge pages",
    )


@attrs.frozen(kw_only=True)
class SysctlEntry:
    """One row of the table; `minimum`/`maximum` are None for a key that holds a word."""

    name: str
    attribute: str
    default: SysctlValue
    minimum: int | None
    maximum: int | None
    unit: str
    words: tuple[str, ...]
    doc: str
    idle: str
    """Why writing it changes nothing yet but what is shown; empty when it works."""


_NO_FILES: Final = "there are no pages of files to reclaim"
_NO_WRITEBACK: Final = "nothing writes files back; only the thresholds in vmstat follow it"
_NO_FLUSHER: Final = "nothing writes files back"
_NO_COMPACTION: Final = "there is no compaction"
_PLACING: Final = "addresses are given out top-down and are the same in every run"
IDLE: Final[dict[str, str]] = {  # key -> why writing it changes nothing yet
    "vm.admin_reserve_kbytes": "all processes are root's, who may use it",
    "vm.zone_reclaim_mode": _NO_FILES,
    "vm.min_unmapped_ratio": _NO_FILES,
    "vm.min_slab_ratio": "there are no slab caches to shrink",
    "vm.dirty_ratio": _NO_WRITEBACK,
    "vm.dirty_background_ratio": _NO_WRITEBACK,
    "vm.dirty_bytes": _NO_WRITEBACK,
    "vm.dirty_background_bytes": _NO_WRITEBACK,
    "vm.dirty_expire_centisecs": _NO_FLUSHER,
    "vm.dirty_writeback_centisecs": _NO_FLUSHER,
    "vm.dirtytime_expire_seconds": _NO_FLUSHER,
    "vm.highmem_is_dirtyable": _NO_WRITEBACK,
    "vm.laptop_mode": "reclaim writes to swap whenever it wants to, and files are not written",
    "vm.vfs_cache_pressure": "there are no dentries and inodes",
    "vm.mmap_min_addr": "the lowest address a process may map is fixed",
    "vm.extfrag_threshold": _NO_COMPACTION,
    "vm.compaction_proactiveness": _NO_COMPACTION,
    "vm.compact_unevictable_allowed": _NO_COMPACTION,
    "vm.stat_interval": "counters are exact at all times",
    "vm.legacy_va_layout": _PLACING,
    "kernel.randomize_va_space": _PLACING,
    "kernel.numa_balancing": "pages stay where they are",
}

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
        idle=IDLE.get(field.metadata["name"], ""),
    )
    for field in attrs.fields(Sysctl)
}


def parse_setting(text: str) -> tuple[str, SysctlValue]:
    """Return (key, value) of one `--set vm.swappiness=10`.

    Raises ConfigError when the form is wrong, the key unknown or the value out of range.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError("--set", text, "must have the form KEY=VALUE, as vm.swappiness=10")
    return name.strip(), parse_value(name.strip(), value.strip())


def parse_value(name: str, value: object) -> SysctlValue:
    """Return a value of this key, checked against the table.

    Args:
        name: the kernel's key, `vm.swappiness`.
        value: an int, a sequence of ints, or text as /proc/sys shows it.

    Raises ConfigError naming key, value and rule.
    """
    entry = SYSCTLS.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, SYSCTLS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(name, value, f"no such sysctl{hint}")
    if entry.words:
        if value not in entry.words:
            raise ConfigError(name, value, rule_of(entry))
        return str(value)
    if isinstance(entry.default, tuple):
        items = value.split() if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not 1 <= len(items) <= len(entry.default):
            raise ConfigError(name, value, rule_of(entry))
        # As lowmem_reserve_ratio_sysctl_handler does with what is below 1.
        return tuple(max(_checked_int(entry, item), 0) for item in items)
    number = _checked_int(entry, value)
    if name == "vm.percpu_pagelist_high_fraction" and 0 < number < HIGH_FRACTION_MIN:
        raise ConfigError(name, value, rule_of(entry))
    return number


def _checked_int(entry: SysctlEntry, value: object) -> int:
    """Return the value as an int inside the key's range, or raise ConfigError."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        number = _c_number(value)
    assert entry.minimum is not None
    assert entry.maximum is not None
    if number is None or not entry.minimum <= number <= entry.maximum:
        raise ConfigError(entry.name, value, f"must be {_range_of(entry)}")
    return number


def _range_of(entry: SysctlEntry) -> str:
    return f"a whole number from {entry.minimum} to {entry.maximum} ({entry.unit})"


def rule_of(entry: SysctlEntry) -> str:
    """Return what a value of this key must be."""
    if entry.words:
        return "must be " + " or ".join(entry.words)
    if isinstance(entry.default, tuple):
        return f"must be 1 to {len(entry.default)} numbers, one a zone, lowest zone first"
    if entry.name == "vm.percpu_pagelist_high_fraction":
        return f"must be 0 or at least {HIGH_FRACTION_MIN}"
    return f"must be {_range_of(entry)}"


def _c_number(text: str) -> int | None:
    """Return the number a text means to the kernel: decimal, 0x… or octal with a leading 0."""
    match = re.fullmatch(r"(-?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]+)|([1-9][0-9]*|0))", text)
    if match is None or len(text) > _DIGITS_MAX + len("-0x"):
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal else (decimal, 10)
    return -int(digits, base) if sign else int(digits, base)


def with_settings(sysctl: Sysctl, settings: Mapping[str, object]) -> Sysctl:
    """Return a copy with these keys set, in their order.

    Setting a byte limit clears its ratio and the other way round, as the kernel does: the last
    one written of dirty_ratio and dirty_bytes (and of the background pair) is the one in force.

    Raises ConfigError naming key, value and rule.
    Source: Linux 6.1 mm/page-writeback.c:dirty_ratio_handler, mm/util.c:overcommit_ratio_handler
    """
    changes: dict[str, Any] = {}
    for name, raw in settings.items():
        value = parse_value(name, raw)
        changes[SYSCTLS[name].attribute] = value
        other = _EXCLUDES.get(name)
        if other is not None and value != 0:
            changes[SYSCTLS[other].attribute] = 0
    return attrs.evolve(sysctl, **changes)


_EXCLUDES: Final = {
    "vm.dirty_bytes": "vm.dirty_ratio",
    "vm.dirty_background_bytes": "vm.dirty_background_ratio",
    "vm.dirty_ratio": "vm.dirty_bytes",
    "vm.dirty_background_ratio": "vm.dirty_background_bytes",
    "vm.overcommit_ratio": "vm.overcommit_kbytes",
    "vm.overcommit_kbytes": "vm.overcommit_ratio",
}


def sysctl_from_text(values: Mapping[str, str]) -> Sysctl:
    """Return the tunables of a recorded listing, key to text; unknown keys are left out.

    Raises ConfigError when a known key holds what the table does not allow.
    """
    return with_settings(Sysctl(), {n: text for n, text in values.items() if n in SYSCTLS})


def sysctl_text(value: SysctlValue) -> str:
    """Return a value as /proc/sys shows it: numbers of a list are parted by tabs; None gives ""."""
    if value is None:
        return ""
    return "\t".join(map(str, value)) if isinstance(value, tuple) else str(value)
