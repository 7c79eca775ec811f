"""The files of CPUs, disks, and the links between nodes and what belongs to them."""

import attrs
import pytest

from kernelsim.procfs.hardware import cpu_tree, render_cpuinfo, render_diskstats, tree_links
from kernelsim.procfs.snapshot import (
    DiskSnapshot,
    MemoryBlock,
    NodeSnapshot,
    Snapshot,
    ZoneSnapshot,
)

NR_PAGES = 32768  # of a block of 128 MiB


def node(nid: int, cpus: tuple[int, ...], first: int, last: int) -> NodeSnapshot:
    """Make a node whose one zone spans these blocks."""
    pages = (last + 1 - first) * NR_PAGES
    zone = ZoneSnapshot(
        name="Normal", start_pfn=first * NR_PAGES, spanned=pages, present=pages, managed=pages
    )
    return NodeSnapshot(nid=nid, zones=(zone,), cpus=cpus)


SERVER = Snapshot(
    nodes=(node(0, (0, 2), 0, 1), node(1, (1, 3), 2, 2)),
    cpu_frequency_hz=2_599_990_000,
    block_size_bytes=128 << 20,
    memory_blocks=tuple(
        MemoryBlock(index=index, state="online", valid_zones="Normal") for index in range(3)
    ),
)


def test_each_cpu_has_a_paragraph_of_its_clock_and_place():
    """CPUs stand in their order, each with its package, its core there and its clock."""
    paragraphs = render_cpuinfo(SERVER).split("\n\n")

    assert "" == paragraphs.pop()
    fields = [
        {key.strip(): text.strip() for key, text in (line.split(":") for line in lines)}
        for lines in (paragraph.splitlines() for paragraph in paragraphs)
    ]
    assert ["0", "1", "2", "3"] == [each["processor"] for each in fields]
    assert [("0", "0"), ("1", "0"), ("0", "1"), ("1", "1")] == [
        (each["physical id"], each["core id"]) for each in fields
    ]
    assert ("2599.990", "5199.98") == (fields[0]["cpu MHz"], fields[0]["bogomips"])
    assert "lm" in fields[0]["flags"].split()


@pytest.mark.parametrize(("arch", "bits"), [("i386", "32 bits"), ("i386pae", "36 bits")])
def test_32_bit_cpus_have_their_own_lines(arch: str, bits: str):
    """A 32-bit kernel names three old bugs, and no long mode."""
    text = render_cpuinfo(attrs.evolve(SERVER, arch=arch))

    assert "\nf00f_bug\t: no\n" in text
    assert f"address sizes\t: {bits} physical, 32 bits virtual\n" in text
    assert " lm" not in text


def test_topology_puts_the_cpus_of_a_node_into_a_package():
    """A CPU shares its core with nobody and its package with the CPUs of its node."""
    files = dict(cpu_tree(SERVER))

    assert ("0-3\n", "\n", "8191\n") == tuple(
        files[name] for name in ("online", "offline", "kernel_max")
    )
    assert "cpu0/online" not in files
    assert "1\n" == files["cpu3/online"]
    topology = {
        name.removeprefix("cpu3/topology/"): text.strip()
        for name, text in files.items()
        if name.startswith("cpu3/topology/")
    }
    assert ("1", "1") == (topology["physical_package_id"], topology["core_id"])
    assert ("8", "3") == (topology["thread_siblings"], topology["core_cpus_list"])
    assert ("a", "1,3") == (topology["package_cpus"], topology["core_siblings_list"])


def test_disks_count_requests_sectors_and_milliseconds():
    """A page is eight sectors; the weighted time is that of reads and writes together."""
    disk = DiskSnapshot(
        name="sda",
        major=8,
        minor=16,
        nr_reads=3,
        pages_read=10,
        read_ns=7_900_000,
        nr_writes=2,
        pages_written=64,
        write_ns=5_200_000,
        nr_in_flight=1,
        active_ns=9_999_999,
    )
    text = render_diskstats(attrs.evolve(SERVER, disks=(disk,)))

    assert "   8      16 sda 3 0 80 7 2 0 512 5 1 9 13 0 0 0 0 0 0\n" == text


def test_links_lead_to_the_node_of_each_cpu_and_block():
    """Each CPU and each memory block has a link to its node; a kernel without NUMA has none."""
    links = dict(tree_links(SERVER))

    assert 4 + 3 == len(links)
    assert "../../node/node1" == links["sys/devices/system/cpu/cpu3/node1"]
    assert "../../node/node0" == links["sys/devices/system/memory/memory1/node0"]
    assert "../../node/node1" == links["sys/devices/system/memory/memory2/node1"]
    assert [] == list(tree_links(attrs.evolve(SERVER, numa=False)))
