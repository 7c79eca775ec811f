"""The buddy system: blocks of 2**n pages are split for who needs less, and merged again.

/proc/buddyinfo counts the free blocks of each order. A process takes most of the memory page by
page, and ends: what it took comes back as the large blocks it was taken from.
"""

from kernelsim.workload import MachineHandle, workload

LARGEST = 10
FEW = 50  # blocks


def blocks(machine: MachineHandle) -> list[int]:
    """Return the free blocks of each order in zone DMA32."""
    line = next(line for line in machine.proc("buddyinfo").splitlines() if "DMA32" in line)
    return [int(word) for word in line.split()[4:]]


def note_blocks(machine: MachineHandle, when: str) -> list[int]:
    """Print the free blocks, and check that they are the free pages; return them."""
    found = blocks(machine)
    pages = sum(nr << order for order, nr in enumerate(found))
    listed = " ".join(f"{nr:4}" for nr in found)
    machine.note(f"{when:18} blocks of 1, 2, 4 … 1024 pages: {listed}; {pages} pages")
    machine.expect(pages == machine.zone(0, "DMA32").free, "the blocks are all free pages")
    return found


@workload(machine="small-512m")
async def main(machine: MachineHandle) -> None:
    """Take and give back."""
    before = note_blocks(machine, "before")
    process = await machine.spawn("hog")
    region = await process.mmap("440M")
    await process.touch(region, write=True)
    full = note_blocks(machine, "440 MiB in use")
    machine.expect(full[LARGEST] < before[LARGEST] // 10, "the large blocks were split")
    await process.exit()
    await process.wait()
    after = note_blocks(machine, "the process ended")
    machine.expect(after[LARGEST] >= before[LARGEST] - 2, "and came back, but for pages of lists")
    machine.expect(sum(after[:LARGEST]) < FEW, "few small blocks are left")
