"""An allocator against kswapd, with and without pauses.

The same 600 MiB on the same machine twice. The first process writes without a pause: kswapd loses
the race, and the process is driven below min into direct reclaim. The second writes 64 KiB at a
time and sleeps in between: kswapd works in the pauses, and the process seldom comes below min.
"""

from kernelsim.workload import MachineHandle, workload

CHUNK = 64 << 10


@workload(machine="small-512m")
async def main(machine: MachineHandle) -> None:
    """Run both, one after the other."""
    hasty = await machine.spawn("hasty")
    region = await hasty.mmap("600M")
    await hasty.touch(region, write=True)
    lost_ns = hasty.stats.reclaim_ns
    await hasty.exit()
    await machine.sleep("2s")

    patient = await machine.spawn("patient")
    region = await patient.mmap("600M")
    for offset in range(0, region.length, CHUNK):
        await patient.touch(region, write=True, offset=offset, length=CHUNK)
        await patient.sleep("1ms")
    won_ns = patient.stats.reclaim_ns
    machine.note(f"without pauses: {lost_ns // 1000} us in direct reclaim")
    machine.note(f"with pauses: {won_ns // 1000} us in direct reclaim")
    machine.expect(lost_ns > 2 * won_ns, "with pauses kswapd is mostly ahead")
