"""The pool of pdflush threads grows while disks are busy and shrinks when they are not.

A machine as before Linux 2.6.32, with three hard disks. Two threads write files back for all of
them, and one thread writes one disk at a time. Three programs write every other page of a file on a
disk each, so that a disk has to seek for each page, and its queue fills up. When both threads have
been busy for a second, more are born. When the programs are done and threads have been idle for a
second, they go one by one, until two are left.
"""

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.workload import MachineHandle, ProcessHandle, workload

PAGE = 4096
FEWEST = 2
DISKS = ("sda", "sdb", "sdc")

MACHINE = machine_from_toml(
    {
        "name": "three hard disks",
        "era": "classic",
        "node": [{"memory": "64M", "cpus": "0-1"}],
        "device": [{"name": name, "kind": "hdd"} for name in DISKS],
        "files": [{"path": f"/{name}/old", "size": "4K", "device": name} for name in DISKS],
    }
)


async def writer(process: ProcessHandle) -> None:
    """Write every other page of a file on the disk the process is named after."""
    fd = await process.open(f"/{process.name}/new", create=True)
    for number in range(2_000):
        await process.write(fd, PAGE, offset=2 * number * PAGE)


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Write to three disks at once, until they have all, then wait."""
    writers = [await machine.spawn(name, writer) for name in DISKS]
    busy = 0
    while any(each.exit_status is None for each in writers) or machine.vmstat["nr_dirty"]:
        await machine.sleep("1s")
        busy = max(busy, machine.nr_pdflush_threads)
    machine.note(f"up to {busy} pdflush threads in {machine.now_ns // 10**9} s")
    await machine.sleep("60s")
    idle = machine.nr_pdflush_threads
    machine.note(f"{idle} threads a minute later")
    machine.expect(busy > FEWEST, "busy disks make the pool grow")
    machine.expect(idle == FEWEST, "idle threads go, but for two")
    machine.expect(machine.vmstat["nr_dirty"] == 0, "old pages have been written")
