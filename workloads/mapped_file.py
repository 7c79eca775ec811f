"""A mapped file: what a fault brings, who sees a store, and why programs outlive a backup.

A cold file is read through a mapping: one page is missed, then windows are read ahead of the
reader; what is in memory is mapped sixteen pages at once. Two processes share a mapping: what one
stores the other sees, and msync brings it to the disk. At last a backup streams through the page
cache: pages of a running program survive it, pages of a letter that was looked at once do not.
"""

from typing import Any

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ
from kernelsim.workload import MIB, MachineHandle, ProcessHandle, workload
from kernelsim.workload.syscall import MappedRange

PAGE = 4096
STORED = 64  # pages
ALL, FEW = 1024, 100  # pages of a file of 4 MiB

MACHINE = machine_from_toml(
    {
        "name": "a small machine with files",
        "node": [{"memory": "64M", "cpus": "0-1"}],
        "device": [{"name": "sda", "bandwidth": 200 * MIB}],
        "files": [
            {"path": "/bin/program", "size": "4M", "device": "sda"},
            {"path": "/document", "size": "4M", "device": "sda"},
            {"path": "/letter", "size": "4M", "device": "sda"},
            {"path": "/archive", "size": "256M", "device": "sda"},
        ],
    }
)


async def map_whole(process: ProcessHandle, path: str, **how: Any) -> MappedRange:  # noqa: ANN401 - as mmap has them
    """Map a file of 4 MiB, and close it."""
    fd = await process.open(path)
    mapping = await process.mmap("4M", fd=fd, **how)
    await process.close(fd)
    return mapping


async def read_cold_and_warm(machine: MachineHandle, viewer: ProcessHandle) -> None:
    """Look through a file twice, by way of two mappings."""
    for state, majors in (("cold", 33), ("in memory", 0)):
        before = viewer.stats
        await viewer.touch(await map_whole(viewer, "/document", prot=PROT_READ))
        now = viewer.stats
        major = now.pgmajfault - before.pgmajfault
        minor = now.pgfault - before.pgfault - major
        machine.print(f"1024 pages, {state}: {major} major and {minor} minor faults")
        machine.expect(major == majors, f"{state}: {majors} major faults")


async def share(machine: MachineHandle, viewer: ProcessHandle, editor: ProcessHandle) -> None:
    """Store to a shared mapping, and let it be written back."""
    mine = await map_whole(editor, "/document", shared=True)
    for turn in ("first", "second"):
        before = editor.stats.pgfault
        await editor.touch(mine, length=STORED * PAGE, write=True)
        dirty = machine.vmstat["nr_dirty"]
        faults = editor.stats.pgfault - before
        await editor.syscall("msync", mine)
        machine.print(f"{turn} stores to {STORED} pages: {faults} faults, {dirty} pages dirty")
        machine.expect((faults, dirty) == (STORED, STORED), f"{turn}: each page faults once")
    theirs = await map_whole(viewer, "/document", shared=True)
    await viewer.touch(theirs, length=STORED * PAGE)
    machine.expect(machine.vmstat["nr_dirty"] == 0, "what was synchronised is clean")


@workload(machine=MACHINE)
async def main(machine: MachineHandle) -> None:
    """Read, share, and let a backup pass."""
    viewer, editor = await machine.spawn("viewer"), await machine.spawn("editor")
    await read_cold_and_warm(machine, viewer)
    await share(machine, viewer, editor)
    await viewer.exit()
    await editor.exit()

    program, reader = await machine.spawn("program"), await machine.spawn("reader")
    code = await map_whole(program, "/bin/program", prot=PROT_READ | PROT_EXEC)
    text = await map_whole(reader, "/letter", prot=PROT_READ)
    await program.touch(code)
    await reader.touch(text)
    backup = await machine.spawn("backup")
    fd = await backup.open("/archive")
    await backup.read(fd, "256M", block="128K")
    for process in (program, reader):
        machine.print(f"after the backup: {process.stats.rss_pages} pages of the {process.name}")
    machine.expect(program.stats.rss_pages == ALL, "the program is still in memory")
    machine.expect(reader.stats.rss_pages < FEW, "the letter is not")
