"""A machine pushed through all four bands of its watermarks.

One process writes 700 MiB, twice, on a machine with 512 MiB and a swap disk. First pages are simply
free. Below the low watermark kswapd wakes up and the process goes on; below min the process
has to reclaim itself, and waits. Pages go to swap, and come back with the content they had when
the process writes them a second time.
"""

from kernelsim.workload import MachineHandle, workload


@workload(machine="small-512m")
async def main(machine: MachineHandle) -> None:
    """Write more than there is, then write it all again."""
    process = await machine.spawn("hog")
    region = await process.mmap("700M")

    first = await process.touch(region, write=True)
    machine.expect(first.majflt == 0, "nothing has to come back yet")
    machine.expect(process.stats.swap_pages > 0, "a part of it went to swap")
    machine.expect(process.stats.reclaim_ns > 0, "the process had to reclaim itself for a while")
    await machine.snapshot("written")

    second = await process.touch(region, write=True)
    machine.expect(second.majflt > 0, "pages come back from swap")
    await machine.sleep("1s")
