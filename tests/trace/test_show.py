"""Tests of how numbers of fields are printed, held against what a real kernel prints."""

import pytest

from kernelsim.trace.registry import TRACEPOINTS
from kernelsim.trace.show import (
    show_dev,
    show_gfp_flags,
    show_hex,
    show_lru,
    show_migrate_mode,
    show_migrate_reason,
    show_reclaim_flags,
    show_signed,
    show_throttle_flags,
    show_tlb_flush_reason,
)


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (show_gfp_flags, 0, "none"),
        (show_gfp_flags, 0x100CCA, "GFP_HIGHUSER_MOVABLE"),
        (show_gfp_flags, 0x100DCA, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO"),
        (show_gfp_flags, 0xCC0, "GFP_KERNEL"),
        (show_gfp_flags, 0x400DC0, "GFP_KERNEL_ACCOUNT|__GFP_ZERO"),
        (show_gfp_flags, 0xA20, "GFP_ATOMIC"),
        (show_gfp_flags, 0x1000CC0, "GFP_KERNEL|0x1000000"),
        (show_reclaim_flags, 0, "RECLAIM_WB_NONE"),
        (show_reclaim_flags, 9, "RECLAIM_WB_ANON|RECLAIM_WB_ASYNC"),
        (show_reclaim_flags, 10, "RECLAIM_WB_FILE|RECLAIM_WB_ASYNC"),
        (show_throttle_flags, 0, "VMSCAN_THROTTLE_NONE"),
        (show_throttle_flags, 1, "VMSCAN_THROTTLE_WRITEBACK"),
        (show_throttle_flags, 8, "VMSCAN_THROTTLE_CONGESTED"),
        (show_lru, 0, "inactive_anon"),
        (show_lru, 3, "active_file"),
        (show_lru, 7, "0x7"),
        (show_tlb_flush_reason, 1, "remote shootdown"),
        (show_tlb_flush_reason, -1, "-0x1"),
        (show_migrate_reason, 4, "mempolicy_mbind"),
        (show_migrate_mode, 2, "MIGRATE_SYNC"),
        (show_hex, 4096, "0x1000"),
        (show_dev, 254 << 20 | 3, "254,3"),
        (show_signed, (1 << 64) - 1, "-1"),
        (show_signed, 33, "33"),
    ],
)
def test_numbers_as_the_kernel_prints_them(show, value, text):
    """Masks and lists have names, what is left of a mask is hex."""
    assert show(value) == text


def test_which_fields_are_not_shown_as_numbers():
    """Every mask, list, frame, address and device is printed as the kernel does."""
    shown = {
        (field.name, field.shown.__name__)
        for info in TRACEPOINTS.values()
        for field in info.fields
        if field.shown is not None
    }
    assert shown == {
        ("gfp_flags", "show_gfp_flags"),
        ("reclaim_flags", "show_reclaim_flags"),
        ("reason", "show_throttle_flags"),
        ("reason", "show_tlb_flush_reason"),
        ("reason", "show_migrate_reason"),
        ("mode", "show_migrate_mode"),
        ("lru", "show_lru"),
        ("dev", "show_dev"),
        ("pfn", "show_hex"),
        ("address", "show_hex"),
        ("ip", "show_hex"),
        ("error_code", "show_hex"),
        ("pages", "show_signed"),
        ("nr_pages", "show_signed"),
        ("sb_dev", "show_dev"),
        ("reason", "show_wb_reason"),
        ("gfp_mask", "show_gfp_flags"),
        *((name, "show_compact_result") for name in ("ret", "status", "result")),
        *((f"{name}_pfn", "show_hex") for name in ("start", "end", "migrate", "free")),
        *((f"zone_{name}", "show_hex") for name in ("start", "end")),
    }
    named = {"gfp_flags", "reclaim_flags", "lru", "pfn"}
    for info in TRACEPOINTS.values():
        assert all(field.shown for field in info.fields if field.name in named)
