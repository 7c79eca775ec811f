"""How long a memory block takes to go online and offline, its pages all in use.

A program fills a DIMM of 128 MiB, which then leaves: all its pages are moved to other frames. The
first round loads compiled code, so it does not count, and the median of the others does.

Interface: `run(scale, rounds)` gives rows.
"""

import statistics
import time
from typing import Final

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.machine import Machine
from kernelsim.mm.page.memory_hotplug import OFFLINE, ONLINE_MOVABLE
from kernelsim.units import MIB
from kernelsim.workload import MachineHandle
from tools.bench.bench_engine import Row

BLOCK: Final = 128 * MIB
MS_MAX: Final = 50
MS_PER_S: Final = 1000
INDEX: Final = 32  # of the DIMM's block, which is at 4 GiB
STATE: Final = f"/sys/devices/system/memory/memory{INDEX}/state"


def run(scale: float = 1.0, rounds: int = 5) -> list[Row]:
    """Measure both directions.

    Args:
        scale: Share of the block's pages that are in use.
        rounds: The median of so many counts.
    """
    online, offline, rates = [], [], []

    async def main(machine: MachineHandle) -> None:
        await machine.dimms.add("dimm0", str(BLOCK))
        process = await machine.spawn("p")
        for _ in range(rounds + 1):
            online.append(await timed_write(machine, ONLINE_MOVABLE))
            region = await process.mmap(max(MIB, int(BLOCK * scale) // MIB * MIB))
            await process.touch(region, write=True)
            before = machine.vmstat["pgmigrate_success"]
            offline.append(await timed_write(machine, OFFLINE))
            rates.append((machine.vmstat["pgmigrate_success"] - before) / offline[-1])
            await process.munmap(region)

    node = {"cpus": "0-1", "memory": "1G"}
    spec = machine_from_toml({"name": "bench", "maxmem": "2G", "node": [node]})
    MachineHandle(Machine(spec)).run(main)
    return [
        time_row("a full block of 128 MiB goes offline", statistics.median(offline[1:])),
        time_row("a block of 128 MiB goes online", statistics.median(online[1:])),
        Row("pages moved to go offline", "/s", statistics.median(rates[1:]), {}),
    ]


async def timed_write(machine: MachineHandle, word: str) -> float:
    """Write to the block's state; return how long that takes here, in seconds."""
    began = time.perf_counter()
    await machine.write_sysfs(STATE, word)
    return time.perf_counter() - began


def time_row(name: str, seconds: float) -> Row:
    """Judge a time by itself."""
    took_ms = seconds * MS_PER_S
    return Row(name, "ms", took_ms, {}, f"at most {MS_MAX} ms", took_ms <= MS_MAX)


if __name__ == "__main__":
    for row in run():
        print(row)
