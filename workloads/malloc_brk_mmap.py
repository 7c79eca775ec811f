"""Where malloc gets its memory: from the heap below 128 KiB, from a mapping of its own above.

The first malloc, of one byte, makes the heap: 132 KiB (0x21000) of addresses, of which one page is
written. What is freed comes again without a call or a fault, unless it was a mapping: that really
goes. glibc learns from it: it raises the threshold, so the next block of that size comes from the
heap. The heap shrinks only from its end: a block there keeps all that is free below, as addresses
and as pages, until malloc_trim gives the pages back.
"""

from kernelsim.workload import Heap, MachineHandle, ProcessHandle, workload

HEAP_BYTES = 0x21000
SMALLEST_BYTES = 24
HEADER_BYTES = 8  # what a block costs beyond its bytes: its length
PAGE_BYTES = 4096


def heap_bytes(process: ProcessHandle) -> int:
    """Return the length of [heap] in the maps of a process; 0 without one."""
    for line in process.proc("maps").splitlines():
        if line.endswith("[heap]"):
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            return end - start
    return 0


def nr_mappings(process: ProcessHandle) -> int:
    """Return how many lines its maps have."""
    return len(process.proc("maps").splitlines())


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Allocate and free blocks of several sizes, and look at the maps and the faults."""
    process = await machine.spawn("malloc")
    heap = process.malloc("ptmalloc2")

    machine.expect(heap_bytes(process) == 0, "a program that never called malloc has no heap")
    byte = await heap.malloc(1)
    machine.expect(heap_bytes(process) == HEAP_BYTES, "malloc(1) reserves 132 KiB")
    machine.expect(process.stats.pgfault == 1, "and writes one page of it")
    machine.expect(heap.usable_size(byte) == SMALLEST_BYTES, "the smallest block has 24 bytes")
    machine.expect(byte.address % 16 == 0, "blocks are aligned to 16 bytes")
    neighbour = await heap.malloc(1)
    distance = neighbour.address - byte.address
    machine.expect(distance == SMALLEST_BYTES + HEADER_BYTES, "its length stands before it")

    await small_blocks_come_again(machine, process, heap)
    await large_blocks_are_mapped(machine, process, heap)
    await a_block_at_the_end_keeps_the_heap(machine, process, heap)


async def small_blocks_come_again(
    machine: MachineHandle, process: ProcessHandle, heap: Heap
) -> None:
    """What was freed to the heap is there for the next malloc of that size."""
    block = await heap.malloc("100K")
    await process.touch(block, write=True)
    await heap.free(block)
    faults, size = process.stats.pgfault, heap_bytes(process)
    again = await heap.malloc("100K")
    await process.touch(again, write=True)
    machine.expect(again.address == block.address, "the same block comes again")
    machine.expect(process.stats.pgfault == faults, "its pages are still there: no fault")
    machine.expect(heap_bytes(process) == size, "and no call: the heap is as it was")
    await heap.free(again)


async def large_blocks_are_mapped(
    machine: MachineHandle, process: ProcessHandle, heap: Heap
) -> None:
    """Above the threshold a block is a mapping; freed, it is gone, and the threshold moves."""
    before, size = nr_mappings(process), heap_bytes(process)
    block = await heap.malloc("200K")
    machine.expect(nr_mappings(process) == before + 1, "malloc(200K) made a mapping of its own")
    machine.expect(heap_bytes(process) == size, "and left the heap alone")
    await process.touch(block, write=True)
    await heap.free(block)
    machine.expect(nr_mappings(process) == before, "free unmapped it")
    again = await heap.malloc("200K")
    machine.expect(nr_mappings(process) == before, "the next one of that size is not mapped")
    machine.expect(heap_bytes(process) > size, "but comes from the heap")
    await heap.free(again)


async def a_block_at_the_end_keeps_the_heap(
    machine: MachineHandle, process: ProcessHandle, heap: Heap
) -> None:
    """Memory that is free below a block in use cannot be given back by brk."""
    blocks = [await heap.malloc("10K") for _ in range(200)]
    for block in blocks:
        await process.touch(block, write=True)
    last = await heap.malloc("2K")
    size = heap_bytes(process)
    for block in blocks:
        await heap.free(block)
    machine.expect(heap_bytes(process) == size, "2 MB are free, and the heap is as long as before")

    faults = process.stats.pgfault
    again = await heap.malloc("1000K")
    await process.touch(again, write=True)
    machine.expect(process.stats.pgfault == faults, "its pages are there, too")
    await heap.free(again)
    await heap.trim()
    machine.expect(heap_bytes(process) > size // 2, "malloc_trim keeps the addresses")
    again = await heap.malloc("1000K")
    await process.touch(again, write=True)
    nr_new = process.stats.pgfault - faults
    nr_pages = again.length // PAGE_BYTES
    machine.expect(nr_new >= nr_pages - 1, "and gives back the pages: they fault anew")
    await heap.free(again)

    await heap.free(last)
    machine.expect(heap_bytes(process) < size // 4, "with the last block the heap shrinks")
