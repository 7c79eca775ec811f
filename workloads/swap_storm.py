"""A swap storm: one working set more than memory holds, and everybody waits for the disk.

Processes write 24 MiB each, again and again, on a machine with 64. Two fit, and run at the speed of
memory. With a third it is not a half slower: all of them wait for a hard disk that is hardly ever
idle. When they have ended, swapoff reads back what a fourth process still has in swap.
"""

from kernelsim.units import format_duration
from kernelsim.workload import MachineHandle, workload
from kernelsim.workload.handle import ProcessHandle

SHARE = "24M"
PASSES = 3


async def worker(process: ProcessHandle) -> int:
    """Write the same memory some times; return how long the last passes took, ns."""
    region = await process.mmap(SHARE)
    await process.touch(region, write=True)
    await process.sleep("50ms")  # until all have theirs
    result = await process.touch(region, write=True, passes=PASSES)
    return result.latency_ns


async def run_together(machine: MachineHandle, nr_workers: int) -> int:
    """Let so many work side by side; return how long the slowest took."""
    workers = [await machine.spawn(f"worker{number}", worker) for number in range(nr_workers)]
    for process in workers:
        await process.wait()
    return max(int(str(process.result)) for process in workers)


@workload(machine="tiny-64m")
async def main(machine: MachineHandle) -> None:
    """Run two, then three; then give the swap area back."""
    # Two fit with a few pages to spare; page tables of parts far from each other would take them.
    machine.sysctl("kernel.randomize_va_space", 0)
    calm_ns = await run_together(machine, 2)
    swapped = machine.vmstat["pswpout"]
    storm_ns = await run_together(machine, 3)
    disk = machine.disk("sda").stats
    machine.note(f"two processes: {format_duration(calm_ns)}, three: {format_duration(storm_ns)}")
    machine.note(f"the disk: {disk.nr_reads} reads, {disk.nr_writes} writes")
    machine.expect(storm_ns > 20 * calm_ns, "half as much work again takes more than 20 times")
    machine.expect(swapped == 0, "two fit")
    machine.expect(disk.nr_reads > 0, "what one writes another one needs")

    keeper = await machine.spawn("keeper")
    region = await keeper.mmap("40M")
    await keeper.touch(region, write=True)
    await run_together(machine, 1)
    out = keeper.stats.swap_pages
    began_ns = machine.now_ns
    await keeper.syscall("swapoff", "/dev/sda")
    took = format_duration(machine.now_ns - began_ns)
    machine.note(f"swapoff brought {out} pages of the keeper back in {took}")
    machine.expect(out > 0 and keeper.stats.swap_pages == 0, "all has come back")
