"""Steps of portable scripts that use memory as programs do which nobody recorded: churn, stack.

Interface: `churn`, `stack_of`. Units: bytes.
"""

from kernelsim.sim.rng import Rng
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.script.script_steps import Step
from kernelsim.workload.script.step_work import Outcome, number_of
from kernelsim.workload.syscall import MappedRange


async def churn(process: ProcessHandle, step: Step) -> Outcome:
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


def stack_of(process: ProcessHandle, regions: dict[str, MappedRange], step: Step) -> Outcome:
    """stack: give the top of the stack a name; what is touched of it is mapped, up to its limit."""
    name, size = step.args
    regions[str(name)] = process.stack(number_of(size))
    return Outcome()
