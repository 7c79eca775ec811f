"""A nightly backup streams through the page cache: does the database stay in memory?

The same 64 MiB are read once, or twice. Then 1 GiB is read from end to end on 512 MiB. Pages that
were read once lie on the inactive list and go with the stream. Pages that were read twice are
active, and a stream that is used once does not push them out.
"""

from kernelsim.workload import MachineHandle, ProcessHandle, workload

BLOCK = "64K"
HARDLY_ANY = 5  # percent
NEARLY_ALL = 95


async def read_whole(process: ProcessHandle, path: str, size: str) -> None:
    """Read a file from end to end."""
    fd = await process.open(path)
    await process.read(fd, size, block=BLOCK)
    await process.close(fd)


async def share_left(machine: MachineHandle, *, times: int) -> int:
    """Return the percentage of the database that is in memory after the backup."""
    process = await machine.spawn("database")
    for _ in range(times):
        await read_whole(process, "/srv/database", "64M")
    await read_whole(process, "/srv/backup", "1G")
    fd = await process.open("/srv/database")
    nr = len(await process.mincore(fd))
    await process.exit()
    await machine.drop_caches()
    return nr * 100 // (64 << 8)


@workload(machine="files-512m")
async def main(machine: MachineHandle) -> None:
    """Once, then twice."""
    once = await share_left(machine, times=1)
    twice = await share_left(machine, times=2)
    machine.note(f"read once before the backup: {once} % of the database still cached")
    machine.note(f"read twice before the backup: {twice} % of the database still cached")
    machine.expect(once < HARDLY_ANY, "a stream takes what was used once")
    machine.expect(twice > NEARLY_ALL, "it does not take what is used again")
