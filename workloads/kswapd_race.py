"""An allocator against kswapd, with and without pauses.

The same 600 MiB on the same machine twice. The first process writes without a pause: kswapd loses
the race, and the process is driven below min into direct reclaim. The second writes 64 KiB at a
time and sleeps in between: kswapd works in the pauses, and the process seldom comes below min.
"""

from kernelsim.workload import MachineHandle, workload

CHUNK = 64 << 10


def stolen(machine: MachineHandle) -> tuple[int, int]:
    """Return the pages reclaimed so far, by kswapd and by direct reclaim."""
    return machine.vmstat["pgsteal_kswapd"], machine.vmstat["pgsteal_direct"]


@workload(machine="small-512m")
async def main(machine: MachineHandle) -> None:
    """Run both, one after the other."""
    hasty = await machine.spawn("hasty")
    region = await hasty.mmap("600M")
    await hasty.touch(region, write=True)
    lost_ns = hasty.stats.reclaim_ns
    by_kswapd, by_hasty = stolen(machine)
    await hasty.exit()
    await machine.sleep("2s")

    patient = await machine.spawn("patient")
    before = stolen(machine)
    region = await patient.mmap("600M")
    for offset in range(0, region.length, CHUNK):
        await patient.touch(region, write=True, offset=offset, length=CHUNK)
        await patient.sleep("1ms")
    won_ns = patient.stats.reclaim_ns
    by_kswapd_then, by_patient = (
        now - then for now, then in zip(stolen(machine), before, strict=True)
    )
    machine.note(
        f"without pauses: {lost_ns // 1000} us in direct reclaim, which took {by_hasty} pages "
        f"and kswapd {by_kswapd}"
    )
    machine.note(
        f"with pauses: {won_ns // 1000} us in direct reclaim, which took {by_patient} pages "
        f"and kswapd {by_kswapd_then}"
    )
    # A single wait for the disk can be a third of a time: what tells them apart is who took pages.
    machine.expect(3 * by_hasty > 4 * by_patient, "with pauses more is left to kswapd")
    machine.expect(lost_ns > won_ns, "and less time goes into direct reclaim")
