"""Where pages land by memory policy, and what happens when the nodes it names are full.

A process on CPU 0 writes memory under one policy after the other. Of 8 MiB each page is where the
policy wants it. 84 MiB are more than a node has: bind swaps though the other node is free, the
others go to the nearest node that has memory. Pages that lie elsewhere can be moved afterwards.
"""

from kernelsim.workload import MachineHandle, ProcessHandle, workload
from kernelsim.workload.syscall import MappedRange

MIB_PAGES = 256
POLICIES = ("local", "bind:1", "interleave:0-1", "preferred:1", "preferred_many:1", "bind:0-1")
NODES = (0, 1)


async def pages_by_node(process: ProcessHandle, region: MappedRange) -> list[int]:
    """Return how many MiB of a region are on each node."""
    pages = range(region.address, region.address + region.length, 4096)
    told = await process.syscall("move_pages", 0, pages)
    return [int((told.status == nid).sum()) // MIB_PAGES for nid in NODES]


async def write(machine: MachineHandle, policy: str, size: str) -> tuple[list[int], int]:
    """Write memory under a policy from CPU 0; return MiB by node, and MiB on swap."""
    process = await machine.spawn("writer", cpu=0, mempolicy=policy)
    region = await process.mmap(size)
    await process.touch(region, write=True)
    places, swapped = await pages_by_node(process, region), process.stats.swap_pages
    await process.exit()
    machine.note(
        f"{policy:16} {size}: node 0 {places[0]:3}  node 1 {places[1]:3}"
        f"  swap {swapped // MIB_PAGES:3}  MiB"
    )
    return places, swapped


@workload(machine="numa-2x64m")
async def main(machine: MachineHandle) -> None:
    """A part of a node, more than a node, and pages that move."""
    machine.sysctl("vm.watermark_boost_factor", 0)  # else kswapd works for other reasons, too
    small = {policy: (await write(machine, policy, "8M"))[0] for policy in POLICIES}
    machine.expect(small["local"] == [8, 0] == small["bind:0-1"], "the node of the CPU")
    machine.expect(small["interleave:0-1"] == [4, 4], "interleaved pages take turns")
    wishes = ("bind:1", "preferred:1", "preferred_many:1")
    machine.expect(all(small[policy] == [0, 8] for policy in wishes), "the node that is named")

    large = {policy: await write(machine, policy, "84M") for policy in POLICIES[:-1]}
    places, swapped = large.pop("bind:1")
    machine.expect(places[0] == 0 and swapped, "bind swaps rather than spill")
    machine.expect(all(all(places) for places, _ in large.values()), "others use both nodes")
    first = large.pop("preferred_many:1")[1]  # which has kswapd of its nodes woken, as bind has
    machine.expect(first < swapped // 2, "and less swap than bind")
    machine.expect(not any(swap for _, swap in large.values()), "or none")
    even = large["interleave:0-1"][0]
    machine.expect(even == [42, 42], "interleaving stays even")

    process = await machine.spawn("mover", cpu=0)
    region = await process.mmap("8M")
    await process.touch(region, write=True)
    await process.syscall("mbind", region, "bind", 1, move=True)
    machine.expect(await pages_by_node(process, region) == [0, 8], "mbind moves what is elsewhere")
    left = await process.syscall("migrate_pages", 0, 1, 0)
    machine.expect(left == 0 and await pages_by_node(process, region) == [8, 0], "all come back")
    machine.note(f"{machine.vmstat['pgmigrate_success']} pages were moved, none was lost")
    again = await process.touch(region)
    machine.expect(again.minflt == again.majflt == 0, "they are mapped as they were")
