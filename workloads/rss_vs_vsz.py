"""malloc gives addresses; memory comes when they are touched: VSZ and RSS of `ps`.

A program allocates 100 blocks of 10 MiB. Its virtual size grows by 1000 MiB at once, its resident
size by one page a block, in which malloc notes the length. Then it writes a tenth of the blocks,
and RSS grows by what is written.
"""

from kernelsim.workload import MachineHandle, ProcessHandle, workload

NR_BLOCKS = 100
BLOCK_KB = 10 * 1024
PAGE_KB = 4
BLOCK_PAGES = BLOCK_KB // PAGE_KB


def sizes_kb(process: ProcessHandle) -> tuple[int, int]:
    """Return VSZ and RSS, in kB: the lines of its status that `ps aux` shows."""
    lines = dict(line.split(":", 1) for line in process.proc("status").splitlines())
    return int(lines["VmSize"].split()[0]), int(lines["VmRSS"].split()[0])


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Allocate, look, write some of it, look again."""
    process = await machine.spawn("rss_vs_vsz")
    heap = process.malloc("ptmalloc2")
    vsz, rss = sizes_kb(process)

    blocks = [await heap.malloc(f"{BLOCK_KB}K") for _ in range(NR_BLOCKS)]
    faults = process.stats.pgfault
    vsz_allocated, rss_allocated = sizes_kb(process)
    machine.expect(vsz_allocated - vsz > NR_BLOCKS * BLOCK_KB, "malloc makes VSZ grow at once")
    machine.expect(faults < NR_BLOCKS + 2, "and touches one page a block")
    machine.expect(rss_allocated - rss <= faults * PAGE_KB, "RSS has no more than these pages")

    for block in blocks[: NR_BLOCKS // 10]:
        await process.touch(block, write=True)
    vsz_written, rss_written = sizes_kb(process)
    machine.expect(vsz_written == vsz_allocated, "writing does not change VSZ")
    grown = rss_written - rss_allocated
    expected = NR_BLOCKS // 10 * BLOCK_KB
    machine.expect(abs(grown - expected) < expected // 100, "RSS grows by what is written")
    nr_new = NR_BLOCKS // 10 * (BLOCK_PAGES - 1)
    machine.expect(process.stats.pgfault - faults == nr_new, "a fault a page, but for the first")

    for block in blocks:
        await heap.free(block)
    vsz_freed, rss_freed = sizes_kb(process)
    machine.expect(vsz_freed - vsz < BLOCK_KB, "free of a mapping gives both back")
    for name, size, resident in (
        ("before", vsz, rss),
        ("allocated", vsz_allocated, rss_allocated),
        ("a tenth written", vsz_written, rss_written),
        ("freed", vsz_freed, rss_freed),
    ):
        machine.note(f"{name:16} VSZ {size:8} kB   RSS {resident:7} kB")
