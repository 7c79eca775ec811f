"""What follows from the state of physical memory follows it when it changes."""

from kernelsim.config.machine import MachineSpec
from kernelsim.mm.core.mem import Z_MANAGED, Z_PRESENT
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.page.mempolicy import MPOL_PREFERRED, Mempolicy
from kernelsim.procfs.capture import capture
from kernelsim.procfs.tree import render_tree
from tests.small_machine import OpenMachine, run, small_machine

NODE = "sys/devices/system/node"
MEMORY = "sys/devices/system/memory"
CPU = "sys/devices/system/cpu"


def three_nodes() -> MachineSpec:
    """Describe node 0 with a CPU, node 1 near it and node 2 far away, a CPU each."""
    distances = [[10, 15, 30], [15, 10, 30], [30, 30, 10]]
    return small_machine(cpus=("0", "1", "2"), distances=distances)


def nids(machine: OpenMachine, zones: tuple[int, ...]) -> list[int]:
    """Return the nodes of zone rows in their order, each once."""
    return list(dict.fromkeys(zone // len(machine.kernel.phys.zone_types) for zone in zones))


def test_zonelists_contexts_and_sysfs_follow_a_node_that_goes() -> None:
    """They show the node until the state changes and never afterwards; what was kept is made anew.

    The description of the machine still has three nodes.
    """

    async def main(machine: OpenMachine) -> None:
        kernel = machine.kernel
        phys = kernel.phys
        near = Mempolicy(MPOL_PREFERRED, (1,))
        before = kernel.alloc_contexts.get(0, near, GFP_HIGHUSER_MOVABLE)
        assert [[0, 1, 2], [1, 0, 2], [2, 0, 1]] == [nids(machine, z) for z in phys.zonelists]
        assert [1, 0, 2] == nids(machine, before.zonelist)
        assert kernel.alloc_contexts.get(0, near, GFP_HIGHUSER_MOVABLE) is before
        shown = dict(render_tree(capture(machine.kernel)))
        assert "0-2\n" == shown[f"{NODE}/online"]

        generation = phys.generation
        phys.nodes[0].is_online = False
        phys.changed()

        assert generation + 1 == phys.generation
        after = kernel.alloc_contexts.get(0, near, GFP_HIGHUSER_MOVABLE)
        assert [1, 2] == nids(machine, after.zonelist)
        assert ([1, 2], [2, 1]) == tuple(nids(machine, z) for z in phys.zonelists[1:])
        shown = dict(render_tree(capture(machine.kernel)))
        assert ("1-2\n", "0-2\n") == (shown[f"{NODE}/online"], shown[f"{NODE}/possible"])
        assert "1-2\n" == shown[f"{NODE}/has_memory"]
        assert "10 30\n" == shown[f"{NODE}/node1/distance"]
        assert "1-2\n" == shown[f"{CPU}/online"]
        assert f"{NODE}/node0/meminfo" not in shown
        assert "Node 0" not in shown["proc/zoneinfo"]
        phys.nodes[0].is_online = True  # it still holds what it held
        assert 3 == len(machine.spec.nodes)

    run(three_nodes(), main)


def test_zonelists_follow_a_zone_that_loses_its_memory() -> None:
    """A zone without managed pages is in no list, a node without any has no memory in /sys."""

    async def main(machine: OpenMachine) -> None:
        phys, zone = machine.kernel.phys, machine.mem.zone
        nr_types = len(phys.zone_types)
        kept = zone.copy()
        zone[2 * nr_types :, [Z_MANAGED, Z_PRESENT]] = 0
        phys.changed()

        assert [[0, 1], [1, 0], [0, 1]] == [nids(machine, z) for z in phys.zonelists]
        shown = dict(render_tree(capture(machine.kernel)))
        assert ("0-1\n", "0-2\n") == (shown[f"{NODE}/has_memory"], shown[f"{NODE}/has_cpu"])
        zone[:] = kept

    run(three_nodes(), main)


def test_lists_built_after_boot_avoid_nodes_with_cpus() -> None:
    """Among nodes of one distance the one without CPUs comes first, once CPUs are entered.

    At boot the lists are built before that, and the later node comes first.
    """

    async def main(machine: OpenMachine) -> list[list[int]]:
        phys = machine.kernel.phys
        at_boot = nids(machine, phys.zonelists[1])
        phys.changed()
        return [at_boot, nids(machine, phys.zonelists[1])]

    spec = small_machine(cpus=("", "0", "1"), distances=[[10, 20, 20], [20, 10, 20], [20, 20, 10]])
    at_boot, later = run(spec, main).result
    assert ([1, 2, 0], [1, 0, 2]) == (at_boot, later)


def test_memory_blocks_are_shown_as_they_are() -> None:
    """A block that went offline says so in /sys, with the zones it could go back to."""

    async def main(machine: OpenMachine) -> tuple[str, str]:
        block = machine.kernel.phys.memory_blocks.blocks[-1]
        block.state, block.zone = "offline", None
        shown = dict(render_tree(capture(machine.kernel)))
        folder = f"{MEMORY}/memory{block.index}"
        return shown[f"{folder}/state"], shown[f"{folder}/valid_zones"]

    assert ("offline\n", "DMA32 Movable\n") == run(small_machine(memory="256M"), main).result
