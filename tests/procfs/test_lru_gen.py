"""/sys/kernel/debug/lru_gen as 6.1 prints it."""

import attrs

from kernelsim.config.era import CLASSIC
from kernelsim.procfs.lru_gen import render_lru_gen
from kernelsim.procfs.snapshot import GenerationSnapshot, NodeSnapshot, Snapshot
from kernelsim.procfs.tree import render_tree
from tests.small_machine import run, small_machine


def test_generations_are_printed_by_node_oldest_first():
    """A line for the memory cgroup, one a node, one a generation: number, age in ms, pages."""
    generations = tuple(
        GenerationSnapshot(seq=seq, age_ns=seq * 1_500_000, anon=10 * seq, file=0) for seq in (3, 4)
    )
    nodes = (
        NodeSnapshot(nid=0, zones=(), generations=generations),
        NodeSnapshot(nid=1, zones=()),
        NodeSnapshot(nid=2, zones=(), generations=generations[:1]),
    )
    assert render_lru_gen(Snapshot(nodes=nodes)).splitlines() == [
        "memcg     1 /",
        " node     0",
        "          3          4         30           0 ",
        "          4          6         40           0 ",
        " node     2",
        "          3          4         30           0 ",
    ]


def test_it_is_in_the_tree_beside_its_tunables():
    """The files of /sys/kernel/mm/lru_gen say what is in force."""

    async def main(machine):
        process = await machine.spawn("p")
        await process.touch(await process.mmap("1M"), write=True)
        return dict(render_tree(machine.capture()))

    files = run(small_machine(sysctl={"lru_gen.enabled": "y"}), main).result
    assert files["sys/kernel/mm/lru_gen/enabled"] == "0x0003\n"
    assert files["sys/kernel/mm/lru_gen/min_ttl_ms"] == "0\n"
    lines = files["sys/kernel/debug/lru_gen"].splitlines()
    assert [int(line.split()[0]) for line in lines[2:]] == [0, 1, 2, 3]
    assert int(lines[-1].split()[2]) > 200  # what was just faulted in is the youngest


def test_a_kernel_before_it_has_no_files_of_it():
    """Nothing below /sys/kernel tells of an LRU that a classic kernel does not know."""

    async def main(machine):
        return [name for name, _ in render_tree(machine.capture())]

    names = run(attrs.evolve(small_machine(), era=CLASSIC), main).result
    assert not [name for name in names if name.startswith("sys/kernel")]
    assert "proc/vmstat" in names
