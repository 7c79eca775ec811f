"""How the kernel prints the number of a field: flags and lists by name, frames in hex.

Linux: include/trace/events/mmflags.h, include/trace/events/vmscan.h, kernel/trace/trace_output.c
(trace_print_flags_seq, trace_print_symbols_seq), 6.1.
Interface: `show_*` turn a number into text. events.jsonl and SQL have the numbers themselves.
"""

from collections.abc import Mapping
from typing import Final

MINOR_BITS: Final = 20  # of a device number; MINORBITS in include/linux/kdev_t.h
WORD_BITS: Final = 64

GFP_BITS: Final[Mapping[str, int]] = {
    "__GFP_DMA": 0x01,
    "__GFP_HIGHMEM": 0x02,
    "__GFP_DMA32": 0x04,
    "__GFP_MOVABLE": 0x08,
    "__GFP_RECLAIMABLE": 0x10,
    "__GFP_HIGH": 0x20,
    "__GFP_IO": 0x40,
    "__GFP_FS": 0x80,
    "__GFP_ZERO": 0x100,
    "__GFP_ATOMIC": 0x200,
    "__GFP_DIRECT_RECLAIM": 0x400,
    "__GFP_KSWAPD_RECLAIM": 0x800,
    "__GFP_WRITE": 0x1000,
    "__GFP_NOWARN": 0x2000,
    "__GFP_RETRY_MAYFAIL": 0x4000,
    "__GFP_NOFAIL": 0x8000,
    "__GFP_NORETRY": 0x10000,
    "__GFP_MEMALLOC": 0x20000,
    "__GFP_COMP": 0x40000,
    "__GFP_NOMEMALLOC": 0x80000,
    "__GFP_HARDWALL": 0x100000,
    "__GFP_THISNODE": 0x200000,
    "__GFP_ACCOUNT": 0x400000,
}
_RECLAIM: Final = 0xC00
_USER: Final = _RECLAIM | 0x1000C0
_MOVABLE: Final = _USER | 0x0A
_HUGE: Final = (_MOVABLE | 0xC2000) & ~_RECLAIM
# In the order in which the kernel tries them; a name is printed when all its bits are left.
GFP_NAMES: Final[Mapping[str, int]] = {
    "GFP_TRANSHUGE": _HUGE | 0x400,
    "GFP_TRANSHUGE_LIGHT": _HUGE,
    "GFP_HIGHUSER_MOVABLE": _MOVABLE,
    "GFP_HIGHUSER": _USER | 0x02,
    "GFP_USER": _USER,
    "GFP_KERNEL_ACCOUNT": _RECLAIM | 0x4000C0,
    "GFP_KERNEL": _RECLAIM | 0xC0,
    "GFP_NOFS": _RECLAIM | 0x40,
    "GFP_ATOMIC": 0xA20,
    "GFP_NOIO": _RECLAIM,
    "GFP_NOWAIT": 0x800,
    "GFP_DMA": 0x01,
    "__GFP_HIGHMEM": 0x02,
    "GFP_DMA32": 0x04,
    **{
        name: GFP_BITS[name]
        for name in (
            "__GFP_HIGH",
            "__GFP_ATOMIC",
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_NOWARN",
            "__GFP_RETRY_MAYFAIL",
            "__GFP_NOFAIL",
            "__GFP_NORETRY",
            "__GFP_COMP",
            "__GFP_ZERO",
            "__GFP_NOMEMALLOC",
            "__GFP_MEMALLOC",
            "__GFP_HARDWALL",
            "__GFP_THISNODE",
            "__GFP_RECLAIMABLE",
            "__GFP_MOVABLE",
            "__GFP_ACCOUNT",
            "__GFP_WRITE",
        )
    },
    "__GFP_RECLAIM": _RECLAIM,
    "__GFP_DIRECT_RECLAIM": 0x400,
    "__GFP_KSWAPD_RECLAIM": 0x800,
}
RECLAIM_NAMES: Final[Mapping[str, int]] = {
    "RECLAIM_WB_ANON": 0x01,
    "RECLAIM_WB_FILE": 0x02,
    "RECLAIM_WB_MIXED": 0x10,
    "RECLAIM_WB_SYNC": 0x04,
    "RECLAIM_WB_ASYNC": 0x08,
}
THROTTLE_NAMES: Final[Mapping[str, int]] = {
    "VMSCAN_THROTTLE_WRITEBACK": 1 << 0,
    "VMSCAN_THROTTLE_ISOLATED": 1 << 1,
    "VMSCAN_THROTTLE_NOPROGRESS": 1 << 2,
    "VMSCAN_THROTTLE_CONGESTED": 1 << 3,
}
LRU_NAMES: Final = (
    "inactive_anon",
    "active_anon",
    "inactive_file",
    "active_file",
    "unevictable",
)
TLB_FLUSH_REASONS: Final = (
    "flush on task switch",
    "remote shootdown",
    "local shootdown",
    "local mm shootdown",
    "remote ipi send",
)
WB_REASONS: Final = (  # WB_WORK_REASON of writeback.h
    "background",
    "vmscan",
    "sync",
    "periodic",
    "laptop_timer",
    "fs_free_space",
    "forker_thread",
    "foreign_flush",
)

MIGRATE_SYNC: Final = 2  # enum migrate_mode of include/linux/migrate_mode.h
MIGRATE_MODES: Final = (
    "MIGRATE_ASYNC",
    "MIGRATE_SYNC_LIGHT",
    "MIGRATE_SYNC",
    "MIGRATE_SYNC_NO_COPY",
)
MIGRATE_REASONS: Final = (  # MIGRATE_REASON of migrate.h
    "compaction",
    "memory_failure",
    "memory_hotplug",
    "syscall_or_cpuset",
    "mempolicy_mbind",
    "numa_misplaced",
    "contig_range",
    "longterm_pin",
    "demotion",
)

COMPACT_RESULTS: Final = (  # COMPACTION_STATUS of mmflags.h
    "not_suitable_zone",
    "skipped",
    "deferred",
    "no_suitable_page",
    "continue",
    "complete",
    "partial",
    "contended",
    "success",
)


def print_flags(value: int, names: Mapping[str, int], empty: str) -> str:
    """Write a mask as names with | between them, what has no name as hex; 0 as `empty`."""
    if not value:
        return empty
    left, parts = value, []
    for name, bits in names.items():
        if left & bits == bits:
            parts.append(name)
            left &= ~bits
    return "|".join([*parts, *([hex(left)] if left else [])])


def print_symbolic(value: int, names: tuple[str, ...]) -> str:
    """Write a number as the name at that place, or as hex if there is none."""
    return names[value] if 0 <= value < len(names) else hex(value)


def show_gfp_flags(value: int) -> str:
    """Write a mask of an allocation: GFP_HIGHUSER_MOVABLE|__GFP_ZERO."""
    return print_flags(value, GFP_NAMES, "none")


def show_reclaim_flags(value: int) -> str:
    """Write what reclaim works on: RECLAIM_WB_ANON|RECLAIM_WB_ASYNC."""
    return print_flags(value, RECLAIM_NAMES, "RECLAIM_WB_NONE")


def show_throttle_flags(value: int) -> str:
    """Write why reclaim sleeps: VMSCAN_THROTTLE_WRITEBACK."""
    return print_flags(value, THROTTLE_NAMES, "VMSCAN_THROTTLE_NONE")


def show_wb_reason(value: int) -> str:
    """Write why a device is written to: background."""
    return print_symbolic(value, WB_REASONS)


def show_lru(value: int) -> str:
    """Write a list: inactive_anon."""
    return print_symbolic(value, LRU_NAMES)


def show_tlb_flush_reason(value: int) -> str:
    """Write why translations went: remote shootdown."""
    return print_symbolic(value, TLB_FLUSH_REASONS)


def show_migrate_mode(value: int) -> str:
    """Write how long a migration may wait: MIGRATE_SYNC."""
    return print_symbolic(value, MIGRATE_MODES)


def show_migrate_reason(value: int) -> str:
    """Write what pages are moved for: mempolicy_mbind."""
    return print_symbolic(value, MIGRATE_REASONS)


def show_compact_result(value: int) -> str:
    """Write how compaction ended: success."""
    return print_symbolic(value, COMPACT_RESULTS)


def show_hex(value: int) -> str:
    """Write a frame, an address or a mask without names."""
    return hex(value)


def show_dev(value: int) -> str:
    """Write a device number as major,minor."""
    return f"{value >> MINOR_BITS},{value & ((1 << MINOR_BITS) - 1)}"


def show_signed(value: int) -> str:
    """Write an unsigned long as `%ld` does: all bits set is -1."""
    return str(value - (value >> WORD_BITS - 1 << WORD_BITS))
