"""A machine that swaps with nearly half of its memory free, and how interleaving ends that.

A database on the CPUs of node 0 writes its buffer pool, more than that node has. By default
its pages come from node 0 until that is full; the rest comes from node 1. What then needs pages of
node 0, here a process that is bound there, has the buffer pool swapped out, although node 1 has
plenty; the database reads its own pages from disk. Interleaved, the pool leaves room on both nodes.
"""

from kernelsim.workload import MachineHandle, workload

POOL = "54M"
HELPER = "12M"


async def serve(machine: MachineHandle, policy: str | None) -> tuple[int, int, int]:
    """Let a database and a helper bound to node 0 run; return MiB swapped, major faults, ms."""
    before = machine.vmstat["pswpout"]
    database = await machine.spawn("database", cpu=(0, 1), mempolicy=policy)
    pool = await database.mmap(POOL)
    await database.touch(pool, write=True)
    free = [machine.zone(nid, "DMA32").free >> 8 for nid in (0, 1)]
    helper = await machine.spawn("helper", cpu=(0, 1), mempolicy="bind:0")
    region = await helper.mmap(HELPER)
    await helper.touch(region, write=True)
    again = await database.touch(pool)
    swapped = (machine.vmstat["pswpout"] - before) >> 8
    name = policy or "default"
    machine.note(
        f"{name:14}: free with the pool alone: node 0 {free[0]:3}, node 1 {free[1]:3} MiB;"
        f" then {swapped} MiB swapped out, {again.majflt} major faults, "
        f"the pool read in {again.latency_ns / 1e6:.1f} ms"
    )
    await helper.exit()
    await database.exit()
    return swapped, again.majflt, again.latency_ns


@workload(machine="numa-2x64m")
async def main(machine: MachineHandle) -> None:
    """The same two processes, with the database's default policy and interleaved."""
    machine.sysctl("vm.watermark_boost_factor", 0)  # else kswapd works for other reasons, too
    swapped, majflt, took_ns = await serve(machine, None)
    machine.expect(swapped > 4, "by default the machine swaps")  # noqa: PLR2004 - MiB
    machine.expect(majflt > 0, "and the database waits for its own memory")
    even_swapped, even_majflt, even_ns = await serve(machine, "interleave:0-1")
    machine.expect(even_swapped == even_majflt == 0, "interleaved it has room for both")
    machine.expect(even_ns * 10 < took_ns, "and is not slowed down")
