"""A pipeline of three programs that hand files to each other, as a real cluster node ran it.

Each program reads a file into its memory, computes, writes the next file and ends; nobody calls
fsync. Do, Hayot-Sasson, Ferreira da Silva, Steele, Casanova and Glatard ran it on a node with
250 GiB and one SSD, with files of 20, 50, 75 and 100 GB, and published the logs with "Modeling the
Linux page cache for accurate simulation of data-intensive applications" (2021; repository
big-data-lab-team/paper-io-simulation). The first read comes from the disk, the others from memory;
large files meet the limits of dirty pages, and push each other out.

The machine is what that paper and its logs measured, and kernel defaults for the rest; nothing is
fitted to the durations. The variable PIPELINE_GB is the size of a file, 0.25 if it is not set.
PIPELINE_LOGS may name a copy of the logs, with a folder for each size such as `20gb`: then the
recording stands beside what came out.
"""

import os
from itertools import pairwise
from pathlib import Path

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import SyscallError
from kernelsim.workload import MachineHandle, ProcessHandle, workload

GB = 10**9
NS_PER_S = 10**9
PAGE = 4096
CALL_BYTES = (1 << 31) - PAGE  # MAX_RW_COUNT, the most of one read or write
TASKS = (1, 2, 3)
FILES = (1, 2, 3, 4)
CURVE_ROWS = 24
CPU_S = {
    20.0: 28,
    50.0: 75,
    75.0: 110,
    100.0: 155,
}  # of each program, by the size of its file in GB
CPU_S_PER_GB = 1.45  # of other sizes, between these
COLUMN_CACHE, COLUMN_DIRTY = 4, 7  # of atop's MEM lines, behind the page size

SIZE_GB = float(os.environ.get("PIPELINE_GB", "0.25"))
SIZE = int(SIZE_GB * GB) // PAGE * PAGE
LOGS = os.environ.get("PIPELINE_LOGS")

MACHINE = machine_from_toml(
    {
        "name": "2 x Xeon Gold 6130, 250 GiB, one SSD",
        "node": [
            {"memory": "125G", "cpus": "0-15"},
            {"memory": "125G", "cpus": "16-31"},
        ],
        "device": [
            {
                "name": "sda",
                "size": "450G",
                "bandwidth": 510_000_000,  # measured: disk read
                # Measured by collectl in these runs: the median over the seconds in which the
                # flusher alone used the disk, 516.7 MB/s of 308 with 75 GB (511.7 to 518.0 from
                # the 10th percentile to the 90th), 515.9 of 52 with 20 GB. The paper gives 420.
                "write_bandwidth": 516_000_000,
            }
        ],
        "files": [{"path": "/file_1", "size": SIZE, "device": "sda"}],
        "latency": {
            "page_copy_ns": 597,  # measured: memory read, 6860 MB/s from the page cache
            # Measured: memory write, 2764 MB/s to the page cache, 1482 ns a page. Of these the
            # copy takes 597, and 70 are its share of zone->lock (40) and lru_lock (30).
            "write_begin_ns": 815,
        },
        "sysctl": {
            "vm.dirty_ratio": 40,  # of the node; the default is 20
            "vm.compaction_proactiveness": 0,  # its kernel, 4.18, does not know it (5.9)
        },
    }
)


class Pipeline:
    """One run of the pipeline.

    Args:
        machine: Where it runs.
    """

    def __init__(self, machine: MachineHandle) -> None:
        self.machine = machine
        self.phases: dict[str, float] = {}  # seconds
        self.cached: dict[str, list[float]] = {}  # GB of each file when a phase ends
        self.curve: list[tuple[float, float, float]] = []  # second, GB in the cache, GB dirty

    async def task(self, number: int) -> None:
        """Read a file, compute, write the next one."""
        machine = self.machine
        process = await machine.spawn(f"task{number}", cpu=0)
        source = await process.open(f"/file_{number}")
        target = await process.open(f"/file_{number + 1}", create=True)
        buffer = await process.mmap(SIZE)
        began_ns = machine.now_ns
        done = 0
        while done < SIZE:
            rest = type(buffer)(buffer.address + done, SIZE - done)
            done += await process.read(source, min(CALL_BYTES, SIZE - done), buffer=rest)
        await self._end_phase(f"read_{number}", began_ns, process)
        await process.sleep(round(cpu_seconds() * NS_PER_S))
        began_ns = machine.now_ns
        done = 0
        while done < SIZE:
            done += await process.write(target, min(CALL_BYTES, SIZE - done))
        await self._end_phase(f"write_{number}", began_ns, process)
        await process.exit()

    async def _end_phase(self, name: str, began_ns: int, process: ProcessHandle) -> None:
        self.phases[name] = (self.machine.now_ns - began_ns) / NS_PER_S
        self.cached[name] = [await cached_gb(process, f"/file_{file}") for file in FILES]

    async def watch(self, process: ProcessHandle) -> None:
        """Look at the cache each second, as atop did."""
        began_ns = self.machine.now_ns
        while True:
            vmstat = self.machine.vmstat
            at = (self.machine.now_ns - began_ns) / NS_PER_S
            dirty = vmstat["nr_dirty"]
            self.curve.append((at, gb(vmstat["nr_file_pages"]), gb(dirty)))
            await process.sleep("1s")


def gb(nr_pages: int) -> float:
    """Return pages in GB."""
    return nr_pages * PAGE / GB


def cpu_seconds() -> float:
    """Return how long a program computes."""
    return CPU_S.get(SIZE_GB, CPU_S_PER_GB * SIZE_GB)


async def cached_gb(process: ProcessHandle, path: str) -> float:
    """Return how much of a file is in memory."""
    try:
        fd = await process.open(path)
    except SyscallError:  # it is not made yet
        return 0
    pages = await process.mincore(fd)
    await process.close(fd)
    return gb(len(pages))


def recorded_phases(folder: Path) -> dict[str, float]:
    """Return the seconds of each phase in the recording."""
    seconds: dict[str, float] = {}
    for line in (folder / "timestamps.csv").read_text().split("\n"):
        if line.strip():
            kind, start, end = line.split(",")
            number = 1 + sum(name.startswith(kind) for name in seconds)
            seconds[f"{kind}_{number}"] = float(end) - float(start)
    return seconds


def recorded_curve(folder: Path) -> list[tuple[float, float, float]]:
    """Return the seconds since the first phase began, the cache and what was dirty, in GB."""
    first = float((folder / "timestamps.csv").read_text().split(",")[1])
    rows = []
    for line in (folder / "atop_mem.log").read_text().split("\n"):
        if line.startswith("MEM "):
            words = line.split()
            counts = [int(word) for word in words[5:]]  # interval, page size, total, free, …
            cache, dirty = counts[COLUMN_CACHE], counts[COLUMN_DIRTY]
            rows.append((float(words[2]) - first, gb(cache), gb(dirty)))
    base = rows[0][1]  # in the cache before
    return [(at, cache - base, dirty) for at, cache, dirty in rows]


def recorded_cached(folder: Path) -> dict[str, list[float]]:
    """Return the GB of each file in memory at the end of each phase."""
    lines = (folder / "fincore.csv").read_text().split()[1:]
    return {
        words[0]: [float(word) for word in words[1:]] for words in (x.split(",") for x in lines)
    }


def at_second(curve: list[tuple[float, float, float]], second: float) -> tuple[float, float]:
    """Return the cache and what is dirty at a second: the last that was seen by then."""
    seen = [row for row in curve if row[0] <= second] or curve[:1]
    return seen[-1][1], seen[-1][2]


def print_alone(run: Pipeline) -> None:
    """Print what came out, and nothing beside it."""
    for name, seconds in run.phases.items():
        sizes = " ".join(f"{size:7.2f}" for size in run.cached[name])
        run.machine.print(f"{name:8} {seconds:8.2f} s   cached, GB: {sizes}")


def print_beside(run: Pipeline, folder: Path) -> None:
    """Print what came out beside the recording."""
    show, real = run.machine.print, recorded_phases(folder)
    errors = []
    show("phase      simulated  recorded   error")
    for name, seconds in run.phases.items():
        errors.append(abs(seconds - real[name]) / real[name])
        show(f"{name:8} {seconds:9.2f} s {real[name]:7.2f} s {errors[-1]:7.1%}")
    run.machine.note(f"mean error of the phases {sum(errors) / len(errors):.1%}")
    show("cached, GB        file 1        file 2        file 3        file 4")
    real_cached = recorded_cached(folder)
    for name, sizes in run.cached.items():
        pairs = zip(sizes, real_cached[name], strict=True)
        show(f"{name:8} " + " ".join(f"{ours:6.1f} /{theirs:5.0f}" for ours, theirs in pairs))
    show("second     cache, GB      dirty, GB")
    curve = recorded_curve(folder)
    last = min(curve[-1][0], run.curve[-1][0])
    for row in range(CURVE_ROWS + 1):
        second = last * row / CURVE_ROWS
        ours, theirs = at_second(run.curve, second), at_second(curve, second)
        show(f"{second:6.0f}  {ours[0]:6.1f} /{theirs[0]:6.1f}  {ours[1]:6.2f} /{theirs[1]:6.2f}")


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Run the three programs one after the other."""
    run = Pipeline(machine)
    await machine.spawn("atop", run.watch, cpu=1)
    for number in TASKS:
        await run.task(number)
    folder = Path(LOGS) / f"{SIZE_GB:g}gb" if LOGS else None
    if folder is not None and folder.is_dir():
        print_beside(run, folder)
    else:
        print_alone(run)
    cold_s = SIZE / 510_000_000
    machine.expect(cold_s < run.phases["read_1"] < 1.05 * cold_s, "the disk limits the first read")
    machine.expect(run.phases["read_2"] < cold_s / 3, "the second comes from memory")
    order = [run.cached[f"write_{number}"] for number in TASKS]
    grows = all(sum(later) >= sum(earlier) for earlier, later in pairwise(order))
    machine.expect(grows, "the cache grows from task to task")
