"""A load through a null pointer: nothing is mapped there, and vm.mmap_min_addr keeps it so."""

from kernelsim.workload import MachineHandle, workload
from kernelsim.workload.syscall import MappedRange

SIGSEGV = 11
NULL = MappedRange(0, 4096)


@workload(machine="tiny-64m")
async def main(machine: MachineHandle) -> None:
    """Follow it."""
    other = await machine.spawn("other")
    process = await machine.spawn("careless")
    result = await process.touch(NULL, length=1)
    machine.expect(result.signal == SIGSEGV, "it is told, if it can still hear")
    machine.note(machine.dmesg.splitlines()[-1].partition("] ")[2])
    machine.expect(await process.wait() == -SIGSEGV, "it ends by SIGSEGV")
    await other.touch(await other.mmap("1M"), write=True)
    machine.expect(other.exit_status is None, "and it alone")
