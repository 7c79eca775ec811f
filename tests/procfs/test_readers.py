"""Real programs read a rendered tree and find in it the numbers of the simulated machine."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine_file import load_machine
from kernelsim.procfs.capture import capture
from tests.node_exporter import COLLECTORS, exporter, metrics_at
from tests.real_tools import (
    ENVIRONMENT,
    SNAPSHOTS,
    numbers_of,
    pressed_run,
    read_tree,
    write_tree,
)
from tests.small_machine import OpenMachine

pytestmark = [pytest.mark.mission("B6"), pytest.mark.slow]

CASES = Path(__file__).parent.parent / "oracle" / "cases"
SADC = "/usr/lib/sysstat/sadc"
PID = "100"
PAGE_KB = 4
SECTOR_BYTES = 512
SWAP_CLUSTER_KB = 32  # read at once, vm.page-cluster 3
WRITE_KB_MAX = 2048


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run under pressure; its tree is the one at the end."""
    return pressed_run(tmp_path_factory.mktemp("pressed"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tree of an idle server of two nodes with a hole below 4 GiB."""
    snapshot = capture(OpenMachine(load_machine("numa-2x4g")).kernel)
    return write_tree(snapshot, tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tree of a recorded machine, with a page cache and slabs."""
    snapshot = capture(OpenMachine(machine_from_proc(CASES / "d04_sw60" / "before")).kernel)
    return write_tree(snapshot, tmp_path_factory.mktemp("recorded"))


def field(text: str, name: str) -> int:
    """Return the number before a name in the output of `vmstat -s`."""
    found = re.search(rf"^\s*(\d+) {re.escape(name)}$", text, re.MULTILINE)
    assert found, name
    return int(found[1])


def stat_of(tree: Path) -> dict[str, list[str]]:
    """Return /proc/stat by the first word of its lines."""
    lines = (line.split() for line in (tree / "proc/stat").read_text().splitlines())
    return {words[0]: words[1:] for words in lines}


@pytest.mark.parametrize("which", ["tree", "recorded"])
def test_vmstat_sums_up(which: str, request, require_tool):
    """`vmstat -s` shows the memory of meminfo, the traffic of vmstat and the counts of stat."""
    require_tool("vmstat", "procps")
    tree = request.getfixturevalue(which)
    text = read_tree(tree, "vmstat", "-s")
    meminfo, events = numbers_of(tree / "proc/meminfo"), numbers_of(tree / "proc/vmstat")
    stat = stat_of(tree)

    assert meminfo["MemTotal"] == field(text, "K total memory")
    available = meminfo["MemAvailable"] or meminfo["MemFree"]  # procps takes 0 for "not told"
    assert meminfo["MemTotal"] - available == field(text, "K used memory")
    assert meminfo["Active"] == field(text, "K active memory")
    assert meminfo["Inactive"] == field(text, "K inactive memory")
    assert meminfo["Buffers"] == field(text, "K buffer memory")
    assert meminfo["SwapTotal"] - meminfo["SwapFree"] == field(text, "K used swap")
    assert events["pgpgin"] == field(text, "K paged in")
    assert events["pswpout"] == field(text, "pages swapped out")
    assert int(stat["ctxt"][0]) == field(text, "CPU context switches")
    assert int(stat["intr"][0]) == field(text, "interrupts")
    assert int(stat["cpu"][3]) == field(text, "idle cpu ticks")
    assert int(stat["processes"][0]) == field(text, "forks")


@pytest.mark.mission("P17")
def test_sysctl_reads_the_tunables(recorded: Path, require_tool):
    """`sysctl` shows the recorded value of each tunable of vm."""
    require_tool("sysctl", "procps")
    text = (CASES / "d04_sw60" / "before" / "sysctl_vm.txt").read_text()
    names = [line.split(" ")[0] for line in text.splitlines() if line.startswith("vm.")]
    assert len(names) > 30

    shown = read_tree(recorded, "sysctl", *names).splitlines()
    assert [line for line in text.splitlines() if line.startswith("vm.")] == shown


def test_vmstat_shows_disks(tree: Path, require_tool):
    """`vmstat -d` shows requests and sectors of the disk, which carried what was swapped."""
    require_tool("vmstat", "procps")
    *_, line = read_tree(tree, "vmstat", "-d").splitlines()
    name, *words = line.split()
    reads, _, sectors_read, read_ms, writes, _, sectors_written, write_ms, *_ = map(int, words)
    flying = int((tree / "proc/diskstats").read_text().split()[11])  # vmstat shows thousands
    events = numbers_of(tree / "proc/vmstat")

    assert "vda" == name
    # vmstat counts a request when a task is about to hand it over, the disk when it is done.
    assert 0 <= events["pgpgin"] - sectors_read / 2 <= (flying + 1) * SWAP_CLUSTER_KB
    assert 0 <= events["pgpgout"] - sectors_written / 2 <= flying * WRITE_KB_MAX
    assert 0 < sectors_read / 2 <= events["pgpgin"]
    assert 0 < sectors_written / 2 <= events["pgpgout"]
    assert 0 < reads <= sectors_read // 8
    assert read_ms >= reads  # one request takes a millisecond
    assert write_ms >= writes > 0


def test_pmap_sums_up(tree: Path, require_tool):
    """The last lines of `pmap -x` and `pmap -X` are the sums of smaps."""
    require_tool("pmap", "procps")
    rollup = numbers_of(tree / f"proc/{PID}/smaps_rollup")
    status = numbers_of(tree / f"proc/{PID}/status")
    *_, total = read_tree(tree, "pmap", "-x", PID).splitlines()
    assert ["total", "kB"] == total.split()[:2]
    assert [status["VmSize"], rollup["Rss"], rollup["Private_Dirty"]] == [
        int(word) for word in total.split()[2:5]
    ]

    lines = read_tree(tree, "pmap", "-X", PID).splitlines()
    names = lines[1].split()[5:-1]  # behind address, flags, offset, device and inode; no name
    sums = dict(zip(names, lines[-1].split(), strict=False))
    assert rollup["Swap"] > 0
    for name in ("Rss", "Pss", "Referenced", "Anonymous", "Swap", "SwapPss"):
        assert rollup[name] == int(sums[name]), name
    assert status["VmSize"] == int(sums["Size"])
    assert "[stack]" == lines[-3].split()[-1]


def test_swapon_shows_the_areas(tree: Path, require_tool):
    """`swapon --show` lists the swap area with what is used of it."""
    require_tool("swapon", "util-linux")
    text = read_tree(tree, "swapon", "--show", "--bytes", "--noheadings")
    meminfo = numbers_of(tree / "proc/meminfo")
    used = (meminfo["SwapTotal"] - meminfo["SwapFree"]) * 1024

    assert used > 0
    assert ["/dev/vda", "partition", str(meminfo["SwapTotal"] * 1024), str(used), "-2"] == (
        text.split()
    )


def test_lsmem_lists_the_blocks(server: Path, require_tool):
    """`lsmem` finds 8 GiB in blocks, none in the hole, each in its zone and on its node."""
    require_tool("lsmem", "util-linux")
    columns = "RANGE,SIZE,STATE,BLOCK,NODE,ZONES"
    words = ["lsmem", "--sysroot", str(server), "--json", "--bytes", "--output", columns]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["memory"]

    assert 8 << 30 == sum(row["size"] for row in rows)
    assert [("0", 0, "None"), ("1-23", 0, "DMA32"), ("32-39", 0, "Normal")] == [
        (row["block"], row["node"], row["zones"]) for row in rows[:3]
    ]
    assert [("40-71", 1, "Normal", "online")] == [
        (row["block"], row["node"], row["zones"], row["state"]) for row in rows[3:]
    ]
    assert "0x0000000100000000-0x000000013fffffff" == rows[2]["range"]


def test_lscpu_finds_cpus_and_nodes(server: Path, require_tool):
    """`lscpu` finds a socket a node with four cores each, and the clock of the machine."""
    require_tool("lscpu", "util-linux")
    words = ["lscpu", "--sysroot", str(server)]
    table = subprocess.run([*words, "--json"], capture_output=True, text=True, check=True)
    found = {row["field"]: row["data"] for row in json.loads(table.stdout)["lscpu"]}
    parsable = subprocess.run(
        [*words, "--parse=CPU,CORE,SOCKET,NODE"], capture_output=True, text=True, check=True
    )
    rows = [line for line in parsable.stdout.splitlines() if not line.startswith("#")]

    assert ("8", "4", "2", "2") == tuple(
        found[name] for name in ("CPU(s):", "Core(s) per socket:", "Socket(s):", "NUMA node(s):")
    )
    assert ("0-3", "4-7") == (found["NUMA node0 CPU(s):"], found["NUMA node1 CPU(s):"])
    assert "5000.00" == found["BogoMIPS:"]
    assert [f"{cpu},{cpu},{cpu // 4},{cpu // 4}" for cpu in range(8)] == rows


def sar(tree: Path, folder: Path, option: str) -> list[list[float]]:
    """Collect the snapshots of a run with sadc; return sar's lines, the average last."""
    file = folder / "sa"
    for name in SNAPSHOTS:
        read_tree(tree / "snapshots" / name, SADC, "-S", "XALL", "1", "1", str(file))
    words = ["sar", option, "-f", str(file)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env=os.environ | ENVIRONMENT
    )
    lines = done.stdout.splitlines()[3:]
    assert len(SNAPSHOTS) == len(lines)
    return [[float(word) for word in line.split()[1:]] for line in lines]


@pytest.mark.parametrize("option", ["-W", "-B"])
def test_sar_tells_rates_in_virtual_time(option: str, tree: Path, tmp_path: Path, require_tool):
    """Rates of `sar` are differences of the snapshots, which are one virtual second apart."""
    require_tool("sar", "sysstat")
    require_tool(SADC, "sysstat")
    names = {"-W": ("pswpin", "pswpout"), "-B": ("pgpgin", "pgpgout", "pgfault", "pgmajfault")}
    events = [numbers_of(tree / "snapshots" / name / "proc/vmstat") for name in SNAPSHOTS]
    columns = names[option]
    *lines, average = sar(tree, tmp_path, option)

    assert any(events[-1][name] for name in columns)
    for before, after, line in zip(events, events[1:], lines, strict=False):
        assert [after[name] - before[name] for name in columns] == line[: len(columns)]
    for name, rate in zip(columns, average, strict=False):
        assert rate == pytest.approx((events[-1][name] - events[0][name]) / 3, abs=0.006)


def test_sar_shows_memory_and_swap(tree: Path, tmp_path: Path, require_tool):
    """`sar -r` and `sar -S` show what meminfo says at each snapshot."""
    require_tool("sar", "sysstat")
    require_tool(SADC, "sysstat")
    (tmp_path / "swap").mkdir()
    *memory, _ = sar(tree, tmp_path, "-r")
    *swap, _ = sar(tree, tmp_path / "swap", "-S")
    for name, line, swap_line in zip(SNAPSHOTS[1:], memory, swap, strict=True):
        kb = numbers_of(tree / "snapshots" / name / "proc/meminfo")
        assert [kb["MemFree"], kb["MemAvailable"]] == line[:2]
        assert [kb["Committed_AS"], kb["Active"], kb["Inactive"], kb["Dirty"]] == [
            line[6],
            *line[8:11],
        ]
        assert [kb["SwapFree"], kb["SwapTotal"] - kb["SwapFree"]] == swap_line[:2]


def test_numastat_shows_nodes_and_processes(tree: Path, require_tool):
    """`numastat -m` is nodeN/meminfo in MB; `numastat -p` is where smaps' pages are."""
    require_tool("numastat", "numactl")
    rows = {
        words[0]: [float(word) for word in words[1:]]
        for line in read_tree(tree, "numastat", "-m").splitlines()
        if len(words := line.split()) == 4 and words[0][0].isalpha()
    }
    for nid in (0, 1):
        text = (tree / f"sys/devices/system/node/node{nid}/meminfo").read_text()
        kb = {name: int(number) for name, number in re.findall(r"(\S+): +(\d+)", text)}
        for name in ("MemTotal", "MemFree", "AnonPages", "Inactive(anon)", "PageTables"):
            assert rows[name][nid] == pytest.approx(kb[name] / 1024, abs=0.006)

    *_, total = [line for line in read_tree(tree, "numastat", "-p", PID).splitlines() if line]
    numa_maps = (tree / f"proc/{PID}/numa_maps").read_text()
    by_node = [
        sum(int(count) for count in re.findall(rf" N{nid}=(\d+)", numa_maps)) * PAGE_KB
        for nid in (0, 1)
    ]
    assert sum(by_node) == numbers_of(tree / f"proc/{PID}/smaps_rollup")["Rss"]
    assert all(by_node)
    shown = [float(word) for word in total.split()[1:]]
    assert shown == pytest.approx([kb / 1024 for kb in (*by_node, sum(by_node))], abs=0.01)


def test_smem_reports_processes(tree: Path, require_tool):
    """`smem --source` reports what smaps says of each process, and its command."""
    require_tool("smem", "smem")
    words = ["smem", "--source", str(tree), "--no-header", "--columns", "pid command swap uss pss"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    rollup = numbers_of(tree / f"proc/{PID}/smaps_rollup")

    assert {PID, "101"} == set(rows)
    uss = rollup["Private_Dirty"] + rollup["Private_Clean"]
    assert ["hog", str(rollup["Swap"]), str(uss), str(rollup["Pss"])] == rows[PID]


def test_lstopo_draws_the_topology(server: Path, require_tool):
    """`lstopo --input` finds packages, cores, and the memory of each node."""
    require_tool("lstopo-no-graphics", "hwloc-nox")
    words = ["lstopo-no-graphics", "--input", str(server), "--of", "xml"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env=os.environ | ENVIRONMENT
    )
    root = ET.fromstring(done.stdout)  # noqa: S314 - written by hwloc
    kinds = [element.get("type") for element in root.iter("object")]
    nodes = [element for element in root.iter("object") if element.get("type") == "NUMANode"]

    assert (2, 8, 8) == tuple(kinds.count(kind) for kind in ("Package", "Core", "PU"))
    for nid, node in enumerate(nodes):
        text = (server / f"sys/devices/system/node/node{nid}/meminfo").read_text()
        total_kb = int(text.split("MemTotal:")[1].split()[0])
        assert total_kb * 1024 == int(node.get("local_memory", "0"))
        assert hex(0xF << 4 * nid) == hex(int(node.get("cpuset", "0"), 16))
    assert 2 == len(nodes)


def test_node_exporter_exports_the_machine(tree: Path, tmp_path: Path, require_tool):
    """Every collector of node_exporter that is about memory succeeds, with the tree's numbers."""
    program = require_tool("prometheus-node-exporter", "prometheus-node-exporter")
    with exporter(tree, program, tmp_path) as url:
        metrics = metrics_at(url)
    meminfo, events = numbers_of(tree / "proc/meminfo"), numbers_of(tree / "proc/vmstat")

    for name in COLLECTORS:
        assert 1 == metrics[f'node_scrape_collector_success{{collector="{name}"}}'], name
    assert meminfo["MemFree"] * 1024 == metrics["node_memory_MemFree_bytes"]
    assert events["pgscan_direct"] == metrics["node_vmstat_pgscan_direct"]
    assert float(events["nr_free_pages"]) == sum(
        value for name, value in metrics.items() if name.startswith("node_zoneinfo_nr_free_pages{")
    )
    blocks = {
        name: value for name, value in metrics.items() if name.startswith("node_buddyinfo_blocks{")
    }
    orders = {name: int(re.findall(r'size="(\d+)"', name)[0]) for name in blocks}
    assert events["nr_free_pages"] == sum(
        value * (1 << orders[name]) for name, value in blocks.items()
    )
    idle = int(stat_of(tree)["cpu0"][3]) / 100
    assert idle == metrics['node_cpu_seconds_total{cpu="0",mode="idle"}']
    sectors = int((tree / "proc/diskstats").read_text().split()[5])
    assert sectors * SECTOR_BYTES == metrics['node_disk_read_bytes_total{device="vda"}']


def test_slabtop_lists_the_caches(tree: Path, require_tool):
    """`slabtop` reads slabinfo: pages in swap have nodes, and a node of 576 bytes 7 a page."""
    require_tool("slabtop", "procps")
    rows = [line.split() for line in read_tree(tree, "slabtop", "-o").splitlines()]

    objects, active, _, size, nr_slabs, *_, name = next(
        row for row in rows if row[-1:] == ["radix_tree_node"]
    )
    assert (size, name) == ("0.56K", "radix_tree_node")
    assert 0 < int(active) <= int(objects)
    assert int(objects) // int(nr_slabs) in (7, 14, 28)
