"""What passes a bus that the CPUs of a node share: all bytes, each once."""

import pytest

from kernelsim.units import CACHE_LINE_SIZE
from tests.small_machine import PAGE, run, small_machine

pytestmark = [pytest.mark.mission("P7"), pytest.mark.mission("A3")]

BUS = "node 0 bus"
A_BYTE_A_NS = {"bus_bandwidth_bytes_per_s": 10**9, "memory_local_ns": 200}
FILE = {"/data": "1M"}
PAGES = 16


def bytes_of(step, *, prepare=None, **described):
    """Return how many bytes a step of a process puts on the bus of a machine."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(PAGES * PAGE)
        await process.touch(region, write=True)
        if prepare is not None:
            await prepare(process)
        before_ns = machine.engine.accounts[BUS].hold_ns
        await step(process, region)
        return machine.engine.accounts[BUS].hold_ns - before_ns

    return run(small_machine(latency=A_BYTE_A_NS, **described), main).result


def test_an_access_to_a_present_page_moves_its_line():
    """Loads and stores, however many."""

    async def step(process, region):
        await process.touch(region, passes=3)
        await process.touch(region, write=True)

    assert bytes_of(step) == 4 * PAGES * CACHE_LINE_SIZE


def test_a_page_that_is_copied_on_write_moves_twice():
    """It is read and it is written; then comes the line of the store."""

    async def fork(process):
        await process.syscall("fork")

    async def step(process, region):
        await process.touch(region, write=True)

    assert bytes_of(step, prepare=fork) == PAGES * (2 * PAGE + CACHE_LINE_SIZE)


def test_a_page_that_is_migrated_moves_twice():
    """From the node of the bus, over the link to the other one: one of the two copies is here."""

    async def step(process, region):
        await process.syscall("mbind", region, "bind", 1, move=True)

    assert bytes_of(step, cpus=("0", "1")) == PAGES * PAGE


def test_what_the_kernel_clears_and_copies_for_itself_passes_too():
    """A page that is asked for with __GFP_ZERO moves once, one that is copied twice."""

    async def main(machine):
        driver = machine.kernel_thread("driver")
        await driver.alloc_pages(0)
        bus = machine.engine.accounts[BUS]
        moved = [bus.hold_ns]
        pages = await driver.alloc_pages(PAGES, "GFP_KERNEL | __GFP_ZERO")
        moved.append(bus.hold_ns)
        await driver.copy_highpage(int(pages[0]), int(pages[1]))
        moved.append(bus.hold_ns)
        await driver.stop()
        await machine.kernel_thread("next").alloc_pages(0)
        moved.append(bus.hold_ns)
        return moved

    stack, cleared, copied, kept = run(small_machine(latency=A_BYTE_A_NS), main).result
    assert stack == (4 + 2) * PAGE  # its pages, and the two tables that map them
    assert cleared - stack == PAGES * PAGE
    assert copied - cleared == 2 * PAGE
    assert kept - copied == 4 * PAGE  # the stack that the CPU has kept


def test_what_read_copies_is_said_to_pass_no_bus():
    """The bytes come from the disk, once; copies of a cached file are as if in the caches."""

    async def step(process, _region):
        fd = await process.open("/data")
        for _ in range(2):
            await process.read(fd, 1 << 20, offset=0)

    assert bytes_of(step, files=FILE) == 1 << 20


def test_what_a_disk_reads_comes_over_the_bus():
    """By DMA, whatever asks for it."""

    async def step(process, _region):
        fd = await process.open("/data")
        await process.fadvise(fd, "willneed")
        await process.sleep("1s")

    assert bytes_of(step, files=FILE) == 1 << 20


def test_a_full_bus_holds_a_disk_up():
    """A disk that reads 1 MiB in a millisecond takes as long as a slow bus, and a little more."""

    async def main(machine):
        process = await machine.spawn("p")
        fd = await process.open("/data")
        began_ns = machine.now_ns
        await process.read(fd, 1 << 20, block="1M")
        return machine.now_ns - began_ns

    disk = {"kind": "nvme", "bandwidth": 1 << 30}
    alone, held_up = (
        run(small_machine(files=FILE, disk=disk, latency=latency), main).result
        for latency in ({}, {"bus_bandwidth_bytes_per_s": 10**8})
    )
    assert alone < 1_250_000
    assert (1 << 20) * 10 < held_up < (1 << 20) * 10 + alone


def test_an_access_waits_as_long_as_its_steps_say():
    """Two CPUs access at once: one of them has the bus later, and its step says so."""

    async def main(machine):
        async def program(process):
            region = await process.mmap(PAGE)
            await process.touch(region, write=True)
            await process.sleep(10_000_000 - machine.now_ns)
            return await process.access(region.address)

        processes = [await machine.spawn(f"p{cpu}", program, cpu=cpu) for cpu in (0, 1)]
        for process in processes:
            await process.wait()
        return [process.result for process in processes]

    first, second = run(small_machine(cpus=("0-1",), latency=A_BYTE_A_NS), main).result
    for result in (first, second):
        assert sum(step.latency_ns for step in result.steps) == result.latency_ns
    assert second.latency_ns == first.latency_ns + CACHE_LINE_SIZE
    pairs = zip(second.steps, first.steps, strict=True)
    waited = [(late.step, late.what) for late, soon in pairs if late.latency_ns > soon.latency_ns]
    assert waited == [("bus", "address")]
