"""Three programs on one CPU: equal shares, and the time each waits in the run queue.

Each wants the CPU all the time. The scheduler gives it to them in turn, for a slice each; while one
runs, the others wait in the run queue, and translations of theirs may leave the TLB.
"""

from kernelsim.workload import MachineHandle, ProcessHandle, workload

NAMES = ("first", "second", "third")
PASSES = 2000
MS = 1_000_000
EVEN = 1.1


async def worker(process: ProcessHandle) -> None:
    """Use 4 MiB again and again."""
    region = await process.mmap("4M")
    await process.touch(region, write=True, passes=PASSES)


def cpu_ns(process: ProcessHandle) -> int:
    """Return the CPU time a process has had."""
    return process.stats.utime_ns + process.stats.stime_ns


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Let one run alone, then three beside each other."""
    began_ns = machine.now_ns
    await (await machine.spawn("alone", worker, cpu=0)).wait()
    alone_ns = machine.now_ns - began_ns
    began_ns = machine.now_ns
    processes = [await machine.spawn(name, worker, cpu=0) for name in NAMES]
    since = [cpu_ns(each) for each in processes]
    await machine.sleep(alone_ns)
    shares = [(cpu_ns(each) - had) / alone_ns for each, had in zip(processes, since, strict=True)]
    for process in processes:
        await process.wait()
    together_ns = machine.now_ns - began_ns
    machine.note(
        f"alone: {alone_ns / MS:.0f} ms; three beside each other: {together_ns / MS:.0f} ms"
    )
    listed = ", ".join(f"{100 * share:.0f} %" for share in shares)
    machine.note(f"CPU time of each meanwhile: {listed}")
    waited = ", ".join(f"{each.stats.run_delay_ns / MS:.0f}" for each in processes)
    machine.note(f"each waited in the run queue: {waited} ms")
    machine.expect(together_ns > 2.9 * alone_ns, "one CPU does three programs in three times")
    machine.expect(max(shares) < EVEN * min(shares), "in equal shares")
