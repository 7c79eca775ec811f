"""Who waits for fsync, and for how long.

A database writes a page and waits until the disk has it, again and again; a backup beside it copies
a lot to another file without ever waiting. The database's fsync waits for its own page alone, but
that page queues at the disk behind what the flusher has sent there for the backup.
"""

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.workload import MachineHandle, ProcessHandle, workload

MIB = 1 << 20
PAGE = 4096
ROUNDS = 20
ALONE_US = 3_000  # a write and the wait for it

MACHINE = machine_from_toml(
    {
        "name": "a database and a backup on one disk",
        "node": [{"memory": "256M", "cpus": "0-1"}],
        "device": [{"name": "sda", "bandwidth": 50 * MIB, "write_latency": "1ms"}],
    }
)


async def commits(machine: MachineHandle, database: ProcessHandle, fd: int) -> list[int]:
    """Commit ROUNDS pages, one after the other; return how long each took, rising, in us."""
    took = []
    for number in range(ROUNDS):
        began_ns = machine.now_ns
        await database.write(fd, PAGE, offset=number * PAGE)
        await database.fsync(fd)
        took.append((machine.now_ns - began_ns) // 1000)
        await database.sleep("20ms")
    return sorted(took)


async def backup(process: ProcessHandle) -> None:
    """Copy 64 MiB, never waiting."""
    fd = await process.open("/backup", create=True)
    for _ in range(1024):
        await process.write(fd, 64 << 10)


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Commit alone, then beside the backup."""
    database = await machine.spawn("database")
    fd = await database.open("/table", create=True)
    alone = await commits(machine, database, fd)
    copying = await machine.spawn("backup", backup)
    beside = await commits(machine, database, fd)
    await copying.wait()
    machine.print(f"a commit alone: median {alone[ROUNDS // 2]} us, longest {alone[-1]} us")
    machine.print(f"beside a backup: median {beside[ROUNDS // 2]} us, longest {beside[-1]} us")
    machine.expect(alone[-1] < ALONE_US, "alone a commit takes what the disk takes")
    machine.expect(beside[-1] > 10 * alone[-1], "beside a backup a commit waits behind it")
