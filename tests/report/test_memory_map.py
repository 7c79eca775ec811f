"""Tests of the samples of what page frames hold: where, how often, and what they say."""

from itertools import pairwise

import numpy as np
import pytest

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.mm.core.mem import Z_FREE, Z_NID, Z_SPANNED, Z_START_PFN, Z_TYPE_INDEX
from kernelsim.mm.core.page_kinds import KINDS, PROBES_MAX
from kernelsim.mm.core.vmstat import NR_ANON_PAGES
from kernelsim.report.memory_map import MAP_COLUMNS, PARTS_MAX, SAMPLES_MAX, MemoryMap
from kernelsim.units import MIB, NS_PER_MS, PAGE_SIZE
from tests.small_machine import OpenMachine, run, small_machine

pytestmark = [pytest.mark.mission("B6")]


def test_the_map_of_a_small_machine_is_what_its_counters_say():
    """Each page is counted; parts are equal, lie side by side and are all of each zone."""

    async def main(machine: OpenMachine) -> None:
        process = await machine.spawn("one")
        await process.touch(await process.mmap("9M"), write=True)
        sampled, mem = MemoryMap(machine.kernel), machine.mem
        sampled.finish()
        table = {name: sampled.recorder().column(name) for name in MAP_COLUMNS}
        held = {kind: int(table[kind].sum()) for kind in KINDS}
        assert table["nr_pages"].max() <= PROBES_MAX, "so each page is looked at"
        assert held["anon"] == mem.node_stat[:, NR_ANON_PAGES].sum() == 9 * MIB // PAGE_SIZE
        assert held["free"] == mem.zone[:, Z_FREE].sum() + mem.pcp_count.sum()
        assert sum(held.values()) == table["nr_pages"].sum() == mem.zone[:, Z_SPANNED].sum()
        for zone in np.flatnonzero(mem.zone[:, Z_SPANNED]):
            row = mem.zone[zone]
            own = (table["nid"] == row[Z_NID]) & (table["zid"] == row[Z_TYPE_INDEX])
            first, nr = table["first_pfn"][own], table["nr_pages"][own]
            assert len(first) == PARTS_MAX
            assert first[0] == row[Z_START_PFN]
            assert (first[1:] == first[:-1] + nr[:-1]).all()
            assert np.ptp(nr) <= 1

    run(small_machine(cpus=("0", "1"), distances=((10, 20), (20, 10))), main)


def test_samples_of_the_map_stay_few_and_keep_their_distance():
    """However long the run, and they are less than those of counters."""

    async def main(machine: OpenMachine) -> None:
        sampled = MemoryMap(machine.kernel, samples_max=10)
        for _ in range(300):
            sampled.take()
            await machine.sleep(NS_PER_MS)
        sampled.finish()
        t_ns = np.unique(sampled.recorder().column("t_ns")).tolist()
        assert len(t_ns) <= 10 < SAMPLES_MAX
        assert (t_ns[0], t_ns[-1]) == (0, machine.now_ns)
        assert len({after - before for before, after in pairwise(t_ns[:-1])}) == 1

    run(small_machine(), main)


def test_memory_that_may_come_has_its_place():
    """It is absent until a DIMM is there, then free, whosever it is."""

    async def main(machine: OpenMachine) -> None:
        sampled = MemoryMap(machine.kernel)
        sampled.take()
        await machine.dimms.add("dimm0", "128M")
        state = "/sys/devices/system/memory/memory32/state"
        await machine.write_sysfs(state, "online_movable")
        sampled.finish()
        recorder = sampled.recorder()
        added, t_ns = recorder.column("nid") == -1, recorder.column("t_ns")
        for moment, kind in ((t_ns[0], "absent"), (t_ns[-1], "free")):
            chosen = added & (t_ns == moment)
            seen = recorder.column(kind)[chosen].sum()
            assert seen >= 0.95 * PROBES_MAX * chosen.sum()

    node = {"cpus": "0", "memory": "64M"}
    run(machine_from_toml({"name": "slots", "maxmem": "192M", "node": [node]}), main)
