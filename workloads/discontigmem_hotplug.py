"""Memory that comes and goes under DISCONTIGMEM: the maps stay as they were at boot.

An old machine of two nodes with 256 MiB each has room for a DIMM of 128 MiB at 4 GiB. A node has
one flat map, and it cannot grow: the last node's reaches to the end of the DIMM's room from boot
on, and 40 bytes for each frame up to there are spent before anything comes. So a DIMM that comes
takes no page for its map, and one that leaves gives none back. A block of a node that goes offline
is a hole in the node's map, and the pages that lay there have moved.
"""

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.workload import MachineHandle, workload

MIDDLE, DIMM = 3, 32  # memory blocks: the second of node 1, and that of the DIMM
BLOCK_PAGES = 1 << 15


def old_machine(model: str = "discontigmem") -> MachineSpec:
    """Return two nodes of an old kernel, and room for a DIMM."""
    nodes = [{"cpus": "0", "memory": "256M"}, {"cpus": "1", "memory": "256M"}]
    return machine_from_toml(
        {
            "name": f"dimm-{model}",
            "era": "classic",
            "memory_model": model,
            "maxmem": "640M",
            "node": nodes,
        }
    )


def state(index: int) -> str:
    """Return the file that takes a memory block on and off line."""
    return f"/sys/devices/system/memory/memory{index}/state"


def note_maps(machine: MachineHandle) -> None:
    """Note what the maps cost beside those of a kernel with sections."""
    for model in ("discontigmem", "sparsemem"):
        maps = old_machine(model).mem_map(model)
        spans = ", ".join(f"{m.first_pfn}-{m.first_pfn + m.nr_pages}" for m in maps.maps)
        machine.note(f"{model:12}: {maps.mem_map_bytes} bytes of struct page at boot, for {spans}")


def managed(machine: MachineHandle) -> int:
    """Return the pages that node 1 has."""
    return sum(machine.zone(1, name).managed for name in ("DMA32", "Normal", "Movable"))


@workload(machine=old_machine())
async def main(machine: MachineHandle) -> None:
    """A DIMM comes, is used and leaves; a block inside a node becomes a hole."""
    note_maps(machine)
    maps = machine.spec.mem_map("discontigmem")
    first = DIMM * BLOCK_PAGES
    machine.expect(maps.pfn_valid(first), "the frames of a DIMM are described before it comes")
    user = await machine.spawn("user", cpu=1)
    free = [machine.vmstat["nr_free_pages"]]
    await machine.dimms.add("dimm0", "128M", nid=1)
    free.append(machine.vmstat["nr_free_pages"])
    machine.note(f"dimm0 is put in: {free[0] - free[1]} pages are taken for its map")
    machine.expect(free[0] == free[1], "a DIMM's map is there already")
    await machine.write_sysfs(state(DIMM), "online_movable")
    region = await user.mmap("8M")
    await user.touch(region, write=True)
    moved = machine.vmstat["pgmigrate_success"]
    await machine.dimms.remove("dimm0")
    machine.note(f"dimm0 has left: {machine.vmstat['pgmigrate_success'] - moved} pages were moved")

    large = await user.mmap("160M")  # more than the first block of node 1 has
    await user.touch(large, write=True)
    before, moved = managed(machine), machine.vmstat["pgmigrate_success"]
    await machine.write_sysfs(state(MIDDLE), "offline")
    hole, moved = before - managed(machine), machine.vmstat["pgmigrate_success"] - moved
    machine.expect(hole == BLOCK_PAGES, "all of the block is gone")
    machine.expect(moved > 0, "pages of the program lay there")
    machine.note(
        f"memory{MIDDLE} is offline, {moved} pages were moved: {hole} frames are a hole in node 1, "
        f"{hole * maps.struct_page_bytes} bytes of its map are for nothing"
    )
    page = maps.pfn_to_page(MIDDLE * BLOCK_PAGES)
    machine.expect(maps.page_to_pfn(page) == MIDDLE * BLOCK_PAGES, "and are still looked up there")
    again = await user.touch(large)  # at the same addresses
    machine.expect(again.minflt + again.majflt == 0, "the pages that moved are mapped as before")
    await machine.write_sysfs(state(MIDDLE), "online")
    machine.expect(managed(machine) == before, "it comes back")
