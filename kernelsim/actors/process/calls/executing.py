"""execve: another program in place of the one that runs.

Linux: fs/exec.c:do_execveat_common, fs/binfmt_elf.c:load_elf_binary, 6.1.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.process.calls.access import store_range
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.mm.space.binfmt_elf import ElfProgram
from kernelsim.mm.space.static_program import StaticProgram
from kernelsim.units import PAGE_SIZE


@attrs.frozen
class Execve:
    """Run another program in place of this one; answered with 0, not if that fails half-way.

    Attributes:
        comm: Name of the process from now on.
        program: What it runs.
    """

    comm: str
    program: StaticProgram | ElfProgram


async def execve(caller: Caller, message: Execve) -> int | None:
    """Run a program in a fresh address space; what there was is let go.

    One whose image cannot be loaded does not survive it: there is nothing to go back to.
    """
    await caller.enter_kernel()
    error = await caller.execve(message.comm, message.program)
    if caller.entry.has_ended():
        return None
    if not error:
        await start_elf(caller)
    return error


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


CALLS: Final = (
    Call(name="execve", value=Execve, handler=execve, errors=(errno.ENOMEM, errno.EINTR)),
)
