"""Threads share one address space: no page is copied, and they wait for each other's locks.

Four threads on four CPUs read a mapping that nobody has touched, each its own part; then one stores
to it, and the others find the page. Faults hold mmap_lock together, so they run side by side; but
the entries of one table of PTEs are set one at a time: threads whose parts lie in the same 2 MiB
spin for each other, and threads whose parts are apart do not.

A call that changes mappings holds mmap_lock alone: beside a thread that maps and unmaps all the
time the faults of another one sleep.
"""

from kernelsim.workload import MachineHandle, ProcessHandle, workload

PAGE = 4096
TABLE = 2 << 20  # what one table of PTEs maps
THREADS = 4
PAGES = 64  # of each thread
ROUNDS = 100
START_NS = 50_000  # when all threads are there
TABLE_LOCK, MMAP_LOCK = "page table lock", "mmap_lock"


async def fill(process: ProcessHandle, machine: MachineHandle, apart: int) -> tuple[int, int]:
    """Let threads fault, their parts so far apart; return waits for tables, and ns in all."""
    data = await process.mmap(THREADS * TABLE)
    before, began_ns, threads = waits_for(machine, TABLE_LOCK), machine.now_ns, []
    for number in range(THREADS):

        async def work(thread: ProcessHandle, number: int = number) -> None:
            await thread.set_affinity(number)
            await thread.sleep(START_NS)
            await thread.touch(data, offset=number * apart, length=PAGES * PAGE)

        threads.append(await process.fork(work, shares_vm=True))
    for thread in threads:
        await process.waitpid(thread)
    nr_waits, took_ns = waits_for(machine, TABLE_LOCK) - before, machine.now_ns - began_ns
    last = await process.fork(shares_vm=True)
    await last.touch(data, length=1, write=True)
    await last.exit()
    found = await process.touch(data, length=1, write=True)
    machine.expect(not found.minflt, "what a thread has stored to is there for all")
    machine.expect(process.writer_of(data.address) == process.pid, "it is the same page")
    await process.munmap(data)
    return nr_waits, took_ns


def waits_for(machine: MachineHandle, lock: str) -> int:
    """Return how often a lock was waited for."""
    return machine.locks[lock].nr_waits if lock in machine.locks else 0


async def beside_mmap(process: ProcessHandle) -> None:
    """Fault beside a thread that maps and unmaps."""
    data = await process.mmap(PAGES * PAGE)

    async def maps(thread: ProcessHandle) -> None:
        for _ in range(ROUNDS):
            await thread.munmap(await thread.mmap(PAGE))

    mapper = await process.fork(maps, shares_vm=True)
    toucher = await process.fork(lambda thread: thread.touch(data, write=True), shares_vm=True)
    for thread in (mapper, toucher):
        await process.waitpid(thread)


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Fill side by side, far apart, and beside a thread that maps."""
    process = await machine.spawn("threads")
    for label, apart in (("side by side", PAGES * PAGE), ("2 MiB apart", TABLE)):
        nr_waits, took_ns = await fill(process, machine, apart)
        machine.print(f"{THREADS} threads {label}: {took_ns} ns, {nr_waits} waits for a page table")
        machine.expect((nr_waits > 0) == (apart < TABLE), "a page table is locked by one at a time")
    alone = waits_for(machine, MMAP_LOCK)
    await beside_mmap(process)
    waits = waits_for(machine, MMAP_LOCK) - alone
    machine.print(f"waits for mmap_lock: {alone} among faults, {waits} beside mmap and munmap")
    machine.expect(not alone and waits > 0, "faults hold it together, mmap alone")
