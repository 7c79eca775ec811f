"""A machine of 4 GB, a program that wants 8: on 64 bits malloc succeeds, until it is touched.

A program asks for 1 GB eight times. With 64 bits there are 128 TB of addresses, and each request
alone would fit: all succeed. Then it writes to what it got, and when memory is full, the OOM killer
ends it. With 32 bits (`--machine workloads/i386-4g.toml`) it has 3 GB of addresses: malloc fails in
the virtual stage, whatever memory there is.
"""

import os

from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.workload import MachineHandle, workload
from kernelsim.workload.syscall import MappedRange

NR_BLOCKS = 8
SIZE = "1G"
GIB = 1 << 30


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Ask, then write."""
    is_64_bit = machine.spec.arch == "x86_64"
    process = await machine.spawn("wants_8g")
    if machine.spec.swaps:
        await process.syscall("swapoff", machine.spec.swaps[0].name)
    heap = process.malloc("ptmalloc2")
    blocks: list[MappedRange] = []
    why = ""
    while len(blocks) < NR_BLOCKS and not why:
        try:
            blocks.append(await heap.malloc(SIZE))
        except SyscallError as error:
            why = os.strerror(error.errno)
    told = f", then: {why}" if why else ""
    machine.note(f"{machine.spec.arch}: {len(blocks)} of {NR_BLOCKS} GB promised{told}")
    if not is_64_bit:
        machine.expect(len(blocks) * GIB < process.task_size, "not more than there are addresses")
        machine.expect(len(blocks) < NR_BLOCKS, "malloc fails")
        return
    machine.expect(len(blocks) == NR_BLOCKS, "malloc succeeds")
    try:
        for block in blocks:
            await process.touch(block, write=True)
    except ProcessEndedError as error:
        machine.note(f"while it wrote: {error}")
    machine.note(f"OOM kills: {machine.vmstat['oom_kill']}")
    machine.expect(machine.vmstat["oom_kill"] == 1, "touching ends it")
