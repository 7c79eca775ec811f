"""Run a trace of allocations in a process, and write down what the recorder of real ones did.

The process is as malloc_replay made its own: all its pages are there before the allocator runs, and
a wall of read-only pages reaches down to a GiB boundary, below which the first mapping goes.
Interface: `run_trace`, `MallocRecording`. Units: bytes; pages where the format has pages.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.process.calls.access import Touch
from kernelsim.actors.process.calls.life import Sleep, StartImage
from kernelsim.actors.process.start import start_process
from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.machine import DEFAULT_BURST_PAGES, Machine
from kernelsim.oracle.malloc_record import RecordedSystem
from kernelsim.oracle.vmaprog_machine import RECORDED_PROGRAM
from kernelsim.procfs.capture_process import capture_process
from kernelsim.procfs.process import status_memory_kb
from kernelsim.procfs.snapshot import VmaSnapshot
from kernelsim.units import GIB, PAGE_SHIFT, PAGE_SIZE
from kernelsim.user.malloc.mallocs import MALLOCS
from kernelsim.user.malloc.protocol import Malloc
from kernelsim.workload.allocation_trace import Operation
from kernelsim.workload.process_system import ProcessSystem

STACK_PAGES: Final = 64  # of the replaying program, touched before
NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
LIBSTDCXX_POOL: Final = 72_704  # a library in C++ comes with one that allocates this before main
POOL_ENTRY: Final = 16  # and notes at its start that all of it is free (eh_alloc.cc:pool)
# Directory of recordings: model, and what libraries of the program allocated before main
ALLOCATORS: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    "glibc": ("ptmalloc2", ()),
    "dlmalloc": ("dlmalloc", ()),
    "jemalloc": ("jemalloc", (LIBSTDCXX_POOL,)),
    "jemalloc_narenas1": ("jemalloc", (LIBSTDCXX_POOL,)),
    "tcmalloc": ("tcmalloc", (LIBSTDCXX_POOL,)),
    "libumem": ("libumem", ()),
}
TRIMS: Final = ("glibc", "dlmalloc")  # have a malloc_trim that the recorder called


@attrs.frozen
class MallocRecording:
    """What is written of a run, in the grammar of FORMAT.md."""

    syscalls: str
    checkpoints: str
    addresses: str


def recorded_machine() -> MachineSpec:
    """Return the machine: two CPUs, plenty of memory, no swap, nothing at random."""
    return machine_from_toml(
        {
            "name": "malloc_replay",
            "node": [{"cpus": "0-1", "memory": "4G"}],
            "sysctl": {"kernel.randomize_va_space": 0},
        }
    )


def run_trace(
    allocator: str,
    trace: Sequence[Operation],
    *,
    seed: int = 1,
    burst_pages: int = DEFAULT_BURST_PAGES,
) -> MallocRecording:
    """Run a trace on a machine of its own.

    Args:
        allocator: One of ALLOCATORS.
        trace: What to do.
        seed: Of the machine.
        burst_pages: Most pages a task touches before the log gets its events; see Machine.
    """
    recordings: list[MallocRecording] = []

    async def main(machine: Machine) -> None:
        recordings.append(await Replay(machine, allocator).run(trace))

    Machine(recorded_machine(), seed=seed, burst_pages=burst_pages).run(main)
    return recordings[0]


class Replay:
    """A process that performs a trace.

    Args:
        machine: It runs.
        allocator: One of ALLOCATORS.
    """

    def __init__(self, machine: Machine, allocator: str) -> None:
        self._kernel = machine.kernel
        self._allocator = allocator
        self._entry: ProcessEntry
        self._heap: Malloc
        self._system: RecordedSystem
        self._wall = 0
        self._start_brk = 0
        self._existed: list[VmaSnapshot] = []
        self._base: dict[str, int] = {}
        self._blocks: dict[int, tuple[int, int]] = {}  # address and bytes by number
        self._writes_all = False
        self._checkpoints: list[str] = []
        self._addresses: list[str] = []

    async def run(self, trace: Sequence[Operation]) -> MallocRecording:
        """Perform a trace; return what is written of it."""
        await self._start()
        self._checkpoint("main")
        for number, operation in enumerate(trace, start=1):
            self._system.operation = number
            await self._perform(operation)
        self._checkpoint("end")
        parts = (self._system.lines, self._checkpoints, self._addresses)
        return MallocRecording(*("".join(f"{line}\n" for line in lines) for lines in parts))

    async def _start(self) -> None:
        """Start the process, populate it, build the wall, and let libraries allocate."""
        kernel = self._kernel
        entry = start_process(kernel, "malloc_replay", kernel.cpus, None, RECORDED_PROGRAM)
        self._entry = entry
        await entry.ref.ask(Sleep(0))
        await entry.ref.ask(StartImage())
        mm = entry.mm
        await entry.ref.ask(Touch(mm.start_data, mm.end_data - mm.start_data, write=True))
        stack_bytes = STACK_PAGES * PAGE_SIZE
        await entry.ref.ask(Touch(mm.stack_top - stack_bytes, stack_bytes, write=True))
        system = ProcessSystem(kernel, entry, entry.ref.ask)
        await self._build_wall(system)
        await entry.ref.ask(Sleep(-kernel.engine.now_ns % NS_PER_S))  # a second begins
        self._start_brk = mm.brk
        self._existed = self._vmas()
        self._base = {"minflt": entry.minflt, **self._sizes_kb()}
        self._system = RecordedSystem(system, mm, self._wall)
        model, before_main = ALLOCATORS[self._allocator]
        self._heap = MALLOCS[model](self._system)
        for nr_bytes in before_main:
            await self._system.write(await self._heap.malloc(nr_bytes), POOL_ENTRY)

    async def _build_wall(self, system: ProcessSystem) -> None:
        """Map everything between the next free place and a GiB boundary below, read-only."""
        probe = await system.mmap(PAGE_SIZE)
        await system.munmap(probe, PAGE_SIZE)
        end = probe + PAGE_SIZE
        self._wall = (end - 1) // GIB * GIB
        await system.mmap(end - self._wall, prot="r", noreserve=True, fixed=self._wall)

    async def _perform(self, operation: Operation) -> None:
        kind, block = operation.kind, operation.block
        if kind in "mcr":
            await self._allocate(operation)
        elif kind == "f":
            await self._heap.free(self._blocks.pop(block, (0, 0))[0])
        elif kind in "tT":
            await self._write(*self._blocks[block])
        elif kind == "w":
            self._writes_all = bool(block)
        elif kind == "x":
            if self._allocator in TRIMS:
                await self._heap.trim()
        elif kind == "s":
            await self._entry.ref.ask(Sleep(block * NS_PER_MS))
        else:
            self._checkpoint(operation.label)

    async def _allocate(self, operation: Operation) -> None:
        kind, block, nr, nr_bytes, _ = operation
        heap = self._heap
        if kind == "m":
            address = await heap.malloc(nr_bytes)
        elif kind == "c":
            address = await heap.calloc(nr, nr_bytes)
        else:
            address = await heap.realloc(self._blocks.get(block, (0, 0))[0], nr_bytes)
        self._blocks[block] = (address, nr * nr_bytes if address else 0)
        if self._writes_all:
            await self._write(*self._blocks[block])
        if address:
            self._addresses.append(f"{self._system.operation} {self._place(address)}")

    async def _write(self, address: int, nr_bytes: int) -> None:
        if nr_bytes:
            await self._system.write(address, nr_bytes)

    def _place(self, address: int) -> str:
        """Return where a block lies, and its usable size if the allocator tells."""
        usable = self._heap.usable_size(address)
        if self._start_brk <= address < self._entry.mm.brk:
            text = f"heap {address - self._start_brk}"
        else:
            text = f"map {address - self._wall}"
        return f"{text} {usable}" if usable else text

    # ---- checkpoints ----

    def _vmas(self) -> list[VmaSnapshot]:
        return list(capture_process(self._kernel, self._entry, usage=True).vmas)

    def _sizes_kb(self) -> dict[str, int]:
        status = status_memory_kb(capture_process(self._kernel, self._entry, usage=False))
        return {f"{name}_kB": status[name] for name in ("VmSize", "VmRSS", "VmData")}

    def _checkpoint(self, label: str) -> None:
        """Write the state after the last operation."""
        entry, system = self._entry, self._system
        heap_end = -(-entry.mm.brk // PAGE_SIZE) * PAGE_SIZE
        vmas = self._vmas()
        heap = [vma for vma in vmas if self._start_brk <= vma.start and vma.end <= heap_end]
        mapped = [vma for vma in vmas if vma not in heap and not self._has_existed(vma)]
        none = [vma for vma in mapped if not vma.flags.startswith(("r", "-w"))]
        ends = {vma.end for vma in mapped}
        minflt = entry.minflt - self._base["minflt"]
        values = {
            "op": system.operation,
            "minflt": minflt,
            "heap": entry.mm.brk - self._start_brk,
            "heap_rss": _rss_pages(heap),
            "vmas": len(mapped),
            "runs": sum(vma.start not in ends for vma in mapped),
            "mapped": _nr_bytes(mapped) - _nr_bytes(none),
            "map_rss": _rss_pages(mapped),
            "none": _nr_bytes(none),
            **{name: kb - self._base[name] for name, kb in self._sizes_kb().items()},
            "peak": system.peak,
        }
        self._checkpoints.append(" ".join([f"k {label}", *(f"{k}={v}" for k, v in values.items())]))
        system.lines.append(f"k {label}")

    def _has_existed(self, vma: VmaSnapshot) -> bool:
        return any(old.start <= vma.start and vma.end <= old.end for old in self._existed)


def _rss_pages(vmas: Sequence[VmaSnapshot]) -> int:
    return sum(vma.usage.rss for vma in vmas) >> PAGE_SHIFT


def _nr_bytes(vmas: Sequence[VmaSnapshot]) -> int:
    return sum(vma.end - vma.start for vma in vmas)
