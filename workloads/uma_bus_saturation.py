"""How much a bus carries that 1 to 32 CPUs share, beside what the theory of queues says.

Each CPU runs a program that loads from its own pages, line after line, each as soon as the last one
has come. Alone it has to wait for memory most of the time. The more CPUs do so, the busier the bus
is, and the longer each waits for it: what all get grows less and less, and what each gets falls.

The theory is that of closed networks, of the same demands: so long for an access on an idle
machine, so long of that on the bus and at the controller. No machine of 1…32 CPUs gets more than
`min(N / alone, 1 / bus)` (asymptotic bound). If the times on the bus were random, exponential,
mean-value analysis would give the curve exactly; they are all the same, so queues are shorter, and
the measured curve lies between the two, within 2 %. It may be a little below or above: each CPU
draws its pages, so walks differ, and the bus is not full while the first begin and the last end.
"""

from functools import partial

from kernelsim.hw.tlb import NR_TLB_SETS
from kernelsim.units import CACHE_LINE_SIZE, PAGE_SIZE
from kernelsim.workload import MachineHandle, ProcessHandle, workload

COUNTS = (1, 2, 4, 8, 12, 16, 24, 32)
STRIDE = NR_TLB_SETS * PAGE_SIZE  # pages that share a set of the TLB, which has 12 places
PAGES = 16  # so some accesses walk the tables, and some need not
LOADS = 150  # a CPU
START_NS = 2_000_000  # until all have been started
MB = 10**6
WIDTH = 48  # of the picture, for what the bus can carry


async def load(process: ProcessHandle, *, at_ns: int, machine: MachineHandle) -> int:
    """Load from pages in random order from a time on; return how long it took, ns."""
    region = await process.mmap(PAGES * STRIDE)
    await process.touch(region, write=True, stride=STRIDE)
    draw = machine.rng(f"pages of {process.name}")
    first = region.address // PAGE_SIZE
    pages = [first + draw.below(PAGES) * NR_TLB_SETS for _ in range(LOADS)]
    await process.sleep(at_ns - machine.now_ns)
    done = await process.touch_pages(pages, [0] * LOADS)
    return done.latency_ns


async def loads_per_us(machine: MachineHandle, nr_cpus: int) -> float:
    """Run the program on so many CPUs at the same time; return loads of all in a microsecond."""
    program = partial(load, at_ns=machine.now_ns + START_NS, machine=machine)
    processes = [await machine.spawn(f"load{cpu}", program, cpu=cpu) for cpu in range(nr_cpus)]
    for process in processes:
        await process.wait()
    took_ns = max(process.result for process in processes if isinstance(process.result, int))
    return 1000 * LOADS * nr_cpus / took_ns


def mean_value_analysis(nr_cpus: int, think_ns: float, demands_ns: tuple[float, ...]) -> float:
    """Return loads of all CPUs in a microsecond, if times were exponential.

    Source: Reiser and Lavenberg, Mean-value analysis of closed multichain queuing networks, 1980
    """
    queued = [0.0] * len(demands_ns)
    for n in range(1, nr_cpus + 1):
        response = [each * (1 + queue) for each, queue in zip(demands_ns, queued, strict=True)]
        a_ns = n / (think_ns + sum(response))
        queued = [a_ns * each for each in response]
    return 1000 * a_ns


@workload(machine="uma-bus-32cpu")
async def main(machine: MachineHandle) -> None:
    """Measure the curve; draw it beside theory."""
    bus_ns, controller_ns = machine.spec.latency.passing_ns(CACHE_LINE_SIZE, is_near=True)
    most = 1000 / bus_ns
    measured = {}
    for count in COUNTS:
        measured[count] = await loads_per_us(machine, count)
    alone_ns = 1000 / measured[1]
    think_ns = alone_ns - bus_ns - controller_ns
    machine.note(
        f"a load alone takes {alone_ns:.0f} ns: {bus_ns} on the bus, "
        f"{controller_ns} at the controller; the bus carries {most * 64:.0f} MB/s"
    )
    machine.note("CPUs  MB/s: measured    MVA  bound   a CPU")
    for count, here in measured.items():
        theory = mean_value_analysis(count, think_ns, (bus_ns, controller_ns))
        bound = min(count / alone_ns * 1000, most)
        bar = "#" * round(WIDTH * here / most)
        figures = f"{here * 64:12.0f} {theory * 64:6.0f} {bound * 64:6.0f} {here / count * 64:7.0f}"
        machine.note(f"{count:4d}  {figures}  {bar:{WIDTH}}|")
        machine.expect(theory * 0.98 < here < bound * 1.02, f"{count} CPUs: as theory says")
    machine.expect(measured[32] < 1.1 * measured[16], "the bus is full")
