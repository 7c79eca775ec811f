"""First touch of local and of remote memory.

A process on CPU 0 writes memory bound to node 0, then memory bound to node 1. Clearing and
accessing a remote page takes longer in the ratio of the distances; the rest of a fault is the same
work on the same CPU.
"""

from kernelsim.workload import MachineHandle, workload


@workload(machine="numa-2x4g")
async def main(machine: MachineHandle) -> None:
    """Touch 64 MiB on each node, from the same CPU."""
    latency = {}
    for nid in (0, 1):
        process = await machine.spawn(f"node{nid}", cpu=0, mempolicy=f"bind:{nid}")
        region = await process.mmap("64M")
        first = await process.touch(region, write=True)
        again = await process.touch(region, write=True)
        latency[nid] = (first.latency_ns // first.minflt, again.latency_ns // first.minflt)
        touch_ns, access_ns = latency[nid]
        distance = machine.spec.distances[0][nid]
        machine.note(
            f"node {nid}, distance {distance}: first touch {touch_ns}, access {access_ns} ns/page"
        )
        await process.exit()
    machine.expect(latency[1][0] > latency[0][0], "remote first touch is dearer")
    machine.expect(latency[1][1] > latency[0][1], "and so is every access after it")
