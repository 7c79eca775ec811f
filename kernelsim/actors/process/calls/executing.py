"""execve: another program in place of the one that runs.

Linux: fs/exec.c:do_execveat_common, fs/binfmt_elf.c:load_elf_binary, 6.1.
"""

from typing import Final

import attrs

from kernelsim.actors.core.signal import SIGSEGV
from kernelsim.actors.process.calls.access import store_range
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.mm.space.binfmt_elf import ElfProgram
from kernelsim.mm.space.static_program import StaticProgram
from kernelsim.units import PAGE_SIZE


@attrs.frozen
class Execve:
    """Run another program in place of this one; not answered if that fails half-way.

    Attributes:
        comm: Name of the process from now on.
        program: What it runs.
    """

    comm: str
    program: StaticProgram | ElfProgram


async def execve(caller: Caller, message: Execve) -> None:
    """Run a program in a fresh address space; what there was is let go.

    One whose image cannot be loaded does not survive it: there is nothing to go back to.
    """
    await caller.enter_kernel()
    caller.entry.program, caller.entry.comm = message.program, message.comm
    if await caller.exec_mmap():
        await start_elf(caller)
    else:
        await caller.exit(-SIGSEGV)


async def start_elf(caller: Caller) -> None:
    """Write what the kernel writes of a program from a file: zeros behind its data, its arguments.

    Source: Linux 6.1 fs/binfmt_elf.c:padzero, :create_elf_tables
    """
    elf = caller.entry.elf
    if elf is None:
        return
    for address in elf.padded:
        await store_range(caller, address, -address % PAGE_SIZE)
    await store_range(caller, caller.mm.start_stack, 1)


CALLS: Final = (Call(name="execve", value=Execve, handler=execve),)
