"""page_fault1 of will-it-scale: what N processes get that only fault pages in, and where they wait.

Each process maps memory, writes every page, and unmaps it. All processes of a node take pages from
one zone and give them back to it, under one zone->lock; fresh pages come to the LRU list of the
node and go from it, under one lru_lock. With few processes the pages a second grow with them; then
the zone's lock is taken, and the rest of their time processes spin.

The original does so again and again for seconds, and its processes get out of step. Here each does
it once, all from the same time on, so most allocate while most allocate. Costs are those of both
threads of a core being busy, at every number of processes: see skylake-2s.toml.

Published of kernel 4.16, all CPUs busy: two sockets of Skylake 7.97 M pages/s, 42 % of the cycles
spinning on zone->lock to allocate, 35 % to free, 5 % on lru_lock; four sockets 15.7 M pages/s;
Broadwell 9.03 M with two sockets, 13.7 M with four. (A. Lu, linux-mm, February and March 2018.)

Here a few processes run for a short time on the first of these machines. For all four and up to
all their CPUs: `python workloads/will_it_scale_page_fault1.py full`, which takes minutes.
"""

import sys
from functools import partial
from pathlib import Path

import attrs

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.workload import MachineHandle, ProcessHandle, workload

FOLDER = Path(__file__).parent
PUBLISHED = {"skylake-2s": 7.97, "broadwell-2s": 9.03, "skylake-4s": 15.7, "broadwell-4s": 13.7}
START_NS = 20_000_000  # until all processes have been started
FEW = (1, 4, 16)
PAGES = 400  # the original maps 32768


@attrs.frozen
class Score:
    """What processes got: M pages a second of all, and shares of their time spinning, in %."""

    pages: float
    allocating: float
    freeing: float
    lru: float

    def __str__(self) -> str:
        """Show it as a row of the table."""
        shares = f"{self.allocating:8.1f} {self.freeing:7.1f} {self.lru:7.1f}"
        return f"{self.pages:10.2f}   {shares}"


def spun_ns(machine: MachineHandle) -> tuple[int, int, int]:
    """Return how long all have spun so far: to allocate, to free, on lru_lock."""
    zones = [lock for name, lock in machine.locks.items() if name.endswith("zone->lock")]
    lru = sum(lock.wait_ns for name, lock in machine.locks.items() if name.endswith("lru_lock"))
    freeing = sum(lock.give_back_ns for lock in zones)
    return sum(lock.wait_ns for lock in zones) - freeing, freeing, lru


def cpus_of(spec: MachineSpec, nr_cpus: int) -> list[int]:
    """Return CPUs to run on, of each node in turn; threads of one core come last."""
    nodes = [node.cpus for node in spec.nodes]
    turns = [node[i] for i in range(max(map(len, nodes))) for node in nodes if i < len(node)]
    return turns[:nr_cpus]


async def page_fault1(
    process: ProcessHandle, *, at_ns: int, pages: int, machine: MachineHandle
) -> int:
    """Map, write, unmap from a time on, once; return the pages written."""
    await process.sleep(at_ns - machine.now_ns)
    region = await process.mmap(pages << 12)
    done = await process.touch(region, write=True)
    await process.munmap(region)
    return done.minflt


async def score(machine: MachineHandle, nr_processes: int, *, pages: int) -> Score:
    """Run so many processes until each has unmapped what it mapped."""
    at_ns = machine.now_ns + START_NS
    program = partial(page_fault1, at_ns=at_ns, pages=pages, machine=machine)
    processes = [
        await machine.spawn(f"page_fault1_{cpu}", program, cpu=cpu)
        for cpu in cpus_of(machine.spec, nr_processes)
    ]
    before = spun_ns(machine)
    for process in processes:
        await process.wait()
    took_ns = machine.now_ns - at_ns
    spun = [after - soon for after, soon in zip(spun_ns(machine), before, strict=True)]
    done = sum(process.result for process in processes if isinstance(process.result, int))
    shares = [100 * ns / (took_ns * nr_processes) for ns in spun]
    return Score(1000 * done / took_ns, *shares)


@workload(machine=load_machine(FOLDER / "skylake-2s.toml"))
async def main(machine: MachineHandle) -> None:
    """Run with a few processes."""
    machine.note("           M pages/s   % of their time spinning")
    machine.note("processes       of all   to allocate  to free  on lru_lock")
    scores = {}
    for count in FEW:
        scores[count] = await score(machine, count, pages=PAGES)
        machine.note(f"{count:9d} {scores[count]}")
    few, many = scores[FEW[0]], scores[FEW[-1]]
    machine.expect(few.allocating == few.freeing == few.lru == 0, "alone nothing is waited for")
    machine.expect(many.pages < FEW[-1] * few.pages, "more processes get less each")


def full() -> None:
    """Write the curve of each machine."""
    for name, published in PUBLISHED.items():
        spec = load_machine(FOLDER / f"{name}.toml")
        write(f"{name}: {spec.nr_cpus} CPUs, published {published} M pages/s")
        write("processes   M pages/s   % to allocate, to free, on lru_lock")
        for count in (1, 4, 16, 48, spec.nr_cpus):
            write(f"{count:9d} {measured(spec, count)}")
        wide = attrs.evolve(spec, era=attrs.evolve(spec.era, pcp_batch_bytes_max=1 << 20))
        write(f"{spec.nr_cpus:9d} {measured(wide, spec.nr_cpus)}  with batches of 63")


def write(line: str) -> None:
    """Write a line as soon as it is known."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measured(spec: MachineSpec, nr_processes: int, pages: int = 4096) -> Score:
    """Run so many processes on a machine of their own."""
    measure = partial(score, nr_processes=nr_processes, pages=pages)
    found = MachineHandle(Machine(spec)).run_to_end(measure)
    assert found is not None, "nothing ends the run before its workload"
    return found


if __name__ == "__main__" and sys.argv[1:] == ["full"]:
    full()
