"""A stack grows by itself, until its limit: then the program ends by SIGSEGV.

A program calls deeper and deeper. Each page below what is mapped is a fault that makes the stack
grow, down to 8 MiB. One whose limit was raised to 16 MiB (`ulimit -s 16384`) goes on twice as far.
"""

from kernelsim.workload import MachineHandle, workload

PAGE = 4096
SIGSEGV = 11
LIMITS_KB = (8192, 16384)


async def depth(machine: MachineHandle, limit_kb: int) -> int:
    """Call deeper until the program ends; return how many bytes the stack has had."""
    process = await machine.spawn(f"limit_{limit_kb}")
    await process.syscall("setrlimit", "STACK", f"{limit_kb}K")
    stack = process.stack(4 * LIMITS_KB[-1] * 1024)
    deepest = signal = 0
    while not signal:
        offset = stack.length - deepest - PAGE
        signal = (await process.touch(stack, write=True, offset=offset, length=PAGE)).signal
        deepest += 0 if signal else PAGE
    status = await process.wait()
    machine.expect(status == -signal == -SIGSEGV, "it ends by SIGSEGV")
    return deepest


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Overflow two stacks."""
    for limit_kb in LIMITS_KB:
        reached = await depth(machine, limit_kb)
        machine.note(
            f"ulimit -s {limit_kb:5}: the stack reached {reached // 1024} KiB, then SIGSEGV"
        )
        machine.expect(reached == limit_kb * 1024, "as far as its limit")
    machine.note(machine.dmesg.splitlines()[-1].partition("] ")[2])
