"""Tests of snapshots taken of a machine: right after boot, and while processes use memory."""

from pathlib import Path

import pytest

from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine_file import load_machine
from kernelsim.procfs.capture import capture
from kernelsim.procfs.snapshot import Snapshot
from kernelsim.procfs.tree import render_recording, render_tree
from tests.small_machine import OpenMachine

CASES = Path(__file__).parent.parent / "oracle" / "cases"
TREE_FILES = ("zoneinfo", "meminfo", "vmstat", "buddyinfo", "pagetypeinfo", "swaps")

# A recorder reads zoneinfo first and the other files later, while the kernel runs on. The machine
# starts from zoneinfo, but from buddyinfo for what is free; so these lines, and no others, differ.
MOVED_FREE = {"nr_free_pages", "pages free", "MemFree", "MemUsed", "MemAvailable"}
MOVED_ANON = {"nr_zone_inactive_anon", "nr_inactive_anon", "Inactive", "Inactive(anon)"}
MOVED_EVENTS = {"numa_hit", "numa_local", "local_node"}
MOVED_LIMITS = {"nr_dirty_threshold", "nr_dirty_background_threshold"}
DIFFERING = {
    "s01": MOVED_FREE | MOVED_ANON | MOVED_EVENTS,
    "s03": MOVED_FREE | MOVED_EVENTS | MOVED_LIMITS,
    "d04_sw60": MOVED_ANON | MOVED_EVENTS,
}
# Tunables the recorder did not write down, and the idle time, which is counted from our start.
NOT_RECORDED = {
    "lru_gen.min_ttl_ms",
    "vm.mmap_min_addr",
    "vm.compaction_proactiveness",
    "uptime",
}


def name_of(line: str) -> str:
    """Return what a line of a /proc file is about."""
    words = line.replace(":", " ").split()
    if words[0] == "Node":
        words = words[2:]
    return " ".join(words[:2]) if words[0] == "pages" else words[0]


@pytest.mark.mission("P17")
@pytest.mark.parametrize("case", sorted(DIFFERING))
def test_recorded_machine_renders_its_recording(case: str):
    """Captured right after boot, a recorded machine shows what was recorded, line by line."""
    folder = CASES / case / "before"
    machine = OpenMachine(machine_from_proc(folder))
    files = dict(render_recording(capture(machine.kernel)))
    differing: set[str] = set()
    for name, text in files.items():
        recorded = (folder / name).read_text().splitlines()
        ours = text.splitlines()
        if name == "sysctl_vm.txt":
            ours = [line for line in ours if line.split(" ")[0] not in NOT_RECORDED]
            recorded = [line for line in recorded if line.split(" ")[0] not in NOT_RECORDED]
        assert len(ours) == len(recorded), name
        pairs = zip(ours, recorded, strict=True)
        differing |= {name_of(theirs) for mine, theirs in pairs if mine != theirs}
    assert differing <= DIFFERING[case]


@pytest.mark.parametrize("case", sorted(DIFFERING))
def test_free_lists_and_marks_are_exact(case: str):
    """Free lists, per-cpu lists, watermarks and reserves of a recorded machine are the recorded."""
    folder = CASES / case / "before"
    files = dict(render_recording(capture(OpenMachine(machine_from_proc(folder)).kernel)))
    for name in ("buddyinfo", "pagetypeinfo", "swaps", "nodes.txt", "memory_blocks.txt"):
        assert files[name] == (folder / name).read_text()
    keep = ("min", "low", "high", "boost", "protection", "count", "batch", "managed", "start_pfn")
    theirs = (folder / "zoneinfo").read_text().splitlines()
    ours = files["zoneinfo"].splitlines()
    chosen = [line for line in theirs if name_of(line) in keep]
    assert chosen
    assert [line for line in ours if name_of(line) in keep] == chosen


def busy_machine() -> tuple[OpenMachine, list[Snapshot]]:
    """Run a process on a small machine: snapshots with pages in memory, then on swap too."""
    machine = OpenMachine(load_machine("tiny-64m"))
    snapshots: list[Snapshot] = []

    async def main(machine: OpenMachine) -> None:
        process = await machine.spawn("hog", oom_score_adj=10)
        small = await process.mmap("4M")
        await process.touch(small, write=True, length="3M")
        await process.touch(small, offset="3M")
        await machine.sleep("1s")
        snapshots.append(capture(machine.kernel))
        big = await process.mmap("60M")
        await process.touch(big, write=True)
        await machine.sleep("5s")
        snapshots.append(capture(machine.kernel))

    machine.run(main)
    return machine, snapshots


@pytest.mark.slow
def test_process_figures_agree_with_each_other():
    """Resident and swapped sizes of a process agree in status, smaps and counters."""
    machine, (early, late) = busy_machine()
    (process,) = early.processes
    area = next(vma for vma in process.vmas if vma.end - vma.start == 4 << 20)
    assert 768 - 64 <= process.rss_anon <= 768
    assert area.usage.rss == area.usage.private_dirty == 3 << 20  # the rest is the zero page
    assert area.usage.swap == 0
    assert process.state == "S"
    assert process.oom_score_adj == 10
    assert early.uptime_ns == early.cpus[0].idle_ns + early.cpus[0].user_ns + (
        early.cpus[0].system_ns
    )
    (process,) = late.processes
    assert process.swap > 0
    mapped = sum(vma.usage.rss for vma in process.vmas) // 4096
    assert mapped == late.node_stat("nr_anon_pages")
    assert abs(mapped - process.rss) <= 64  # status may lag by what a task has not handed over yet
    assert abs(sum(vma.usage.swap for vma in process.vmas) // 4096 - process.swap) <= 64
    assert late.swap_total - late.swap_free >= process.swap
    assert late.committed_as == machine.kernel.mms.commit.committed_pages
    assert late.vm_events["pgfault"] == process.minflt + process.majflt
    assert late.vm_events["pswpout"] > 0


@pytest.mark.slow
def test_disk_figures_agree_with_the_swap_traffic():
    """The disk has carried the pages swapped; its requests took their time, some at once."""
    _, (early, late) = busy_machine()
    assert [0] == [disk.nr_reads + disk.nr_writes for disk in early.disks]
    (disk,) = late.disks
    assert (disk.name, disk.major, disk.minor) == ("sda", 8, 0)
    assert (disk.nr_in_flight, disk.pages_written) == (0, late.vm_events["pswpout"])
    assert disk.pages_read == late.vm_events["pswpin"]
    assert 0 < disk.active_ns <= disk.read_ns + disk.write_ns
    assert disk.active_ns < late.uptime_ns
    assert early.disks[0].active_ns == 0


@pytest.mark.mission("P9")
def test_numa_maps_tells_policies_and_nodes():
    """A process bound to the other node has its pages there, and its policy says so."""
    machine = OpenMachine(load_machine("numa-2x4g"))
    snapshots: list[Snapshot] = []

    async def main(machine: OpenMachine) -> None:
        process = await machine.spawn("bound", cpu=0, mempolicy="bind:1")
        await process.touch(await process.mmap("1M"), write=True, length="512K")
        other = await machine.spawn("near", cpu=5, mempolicy="preferred:0")
        await other.touch(await other.mmap("1M"))
        snapshots.append(capture(machine.kernel))

    machine.run(main)
    bound, near = snapshots[0].processes
    assert {"bind:1"} == {vma.policy for vma in bound.vmas}
    assert {"prefer:0"} == {vma.policy for vma in near.vmas}
    (numa,) = [vma.numa for vma in bound.vmas if any(vma.numa.pages_by_node)]
    assert ((0, 128), 128, 128, 1) == (
        numa.pages_by_node,
        numa.anon,
        numa.dirty,
        numa.mapcount_max,
    )
    assert not [vma for vma in near.vmas if any(vma.numa.pages_by_node)]  # all is the zero page


@pytest.mark.slow
def test_pages_of_a_zone_add_up():
    """Free blocks by order and by type make nr_free_pages, at every snapshot."""
    _, snapshots = busy_machine()
    for snapshot in snapshots:
        for _, zone in snapshot.zones():
            by_order = sum(count << order for order, count in enumerate(zone.nr_free))
            lists = zone.free_lists.values()
            by_type = sum(count << order for row in lists for order, count in enumerate(row))
            assert by_order == by_type == zone.stats.get("nr_free_pages", 0)


def test_capture_of_an_untouched_big_machine_is_cheap_and_whole():
    """A terabyte machine nobody used is captured: all managed pages free, blocks of 1 GiB."""
    machine = OpenMachine(load_machine("big-8x128g"))
    snapshot = capture(machine.kernel)
    files = dict(render_tree(snapshot))
    managed = snapshot.zone_sum(lambda zone: zone.managed)
    assert snapshot.zone_stat("nr_free_pages") == managed
    assert snapshot.block_size_bytes == 1 << 30
    assert sum(path.endswith("/state") for path in files) == len(snapshot.memory_blocks)
    assert {f"proc/{name}" for name in TREE_FILES} <= set(files)
