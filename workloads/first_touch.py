"""Memory is given when it is touched, not when it is mapped.

A process maps 256 MiB, reads half of it (every page is the shared zero page, nothing becomes
resident), then writes all of it (every page costs one fault and one frame), then writes it again
(no fault at all).
"""

from kernelsim.workload import MachineHandle, workload

MIB_PAGES = 256


@workload(machine="laptop-4g")
async def main(machine: MachineHandle) -> None:
    """Map, read, write, write again."""
    process = await machine.spawn("first_touch")
    region = await process.mmap("256M")
    machine.expect(process.stats.rss_pages == 0, "mapping alone makes nothing resident")

    half = await process.touch(region, length="128M")
    machine.expect(half.minflt == 128 * MIB_PAGES, "each page read for the first time faults")
    machine.expect(process.stats.rss_pages == 0, "pages only read are the zero page")

    written = await process.touch(region, write=True)
    machine.expect(written.minflt == 256 * MIB_PAGES, "each page written for the first time faults")
    machine.expect(process.stats.rss_pages == 256 * MIB_PAGES, "each has a frame now")

    again = await process.touch(region, write=True)
    machine.expect(again.minflt == 0, "present pages do not fault")
    machine.expect(again.latency_ns < written.latency_ns // 4, "and are far cheaper")
