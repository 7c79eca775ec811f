"""Tests of every preset: it boots, a process runs on it, and its tables are ones a kernel takes."""

import itertools

import pytest

from kernelsim.config.machine_file import load_machine, preset_names
from kernelsim.mm.core.mem import (
    Z_MANAGED,
    Z_PRESENT,
    Z_SPANNED,
    Z_WMARK_HIGH,
    Z_WMARK_LOW,
    Z_WMARK_MIN,
)
from tests.small_machine import PAGE, run

PRESETS = pytest.mark.parametrize("name", preset_names())
LOCAL = 10  # distance of a node to itself; ACPI's SLIT allows nothing else


@PRESETS
def test_a_preset_boots_and_runs_a_process_on_every_node(name):
    """A page bound to each node comes from there, and invariants hold."""

    async def main(machine):
        for nid in range(len(machine.kernel.nodes)):
            process = await machine.spawn("p", mempolicy=f"bind:{nid}")
            before = machine.kernel.nodes[nid].nr_granted
            touched = await process.touch(await process.mmap(16 * PAGE), write=True)
            assert touched.minflt == 16
            assert machine.kernel.nodes[nid].nr_granted >= before + 16
        return machine.now_ns

    is_large = name.startswith("big")  # looking at every page of it takes minutes
    assert run(load_machine(name), main, sound=not is_large).result > 0


@PRESETS
def test_distances_of_a_preset_are_those_of_a_board(name):
    """10 on the diagonal only, the same both ways, and no farther than by way of another node."""
    distances = load_machine(name).distances
    nodes = range(len(distances))
    for one, other in itertools.product(nodes, nodes):
        assert (distances[one][other] == LOCAL) == (one == other)
        assert distances[one][other] == distances[other][one] >= LOCAL
        for between in nodes:
            assert distances[one][other] <= distances[one][between] + distances[between][other]


@PRESETS
def test_zones_of_a_preset_are_plausible(name):
    """Nearly all memory of a zone is for use, and the watermarks leave most of it to use."""

    async def main(machine):
        return machine.mem.zone.copy()

    for row in run(load_machine(name), main, sound=False).result:
        if not row[Z_PRESENT]:
            continue
        assert 0.7 * row[Z_PRESENT] < row[Z_MANAGED] < row[Z_PRESENT] <= row[Z_SPANNED]
        assert row[Z_WMARK_MIN] < row[Z_WMARK_LOW] < row[Z_WMARK_HIGH] < 0.05 * row[Z_MANAGED]
