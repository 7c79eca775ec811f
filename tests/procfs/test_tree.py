"""The rendered trees, read by psutil as if they were a running kernel's."""

from pathlib import Path

import attrs
import psutil
import pytest

from kernelsim.procfs.snapshot import (
    CpuSnapshot,
    MemoryUsage,
    ProcessSnapshot,
    Snapshot,
    VmaSnapshot,
)
from kernelsim.procfs.tree import render_recording, render_tree
from tests.procfs.recorded import read_snapshot

pytestmark = [pytest.mark.mission("B6")]

HOLDING = Path(__file__).parent.parent / "oracle" / "cases" / "d04_sw60" / "holding"
PID = 4321


def full_machine() -> Snapshot:
    """Return the machine under pressure with one process and its CPU's times added."""
    usage = MemoryUsage(rss=80 << 20, pss=70 << 20, private_dirty=60 << 20, swap=5 << 20)
    heap = VmaSnapshot(start=0x1000000, end=0x9000000, flags="rw-p", name="[heap]", usage=usage)
    process = ProcessSnapshot(
        pid=PID,
        comm="A",
        uid=1000,
        vmas=(heap,),
        total_vm=32768,
        rss_anon=20000,
        rss_file=480,
        start_ns=2_500_000_000,
        minflt=7,
        utime_ns=1_230_000_000,
        nonvoluntary_switches=6,
    )
    return attrs.evolve(
        read_snapshot(HOLDING, focus="meminfo"),
        processes=(process,),
        cpus=(CpuSnapshot(cpu=0, user_ns=3_000_000_000, idle_ns=1_000_000_000),),
    )


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the machine's tree and let psutil read it."""
    for name, text in render_tree(full_machine()):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    return tmp_path / "proc"


def test_psutil_reads_memory(proc: Path):
    """The virtual memory psutil reads is that of the recording."""
    memory = psutil.virtual_memory()

    assert 468404 * 1024 == memory.total
    assert 7320 * 1024 == memory.free
    assert 7752 * 1024 == memory.available


def test_psutil_reads_swap(proc: Path):
    """Swap sizes and traffic, which psutil takes from meminfo and vmstat, are the recording's."""
    swap = psutil.swap_memory()

    assert (1048572 * 1024, 744460 * 1024) == (swap.total, swap.free)
    assert (25 * 4096, 76010 * 4096) == (swap.sin, swap.sout)


def test_psutil_reads_a_process(proc: Path):
    """A process is there for psutil, with its memory, times and owner."""
    assert [PID] == psutil.pids()
    process = psutil.Process(PID)

    assert ("A", 1000, 1) == (process.name(), process.uids().real, process.num_threads())
    assert (20480 * 4096, 32768 * 4096) == process.memory_info()[:2]
    assert 60 << 20 == process.memory_full_info().uss
    assert 5 << 20 == process.memory_full_info().swap
    assert 1.23 == process.cpu_times().user
    assert 2.5 == process.create_time()
    assert 6 == process.num_ctx_switches().involuntary
    assert ["[heap]"] == [area.path for area in process.memory_maps()]


def test_psutil_reads_cpu_times(proc: Path):
    """The CPU times psutil reads are virtual seconds."""
    assert (3.0, 1.0) == (psutil.cpu_times().user, psutil.cpu_times().idle)


def test_sysctls_and_sysfs_have_their_files(proc: Path):
    """Keys of vm and kernel are files below proc/sys; nodes and memory blocks have theirs."""
    assert "256\t256\t32\t0\t0\n" == (proc / "sys/vm/lowmem_reserve_ratio").read_text()
    assert not (proc / "sys/lru_gen").exists()
    node = proc.parent / "sys/devices/system/node"
    assert "0\n" == (node / "has_cpu").read_text()
    assert "10\n" == (node / "node0/distance").read_text()
    assert "DMA32\n" == (node / "../memory/memory1/valid_zones").read_text()


def test_kernel_without_numa_and_hotplug_has_no_sysfs():
    """A machine that knows neither nodes nor memory blocks has no files of them."""
    snapshot = attrs.evolve(full_machine(), numa=False, block_size_bytes=0)
    system = Path("sys/devices/system")

    names = [Path(name) for name, _ in render_tree(snapshot) if name.startswith("sys/dev")]
    assert {system / "cpu"} == {system / name.relative_to(system).parts[0] for name in names}
    assert f"proc/{PID}/numa_maps" not in dict(render_tree(snapshot))
    assert [] == [name for name, _ in render_recording(snapshot) if name.startswith("node0")]
