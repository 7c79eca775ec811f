"""One program on five allocators: what each takes from the kernel for the same blocks.

The program allocates blocks of 1 byte to 64 KiB, writes each, frees and allocates at random, then
frees nine of ten and last the rest. Every allocator does it in a process of its own. Between the
bytes asked for and the pages that are resident lie the rounding up to size classes (internal
fragmentation) and free memory that the kernel did not get back (external); libumem does not tell
how much of a block may be used, so there all of it counts as external. The trace is random by
seed; recorded ones run with `kernelsim oracle` on a directory of them.
"""

from collections.abc import Sequence

import attrs

from kernelsim.workload import Heap, MachineHandle, ProcessHandle, workload
from kernelsim.workload.syscall import MappedRange

ALLOCATORS = ("ptmalloc2", "dlmalloc", "jemalloc", "tcmalloc", "libumem")
NR_BLOCKS = 1200
NR_CHANGES = 1600
SMALLEST = 16
NR_DOUBLINGS = 12
LEFT = 10  # one block of so many stays
BAR_WIDTH = 40
PERCENT = 100
Step = tuple[int, int]  # number of the block, its new size; 0 frees it


@attrs.frozen
class Moment:
    """What a process has at a moment; sizes in KiB, fragmentation in percent of what was asked."""

    vsz: int
    rss: int
    calls: int
    faults: int
    internal: int
    external: int


def steps_of(machine: MachineHandle) -> tuple[list[Step], list[Step], list[Step]]:
    """Return what the program does up to its peak, then until little is left, then to the end."""
    rng = machine.rng("trace")

    def size() -> int:
        return 1 + rng.below(SMALLEST << rng.below(NR_DOUBLINGS + 1))

    grow = [(number, size()) for number in range(NR_BLOCKS)]
    for _ in range(NR_CHANGES):
        number = rng.below(NR_BLOCKS)
        grow += [(number, 0), (number, size())]
    order = list(range(NR_BLOCKS))
    rng.shuffle(order)
    nr_left = NR_BLOCKS // LEFT
    return grow, [(n, 0) for n in order[nr_left:]], [(n, 0) for n in order[:nr_left]]


class Program:
    """The program on one allocator."""

    def __init__(self, process: ProcessHandle, heap: Heap) -> None:
        self.process = process
        self.heap = heap
        self.blocks: dict[int, MappedRange] = {}
        self.base = self.sizes()

    def sizes(self) -> tuple[int, int]:
        """Return VSZ and RSS in KiB, to the page."""
        status = dict(line.split(":", 1) for line in self.process.proc("status").splitlines())
        rollup = self.process.proc("smaps_rollup").split("Rss:")[1]
        return int(status["VmSize"].split()[0]), int(rollup.split()[0])

    async def run(self, steps: Sequence[Step]) -> Moment:
        """Take steps; return what there is then."""
        for number, size in steps:
            if size:
                block = await self.heap.malloc(size)
                await self.process.touch(block, write=True)
                self.blocks[number] = block
            else:
                await self.heap.free(self.blocks.pop(number))
        return self.moment()

    def moment(self) -> Moment:
        """Return what there is now."""
        vsz, rss = (now - before for now, before in zip(self.sizes(), self.base, strict=True))
        asked = sum(block.length for block in self.blocks.values())
        usable = sum(self.heap.usable_size(block) for block in self.blocks.values())
        internal = max(0, usable - asked) * PERCENT // asked if asked else 0
        external = max(0, rss * 1024 - max(usable, asked)) * PERCENT // asked if asked else 0
        faults = self.process.stats.pgfault
        return Moment(vsz, rss, self.heap.nr_calls, faults, internal, external)


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Run the program on each allocator, draw what it has at three moments."""
    trace = steps_of(machine)
    moments: dict[str, list[Moment]] = {}
    for name in ALLOCATORS:
        process = await machine.spawn(name)
        program = Program(process, process.malloc(name))
        moments[name] = [await program.run(steps) for steps in trace]
        await process.exit()
    for title, at in (("all blocks", 0), (f"one block of {LEFT}", 1), ("no block", 2)):
        draw(machine, title, {name: points[at] for name, points in moments.items()})

    few = {name: points[1] for name, points in moments.items()}
    none = {name: points[2] for name, points in moments.items()}
    calls = {name: moment.calls for name, moment in none.items()}
    machine.expect(min(calls, key=calls.__getitem__) == "tcmalloc", "tcmalloc asks least often")
    machine.expect(
        all(point.external > PERCENT for point in few.values()),
        "a few blocks keep much from the kernel",
    )
    machine.expect(
        none["dlmalloc"].rss < none["tcmalloc"].rss, "dlmalloc gives back, tcmalloc does not"
    )


def draw(machine: MachineHandle, title: str, moments: dict[str, Moment]) -> None:
    """Print a table and the resident memory as bars."""
    widest = max(1, *(moment.rss for moment in moments.values()))
    machine.print(
        f"{title:16}{'VSZ':>9}{'RSS':>9}{'calls':>7}{'faults':>8}{'int %':>7}{'ext %':>7}"
    )
    for name, each in moments.items():
        bar = "#" * (each.rss * BAR_WIDTH // widest)
        row = f"{name:16}{each.vsz:9}{each.rss:9}{each.calls:7}{each.faults:8}"
        machine.print(f"{row}{each.internal:7}{each.external:7}  {bar}".rstrip())
    machine.print("")
