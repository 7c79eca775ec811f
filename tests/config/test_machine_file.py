"""Machines from TOML: layout of the zones, round trip, presets."""

import itertools
import tomllib

import pytest

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import (
    load_machine,
    machine_from_toml,
    machine_text,
    preset_names,
)
from kernelsim.config.zones import ZoneType

ONE_NODE = 'name = "m"\n[[node]]\ncpus = "0-1"\nmemory = "1G"\n'


def machine_of(text: str) -> MachineSpec:
    """Return the machine of a TOML text."""
    return machine_from_toml(tomllib.loads(text))


def sizes(machine: MachineSpec, nid: int = 0) -> dict[str, tuple[int, int, int]]:
    """Return zone name → (start_pfn, spanned, present) of the populated zones of a node."""
    return {
        zone.type.value: (zone.start_pfn, zone.spanned_pages, zone.present_pages)
        for zone in machine.nodes[nid].zones
        if zone.spanned_pages
    }


def test_presets_are_the_machines_named_here() -> None:
    """The package brings these machines, and each is named as its file."""
    expected = (
        "big-8x128g",
        "desktop-16g",
        "files-512m",
        "laptop-4g",
        "numa-2x16cpu",
        "numa-2x4g",
        "numa-2x64m",
        "numa-4x8g",
        "small-512m",
        "tiny-64m",
        "uma-2g",
        "uma-bus-32cpu",
    )

    assert expected == preset_names()
    assert expected == tuple(load_machine(name).name for name in expected)


@pytest.mark.parametrize("name", preset_names())
def test_a_machine_written_out_in_full_reads_back_the_same(name: str) -> None:
    """TOML → objects → TOML → objects gives equal objects."""
    machine = load_machine(name)

    assert machine == machine_of(machine_text(machine))


@pytest.mark.mission("P11")
def test_zone_boundaries_of_a_64_bit_machine() -> None:
    """DMA ends at 16 MB, DMA32 at 4 GB; the RAM under the PCI hole continues in Normal."""
    machine = machine_of(ONE_NODE.replace("1G", "4G"))

    expected = {
        "DMA": (1, 4095, 3998),
        "DMA32": (4096, 1044480, 782336),
        "Normal": (1 << 20, 262144, 262144),
    }
    assert expected == sizes(machine)


@pytest.mark.mission("P11")
@pytest.mark.parametrize("arch", ["i386", "i386pae"])
def test_zone_boundaries_of_a_32_bit_machine(arch: str) -> None:
    """DMA ends at 16 MB, Normal at 896 MB, the rest is HighMem."""
    machine = machine_of(f'arch = "{arch}"\n{ONE_NODE}')

    expected = {
        "DMA": (1, 4095, 3998),
        "Normal": (4096, 225280, 225280),
        "HighMem": (229376, 32768, 32768),
    }
    assert expected == sizes(machine)
    assert (256, 32, 0, 0) == machine.sysctl.vm_lowmem_reserve_ratio


@pytest.mark.mission("P11")
def test_only_the_first_node_holds_all_zones() -> None:
    """On a NUMA machine DMA and DMA32 lie in node 0; Movable and Device may be anywhere."""
    machine = machine_of(
        'name = "m"\nmovablecore = "4G"\n'
        '[[node]]\ncpus = "0"\nmemory = "6G"\ndevice_memory = "256M"\n'
        '[[node]]\ncpus = "1"\nmemory = "4G"\n'
    )

    assert ["DMA", "DMA32", "Normal", "Movable", "Device"] == list(sizes(machine, 0))
    assert ["Normal", "Movable"] == list(sizes(machine, 1))
    assert 0 == machine.nodes[0].zone(ZoneType.ZONE_DEVICE).managed_pages


@pytest.mark.mission("P10")
@pytest.mark.parametrize("name", preset_names())
def test_present_is_spanned_without_holes_and_pfns_are_unique(name: str) -> None:
    """The memory ranges of a node add up to its present pages and no pfn is in two nodes."""
    machine = load_machine(name)
    ranges = [part for node in machine.nodes for part in node.memory_ranges]

    for node in machine.nodes:
        held = sum(end - start for start, end in node.memory_ranges)
        assert held == node.present_pages
        assert node.present_pages == node.spanned_pages - hole_pages(node.memory_ranges)
    assert ranges == sorted(ranges)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(ranges))


def hole_pages(ranges: tuple[tuple[int, int], ...]) -> int:
    """Return the frames between consecutive ranges."""
    return sum(right[0] - left[1] for left, right in itertools.pairwise(ranges))


@pytest.mark.mission("P10")
def test_a_node_may_start_where_the_file_says() -> None:
    """`start` leaves a gap between nodes; spanned counts within a node only."""
    machine = machine_of(
        'name = "m"\n[[node]]\ncpus = "0"\nmemory = "1G"\n'
        '[[node]]\ncpus = "1"\nmemory = "1G"\nstart = "8G"\n'
    )

    assert {"Normal": (2 << 20, 262144, 262144)} == sizes(machine, 1)


def test_movablecore_cuts_the_zone_as_the_recorded_kernel_does() -> None:
    """1 GB with movablecore=256M: Movable begins at 768 MB (pfn 196608)."""
    machine = machine_of(f'movablecore = "256M"\n{ONE_NODE}')

    assert (196608, 65536, 65536) == sizes(machine)["Movable"]
    assert (4096, 192512, 192512) == sizes(machine)["DMA32"]


@pytest.mark.mission("P11")
@pytest.mark.parametrize(
    ("keys", "movable_pages"),
    [
        ('kernelcore = "768M"', 64_512),  # the core ends 98 frames above 768 MB, rounded up to 4 MB
        ('kernelcore = "2G"', 0),
        ('kernelcore = "256M"\nmovablecore = "256M"', 65_536),
        ('kernelcore = "896M"\nmovablecore = "256M"', 31_744),
        ("kernelcore = 0", 0),
    ],
)
def test_kernelcore_leaves_the_rest_to_movable(keys: str, movable_pages: int) -> None:
    """The core is what is asked for; with both keys the larger core holds."""
    machine = machine_of(f"{keys}\n{ONE_NODE}")
    assert movable_pages == machine.nodes[0].zone(ZoneType.ZONE_MOVABLE).present_pages


def test_movablecore_is_dealt_out_evenly() -> None:
    """Two equal nodes give equal parts, in blocks of 4 MB."""
    machine = machine_of(
        'name = "m"\nmovablecore = "1G"\n[[node]]\ncpus = "0"\nmemory = "6G"\n'
        '[[node]]\nmemory = "6G"\n'
    )
    parts = [node.zone(ZoneType.ZONE_MOVABLE).present_pages for node in machine.nodes]

    assert abs(parts[0] - parts[1]) <= 2048
    assert abs(sum(parts) - (1 << 18)) <= 2048


def test_classic_struct_pages_are_smaller() -> None:
    """A struct page of 40 instead of 64 bytes leaves more managed pages."""
    now = machine_of(ONE_NODE).nodes[0].managed_pages
    classic = machine_of(f'era = "classic"\n{ONE_NODE}').nodes[0].managed_pages

    assert 258048 * 24 // 4096 == pytest.approx(classic - now, abs=2)


def test_devices_latencies_and_sysctls_are_read() -> None:
    """Kinds of disks bring their figures; single keys override them; swap priorities count down."""
    machine = machine_of(
        ONE_NODE + '[[device]]\nname = "d"\nkind = "hdd"\nread_latency = "3ms"\n'
        'bandwidth = "200M"\n[[swap]]\nsize = "64M"\ndevice = "d"\n'
        '[[swap]]\nsize = "1M"\ndevice = "d"\nname = "/swapfile"\n'
        '[latency]\nmemory_local_ns = 120\n[sysctl]\n"vm.swappiness" = 10\n'
    )

    assert (3_000_000, 200 << 20, True) == (
        machine.devices[0].read_latency_ns,
        machine.devices[0].bandwidth_bytes_per_s,
        machine.devices[0].rotational,
    )
    assert [("/dev/d", -2, 16383), ("/swapfile", -3, 255)] == [
        (swap.name, swap.prio, swap.nr_slots) for swap in machine.swaps
    ]
    assert 120 * 21 // 10 == machine.latency.memory_access_ns(21)
    assert 10 == machine.sysctl.vm_swappiness


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_sysctls_are_read_with_quotes_and_without(arch: str) -> None:
    """`vm.swappiness = 10` below [sysctl] is what `"vm.swappiness" = 10` is."""
    quoted = '[sysctl]\n"vm.swappiness" = 10\n"vm.lowmem_reserve_ratio" = [256, 32]\n'
    head = f'arch = "{arch}"\n{ONE_NODE}'

    assert 10 == machine_of(head + quoted).sysctl.vm_swappiness
    assert machine_of(head + quoted) == machine_of(head + quoted.replace('"', ""))


def test_asymmetric_distances_are_legal() -> None:
    """distances[0][1] may differ from distances[1][0]."""
    machine = machine_of(
        "distances = [[10, 16], [31, 10]]\n" + ONE_NODE + '[[node]]\nmemory = "1G"\n'
    )

    assert ((10, 16), (31, 10)) == machine.distances
