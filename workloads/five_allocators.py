"""One program on five allocators: what each takes from the kernel for the same blocks.

The program allocates blocks of 1 byte to 64 KiB, writes each, frees and allocates at random, then
frees nine of ten and last the rest. Every allocator does it in a process of its own. Between the
bytes asked for and the pages that are resident lie the rounding up to size classes (internal
fragmentation) and free memory that the kernel did not get back (external); libumem does not tell
how much of a block may be used, so there all of it counts as external. The trace is random by
seed; `kernelsim run` on a recorded one does the same with it.
"""

from kernelsim.workload import MachineHandle, workload
from kernelsim.workload.allocation_run import run_on_allocators
from kernelsim.workload.allocation_trace import Operation

NR_BLOCKS = 1200
NR_CHANGES = 1600
SMALLEST = 16
NR_DOUBLINGS = 12
LEFT = 10  # one block of so many stays
PERCENT = 100


def trace_of(machine: MachineHandle) -> list[Operation]:
    """Return what the program does: up to its peak, until little is left, then to the end."""
    rng = machine.rng("trace")

    def malloc(number: int) -> Operation:
        nr_bytes = 1 + rng.below(SMALLEST << rng.below(NR_DOUBLINGS + 1))
        return Operation("m", number, nr_bytes=nr_bytes)

    operations = [Operation("w", 1), *map(malloc, range(NR_BLOCKS))]
    for _ in range(NR_CHANGES):
        number = rng.below(NR_BLOCKS)
        operations += [Operation("f", number), malloc(number)]
    order = list(range(NR_BLOCKS))
    rng.shuffle(order)
    frees = [Operation("f", number) for number in order]
    nr_left = NR_BLOCKS // LEFT
    return [
        *operations,
        Operation("k", label="all blocks"),
        *frees[nr_left:],
        Operation("k", label=f"one block of {LEFT}"),
        *frees[:nr_left],
        Operation("k", label="no block"),
    ]


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Run the program on each allocator, draw what it has at three moments."""
    moments = await run_on_allocators(machine, trace_of(machine))
    few = {name: own[f"one block of {LEFT}"] for name, own in moments.items()}
    none = {name: own["no block"] for name, own in moments.items()}
    calls = {name: moment.calls for name, moment in none.items()}
    machine.expect(min(calls, key=calls.__getitem__) == "tcmalloc", "tcmalloc asks least often")
    machine.expect(
        all(point.external > PERCENT for point in few.values()),
        "a few blocks keep much from the kernel",
    )
    machine.expect(
        none["dlmalloc"].rss < none["tcmalloc"].rss, "dlmalloc gives back, tcmalloc does not"
    )
