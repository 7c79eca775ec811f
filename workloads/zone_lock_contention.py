"""How far one node's zone lock scales: 1 to 16 CPUs, on one node and spread over two.

Each CPU runs a process that maps, writes and unmaps memory as fast as it can. All CPUs of a
node take pages from the same zone, under one lock. The more CPUs, the longer each waits for it,
and the less a further CPU adds; spread over two nodes they wait for each other less.
"""

from collections.abc import Iterable

from kernelsim.workload import MachineHandle, ProcessHandle, workload

ROUNDS = 4


async def churn(process: ProcessHandle) -> None:
    """Write 8 MiB and give it back, a few times."""
    for _ in range(ROUNDS):
        region = await process.mmap("8M")
        await process.touch(region, write=True)
        await process.munmap(region)


def waited_for_zones(machine: MachineHandle) -> int:
    """Return how long all zone locks were waited for until now, in ns."""
    return sum(lock.wait_ns for name, lock in machine.locks.items() if name.endswith("zone->lock"))


async def throughput(machine: MachineHandle, cpus: Iterable[int]) -> tuple[int, int]:
    """Run one process on each CPU; return pages a second, and ns waited for locks a 1000 pages."""
    began_ns = machine.now_ns
    waited_ns = waited_for_zones(machine)
    processes = [await machine.spawn(f"churn{cpu}", churn, cpu=cpu) for cpu in cpus]
    for process in processes:
        await process.wait()
    pages = sum(process.stats.pgfault for process in processes)
    waited_ns = waited_for_zones(machine) - waited_ns
    return pages * 10**9 // (machine.now_ns - began_ns), 1000 * waited_ns // pages


@workload(machine="numa-2x16cpu")
async def main(machine: MachineHandle) -> None:
    """Measure the curve on node 0, then half the CPUs on each node."""
    waits = {}
    for count in (1, 2, 4, 8, 16):
        speed, waits[count] = await throughput(machine, range(count))
        line = f"{speed:9d} pages/s, {waits[count]:5d} ns of lock wait a 1000"
        machine.note(f"{count:2d} CPUs on one node: {line}")
    machine.expect(waits[1] == 0 < waits[4] < waits[8] < waits[16], "the wait grows with the CPUs")

    cpus = [*range(8), *range(16, 24)]
    speed, spread = await throughput(machine, cpus)
    machine.note(f"16 CPUs on two nodes: {speed:9d} pages/s, {spread:5d} ns of lock wait a 1000")
    machine.expect(spread < waits[16], "and falls when they are spread over two nodes")
