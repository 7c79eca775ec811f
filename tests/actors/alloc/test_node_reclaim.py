"""vm.zone_reclaim_mode: whether a task frees pages of its node before it goes to another one."""

import numpy as np
import pytest

from kernelsim.mm.core.mem import Z_FREE, Z_NID, Z_NODE_RECLAIM_MODE
from kernelsim.mm.core.vmstat import NR_DIRTY, NR_INACTIVE_FILE, NR_MAPPED, NR_SLAB_RECLAIMABLE
from kernelsim.mm.page.node_reclaim import wants_node_reclaim
from tests.actors.process.test_mempolicy import nodes_of
from tests.small_machine import PAGE, run, small_machine

TWO = ("0", "1")
FILES = {"/data": "14M"}


def spec(mode, **sysctl):
    """Describe two nodes of 24 MiB, with a file that nearly fills one; kswapd sleeps on."""
    return small_machine(
        cpus=TWO, memory="24M", swap="64M", files=FILES,
        sysctl={"vm.zone_reclaim_mode": mode, "vm.watermark_boost_factor": 0, **sysctl},
    )  # fmt: skip


async def fill_node(machine, how):
    """Fill node 1 with pages of the file: read, or mapped."""
    reader = await machine.spawn("reader", cpu=1, mempolicy="bind:1")
    fd = await reader.open("/data")
    if how == "mapped":
        region = await reader.mmap("14M", fd=fd, shared=True)
        await reader.touch(region)
        await reader.touch(region)
    else:
        await reader.read(fd, "14M")
    return reader


async def grow(machine, size="12M"):
    """Write memory on node 1's CPU; return the process, its pages there, elsewhere, on swap."""
    process = await machine.spawn("grower", cpu=1)
    region = await process.mmap(size)
    await process.touch(region, write=True)
    nodes = await nodes_of(process, region)
    return process, [nodes.count(nid) for nid in (1, 0, None)]


@pytest.mark.mission("P14")
@pytest.mark.parametrize(
    ("mode", "how", "stays"),
    [
        (0, "read", False),
        (1, "read", True),
        (2, "read", True),  # any bit switches it on
        (4, "read", True),
        (3, "read", True),
        (0, "mapped", False),
        (1, "mapped", False),  # mapped pages are left alone
        (5, "mapped", True),
        (7, "mapped", True),
    ],
)
def test_where_pages_land_and_what_is_reclaimed(mode, how, stays):
    """Clean page cache goes in each mode but 0; what is mapped only with 4; else pages spill."""

    async def main(machine):
        await fill_node(machine, how)
        before = machine.vmstat
        _, (local, remote, swapped) = await grow(machine)
        after = machine.vmstat
        scanned = after["pgscan_direct"] - before["pgscan_direct"]
        stolen = after["pgsteal_direct"] - before["pgsteal_direct"]
        assert 12 * 256 == local + remote + swapped
        assert sum(after[name] for name in after if name.startswith("allocstall")) == 0
        return remote, scanned, stolen

    remote, scanned, stolen = run(spec(mode), main).result
    if stays:
        assert remote < 100
        assert 0 < stolen <= scanned
    else:
        assert remote > 700
        assert 0 == scanned


def test_tries_with_nothing_to_show_are_told():
    """With bit 2 dirty pages are looked at, and none can be freed: then the next node serves."""

    async def main(machine):
        machine.disk("vda").stall("10s")
        writer = await machine.spawn("writer", cpu=1, mempolicy="bind:1")
        await writer.write(await writer.open("/data"), "3M", offset=0)
        zone = machine.zone(1, "DMA32")
        process = await machine.spawn("grower", cpu=1)
        region = await process.mmap(PAGE * (zone.free - zone.low + 40))
        await process.touch(region, write=True)
        machine.disk("vda").mend()
        return (await nodes_of(process, region)).count(0), machine.vmstat["zone_reclaim_failed"]

    machine = small_machine(
        cpus=TWO, memory="16M", files={"/data": "3M"},
        sysctl={
            "vm.zone_reclaim_mode": 2,
            "vm.dirty_ratio": 90,
            "vm.dirty_background_ratio": 90,
        },
    )  # fmt: skip
    spilled, failed = run(machine, main).result
    assert 20 < spilled < 200
    assert failed > 20


def test_what_min_unmapped_ratio_leaves_alone():
    """Reclaim stops when the node has no more page cache than that."""

    async def main(machine):
        await fill_node(machine, "read")
        _, (local, remote, _) = await grow(machine)
        stat = machine.mem.node_stat[1]
        return local, remote, int(stat[NR_INACTIVE_FILE]), machine.zone(1, "DMA32").managed

    local, remote, cached, managed = run(spec(1, **{"vm.min_unmapped_ratio": 60}), main).result
    assert local > 800
    assert remote > 300
    least = managed * 60 // 100
    assert least - 100 < cached <= least


def test_a_tunable_that_is_written_counts_at_once():
    """Between two steps of a process: 0, then 1, then 0 again."""

    async def main(machine):
        await fill_node(machine, "read")
        remotes = []
        for mode in (0, 1, 0):
            machine.sysctl("vm.zone_reclaim_mode", mode)
            process, (_, remote, _) = await grow(machine, "11M")
            remotes.append(remote)
            await process.exit()
            reader = await fill_node(machine, "read")
            await reader.exit()
        return remotes

    first, second, third = run(spec(0), main).result
    assert first > 400
    assert second < 100
    assert third > 400


def test_one_task_at_a_time_reclaims_from_a_node():
    """The other one goes on to the next node meanwhile, as if that node had nothing to give."""

    async def main(machine):
        await fill_node(machine, "read")

        async def program(process):
            region = await process.mmap("8M")
            await process.touch(region, write=True)
            return (await nodes_of(process, region)).count(0)

        both = [await machine.spawn(name, program, cpu=[1, 2]) for name in ("a", "b")]
        for process in both:
            await process.wait()
        return [process.result for process in both]

    two_cpus = small_machine(
        cpus=("0", "1,2"), memory="24M", swap="64M", files=FILES,
        sysctl={"vm.zone_reclaim_mode": 1},
    )  # fmt: skip
    assert sum(run(two_cpus, main).result) > 0


@pytest.mark.parametrize(
    ("distance", "cpu_nid", "wanted"),
    [(10, 0, True), (30, 0, True), (31, 0, False), (10, 1, False)],
)
def test_which_nodes_are_reclaimed_from(distance, cpu_nid, wanted):
    """Those within a distance of 30, and of those that have CPUs the own one only."""

    async def main(machine):
        mem = machine.mem
        stat = mem.node_stat[0]
        stat[[NR_DIRTY, NR_MAPPED]] = 0
        stat[NR_INACTIVE_FILE] += 10_000
        found = wants_node_reclaim(mem, 0, cpu_nid, distance)
        stat[NR_DIRTY] += 10_000  # none that can be had
        assert not wants_node_reclaim(mem, 0, cpu_nid, distance)
        machine.sysctl("vm.zone_reclaim_mode", 2)  # which counts them
        assert found == wants_node_reclaim(mem, 0, cpu_nid, distance)
        machine.sysctl("vm.zone_reclaim_mode", 1)
        stat[NR_DIRTY] -= 10_000
        stat[NR_MAPPED] += 10_000
        assert not wants_node_reclaim(mem, 0, cpu_nid, distance)
        stat[NR_MAPPED] -= 10_000
        stat[NR_INACTIVE_FILE] -= 10_000
        assert not wants_node_reclaim(mem, 0, cpu_nid, distance)
        stat[NR_SLAB_RECLAIMABLE] += 10_000  # so much slab is a reason, too
        assert found == wants_node_reclaim(mem, 0, cpu_nid, distance)
        stat[NR_SLAB_RECLAIMABLE] -= 10_000
        assert np.all(mem.zone[:, Z_NODE_RECLAIM_MODE] == 1)
        return found

    assert wanted == run(spec(1), main, sound=False).result


def test_bursts_and_messages_reclaim_alike():
    """Times, places and counters are the same."""

    async def main(machine):
        await fill_node(machine, "read")
        _, places = await grow(machine)
        free = machine.mem.zone[:, [Z_NID, Z_FREE]].tolist()
        return machine.now_ns, places, free, machine.vmstat

    one, other = [run(spec(1), main, burst_pages=pages).result for pages in (1, 512)]
    assert one == other
