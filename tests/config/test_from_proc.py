"""A machine from a recorded snapshot has the recorded zones, CPUs, distances, swap and state."""

import shutil
import tomllib
from pathlib import Path

import pytest

from kernelsim.config.disks import BlockDeviceSpec
from kernelsim.config.from_proc import machine_from_proc
from kernelsim.config.machine_file import machine_from_toml, machine_text
from kernelsim.config.zones import ZoneType
from kernelsim.errors import RecordingError

CASES = Path(__file__).parent.parent / "oracle" / "cases"
SNAPSHOTS = sorted(path.parent for path in CASES.glob("*/before/sysctl_vm.txt"))


@pytest.mark.parametrize("folder", SNAPSHOTS, ids=lambda folder: folder.parent.name)
def test_every_recorded_machine_is_read_and_survives_toml(folder: Path) -> None:
    """The machine, its boot state included, is equal after writing and reading it as TOML."""
    machine = machine_from_proc(folder)

    assert machine == machine_from_toml(tomllib.loads(machine_text(machine)))


@pytest.mark.mission("P10")
@pytest.mark.parametrize("folder", SNAPSHOTS, ids=lambda folder: folder.parent.name)
def test_memory_ranges_hold_exactly_the_present_pages(folder: Path) -> None:
    """Present = spanned - holes in every recorded zone, and the ranges say where it lies."""
    for node in machine_from_proc(folder).nodes:
        assert node.present_pages == sum(end - start for start, end in node.memory_ranges)
        for zone in node.zones:
            assert zone.present_pages == zone.spanned_pages - zone.hole_pages


def test_nodes_as_the_kernel_numbered_them() -> None:
    """CPUs come from what the kernel printed, not from what was asked for."""
    machine = machine_from_proc(CASES / "s04c" / "before")

    assert [(0,), (1,), (), ()] == [node.cpus for node in machine.nodes]
    assert ("s04c", "x86_64", 2) == (machine.name, machine.arch, machine.nr_cpus)
    assert (20, 10, 20, 20) == machine.distances[1]


def test_a_32_bit_machine_without_a_node_tree() -> None:
    """i386: HighMem, one node, CPUs from the per-cpu lists, PAE known from case.toml."""
    machine = machine_from_proc(CASES / "s05p" / "before")

    assert ("i386pae", (0,), ((10,),)) == (machine.arch, machine.nodes[0].cpus, machine.distances)
    assert 36834 == machine.nodes[0].zone(ZoneType.ZONE_HIGHMEM).managed_pages


def test_swap_sysctls_and_counters() -> None:
    """The swap partition is a page larger than printed; tunables and counters are kept."""
    machine = machine_from_proc(CASES / "d04_sw60" / "before")

    assert ("/dev/vda", 1 << 30, -2, "vda") == (
        machine.swaps[0].name,
        machine.swaps[0].size_bytes,
        machine.swaps[0].prio,
        machine.swaps[0].device,
    )
    assert (60, 2705) == (machine.sysctl.vm_swappiness, machine.sysctl.vm_min_free_kbytes)
    assert machine.boot.meminfo_kb["Slab"] > 0
    assert machine.boot.vmstat["pgfault"] > 0
    assert machine.boot.uptime_ns > 10**9


def test_zoneinfo_alone_is_enough(tmp_path: Path) -> None:
    """Without any other file there is one node a zoneinfo node, and CPUs are dealt out."""
    shutil.copy(CASES / "s03" / "before" / "zoneinfo", tmp_path)
    machine = machine_from_proc(tmp_path)

    assert [(0,), (1,)] == [node.cpus for node in machine.nodes]
    assert ((10, 20), (20, 10)) == machine.distances


def test_a_sys_tree_beside_the_proc_tree_gives_the_nodes(tmp_path: Path) -> None:
    """Distance and cpulist are read from sys/devices/system/node."""
    (tmp_path / "proc").mkdir()
    shutil.copy(CASES / "s03" / "before" / "zoneinfo", tmp_path / "proc")
    for nid, row in enumerate(("10 33", "33 10")):
        node = tmp_path / "sys" / "devices" / "system" / "node" / f"node{nid}"
        node.mkdir(parents=True)
        (node / "distance").write_text(f"{row}\n")
        (node / "cpulist").write_text(f"{1 - nid}\n")
    machine = machine_from_proc(tmp_path / "proc")

    assert ((10, 33), (33, 10)) == machine.distances
    assert [(1,), (0,)] == [node.cpus for node in machine.nodes]


@pytest.mark.mission("B5")
def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    """A missing directory, and a directory without zoneinfo."""
    missing = tmp_path / "no"
    expected = {
        missing: f"{missing}: must be a directory with the file zoneinfo, or such a file",
        tmp_path: f"{tmp_path / 'zoneinfo'}: No such file or directory",
    }

    for folder, message in expected.items():
        with pytest.raises(RecordingError) as caught:
            machine_from_proc(folder)
        assert message == str(caught.value)


def test_case_toml_fills_in_what_a_trimmed_snapshot_lacks() -> None:
    """A repeat has zoneinfo, meminfo and vmstat only: CPUs come from case.toml."""
    machine = machine_from_proc(CASES / "d04_sw60_r2" / "before")

    assert ((0,), "d04_sw60") == (machine.nodes[0].cpus, machine.name)


def test_a_case_with_a_disk_has_a_device(tmp_path: Path) -> None:
    """The file disk is vda, at the rate the case sets; wrong types are refused."""
    shutil.copytree(CASES / "s01" / "before", tmp_path / "before")
    case = tmp_path / "case.toml"
    case.write_text('id = "x"\narch = "x86_64"\ndisk = "data"\ndisk_bps = 1000\n')
    device = machine_from_proc(tmp_path / "before").devices[0]
    case.write_text('id = "x"\narch = "x86_64"\ndisk = "data"\ndisk_bps = "fast"\n')

    assert ("vda", 1000) == (device.name, device.bandwidth_bytes_per_s)
    with pytest.raises(RecordingError, match="disk_bps must be a whole number"):
        machine_from_proc(tmp_path / "before")


def test_names_of_swap_files_are_as_on_the_disk(tmp_path: Path) -> None:
    """What the kernel escapes is put back; the disk below gets a name that a device may have."""
    shutil.copytree(CASES / "s01" / "before", tmp_path / "before")
    table = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/my\\040swap.img  file\t\t8188\t\t0\t\t-2\n/.swap  file\t\t8188\t\t0\t\t-3\n"
    )
    (tmp_path / "before" / "swaps").write_text(table)

    machine = machine_from_proc(tmp_path / "before")

    assert ["/my swap.img", "/.swap"] == [swap.name for swap in machine.swaps]
    assert ["my_swap.img", "disk"] == [swap.device for swap in machine.swaps]


def test_a_recorded_zram_disk_is_one(tmp_path: Path) -> None:
    """It compresses into the machine's own memory, and is no SSD."""
    shutil.copytree(CASES / "s01" / "before", tmp_path / "before")
    table = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/zram0                              partition\t8388604\t\t0\t\t100\n"
        "/dev/sda2                               partition\t1048572\t\t0\t\t-2\n"
    )
    (tmp_path / "before" / "swaps").write_text(table)

    devices = {device.name: device for device in machine_from_proc(tmp_path / "before").devices}

    assert devices["zram0"].compressed_permille == 500
    assert not devices["zram0"].rotational
    assert devices["sda2"].compressed_permille == 0


def test_a_recorded_disk_is_as_large_as_its_swap_areas(tmp_path: Path) -> None:
    """Where the recording does not say how large, they fit."""
    shutil.copytree(CASES / "s01" / "before", tmp_path / "before")
    table = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/sda2                               partition\t536870908\t\t0\t\t-2\n"
        "/dev/sdb2                               partition\t1048572\t\t0\t\t-3\n"
    )
    (tmp_path / "before" / "swaps").write_text(table)

    sizes = {disk.name: disk.size_bytes for disk in machine_from_proc(tmp_path / "before").devices}

    assert sizes == {"sda2": 512 << 30, "sdb2": BlockDeviceSpec(name="sdb2").size_bytes}
