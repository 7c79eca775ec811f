"""Steps of portable scripts that allocate: glibc's malloc, in the process of the script.

The allocator begins with the first of them: what a static program's own start has left in its heap
lies below, as others' memory does.
Interface: a `HeapSteps` a process; `HEAP_STEPS` says which method does which step.
Units: bytes; kB where the recorded lines say so.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from kernelsim.errors import SyscallError
from kernelsim.procfs.meminfo import meminfo_kb
from kernelsim.procfs.process import status_memory_kb
from kernelsim.units import MIB, PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.heap import Heap
from kernelsim.workload.script.proc_files import mem_of
from kernelsim.workload.script.script_output import fields_line, mem_line, pointer
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.state import ScriptState
from kernelsim.workload.script.step_work import Fields, Outcome, number_of
from kernelsim.workload.syscall import MappedRange

ALIGNMENT: Final = 16
TABLE_REACH: Final = 2 * MIB  # what a table of PTEs maps on x86_64
REPORTED: Final = ("PageTables", "MemFree", "SwapFree")


@attrs.define
class HeapSteps:
    """The allocating steps of one process.

    Attributes:
        handle: The process.
        state: What the script's processes share.
        regions: Its blocks and mappings by name.
        name: Returns its name.
        say: Prints lines.
    """

    handle: ProcessHandle
    state: ScriptState
    regions: dict[str, MappedRange]
    name: Callable[[], str]
    say: Callable[[str], None]
    _heap: Heap | None = None

    @property
    def heap(self) -> Heap:
        """Its heap."""
        if self._heap is None:
            self._heap = self.handle.malloc("ptmalloc2")
        return self._heap

    async def malloc(self, step: Step) -> Outcome:
        """malloc, mallocw: allocate a block; the second writes a byte a page, and the last."""
        name, size = str(step.args[0]), number_of(step.args[1])
        block = self.regions[name] = await self.heap.malloc(size)
        where: Fields = (("ptr", pointer(block.address)),)
        if step.op == "mallocw" and size:
            await self.handle.touch(block, write=True)
            await self.handle.touch(block, write=True, offset=size - 1)
            return Outcome(fields=where)
        fields: Fields = (
            *where,
            ("mod16", block.address % ALIGNMENT),
            ("mod4096", block.address % PAGE_SIZE),
            ("usable", self.heap.usable_size(block)),
            await self._end("sbrk0"),
        )
        return Outcome(fields=fields)

    async def free(self, step: Step) -> Outcome:
        """Free a block; one that there was no memory for is none."""
        block = self.regions.pop(str(step.args[0]), None)
        if block is not None:
            await self.heap.free(block)
        return Outcome(fields=(await self._end("sbrk0"),))

    async def mtrim(self, _step: Step) -> Outcome:
        """malloc_trim(0): 1 if it gave something back, which takes a call."""
        before = self.heap.nr_calls
        await self.heap.trim()
        return Outcome(int(self.heap.nr_calls > before))

    async def sbrk(self, step: Step) -> Outcome:
        """Move the end of the heap; tell where it was."""
        end = await self.handle.brk(0)
        await self.handle.brk(number_of(step.args[0]))
        return Outcome(fields=(("ptr", pointer(end)),))

    async def brkinfo(self, _step: Step) -> Outcome:
        """Tell where the heap ends."""
        return Outcome(fields=(await self._end("sbrk0"),))

    async def mcycle(self, step: Step) -> Outcome:
        """Allocate, write and free the same size several times; tell the faults of each."""
        size, times = map(number_of, step.args)
        for number in range(times):
            before = self.handle.stats
            block = await self.heap.malloc(size)
            await self.handle.touch(block, write=True)
            now = self.handle.stats
            end = await self._end("sbrk_before_free")
            await self.heap.free(block)
            minflt = now.pgfault - now.pgmajfault - before.pgfault + before.pgmajfault
            fields: Fields = (
                ("mcycle", number),
                ("size", size),
                ("ptr", pointer(block.address)),
                ("minflt", minflt),
                end,
                await self._end("sbrk_after_free"),
            )
            self.say(fields_line(f"proc={self.name()}", fields))
        return Outcome()

    async def mallocloop(self, step: Step) -> Outcome:
        """Allocate until there is so much, touching nothing; tell how the machine is meanwhile."""
        chunk, most, every = map(number_of, step.args)
        first, last, number, outcome = 0, 0, 0, Outcome()
        while number * chunk < most and self.handle.exit_status is None:
            try:
                block = await self.heap.malloc(chunk)
            except SyscallError as error:
                outcome = Outcome(-1, error.errno)
                break
            first, last, number = first or block.address, block.address, number + 1
            if number % every == 0:
                self.say(fields_line(f"proc={self.name()}", self._progress(number, chunk, last)))
        fields: Fields = (
            ("mallocs", number),
            ("total_bytes", number * chunk),
            ("first", pointer(first)),
            ("last", pointer(last)),
        )
        return attrs.evolve(outcome, fields=fields)

    def _progress(self, number: int, chunk: int, last: int) -> Fields:
        machine = meminfo_kb(self.state.machine.capture())
        process = status_memory_kb(self.handle.capture())
        return (
            ("mallocs", number),
            ("total_bytes", number * chunk),
            ("ptr", pointer(last)),
            *((f"{name}_kB", machine[name]) for name in REPORTED),
            *((f"{name}_kB", process[name]) for name in ("VmRSS", "VmPTE")),
        )

    async def spreadpt(self, step: Step) -> Outcome:
        """Read a page in every 2 MB of a reservation, which takes page tables and nothing else."""
        outcome = Outcome()
        try:
            region = await self.handle.mmap(number_of(step.args[0]) * TABLE_REACH, noreserve=True)
            await self.handle.touch(region, stride=TABLE_REACH)
        except SyscallError as error:
            outcome = Outcome(-1, error.errno)
        if self.handle.exit_status is None:
            self.say(mem_line(self.name(), mem_of(self.handle.capture())))
        return outcome

    async def probe(self, step: Step) -> Outcome:
        """Allocate, tell what is promised then, and free."""
        outcome, block = Outcome(), None
        try:
            block = await self.heap.malloc(number_of(step.args[0]))
        except SyscallError as error:
            outcome = Outcome(-1, error.errno)
        promised = meminfo_kb(self.state.machine.capture())
        if block is not None:
            await self.heap.free(block)
        names = ("CommitLimit", "Committed_AS")
        fields: Fields = (
            ("ok", int(block is not None)),
            *((f"{name}_kB", promised[name]) for name in names),
        )
        return attrs.evolve(outcome, fields=fields)

    async def _end(self, key: str) -> tuple[str, str]:
        return key, pointer(await self.handle.brk(0))


HEAP_STEPS: Final[dict[str, Callable[[HeapSteps, Step], Awaitable[Outcome]]]] = {
    **dict.fromkeys(("malloc", "mallocw"), HeapSteps.malloc),
    "free": HeapSteps.free,
    "mtrim": HeapSteps.mtrim,
    "sbrk": HeapSteps.sbrk,
    "brkinfo": HeapSteps.brkinfo,
    "mcycle": HeapSteps.mcycle,
    "mallocloop": HeapSteps.mallocloop,
    "spreadpt": HeapSteps.spreadpt,
    "probe": HeapSteps.probe,
}
