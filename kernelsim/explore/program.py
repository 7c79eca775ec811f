"""What a process of a plan does: the steps of a portable script, through the handles of authors.

A step that fails as a system call is over; a process that was killed stops.

Interface: `Program` is the program of one line; `OPS` names the steps there are, beside those of
the table of system calls.
Units: bytes, ns.
"""

import errno
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from kernelsim.errors import SyscallError
from kernelsim.units import PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.churn_steps import MEMORY_STEPS
from kernelsim.workload.script.drivers import DRIVER_STEPS, Drivers
from kernelsim.workload.script.numa_steps import NUMA_STEPS
from kernelsim.workload.script.script import Memhog
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.step_work import (
    call_arguments,
    make_call,
    map_file,
    named_by,
    number_of,
    touch_random,
    write_file,
)
from kernelsim.workload.syscall import MappedRange

DROP_ALL: Final = 3
POOL: Final = 3  # tasks of a pool, beside the one that makes them
MOST_BYTES: Final = 1 << 62


class Program:
    """The program of one process.

    Args:
        machine: Where it runs.
        memhog: Its line of the script.
        failed: How many calls failed, by the name of the errno; counted up.
        drivers: What the kernel does for itself, which some steps ask for.
    """

    def __init__(
        self, machine: MachineHandle, memhog: Memhog, failed: Counter[str], drivers: Drivers
    ) -> None:
        self._machine = machine
        self._drivers = drivers
        self._steps = memhog.steps
        self._failed = failed
        self._regions: dict[str, MappedRange] = {}
        self._process: ProcessHandle

    async def __call__(self, process: ProcessHandle) -> None:
        """Do the steps in order."""
        self._process = process
        for step in self._steps:
            try:
                await OPS.get(step.op, Program.call)(self, step)
            except SyscallError as error:
                self._failed[errno.errorcode[error.errno]] += 1
            if process.exit_status is not None:
                return

    async def started(self, _step: Step) -> None:
        """name: done when it started."""

    async def adj(self, step: Step) -> None:
        """Set its oom_score_adj."""
        self._process.oom_score_adj = number_of(step.args[0])

    async def uid(self, step: Step) -> None:
        """Set its user."""
        self._process.uid = number_of(step.args[0])

    async def cpu(self, step: Step) -> None:
        """Bind it to a CPU."""
        number = number_of(step.args[0])
        if number < self._machine.spec.nr_cpus:
            await self._process.set_affinity(number)

    async def call(self, step: Step) -> None:
        """Make the call of the table that a step spells."""
        arguments = call_arguments(self._regions, step)
        if arguments is None:  # the call that was to map it failed
            return
        result = await make_call(self._process, step, arguments)
        gone = named_by(step, "gone")
        if gone is not None:
            del self._regions[gone]
        if isinstance(result, MappedRange):
            self._regions[str(named_by(step, "new") or named_by(step, "region"))] = result

    async def memory(self, step: Step) -> None:
        """Name memory that is there, use it at random, alone or with others."""
        await MEMORY_STEPS[step.op](self._machine, self._process, self._regions, step)

    async def mapfile(self, step: Step) -> None:
        """Map a whole file."""
        self._regions[str(step.args[0])] = await map_file(self._process, step)

    async def mallocw(self, step: Step) -> None:
        """Grow the heap and write the new part, as malloc of a small size does."""
        name, size = step.args
        end = await self._process.brk(number_of(size))
        region = MappedRange(end - number_of(size), number_of(size))
        self._regions[str(name)] = region
        await self._process.touch(region, write=True)

    async def free(self, step: Step) -> None:
        """Give the top of the heap back, as free and trim do."""
        region = self._regions.pop(str(step.args[0]), None)
        if region is not None:
            await self._process.brk(-region.length)

    async def touch(self, step: Step) -> None:
        """touchw, touchr: access a range, page by page or by another stride."""
        name, offset, length, passes, stride = step.args
        region = self._regions.get(str(name))
        start = number_of(offset or 0)
        if region is not None and start < region.length:
            size = region.length - start if length is None else number_of(length)
            await self._process.touch(
                region,
                write=step.op == "touchw",
                offset=start,
                length=min(size, region.length - start),
                stride=number_of(stride or PAGE_SIZE),
                passes=number_of(passes or 1),
            )

    async def random(self, step: Step) -> None:
        """randw, randr: access so many random pages."""
        region = self._regions.get(str(step.args[0]))
        if region is not None:
            await touch_random(self._process, region, step)

    async def movepages(self, step: Step) -> None:
        """Move pages to a node."""
        region = self._regions.get(str(step.args[0]))
        if region is not None:
            await NUMA_STEPS[step.op](self._process, region, step)

    async def fork(self, step: Step) -> None:
        """forkcow: have a child read and perhaps store, and store beside it; wait for it."""
        await self._with_children(step, 1, shares_vm=False, write=step.args[2] is None)

    async def threads(self, step: Step) -> None:
        """clonevm: have a pool of tasks that share the memory store to the same pages at once."""
        await self._with_children(step, POOL, shares_vm=True, write=True)

    async def _with_children(self, step: Step, nr: int, *, shares_vm: bool, write: bool) -> None:
        region, process = self._regions.get(str(step.args[0])), self._process
        if region is None:
            return
        length = min(number_of(step.args[1]), region.length)

        async def work(child: ProcessHandle) -> None:
            await child.touch(region, length=length)
            if write:
                await child.touch(region, length=length, write=True)

        children = [await process.fork(work, shares_vm=shares_vm) for _ in range(nr)]
        await process.touch(region, length=length, write=True)
        for child in children:
            if process.exit_status is None:
                await process.waitpid(child)

    async def vfork(self, step: Step) -> None:
        """vforkw: lend the memory to a child that stores to it and runs a program of its own."""
        region, process = self._regions.get(str(step.args[0])), self._process
        if region is None:
            return
        length = min(number_of(step.args[1]), region.length)

        async def borrow(child: ProcessHandle) -> None:
            await child.touch(region, length=length, write=True)
            await child.exec("borrower")

        await process.waitpid(await process.vfork(borrow))

    async def grow(self, step: Step) -> None:
        """Map and write one piece after the other, and keep them all."""
        piece, most = number_of(step.args[0]), number_of(step.args[1])
        for _ in range(most // piece):
            await self._process.touch(await self._process.mmap(piece), write=True)
            if self._process.exit_status is not None:
                return

    async def sleep(self, step: Step) -> None:
        """Sleep."""
        await self._process.sleep(number_of(step.args[0]))

    async def poke(self, step: Step) -> None:
        """Write a tunable through its file, or to a file of /sys."""
        await write_file(self._process, self._machine, step)

    async def readf(self, step: Step) -> None:
        """Read a file, into the first mapping there is."""
        path, block, length = step.args
        most = MOST_BYTES if length is None else number_of(length)
        buffer = next(iter(self._regions.values()), None)
        fd = await self._process.open(str(path))
        await self._process.read(fd, most, block=number_of(block), buffer=buffer)
        await self._process.close(fd)

    async def readsteps(self, step: Step) -> None:
        """Read blocks at equal distances."""
        path, block, count, stride = step.args
        fd = await self._process.open(str(path))
        for number in range(number_of(count)):
            offset = number * number_of(stride or block)
            await self._process.read(fd, number_of(block), offset=offset)
        await self._process.close(fd)

    async def writef(self, step: Step) -> None:
        """Make a file empty, write it in blocks, and perhaps wait for the disk."""
        path, size, block, word = step.args
        fd = await self._process.open(str(path), create=True, truncate=True)
        for _ in range(-(-number_of(size) // number_of(block))):
            await self._process.write(fd, number_of(block))
            if self._process.exit_status is not None:
                return
        if word is not None:
            await self._process.fsync(fd)
        await self._process.close(fd)

    async def on_file(self, step: Step) -> None:
        """fsync, truncate, dontneed, cached: open a file, do one call, close it."""
        path, *rest = step.args
        fd = await self._process.open(str(path), create=step.op == "truncate")
        if step.op == "fsync":
            await self._process.fsync(fd)
        elif step.op == "truncate":
            await self._process.syscall("ftruncate", fd, number_of(rest[0]))
        elif step.op == "dontneed":
            await self._process.fadvise(fd, "dontneed")
        else:
            await self._process.mincore(fd)
        await self._process.close(fd)

    async def drop(self, _step: Step) -> None:
        """Drop all that is cached."""
        await self._process.syscall("drop_caches", DROP_ALL)

    async def driver(self, step: Step) -> None:
        """Have the kernel do something for itself."""
        await DRIVER_STEPS[step.op](self._drivers, step)

    async def hold(self, _step: Step) -> None:
        """Wait until killed."""
        await self._process.wait()


OPS: Final[dict[str, Callable[[Program, Step], Awaitable[None]]]] = {
    "name": Program.started,
    "adj": Program.adj,
    "uid": Program.uid,
    "cpu": Program.cpu,
    **dict.fromkeys(MEMORY_STEPS, Program.memory),
    "mapfile": Program.mapfile,
    "mallocw": Program.mallocw,
    "free": Program.free,
    **dict.fromkeys(("touchw", "touchr"), Program.touch),
    **dict.fromkeys(("randw", "randr"), Program.random),
    "movepages": Program.movepages,
    "forkcow": Program.fork,
    "clonevm": Program.threads,
    "vforkw": Program.vfork,
    "grow": Program.grow,
    "readf": Program.readf,
    "readsteps": Program.readsteps,
    "writef": Program.writef,
    **dict.fromkeys(("fsync", "truncate", "dontneed", "cached"), Program.on_file),
    "drop": Program.drop,
    "sleep": Program.sleep,
    **dict.fromkeys(DRIVER_STEPS, Program.driver),
    "poke": Program.poke,
    "hold": Program.hold,
}
