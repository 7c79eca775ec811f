"""Which memory is hot? DAMON finds the tenth of a program's memory that it keeps using.

A program fills 64 MiB, then goes over 6.5 MiB of it again and again: a little more than the TLB
holds, for DAMON reads accessed bits, and a translation that stays in the TLB sets none. kdamond
looks at one page of each region every 5 ms, and every 100 ms tells in how many of 20 looks it had
been used. It starts from some ten regions of equal size and cuts them at random; what turns out
alike on both sides of a cut becomes one again.
    kernelsim run workloads/damon.py --out out; kernelsim inspect out --damon damon.data
    damo report heatmap --input damon.data
"""

from kernelsim.workload import MachineHandle, workload

MIB = 1 << 20
AREA, HOT, OFFSET = 64 * MIB, 13 * MIB // 2, 24 * MIB
END_NS = 1_500_000_000


@workload(machine="small-512m")
async def main(machine: MachineHandle) -> None:
    """Fill all of the memory, then use a tenth of it; ask kdamond how it looks."""
    process = await machine.spawn("server", cpu=0)
    area = await process.mmap(AREA)
    await process.touch(area, write=True)
    monitor = machine.damon(process)
    while machine.now_ns < END_NS:
        await process.touch(area, offset=OFFSET, length=HOT)
        await process.sleep("3ms")
    first, last = area.address + OFFSET, area.address + OFFSET + HOT
    hot = cold = 0
    for region in monitor.regions(process):
        inside = max(0, min(region.end, last) - max(region.start, first))
        mapped = max(0, min(region.end, area.address + AREA) - max(region.start, area.address))
        hot += inside * region.nr_accesses
        cold += (mapped - inside) * region.nr_accesses
    machine.print(
        f"hot:  seen used in {hot / HOT:4.1f} of 20 looks",
        f"cold: seen used in {cold / (AREA - HOT):4.1f} of 20 looks",
    )
    machine.expect(hot / HOT > 4 * cold / (AREA - HOT), "the hot tenth is seen to be hot")
