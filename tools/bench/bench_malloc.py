"""How many mallocs and frees a second the models of allocators do, in a process of a machine.

A program keeps a number of blocks; each step frees one of them at random and allocates another.
Most are small, some have a few KiB; none is so large that an allocator asks the kernel for each.
Interface: `run(scale, rounds)` gives rows.
"""

import statistics
import time
from typing import Final

from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.sim.rng import Rng
from kernelsim.user.malloc.mallocs import MALLOCS
from kernelsim.user.malloc.protocol import Malloc
from kernelsim.workload import MachineHandle
from kernelsim.workload.process_system import ProcessSystem
from tools.bench.bench_engine import Row

NR_BLOCKS: Final = 1500
STEPS: Final = 20_000  # a round: a free and a malloc each
TARGET: Final = 200_000
SIZES_MAX: Final = (128, 128, 128, 128, 128, 1024, 1024, 8192)  # of equally many blocks
Step = tuple[int, int]  # which block goes, and how large the next one is


def run(scale: float = 1.0, rounds: int = 5) -> list[Row]:
    """Measure all models.

    Args:
        scale: Share of the steps.
        rounds: The median of so many counts.
    """
    steps = made_steps(max(2000, int(STEPS * scale)))
    return [row(name, churn_rate(name, steps, rounds)) for name in sorted(MALLOCS)]


def row(name: str, rate: float) -> Row:
    """Judge a rate."""
    return Row(f"malloc and free, {name}", "/s", rate, {}, f"{TARGET:,} /s", rate >= TARGET)


def made_steps(nr_steps: int) -> list[Step]:
    """Draw what the program does."""
    rng = Rng(1, "steps")
    return [
        (rng.below(NR_BLOCKS), 1 + rng.below(SIZES_MAX[rng.below(len(SIZES_MAX))]))
        for _ in range(nr_steps)
    ]


def churn_rate(name: str, steps: list[Step], rounds: int) -> float:
    """Return the operations a second of a model."""
    rates: list[float] = []
    machine = Machine(load_machine("laptop-4g"))

    async def main(handle: MachineHandle) -> None:
        process = await handle.spawn("p")
        entry = machine.kernel.processes[process.pid]
        heap = MALLOCS[name](ProcessSystem(machine.kernel, entry, entry.ref.ask))
        blocks = [await heap.malloc(1 + number) for number in range(NR_BLOCKS)]
        for _ in range(rounds + 1):
            began = time.perf_counter()
            await churn(heap, blocks, steps)
            rates.append(2 * len(steps) / (time.perf_counter() - began))

    MachineHandle(machine).run(main)
    return statistics.median(rates[1:])


async def churn(heap: Malloc, blocks: list[int], steps: list[Step]) -> None:
    """Free a block and allocate one in its place, step by step."""
    malloc, free = heap.malloc, heap.free
    for which, nr_bytes in steps:
        await free(blocks[which])
        blocks[which] = await malloc(nr_bytes)
