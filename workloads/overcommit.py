"""vm.overcommit_memory: 4 GB asked of a machine of 2 GB, mode by mode.

Mode 0 refuses what could never fit memory and swap together. Mode 1 refuses nothing; memory comes
when it is touched, if it comes. Mode 2 adds up all promises and refuses what goes beyond
CommitLimit: swap and half of memory.
"""

import os

from kernelsim.errors import SyscallError
from kernelsim.workload import MachineHandle, workload

WANTED = "4G"
FITS = "1500M"
MODES = (0, 1, 2)
ALWAYS = 1
PAGE_KB = 4


async def answer(machine: MachineHandle, size: str) -> str:
    """Return what malloc says to a new program."""
    process = await machine.spawn("asker")
    try:
        await process.malloc("ptmalloc2").malloc(size)
    except SyscallError as error:
        return os.strerror(error.errno)
    finally:
        await process.exit()
        await process.wait()
    return "success"


@workload(machine="uma-2g")
async def main(machine: MachineHandle) -> None:
    """Ask in each mode, for more than there is and for less."""
    for mode in MODES:
        machine.sysctl("vm.overcommit_memory", mode)
        large, small = await answer(machine, WANTED), await answer(machine, FITS)
        machine.note(f"mode {mode}: malloc of 4 GB: {large}; of 1500 MB: {small}")
        machine.expect((large == "success") == (mode == ALWAYS), "only mode 1 promises 4 GB")
        machine.expect(small == "success", "1500 MB fit")
    meminfo = dict(line.split(":") for line in machine.proc("meminfo").splitlines())
    limit, total, swap = (
        int(meminfo[name].split()[0]) for name in ("CommitLimit", "MemTotal", "SwapTotal")
    )
    machine.note(f"CommitLimit {limit} kB = SwapTotal {swap} kB + half of MemTotal {total} kB")
    half = total // PAGE_KB // 2 * PAGE_KB
    machine.expect(limit == swap + half, "as the formula says, in whole pages")
