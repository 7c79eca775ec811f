"""What a kernel of known build leaves of memory, and the marks it computes, against recordings."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from kernelsim.config.boot_reserve import hash_pages
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine_file import machine_from_toml, machine_text
from kernelsim.mm.boot.mm_init import build
from kernelsim.mm.core.mem import (
    Z_MANAGED,
    Z_PCP_BATCH,
    Z_PCP_HIGH,
    Z_PRESENT,
    Z_SPANNED,
    Z_START_PFN,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from kernelsim.mm.page.watermark import setup_per_zone_wmarks

CASES = Path(__file__).parents[2] / "oracle" / "cases"
SIZES = [Z_START_PFN, Z_SPANNED, Z_PRESENT, Z_MANAGED]
MARKS = [Z_WMARK_MIN, Z_WMARK_LOW, Z_WMARK_HIGH, Z_PCP_BATCH, Z_PCP_HIGH]


def node(cpus: str, mib: int, less_kib: int = 0) -> dict[str, str]:
    """Return a node; the firmware of the recorded machines keeps some KiB at the end of memory."""
    return {"cpus": cpus, "memory": f"{(mib << 10) - less_kib}K"}


RECORDED = {
    "d01": ("4900K", {"node": [node("0", 512, 128)]}),
    "d14": ("2768K", {"node": [node("0", 512, 128)], "maxmem": "4G"}),
    "d15": ("3036K", {"node": [node("0-1", 512, 140)]}),
    "d12_zrm0": ("5452K", {"node": [node("0", 512), node("1", 512, 152)]}),
    "d18_cpu0": (
        "2764K",
        {"node": [node("0", 256), node("1", 512), node("2", 1024), node("3", 512, 128)]},
    ),
    "s02": ("2764K", {"node": [node("0", 4096, 128)], "holes": ["2097024K-3G"]}),
    "s07": ("2764K", {"node": [node("0-1", 1024), node("", 1024, 128)]}),
    "s08": ("2764K", {"node": [node("0", 1024, 128)], "movablecore": "256M"}),
}


def by_hand(name: str, **more: Any) -> dict[str, Any]:
    """Return the table of a machine like a recorded one."""
    initrd, table = RECORDED[name]
    return {"name": name, "kernel": "debian-6.1", "initrd": initrd, **table, **more}


@pytest.mark.mission("P16")
@pytest.mark.parametrize("name", RECORDED)
def test_a_machine_written_by_hand_boots_like_the_recorded_one(name: str) -> None:
    """Managed pages, marks, reserves, per-cpu lists and vm.min_free_kbytes are as they were."""
    recorded = build(machine_from_proc(CASES / name / "before"))
    spec = machine_from_toml(by_hand(name))
    phys = build(spec)
    columns = SIZES + MARKS
    assert phys.mem.zone[:, columns].tolist() == recorded.mem.zone[:, columns].tolist()
    assert phys.mem.lowmem_reserve.tolist() == recorded.mem.lowmem_reserve.tolist()
    assert phys.totalreserve_pages == recorded.totalreserve_pages
    kbytes = recorded.tunables.now.vm_min_free_kbytes
    assert phys.tunables.now.vm_min_free_kbytes == kbytes
    again = build(machine_from_toml(tomllib.loads(machine_text(spec))))
    assert again.mem.zone.tolist() == phys.mem.zone.tolist()


@pytest.mark.mission("P16")
def test_a_value_that_is_written_at_start_is_for_all_memory() -> None:
    """What is free by then counts; the reserves stay those of boot."""
    sysctl = {"vm.min_free_kbytes": 20_000}
    booted, written = (
        build(machine_from_toml(by_hand("d01", **more))) for more in ({}, {"sysctl": sysctl})
    )
    wanted = setup_per_zone_wmarks(written.zones_managed(), min_free_kbytes=20_000)
    assert written.mem.zone[:, Z_WMARK_MIN].tolist() == [mark.wmark_min for mark in wanted]
    assert written.mem.lowmem_reserve.tolist() == booted.mem.lowmem_reserve.tolist()


@pytest.mark.parametrize(
    ("gib", "pages"), [(0.5, 192), (1, 384), (4, 1536), (63, 24576), (65, 24576), (1024, 98304)]
)
def test_hash_tables_grow_slower_from_64_gib_on(gib: float, pages: int) -> None:
    """Powers of two of the memory; every fourfold from 64 GiB on only doubles them."""
    assert hash_pages(int(gib * (1 << 18)) - 2048) == pages
