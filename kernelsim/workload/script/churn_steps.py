"""Steps of portable scripts that use memory as programs do which nobody recorded: churn, stack.

Interface: `MEMORY_STEPS` says which function does which step, `part` and `pool` among them.
Units: bytes.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from kernelsim.sim.rng import Rng
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.machine import MachineHandle
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.step_work import NO_REGION, Outcome, make_part, number_of
from kernelsim.workload.script.thread_steps import pool
from kernelsim.workload.syscall import MappedRange


async def churn(
    _machine: MachineHandle, process: ProcessHandle, _regions: dict[str, MappedRange], step: Step
) -> Outcome:
    """Allocate, write, resize and free blocks of random sizes; keep what is left.

    Raises:
        SyscallError: The allocator has no memory (ENOMEM).
    """
    name, seed, count, most = step.args
    heap, rng = process.malloc(str(name)), Rng(number_of(seed), "churn")
    blocks: list[MappedRange] = []
    for _ in range(number_of(count)):
        if process.exit_status is not None:
            break
        size = 1 + rng.below(max(1, number_of(most) >> rng.below(12)))  # small ones more often
        at = rng.below(len(blocks) + 1)
        if at < len(blocks) and rng.chance(1, 2):
            await heap.free(blocks.pop(at))
            continue
        if at < len(blocks) and rng.chance(1, 4):
            blocks[at] = await heap.realloc(blocks[at], size)
        else:
            at = len(blocks)
            blocks.append(await heap.malloc(size))
        if rng.chance(3, 4):
            await process.touch(blocks[at], write=True)
    if process.exit_status is None and rng.chance(1, 2):
        await heap.trim()
    return Outcome(len(blocks), fields=(("calls", heap.nr_calls),))


async def stack(
    _machine: MachineHandle, process: ProcessHandle, regions: dict[str, MappedRange], step: Step
) -> Outcome:
    """Give the top of the stack a name; what is touched of it is mapped, up to its limit."""
    name, size = step.args
    regions[str(name)] = process.stack(number_of(size))
    return Outcome()


async def part(
    _machine: MachineHandle, _process: ProcessHandle, regions: dict[str, MappedRange], step: Step
) -> Outcome:
    """Give a part of a region a name of its own."""
    return Outcome() if make_part(regions, step) else NO_REGION


MemoryStep = Callable[
    [MachineHandle, ProcessHandle, dict[str, MappedRange], Step], Awaitable[Outcome]
]
MEMORY_STEPS: Final[dict[str, MemoryStep]] = {
    "part": part,
    "stack": stack,
    "churn": churn,
    "pool": pool,
}
