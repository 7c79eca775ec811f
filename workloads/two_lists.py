"""Where a page lies: inactive, active, and back, for pages of files and anonymous ones.

A page of a file that is read comes to the inactive list; the second read makes it active. New
anonymous pages are inactive, too: those that a scan finds used again become active. When pages are
needed, both kinds are taken from the inactive tails, and active tails are moved to inactive heads.
"""

from kernelsim.workload import MachineHandle, ProcessHandle, workload

LISTS = ("Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)")
DATABASE = 64 << 20
NEARLY_64, NEARLY_128, FEW = 60, 120, 10  # MiB: a few pages are on their way to a list


def sizes(machine: MachineHandle, moment: str) -> dict[str, int]:
    """Note the four lines of /proc/meminfo, and return them in MiB."""
    lines = dict(line.split(":") for line in machine.proc("meminfo").splitlines())
    mib = {name: int(lines[name].split()[0]) >> 10 for name in LISTS}
    machine.note(f"{moment:27} {'  '.join(f'{name} {mib[name]:3}' for name in LISTS)}  MiB")
    return mib


async def read_database(process: ProcessHandle) -> None:
    """Read the 64 MiB from end to end."""
    fd = await process.open("/srv/database")
    await process.read(fd, DATABASE, block="64K")
    await process.close(fd)


@workload(machine="files-512m")
async def main(machine: MachineHandle) -> None:
    """Read twice, write, and need memory."""
    server = await machine.spawn("server")
    await read_database(server)
    once = sizes(machine, "database read once")
    await read_database(server)
    twice = sizes(machine, "database read twice")
    machine.expect(
        once["Inactive(file)"] > NEARLY_64 and once["Active(file)"] < FEW, "one read: inactive"
    )
    machine.expect(
        twice["Active(file)"] > NEARLY_64 and twice["Inactive(file)"] < FEW, "the second: active"
    )

    heap = await server.mmap("128M")
    await server.touch(heap, write=True)
    new = sizes(machine, "128 MiB written")
    machine.expect(
        new["Inactive(anon)"] > NEARLY_128 and new["Active(anon)"] < FEW, "new ones are inactive"
    )

    before = machine.vmstat
    writer = await machine.spawn("writer")
    region = await writer.mmap("360M")
    for offset in range(0, region.length, 8 << 20):
        await writer.touch(region, write=True, offset=offset, length="8M")
        await server.touch(heap)  # the heap stays in use
    after = machine.vmstat
    used = sizes(machine, "360 MiB more, heap in use")
    moved = {name: after[name] - before[name] for name in ("pgactivate", "pgdeactivate")}
    machine.note(
        f"meanwhile {moved['pgactivate']} pages were activated, {moved['pgdeactivate']} deactivated"
    )
    machine.expect(used["Active(anon)"] > new["Active(anon)"], "pages in use become active")
    machine.expect(used["Active(file)"] < twice["Active(file)"], "active tails are demoted")
