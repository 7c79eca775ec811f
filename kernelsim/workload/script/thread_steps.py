"""A step of portable scripts by which tasks of one process change one address space at once: pool.

Each task is on a CPU of its own, as far as there are some, and does what comes up at random: it
uses memory, maps, unmaps, moves, locks and gives up pieces that the others use, too, and makes
children meanwhile. Most times nobody takes away what another one is using; who loses it dies of it.
Interface: `pool`. Units: bytes.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from kernelsim.errors import SyscallError
from kernelsim.mm.space.vm_flags import PROT_READ, PROT_WRITE
from kernelsim.sim.rng import Rng
from kernelsim.units import PAGE_SIZE
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.step_work import NO_REGION, Outcome, number_of
from kernelsim.workload.syscall import MappedRange

TASKS: Final = 4
PAGES_MAX: Final = 16  # of a mapping that a task makes
REGIONS_MAX: Final = 24
WILD: Final = 12  # one in so many takes away what others use
ADVICE: Final = ("dontneed", "dontneed", "free", "pageout", "cold", "willneed", "populate_write")


class _Pool:
    """What the tasks share: the mappings there are, as far as they know; the first one stays."""

    def __init__(self, region: MappedRange) -> None:
        self.regions = [region]
        self.users: Counter[MappedRange] = Counter()
        self.nr_failed = 0

    async def work(self, task: ProcessHandle, rng: Rng, count: int) -> None:
        """Do so many things, as long as the task lives."""
        for _ in range(count):
            if task.exit_status is not None:
                return
            try:
                await rng.choice(_THINGS)(self, task, rng)
            except SyscallError:
                self.nr_failed += 1

    def free_ones(self, rng: Rng) -> list[int]:
        """Return the places of mappings that may be taken away."""
        is_wild = rng.chance(1, WILD)
        places = range(1, len(self.regions))
        return [at for at in places if is_wild or not self.users[self.regions[at]]]

    async def touch(self, task: ProcessHandle, rng: Rng) -> None:
        """Load from a part of a mapping, or store to it."""
        region = rng.choice(self.regions)
        self.users[region] += 1
        await task.touch(_piece(rng, region), write=rng.chance(2, 3))
        self.users[region] -= 1

    async def map(self, task: ProcessHandle, rng: Rng) -> None:
        """Have one mapping more, and use it."""
        region = await task.mmap(rng.between(1, PAGES_MAX) * PAGE_SIZE)
        if len(self.regions) < REGIONS_MAX:
            self.regions.append(region)
        self.users[region] += 1
        await task.touch(region, write=True)
        self.users[region] -= 1

    async def unmap(self, task: ProcessHandle, rng: Rng) -> None:
        """Unmap one that anybody made."""
        if places := self.free_ones(rng):
            await task.munmap(self.regions.pop(rng.choice(places)))

    async def move(self, task: ProcessHandle, rng: Rng) -> None:
        """Let one grow, shrink or be elsewhere."""
        if places := self.free_ones(rng):
            region, nr_pages = self.regions.pop(rng.choice(places)), rng.between(1, 2 * PAGES_MAX)
            self.regions.append(await task.syscall("mremap", region, nr_pages * PAGE_SIZE))

    async def advise(self, task: ProcessHandle, rng: Rng) -> None:
        """Say something of a part."""
        piece = _piece(rng, rng.choice(self.regions))
        await task.syscall("madvise", piece, rng.choice(ADVICE))

    async def protect(self, task: ProcessHandle, rng: Rng) -> None:
        """Forbid to store to a part, and allow it again."""
        if places := self.free_ones(rng):
            piece = _piece(rng, self.regions[rng.choice(places)])
            await task.syscall("mprotect", piece, PROT_READ)
            await task.syscall("mprotect", piece, PROT_READ | PROT_WRITE)

    async def lock(self, task: ProcessHandle, rng: Rng) -> None:
        """Lock a part, or let it go."""
        piece = _piece(rng, rng.choice(self.regions))
        await task.syscall(rng.choice(("mlock", "munlock")), piece)

    async def fork(self, task: ProcessHandle, rng: Rng) -> None:
        """Have a child that has a copy of all, and stores to a part of it."""
        piece = _piece(rng, rng.choice(self.regions))
        child = await task.fork(lambda child: _store(child, piece))
        if task.exit_status is None:
            await task.waitpid(child)


_THINGS: Final[tuple[Callable[[_Pool, ProcessHandle, Rng], Awaitable[None]], ...]] = (
    _Pool.touch, _Pool.touch, _Pool.touch, _Pool.map, _Pool.map, _Pool.unmap, _Pool.move,
    _Pool.advise, _Pool.advise, _Pool.protect, _Pool.lock, _Pool.fork,
)  # fmt: skip


def _piece(rng: Rng, region: MappedRange) -> MappedRange:
    """Choose a part of a mapping."""
    nr_pages = max(1, region.length // PAGE_SIZE)
    first = rng.below(nr_pages)
    length = min(rng.between(1, nr_pages - first) * PAGE_SIZE, region.length)
    return MappedRange(region.address + first * PAGE_SIZE, length)


async def _store(child: ProcessHandle, piece: MappedRange) -> None:
    await child.touch(piece, write=True)


async def pool(
    machine: MachineHandle, process: ProcessHandle, regions: dict[str, MappedRange], step: Step
) -> Outcome:
    """Have tasks work in the memory of a process, and wait for them."""
    name, seed, count = step.args
    region = regions.get(str(name))
    if region is None:
        return NO_REGION
    shared, tasks = _Pool(region), list[ProcessHandle]()
    for number in range(TASKS):
        rng = Rng(number_of(seed), f"pool/{number}")

        async def work(task: ProcessHandle, number: int = number, rng: Rng = rng) -> None:
            await task.set_affinity(number % machine.spec.nr_cpus)
            await shared.work(task, rng, number_of(count))

        tasks.append(await process.fork(work, shares_vm=True))
    nr_ended = 0
    for task in tasks:
        if process.exit_status is None:
            nr_ended += await process.waitpid(task) == 0
    return Outcome(fields=(("tasks", nr_ended), ("failed", shared.nr_failed)))
