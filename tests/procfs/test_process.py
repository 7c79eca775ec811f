"""The files of a process, held against recorded lines and against their formats."""

import re
from pathlib import Path

import attrs
import pytest

from kernelsim.procfs.process import (
    bit_mask,
    render_maps,
    render_numa_maps,
    render_smaps,
    render_smaps_rollup,
    render_stat,
    render_statm,
    render_status,
)
from kernelsim.procfs.snapshot import MemoryUsage, NumaUsage, ProcessSnapshot, VmaSnapshot

CASES = Path(__file__).parent.parent / "oracle" / "cases"
# Lines of recorded maps, 64-bit and 32-bit.
MAPS = """\
563b4df3e000-563b4df43000 r-xp 00002000 00:02 9867                       /bin/memhogdyn
563b4df47000-563b4df9d000 rw-p 00000000 00:00 0 
7fff2c53c000-7fff2c55d000 rw-p 00000000 00:00 0                          [stack]
"""  # noqa: W291 - the kernel's blank
MAPS_32 = "08048000-08049000 r--p 00000000 00:02 10373      /bin/memhog\n"
ROLLUP_KEYS = {
    "Rss": "rss",
    "Pss": "pss",
    "Pss_Dirty": "pss_dirty",
    "Pss_Anon": "pss_anon",
    "Pss_File": "pss_file",
    "Pss_Shmem": "pss_shmem",
    "Shared_Clean": "shared_clean",
    "Shared_Dirty": "shared_dirty",
    "Private_Clean": "private_clean",
    "Private_Dirty": "private_dirty",
    "Referenced": "referenced",
    "Anonymous": "anonymous",
    "LazyFree": "lazyfree",
    "Swap": "swap",
    "SwapPss": "swap_pss",
    "Locked": "locked",
}


def vma_of(line: str) -> VmaSnapshot:
    """Read a line of maps."""
    area, flags, offset, dev, inode, *name = line.split()
    start, end = (int(address, 16) for address in area.split("-"))
    return VmaSnapshot(
        start=start,
        end=end,
        flags=flags,
        offset=int(offset, 16),
        dev=dev,
        inode=int(inode),
        name="".join(name),
    )


def recorded_rollups() -> list[str]:
    """Return the smaps_rollup texts of the demand-paging case."""
    text = (CASES / "d02" / "workload.out").read_text()
    pattern = r"begin=/proc/self/smaps_rollup\n(.*?)proc=\S+ end="
    return re.findall(pattern, text, flags=re.DOTALL)


@pytest.mark.mission("V12")
@pytest.mark.parametrize(("text", "word_bytes"), [(MAPS, 8), (MAPS_32, 4)])
def test_recorded_maps_come_back(text: str, word_bytes: int):
    """Lines of maps, read and rendered, are the recorded lines."""
    vmas = tuple(vma_of(line) for line in text.splitlines())

    assert text == render_maps(ProcessSnapshot(pid=1, comm="a", vmas=vmas, word_bytes=word_bytes))


def test_recorded_rollups_come_back():
    """Each recorded smaps_rollup, read and rendered, is the recorded text."""
    rollups = recorded_rollups()
    assert 6 == len(rollups)

    for text in rollups:
        head, *lines = text.splitlines()
        kb = {key: int(number) for key, number in re.findall(r"(\w+): +(\d+) kB", text)}
        assert len(lines) == len(kb)
        usage = MemoryUsage(**{name: kb[key] * 1024 for key, name in ROLLUP_KEYS.items()})
        vma = attrs.evolve(vma_of(head), usage=usage)
        assert text == render_smaps_rollup(ProcessSnapshot(pid=1, comm="a", vmas=(vma,)))


def numa_vma_of(line: str) -> VmaSnapshot:
    """Read a line of numa_maps."""
    start, policy, *words = line.split()
    figures = dict(word.partition("=")[::2] for word in words)
    area = next((f"[{name}]" for name in ("heap", "stack") if name in figures), "")
    counts = {int(name[1:]): int(n) for name, n in figures.items() if name.startswith("N")}
    by_node = tuple(counts.get(nid, 0) for nid in range(max(counts, default=-1) + 1))
    names = {"anon", "dirty", "swapcache", "active", "writeback"} & set(figures)
    usage = NumaUsage(pages_by_node=by_node, active=sum(by_node), mapcount_max=1)
    return VmaSnapshot(
        start=int(start, 16),
        end=0,
        flags="rw-p",
        name=figures.get("file", area),
        policy=policy,
        numa=attrs.evolve(usage, **{name: int(figures[name]) for name in names}),
    )


@pytest.mark.mission("P9")
def test_recorded_numa_maps_come_back():
    """Each recorded numa_maps, read and rendered, is the recorded text, under every policy."""
    text = (CASES / "d11_numa_maps" / "workload.out").read_text()
    pattern = r"begin=/proc/self/numa_maps\n(.*?)proc=\S+ end="
    recorded = re.findall(pattern, text, flags=re.DOTALL)
    assert 7 <= len(recorded)
    assert {"default", "bind:1", "interleave:0-1", "prefer:1"} <= set(text.split())

    for lines in recorded:
        vmas = tuple(numa_vma_of(line) for line in lines.splitlines())
        assert lines == render_numa_maps(ProcessSnapshot(pid=1, comm="a", vmas=vmas))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"anon": 2, "dirty": 1}, "anon=2 dirty=1 active=0"),
        ({"anon": 1, "dirty": 1}, "anon=1 dirty=1 mapped=2 active=0"),
        ({"mapcount_max": 3, "active": 2}, "mapped=2 mapmax=3"),
        ({"anon": 2, "swapcache": 1, "writeback": 1}, "anon=2 swapcache=1 active=0 writeback=1"),
    ],
)
def test_numa_maps_leaves_out_what_goes_without_saying(usage: dict[str, int], expected: str):
    """Counts of 0 are left out, as are all that are mapped and all that are active."""
    numa = NumaUsage(pages_by_node=(0, 2), **usage)
    vma = VmaSnapshot(start=4096, end=12288, flags="rw-p", numa=numa)

    text = render_numa_maps(ProcessSnapshot(pid=1, comm="a", vmas=(vma,)))

    assert f"00001000 default {expected} N1=2 kernelpagesize_kB=4\n" == text


# Lines a kernel has or not by how it was built, and lines of later kernels.
OPTIONAL = {
    *("HugetlbPages", "THP_enabled", "Seccomp", "Seccomp_filters", "Mems_allowed"),
    *("Speculation_Store_Bypass", "SpeculationIndirectBranch", "Mems_allowed_list"),
}
NEWER = {"Kthread", "untag_mask", "x86_Thread_features", "x86_Thread_features_locked", "KSM"}


@pytest.mark.parametrize("name", ["status", "smaps"])
def test_lines_stand_in_the_order_of_a_running_kernel(name: str):
    """Lines of status and of an area of smaps are the running kernel's, in its order."""
    vma = VmaSnapshot(start=4096, end=8192, flags="rw-p")
    process = ProcessSnapshot(pid=1, comm="a", vmas=(vma,))
    ours = {"status": render_status, "smaps": render_smaps}[name](process)
    running = Path(f"/proc/self/{name}").read_text()

    mine, theirs = (re.findall(r"(?m)^(\w+):", text) for text in (ours, running))
    mine, theirs = mine[: mine.index(mine[-1]) + 1], theirs[: theirs.index(mine[-1]) + 1]
    assert len(mine) > 20
    common = set(mine) & set(theirs)
    assert [key for key in mine if key in common] == [key for key in theirs if key in common]
    assert OPTIONAL >= set(mine) - common
    assert not NEWER & set(mine)


def test_rollup_adds_up_the_areas():
    """The rollup spans all areas and sums bytes before it rounds to kB."""
    vmas = tuple(
        VmaSnapshot(start=n << 20, end=(n << 20) + 8192, flags="rw-p", usage=MemoryUsage(pss=1536))
        for n in (1, 5)
    )
    text = render_smaps_rollup(ProcessSnapshot(pid=1, comm="a", vmas=vmas))

    assert text.startswith("00100000-00502000 ---p 00000000 00:00 0 ")
    assert "\nPss:                   3 kB\n" in text
    assert "" == render_smaps_rollup(ProcessSnapshot(pid=1, comm="a"))


def test_smaps_shows_size_usage_and_flags_of_each_area():
    """Each area of smaps has 24 lines, from its maps line to its flags."""
    usage = MemoryUsage(rss=4096)
    vma = VmaSnapshot(start=4096, end=20480, flags="rw-p", usage=usage, vm_flags=("rd", "wr"))
    lines = render_smaps(ProcessSnapshot(pid=1, comm="a", vmas=(vma, vma))).splitlines()

    assert 48 == len(lines)
    assert "Size:                 16 kB" == lines[1]
    assert "Rss:                   4 kB" == lines[4]
    assert "VmFlags: rd wr " == lines[23]


def test_status_prints_memory_as_the_recording_reports_it():
    """VmRSS is the sum of its kinds and VmHWM never below it, as in the recorded mem line."""
    process = ProcessSnapshot(
        pid=9,
        comm="write",
        total_vm=16755,
        hiwater_vm=16755,
        rss_anon=16348,
        rss_file=190,
        pgtables_bytes=164 * 1024,
        exec_vm=30,
        text_bytes=5 * 4096 + 100,
        cpus_allowed=(0, 1),
    )
    text = render_status(process, nr_cpus=2)
    fields = dict(line.split(":\t", 1) for line in text.splitlines())

    assert "   67020 kB" == fields["VmPeak"]
    assert "   66152 kB" == fields["VmHWM"] == fields["VmRSS"]
    assert "   65392 kB" == fields["RssAnon"]
    assert "     164 kB" == fields["VmPTE"]
    assert "      20 kB" == fields["VmExe"]
    assert "      99 kB" == fields["VmLib"]
    assert "3" == fields["Cpus_allowed"]
    assert "0-1" == fields["Cpus_allowed_list"]
    assert "S (sleeping)" == fields["State"]


def test_root_has_all_capabilities_and_others_none():
    """CapEff is full for uid 0 and empty for a user."""
    root = ProcessSnapshot(pid=1, comm="a")

    assert "CapEff:\t000001ffffffffff\n" in render_status(root)
    assert "CapEff:\t0000000000000000\n" in render_status(attrs.evolve(root, uid=1000))


def test_statm_and_stat_agree_on_sizes():
    """In statm all are pages; stat has 52 fields, with bytes of size and pages of rss."""
    process = ProcessSnapshot(
        pid=9,
        comm="a b",
        total_vm=100,
        rss_anon=10,
        rss_file=5,
        rss_shmem=2,
        data_vm=40,
        stack_vm=3,
        text_bytes=5000,
        minflt=11,
        majflt=3,
        utime_ns=25_000_000,
        start_code=1,
        end_code=2,
        start_data=3,
        end_data=4,
        start_brk=5,
        start_stack=6,
    )
    fields = render_stat(process).replace("(a b)", "(a_b)").split()

    assert "100 17 7 2 0 43 0\n" == render_statm(process)
    assert 52 == len(fields)
    assert ["409600", "17"] == fields[22:24]
    assert ["1", "2", "6", "0", "0"] == fields[25:30]
    assert ["3", "4", "5", "0"] == fields[44:48]
    assert ["11", "0", "3", "0", "2", "0"] == fields[9:15]


@pytest.mark.parametrize(
    ("numbers", "nr_bits", "expected"),
    [((0, 1), 2, "3"), ((), 4, "0"), ((4,), 5, "10"), ((0, 33), 64, "00000002,00000001")],
)
def test_bit_masks_are_hex_groups(numbers: tuple[int, ...], nr_bits: int, expected: str):
    """A mask has as many digits as its bits need, in groups of eight."""
    assert expected == bit_mask(numbers, nr_bits)
