"""128 TB in pieces of 1 GB, of a machine of 2 GB that refuses no promise (vm.overcommit_memory 1).

A promise costs no page of what is promised, but its bookkeeping does. Each malloc of 1 GB writes
the header of its block: a page of memory, a table of PTEs that leads to it, and the table above,
which leads through 1 GB and no further; three pages a piece in all. Headers may go to swap, page
tables never do.

Where nothing else is in memory the tables fit, and all is promised. Where other programs hold a
third of it they do not: without swap the OOM killer comes, and kills the one that holds the tables;
with swap the other memory makes room, and all is promised again.

The machine here is smaller, and what is asked of it in proportion: 65536 times its memory. With
`--machine uma-2g` it is the real size, and takes a minute.
"""

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import ProcessEndedError
from kernelsim.workload import GIB, MachineHandle, ProcessHandle, workload

ALWAYS = 1  # vm.overcommit_memory
TIMES = 65536  # 128 TB of 2 GB
PAGE = 4096
OTHERS = 3  # other memory in use: one part of three
SIGKILL = 9
MACHINE = machine_from_toml(
    {
        "name": "a small machine with swap",
        "node": [{"memory": "16M", "cpus": "0"}],
        "device": [{"name": "sda"}],
        "swap": [{"device": "sda", "size": "64M"}],
    }
)


async def promises(machine: MachineHandle, label: str, nr_pieces: int) -> int:
    """Ask for pieces until all are promised or the program is killed; return how many were."""
    program = await machine.spawn("asker")
    heap = program.malloc("ptmalloc2")
    done, tables_kb, killed = 0, 0, False
    try:
        while done < nr_pieces:
            await heap.malloc(GIB)
            done += 1
        tables_kb = program.capture().pgtables_bytes >> 10
        await program.exit()
    except ProcessEndedError:
        killed = True
    outcome = "killed by the OOM killer" if killed else f"success; {tables_kb} kB of page tables"
    machine.print(f"{label}: {done} of {nr_pieces} pieces: {outcome}")
    machine.expect(killed == (await program.wait() == -SIGKILL), "nothing else ends it")
    return done


async def holder(machine: MachineHandle, nr_pages: int) -> ProcessHandle:
    """Start a program that holds so much memory."""
    other = await machine.spawn("other")
    await other.touch(await other.mmap(nr_pages * PAGE), write=True)
    return other


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Ask alone, beside other memory without swap, and beside it with swap."""
    machine.sysctl("vm.overcommit_memory", ALWAYS)
    root, swap = await machine.spawn("root"), machine.spec.swaps[0].name
    nr_pages = sum(node.present_pages for node in machine.spec.nodes)
    nr_pieces = nr_pages * PAGE * TIMES // GIB
    await root.syscall("swapoff", swap)
    alone = await promises(machine, "no swap", nr_pieces)
    machine.expect(alone == nr_pieces, "the bookkeeping of all of it fits")
    other = await holder(machine, nr_pages // OTHERS)
    beside = await promises(machine, "no swap, a third in use", nr_pieces)
    machine.expect(beside < nr_pieces, "the bookkeeping has no room left")
    machine.expect(other.exit_status is None, "who holds the page tables is killed")
    await root.syscall("swapon", swap)
    swapped = await promises(machine, "swap, a third in use", nr_pieces)
    machine.expect(swapped == nr_pieces, "what else is in memory makes room")
