"""What a larger vm.min_free_kbytes buys, and what it costs.

The same writer, 2 MiB at a time with pauses between, while more and more memory is kept free. With
more, kswapd starts earlier and has more room before a burst meets min, so that fewer bursts wait
in direct reclaim; and fewer pages are left to use. Nearly all memory kept free is the end: the OOM
killer runs while most of the memory is free.
"""

from kernelsim.workload import MachineHandle, ProcessHandle, workload

KEPT_KIB = (1024, 8192, 32768, 131072)
NEARLY_ALL_KIB = 440 << 10
PROGRAMS = 12
BURST = 2 << 20
SIZE = 640 << 20


async def write_in_bursts(process: ProcessHandle) -> tuple[list[int], int]:
    """Write all of it; return how long each burst took, in ns, and the most pages in memory."""
    region = await process.mmap(SIZE)
    took, most = [], 0
    for offset in range(0, SIZE, BURST):
        result = await process.touch(region, write=True, offset=offset, length=BURST)
        took.append(result.latency_ns)
        most = max(most, process.stats.rss_pages)
        await process.sleep("10ms")
    return took, most


@workload(machine="small-512m")
async def main(machine: MachineHandle) -> None:
    """A sweep, and one step too far."""
    stalls, usable = [], []
    for kept_kib in KEPT_KIB:
        machine.sysctl("vm.min_free_kbytes", kept_kib)
        process = await machine.spawn("writer")
        took, most = await write_in_bursts(process)
        took.sort()
        stalls.append(process.stats.reclaim_ns)
        usable.append(most)
        await process.exit()
        machine.note(
            f"{kept_kib:6} kB kept free: {most >> 8} MiB in use at most, bursts of 2 MiB take "
            f"{took[len(took) // 2] // 1000} us, the slowest {took[-1] // 1000} us; "
            f"{stalls[-1] // 1000} us in direct reclaim"
        )
    machine.expect(stalls == sorted(stalls, reverse=True), "more kept free, fewer stalls")
    machine.expect(usable == sorted(usable, reverse=True), "and less memory to use")

    await use_last_memory(machine)


async def use_last_memory(machine: MachineHandle) -> None:
    """Keep nearly all memory free, without swap, and start small programs one after the other."""
    machine.sysctl("vm.min_free_kbytes", NEARLY_ALL_KIB)
    admin = await machine.spawn("swapoff")
    await admin.syscall("swapoff", "/dev/vda")
    await admin.exit()
    programs = [await machine.spawn(f"program{number}") for number in range(PROGRAMS)]
    for program in programs:
        if program.exit_status is None:
            await program.touch(await program.mmap("8M"), write=True)
    killed, free = machine.vmstat["oom_kill"], machine.zone(0, "DMA32").free
    machine.note(
        f"{NEARLY_ALL_KIB} kB kept free: {killed} of {PROGRAMS} programs of 8 MiB killed, "
        f"{free >> 8} MiB are free"
    )
    machine.expect(killed > 1, "memory that is kept free is no memory")
