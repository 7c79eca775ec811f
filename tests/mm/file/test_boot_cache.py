"""The page cache a machine was recorded with is made of pages that can be reclaimed."""

from pathlib import Path

import attrs
import pytest

from kernelsim.config.from_proc import machine_from_proc
from kernelsim.mm.core.mem import Z_FREE
from kernelsim.mm.core.vmstat import NR_ACTIVE_FILE, NR_FILE_PAGES, NR_INACTIVE_FILE
from tests.small_machine import PAGE, run

CASE = Path(__file__).parents[2] / "oracle" / "cases" / "d02_anon" / "before"
NR_INACTIVE, NR_ACTIVE = 2000, 1000


def recorded(**counters):
    """Return the machine of a recording that had more in its page cache."""
    spec = machine_from_proc(CASE)
    boot = spec.boot
    last = len(boot.zones) - 1  # DMA32, where most of the memory is
    lists = {"inactive_file": NR_INACTIVE, "active_file": NR_ACTIVE}
    zones = [
        attrs.evolve(
            zone,
            stats=zone.stats
            | {f"nr_zone_{name}": nr if number == last else 0 for name, nr in lists.items()},
        )
        for number, zone in enumerate(boot.zones)
    ]
    stats = {f"nr_{name}": nr for name, nr in lists.items()} | counters
    nodes = [attrs.evolve(boot.nodes[0], stats=boot.nodes[0].stats | stats)]
    return attrs.evolve(spec, boot=attrs.evolve(boot, zones=tuple(zones), nodes=tuple(nodes)))


@pytest.mark.parametrize("counted", [5000, 0])
def test_what_was_cached_at_boot_is_reclaimed_before_anybody_is_killed(counted):
    """A process that wants more than is free gets it; the counters stay those of the lists.

    A recording may have other pages in nr_file_pages, or leave the counter out.
    """

    async def main(machine):
        stat = machine.mem.node_stat[0]
        before = stat[[NR_INACTIVE_FILE, NR_ACTIVE_FILE, NR_FILE_PAGES]].tolist()
        process = await machine.spawn("hog")
        nr_pages = int(machine.mem.zone[:, Z_FREE].sum()) + 1000
        region = await process.mmap(nr_pages * PAGE, noreserve=True)
        done = await process.touch(region, write=True)
        await machine.drop_caches()
        after = stat[[NR_INACTIVE_FILE, NR_ACTIVE_FILE, NR_FILE_PAGES]].tolist()
        return before, done.signal, after

    done = run(recorded(nr_file_pages=counted), main)
    before, signal, after = done.result
    nr = NR_INACTIVE + NR_ACTIVE
    assert before == [NR_INACTIVE, NR_ACTIVE, max(counted, nr)]
    assert signal == 0
    assert done.vm_events["pgsteal_file"] >= 1000
    assert after == [0, 0, max(counted, nr) - nr]


def test_counters_that_promise_more_than_is_in_use_are_corrected():
    """There are no more pages of the cache than the zone has in use."""
    spec = recorded(nr_file_pages=10**6)
    zone = attrs.evolve(
        spec.boot.zones[-1], stats=spec.boot.zones[-1].stats | {"nr_zone_inactive_file": 10**6}
    )
    zones = (*spec.boot.zones[:-1], zone)
    nodes = (
        attrs.evolve(
            spec.boot.nodes[0], stats=spec.boot.nodes[0].stats | {"nr_inactive_file": 10**6}
        ),
    )
    boot = attrs.evolve(spec.boot, zones=zones, nodes=nodes)

    async def main(machine):
        return int(machine.mem.node_stat[0, NR_INACTIVE_FILE])

    assert 0 < run(attrs.evolve(spec, boot=boot), main).result < 10**5
