"""How many system calls a second a process of a machine makes: a mapping is made, and unmapped.

Interface: `run(scale, rounds)` gives rows.
"""

import statistics
import time
from typing import Final

from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.workload import MachineHandle
from tools.bench.bench_engine import Row

PAIRS: Final = 5_000  # a round
PAIR_TARGET: Final = 20_000
LENGTH: Final = 16 << 12  # bytes; no page of it is touched


def run(scale: float = 1.0, rounds: int = 5) -> list[Row]:
    """Measure pairs of mmap and munmap.

    Args:
        scale: Share of the pairs.
        rounds: The median of so many counts.
    """
    rate = pair_rate(max(500, int(PAIRS * scale)), rounds)
    met = rate >= PAIR_TARGET
    return [Row("mmap and munmap, pairs", "/s", rate, {}, f"{PAIR_TARGET:,} /s", met)]


def pair_rate(nr_pairs: int, rounds: int) -> float:
    """Return how many pairs a second one process makes."""
    rates: list[float] = []

    async def main(handle: MachineHandle) -> None:
        process = await handle.spawn("p")
        for _ in range(rounds + 1):
            began = time.perf_counter()
            for _ in range(nr_pairs):
                await process.munmap(await process.mmap(LENGTH))
            rates.append(nr_pairs / (time.perf_counter() - began))

    MachineHandle(Machine(load_machine("laptop-4g"))).run(main)
    return statistics.median(rates[1:])
