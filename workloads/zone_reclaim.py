"""vm.zone_reclaim_mode, mode by mode: does a full node give up its page cache, or do pages spill?

A file fills node 0, read or mapped. Then a process on that node's CPU writes 36 MiB. With 0 its
pages go to node 1. With any bit set it frees pages of node 0 first, in its own time: clean page
cache that is not mapped; bit 4 adds what is mapped. Bit 2 counts dirty pages as well.
"""

from kernelsim.workload import MachineHandle, ProcessHandle, workload

MODES = (0, 1, 2, 4, 5)
PAGES = 36 * 256
MOST = PAGES * 95 // 100


async def fill(machine: MachineHandle, *, maps: bool) -> ProcessHandle:
    """Have the file's pages on node 0."""
    reader = await machine.spawn("reader", cpu=0, mempolicy="bind:0")
    fd = await reader.open("/srv/data")
    if maps:
        await reader.touch(await reader.mmap("50M", fd=fd))
    else:
        await reader.read(fd, "50M", block="64K")
    return reader


async def grow(machine: MachineHandle, mode: int, *, maps: bool) -> int:
    """Write 36 MiB beside the file with a mode; return the pages that stay on node 0."""
    machine.sysctl("vm.zone_reclaim_mode", mode)
    reader, before = await fill(machine, maps=maps), machine.vmstat
    process = await machine.spawn("writer", cpu=0)
    region = await process.mmap("36M")
    written = await process.touch(region, write=True)
    addresses = range(region.address, region.address + region.length, 4096)
    told = await process.syscall("move_pages", 0, addresses)
    local, after = int((told.status == 0).sum()), machine.vmstat
    stolen = after["pgsteal_direct"] - before["pgsteal_direct"]
    machine.note(
        f"mode {mode}, file {'mapped' if maps else 'read  '}: {local >> 8:2} of 36 MiB local, "
        f"{stolen >> 8:2} MiB reclaimed by the writer, "
        f"{process.stats.reclaim_ns / 1e6:5.1f} ms of {written.latency_ns / 1e6:5.1f}"
    )
    await process.exit()
    await reader.exit()
    await machine.drop_caches()
    return local


@workload(machine="numa-2x64m")
async def main(machine: MachineHandle) -> None:
    """All modes, with a file that is read and one that is mapped."""
    machine.sysctl("vm.watermark_boost_factor", 0)  # else kswapd works for other reasons, too
    read = {mode: await grow(machine, mode, maps=False) for mode in MODES}
    machine.expect(read.pop(0) < MOST, "mode 0: pages spill to the other node")
    machine.expect(all(local >= MOST for local in read.values()), "others free the page cache")
    mapped = {mode: await grow(machine, mode, maps=True) for mode in MODES}
    machine.expect(all(mapped[mode] < MOST for mode in (0, 1, 2)), "what is mapped is left alone")
    machine.expect(all(mapped[mode] >= MOST for mode in (4, 5)), "but with bit 4")
