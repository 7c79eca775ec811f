"""vm.swappiness moves the balance between file pages and anonymous ones; 0 does not mean never.

A program uses 200 MiB of its own again and again beside a reader of the same 384 MiB of a file, on
512 MiB: one of them must give way. Three times, with swappiness 0, 60 and 100. Then there are no
file pages left to take, and swappiness is 0: anonymous pages go to swap all the same.
"""

from kernelsim.workload import MachineHandle, workload

ROUNDS = 3
SWAPPINESS = (0, 60, 100)


async def share_of_anon(machine: MachineHandle, swappiness: int) -> float:
    """Return the percentage of reclaimed pages that were anonymous."""
    machine.sysctl("vm.swappiness", swappiness)
    before = machine.vmstat
    program = await machine.spawn("program", cpu=0)
    reader = await machine.spawn("reader", cpu=1)
    heap = await program.mmap("200M")
    fd = await reader.open("/srv/backup")
    for _ in range(ROUNDS):
        await program.touch(heap, write=True)
        await reader.read(fd, "384M", offset=0, block="64K")
    await program.exit()
    await reader.exit()
    await machine.drop_caches()
    after = machine.vmstat
    anon, file = (after[name] - before[name] for name in ("pgsteal_anon", "pgsteal_file"))
    share = 100 * anon / (anon + file)
    machine.note(
        f"swappiness {swappiness:3}: {anon:6} anonymous and {file:6} file pages reclaimed, "
        f"{share:4.1f} % anonymous"
    )
    return share


@workload(machine="files-512m")
async def main(machine: MachineHandle) -> None:
    """The three shares, then anonymous pages alone."""
    shares = [await share_of_anon(machine, swappiness) for swappiness in SWAPPINESS]
    machine.expect(shares[0] < shares[1] < shares[2], "more of it, more anonymous pages go")

    # Anonymous pages are scanned once free pages and those of files are fewer than the high
    # watermarks together. Where DMA keeps more than that back, the kernel kills instead.
    machine.sysctl("vm.lowmem_reserve_ratio", "0 0 0 0 0")
    machine.sysctl("vm.swappiness", 0)
    before = machine.vmstat["pswpout"]
    hog = await machine.spawn("hog")
    await hog.touch(await hog.mmap("600M"), write=True)
    swapped = machine.vmstat["pswpout"] - before
    machine.note(f"swappiness   0, no file pages left: {swapped} pages went to swap")
    machine.expect(swapped > 0, "0 does not mean never")
