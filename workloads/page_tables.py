"""What page tables cost: one level, two levels, four levels.

One flat table for 4 GiB has 1,048,576 entries of 4 bytes, used or not. With two levels only the
tables of parts in use exist. The table pages are real pages, taken from the zones.
"""

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.hw.paging import MODES, PageTable
from kernelsim.workload import MachineHandle, ProcessHandle, workload

MACHINE = machine_from_toml(
    {"name": "i386-2g", "arch": "i386", "node": [{"cpus": "0", "memory": "2G"}]}
)
KIB, MIB = 1 << 10, 1 << 20
SPAN = 4 * MIB  # of one table of the second level
PARTS = 1024


def vm_pte(process: ProcessHandle) -> int:
    """Return the KiB of page tables of a process, the upper level not counted."""
    line = next(line for line in process.proc("status").splitlines() if line.startswith("VmPTE"))
    return int(line.split()[1])


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Use a fifth of the address space, one page in each part of it."""
    flat = PageTable(MODES["one level"]).nr_bytes
    machine.note(f"one level: {flat // MIB} MiB a process, {100 * flat // MIB} MiB for 100")
    whole = 4 * KIB + flat
    machine.note(f"two levels, all in use: {whole // KIB} KiB = 4 KiB + 4 MiB")
    wanted = 0.2 * flat + 4 * KIB
    machine.note(f"two levels, 20 % in use: {wanted / MIB:.3f} MiB by the formula")
    process = await machine.spawn("sparse")
    own = vm_pte(process)
    used = round(0.2 * PARTS)
    region = await process.mmap(used * SPAN)
    free = machine.vmstat["nr_page_table_pages"]
    for part in range(used):
        await process.touch(region, write=True, offset=part * SPAN, length=4096)
    tables = vm_pte(process) - own
    machine.note(
        f"{used} of {PARTS} parts in use: {tables} KiB of tables in {used} pages, and 4 KiB"
    )
    machine.expect(machine.vmstat["nr_page_table_pages"] - free == tables // 4, "they are frames")
    machine.expect(abs((tables + 4) * KIB - wanted) < 2 * 4096, "as the formula says")
