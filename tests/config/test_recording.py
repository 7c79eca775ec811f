"""Recordings as people have them: pasted, quoted, of other kernels, of machines that are no PC."""

import re

import pytest

from kernelsim.config.from_proc import machine_from_proc, machine_from_recording
from kernelsim.config.machine_file import load_machine, machine_text
from kernelsim.config.proc_zoneinfo import parse_zoneinfo
from kernelsim.config.recording import Recording
from kernelsim.config.zones import ZoneType
from kernelsim.errors import RecordingError
from tests.zoneinfo_text import ARM, BEFORE_4_8, OLD, THP, zoneinfo

PLAIN = zoneinfo(THP)
EMPTY = (0, 0, 0, 0, 0, 0, 0, (0,) * 5, 0)


def read(text):
    """Return the machine of a text."""
    return machine_from_recording(Recording.pasted(text, name="paste"))


def zone_names(machine):
    """Return the names of a machine's zone types."""
    return " ".join(kind.value for kind in machine.zone_types)


WAYS = {
    "as it is": PLAIN,
    "line ends of DOS": PLAIN.replace("\n", "\r\n"),
    "behind its prompt": f"me@host:~$ cat /proc/zoneinfo\n{PLAIN}me@host:~$ \n",
    "root's": f"[root@host ~]# cat /proc/zoneinfo\n{PLAIN}[root@host ~]# exit\n",
    "indented": re.sub("^", "    ", PLAIN, flags=re.MULTILINE),
    "indented by a tab": re.sub("^", "\t", PLAIN, flags=re.MULTILINE),
    "without any indent": re.sub("^ +", "", PLAIN, flags=re.MULTILINE),
    "quoted": re.sub("^", "> ", PLAIN, flags=re.MULTILINE),
    "quoted twice": re.sub("^", ">> ", PLAIN, flags=re.MULTILINE),
    "by grep": re.sub("^", "/proc/zoneinfo:", PLAIN, flags=re.MULTILINE),
    "by grep -n": "".join(f"{n}:{line}\n" for n, line in enumerate(PLAIN.splitlines(), 1)),
    "by grep -A": re.sub("^(?= )", "/proc/zoneinfo-", PLAIN, flags=re.MULTILINE),
    "by cat -n": "".join(f"{n:6}\t{line}\n" for n, line in enumerate(PLAIN.splitlines(), 1)),
    "in a fence": f"```text\n{PLAIN}```\n",
    "with blank lines": PLAIN.replace("\n", "\n\n"),
}


@pytest.mark.mission("B5")
@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
def test_a_paste_is_read_as_the_file(text):
    """What is around the kernel's text changes nothing."""
    assert read(text) == read(PLAIN)


def test_a_saved_file_is_read_as_its_directory(tmp_path):
    """A file of any name, or zoneinfo in a directory."""
    (tmp_path / "zoneinfo").write_text(PLAIN)
    saved = machine_from_proc(tmp_path / "zoneinfo")
    assert saved.boot == machine_from_proc(tmp_path).boot
    assert saved.name == "zoneinfo"


def test_a_paste_of_several_files():
    """buddyinfo, meminfo and sysctls beside zoneinfo are taken, too."""
    more = (
        "$ cat /proc/buddyinfo\nNode 0, zone   Normal 0 0 0 0 0 0 0 0 0 0 100\n"
        "$ sysctl vm.min_free_kbytes\nvm.min_free_kbytes = 67584\n"
        "$ cat /proc/meminfo\nMemTotal:        8164548 kB\nMemFree: 3215900 kB\n"
    )
    machine = read(PLAIN + more)
    assert machine.sysctl.vm_min_free_kbytes == 67584
    assert machine.boot.zones[2].nr_free == 100 << 10
    assert machine.boot.meminfo_kb["MemTotal"] == 8164548


def test_an_error_names_the_line_of_the_paste():
    """Lines that are left out count."""
    with pytest.raises(RecordingError) as caught:
        read("$ cat /proc/zoneinfo\n" + PLAIN.replace("start_pfn:           1\n", "start: 1\n"))
    assert str(caught.value) == "paste:23: 'start: 1' is no line of zoneinfo"


@pytest.mark.mission("P11")
@pytest.mark.parametrize(
    ("zones", "names"),
    [
        (THP, "DMA DMA32 Normal Movable Device"),
        ({**THP, "Movable": EMPTY, "Device": EMPTY}, "DMA DMA32 Normal Movable Device"),
        (OLD, "DMA DMA32 Normal Movable"),
        (ARM, "Normal HighMem Movable"),
        ({"Normal": (*ARM["Normal"][:7], (0, 0), 0)}, "Normal Movable"),
    ],
)
def test_zone_types_are_those_of_the_file(zones, names):
    """Those printed; where empty ones are not, the columns say how many there are."""
    assert zone_names(read(zoneinfo(zones))) == names


@pytest.mark.mission("B5")
def test_a_kernel_before_4_8():
    """Counters four blanks in, "scanned" and its like: read, by the rules of classic, and told."""
    text = zoneinfo(OLD, BEFORE_4_8).replace(
        "    nr_free_pages 800000", "    nr_free_pages 800000\n    nr_inactive_file 900"
    )
    machine = read(text)
    assert machine.era.name == "classic"
    assert machine.boot.assumed[0].startswith("the kernel is older than 4.8")
    assert machine.boot.nodes[0].stats == {"nr_inactive_file": 900}
    assert [zone.stats.get("nr_zone_inactive_file", 0) for zone in machine.boot.zones] == [
        0,
        900,
        0,
    ]


def test_before_3_9_all_present_pages_are_for_use():
    """There is no line "managed"."""
    text = re.sub("        managed .*\n", "", zoneinfo(OLD, BEFORE_4_8))
    assert [zone.pages["managed"] for zone in parse_zoneinfo(text)] == [3984, 845172, 1236992]
    with pytest.raises(RecordingError, match="zone DMA has no line 'managed'"):
        parse_zoneinfo(re.sub("        managed .*\n", "", PLAIN))


@pytest.mark.parametrize(
    "line",
    [
        "                   0",
        "        promo    17",
        "        reserved_highatomic 5",
        "      nr_new 1",
    ],
)
def test_lines_of_other_kernels_are_read(line):
    """A counter without its name, and what newer kernels print."""
    text = PLAIN.replace("  pagesets", f"{line}\n  pagesets")
    assert len(parse_zoneinfo(text)) == 3


def test_a_node_that_only_counts_its_files_has_them_in_a_zone():
    """The highest zone with room holds what the node counts."""
    zones = read(PLAIN).boot.zones
    assert [zone.stats.get("nr_zone_inactive_file", 0) for zone in zones] == [0, 0, 50]
    assert [zone.stats.get("nr_zone_active_file", 0) for zone in zones] == [0, 0, 20]


@pytest.mark.parametrize("nr_orders", [10, 11, 13])
def test_buddyinfo_of_10_to_13_orders(nr_orders):
    """Blocks larger than ours count as several of our largest."""
    counts = [1] * nr_orders
    row = f"Node 0, zone   Normal {' '.join(map(str, counts))}\n"
    free = read(PLAIN + row).boot.zones[2].free[0]
    assert len(free) == min(nr_orders, 11)
    assert sum(count << order for order, count in enumerate(free)) == (1 << nr_orders) - 1


def test_free_blocks_that_do_not_fit_name_their_file(tmp_path):
    """Buddyinfo is to blame when there is no pagetypeinfo."""
    (tmp_path / "zoneinfo").write_text(PLAIN)
    (tmp_path / "buddyinfo").write_text("Node 0, zone DMA 5000 0 0 0 0 0 0 0 0 0 0\n")
    with pytest.raises(RecordingError, match="buddyinfo: free blocks of node 0 zone DMA: 5000"):
        machine_from_proc(tmp_path)


@pytest.mark.mission("B5")
def test_a_node_without_memory_survives_its_file(tmp_path):
    """Its zones are empty, and so is what the node counts; also when a node is left out."""
    second = zoneinfo({"DMA": EMPTY, "Normal": EMPTY}, nid=2)
    machine = read(PLAIN + second.replace("      nr_inactive_file 50\n", ""))
    assert [node.present_pages > 0 for node in machine.nodes] == [True, False, False]
    (tmp_path / "m.toml").write_text(machine_text(machine))
    assert load_machine(tmp_path / "m.toml") == machine


def test_what_is_taken_for_granted_is_told():
    """CPUs without nodes are dealt out, gaps in their numbers closed, distances are 20."""
    node_1 = zoneinfo({"Normal": (*THP["Normal"][:8], 1 << 22)}, nid=1, cpus=(0, 1, 4))
    machine = read(zoneinfo(THP, cpus=(0, 1, 4)) + node_1)
    assert [node.cpus for node in machine.nodes] == [(0, 1), (2,)]
    assert machine.boot.assumed == (
        "which CPUs a node has is not recorded: they are dealt out in order",
        "distances are not recorded: 20 between any two nodes is taken",
        "CPUs 0-1,4 are in use: they are numbered from 0",
    )


@pytest.mark.parametrize(
    ("zones", "arch"),
    [
        (ARM, "i386"),
        ({"Normal": (*ARM["Normal"][:7], (0, 0), 0)}, "i386"),
        ({"DMA": (9000, 90, 112, 134, 524288, 524288, 500000, (0, 0, 0), 0)}, "x86_64"),
        ({"DMA32": (9000, 90, 112, 134, 524288, 524288, 500000, (0, 0, 0), 4096)}, None),
    ],
)
def test_what_is_no_pc_is_told(zones, arch):
    """32-bit ARM, arm64 and ppc64 have other zones; an x86_64 kernel without ZONE_DMA is a PC."""
    assumed = read(zoneinfo(zones)).boot.assumed
    assert bool(assumed) == (arch is not None)
    assert arch is None or assumed[0].endswith(f"page tables are those of {arch}")


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ("MemTotal: 32658192 kB\n", 16),
        ("MemTotal: 130632768 kB\n", 64),
        ("vm.min_free_kbytes = 1081280\n", 64),
    ],
)
def test_other_page_sizes_are_refused(more, size):
    """Sizes in KiB tell what a page is."""
    with pytest.raises(RecordingError) as caught:
        read(PLAIN + more)
    assert str(caught.value) == f"paste: its pages are of {size} KiB; only 4 KiB are simulated"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (PLAIN.replace("zone   Normal", "zone   Magic"), "zone Magic of node 0 is not known"),
        (PLAIN.replace("7894, 7894)", "7894, 7894, 1, 1)"), "protection has 7 columns"),
        (PLAIN.replace("Node 0, zone   Normal", "Node 99999, zone Normal"), "node 99999 must be"),
        (PLAIN + PLAIN, "zone DMA of node 0 comes twice"),
        ("hello\n", "paste:1: must begin with 'Node N, zone NAME'"),
        ("", "paste:1: must begin with 'Node N, zone NAME'"),
    ],
)
def test_what_no_kernel_prints_is_refused(text, rule):
    """Unknown zones, more columns than zones, and no zoneinfo at all."""
    with pytest.raises(RecordingError) as caught:
        read(text)
    assert rule in str(caught.value)


def test_the_reserve_ratio_follows_the_zones():
    """Each type has the ratio that is built in for it."""
    assert read(zoneinfo(ARM)).sysctl.vm_lowmem_reserve_ratio == (32, 0, 0)
    assert ZoneType.ZONE_DMA not in read(zoneinfo(ARM)).zone_types
