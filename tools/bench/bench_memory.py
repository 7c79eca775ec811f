"""How many pages a second the simulated memory management handles, and what a page costs.

First touch stands beside the same loop in C on this host and beside a SimPy model that sends a
message a page. Ours runs rounds of mmap, touch and munmap in one machine, timed around the touch:
the first round also makes the host give memory for our columns, so it does not count, and the
median of the others does. The same holds for the C program.

Interface: `run(scale, rounds)` gives rows.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from kernelsim.actors.core.current import Current
from kernelsim.actors.reclaim.reclaim import Reclaimer
from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.mm.core.vmstat import PGSCAN_DIRECT
from kernelsim.mm.reclaim.scan_control import ScanControl
from kernelsim.units import GIB, PAGE_SIZE
from kernelsim.workload import MachineHandle
from tools.bench.bench_engine import Row
from tools.bench.peers import simpy_pages

PAGES: Final = 262_144  # a round of first touch: 1 GiB
SIMPY_PAGES: Final = 20_000
FAST_TARGET: Final = 3_000_000  # pages a second at 512 a burst
FINE_TARGET: Final = 500_000  # at 63, the most a CPU's list gives at once
C_TARGET: Final = 2
SIMPY_TARGET: Final = 50
SCAN_TARGET: Final = 1_000_000
COLUMN_BYTES_MAX: Final = 40
BOOT_SECONDS_MAX: Final = 3
BOOT_GIB_MAX: Final = 1.5
BOOT: Final = """
import resource, time
began = time.perf_counter()
from kernelsim.config.machine_file import load_machine
from kernelsim.machine import Machine
from kernelsim.workload import MachineHandle
async def main(machine):
    process = await machine.spawn("p")
    await process.touch(await process.mmap("1M"), write=True)
MachineHandle(Machine(load_machine("big-8x128g"))).run(main)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


def run(scale: float = 1.0, rounds: int = 5) -> list[Row]:
    """Measure everything.

    Args:
        scale: Share of the pages to handle; 1.0 takes about half a minute.
        rounds: The median of so many counts.
    """
    nr_pages = max(8192, int(PAGES * scale))
    peers = {}
    in_c = touch_in_c(nr_pages, rounds)
    if in_c is not None:
        peers["C on this host"] = in_c
    peers["SimPy, a message a page"] = touch_in_simpy(max(1000, int(SIMPY_PAGES * scale)), rounds)
    fast = first_touch(nr_pages, rounds, burst_pages=512)
    return [
        touch_row(fast, peers),
        rate_row("first touch, pages, 63 a burst", first_touch(nr_pages, rounds, 63), FINE_TARGET),
        rate_row("reclaim, pages looked at", scan(nr_pages // 4, rounds), SCAN_TARGET),
        column_row(),
        *boot_rows(),
    ]


def touch_row(rate: float, peers: dict[str, float]) -> Row:
    """Judge first touch by its rate and by its peers."""
    factors = {"C on this host": C_TARGET, "SimPy, a message a page": SIMPY_TARGET}
    missed = tuple(name for name, peer in peers.items() if rate < factors[name] * peer)
    target = f"{FAST_TARGET:,} /s, " + ", ".join(f"{factors[name]} x {name}" for name in peers)
    is_met = rate >= FAST_TARGET and not missed
    return Row("first touch, pages, 512 a burst", "/s", rate, peers, target, is_met, missed)


def rate_row(name: str, rate: float, target: float) -> Row:
    """Judge a rate by itself."""
    return Row(name, "/s", rate, {}, f"{target:,} /s", rate >= target)


def first_touch(nr_pages: int, rounds: int, burst_pages: int) -> float:
    """Return the pages a second that one process writes for the first time."""
    rates: list[float] = []

    async def main(machine: MachineHandle) -> None:
        process = await machine.spawn("p")
        for _ in range(rounds + 1):
            region = await process.mmap(nr_pages * PAGE_SIZE)
            began = time.perf_counter()
            await process.touch(region, write=True)
            rates.append(nr_pages / (time.perf_counter() - began))
            await process.munmap(region)

    MachineHandle(Machine(load_machine("desktop-16g"), burst_pages=burst_pages)).run(main)
    return statistics.median(rates[1:])


def scan(nr_pages: int, rounds: int) -> float:
    """Return the pages a second that direct reclaim looks at when it may free none of them.

    All are on the inactive list and were used: each is looked at, its use is noted and it is kept,
    in batches of 32, without writes.
    """
    rates: list[float] = []

    machine = Machine(load_machine("desktop-16g"))

    async def main(handle: MachineHandle) -> None:
        kernel = machine.kernel
        highest = len(kernel.phys.zone_types) - 1
        process = await handle.spawn("p")
        task = kernel.processes[process.pid].task
        reclaimer = Reclaimer(Current(kernel, task))
        for _ in range(rounds + 1):
            region = await process.mmap(nr_pages * PAGE_SIZE)
            await process.touch(region, write=True)
            control = ScanControl(nr_to_reclaim=nr_pages, priority=0, reclaim_idx=highest)
            before = int(kernel.mem.vm_event[PGSCAN_DIRECT])
            await task.get_cpu()
            began = time.perf_counter()
            await reclaimer.shrink_node(control, 0)
            took = time.perf_counter() - began
            await task.put_cpu()
            rates.append((int(kernel.mem.vm_event[PGSCAN_DIRECT]) - before) / took)
            await process.munmap(region)

    MachineHandle(machine).run(main)
    return statistics.median(rates[1:])


def touch_in_c(nr_pages: int, rounds: int) -> float | None:
    """Return the pages a second of the same loop on this host; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source = Path(__file__).parent / "peers" / "first_touch.c"
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/first_touch"
        subprocess.run([compiler, "-O2", "-o", program, source], check=True)
        done = subprocess.run(
            [program, str(nr_pages), str(rounds + 1)], check=True, capture_output=True, text=True
        )
    return statistics.median(float(line) for line in done.stdout.split()[1:])


def touch_in_simpy(nr_pages: int, rounds: int) -> float:
    """Return the pages a second of the SimPy model."""
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        simpy_pages.first_touch(nr_pages)
        rates.append(nr_pages / (time.perf_counter() - began))
    return statistics.median(rates)


def column_row() -> Row:
    """Return what a page of simulated memory takes of ours, all columns together."""
    pages: Any = Machine(load_machine("tiny-64m")).mem.pages
    size = sum(column.itemsize for column in pages)
    target = f"at most {COLUMN_BYTES_MAX} B"
    return Row("columns of a page", "B", size, {}, target, size <= COLUMN_BYTES_MAX)


def boot_rows() -> list[Row]:
    """Boot 1 TiB of 8 nodes and touch a megabyte, in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", BOOT], check=True, capture_output=True, text=True)
    seconds, rss = (float(word) for word in done.stdout.split())
    gib = rss / GIB
    name = "boot of 1 TiB, 8 nodes"
    in_time, in_space = seconds < BOOT_SECONDS_MAX, gib < BOOT_GIB_MAX
    return [
        Row(f"{name}: time", "s", seconds, {}, f"less than {BOOT_SECONDS_MAX} s", in_time),
        Row(f"{name}: memory", "GiB", gib, {}, f"less than {BOOT_GIB_MAX} GiB", in_space),
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
