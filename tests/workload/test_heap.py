"""The heap of a process: blocks that it may touch, from allocators that ask the kernel."""

import pytest

from kernelsim.errors import ConfigError, ProcessEndedError, SyscallError, WorkloadError
from kernelsim.user.malloc.mallocs import MALLOCS
from tests.small_machine import run, small_machine


@pytest.mark.parametrize("allocator", sorted(MALLOCS))
def test_blocks_are_ranges_that_may_be_touched(allocator):
    """Of every allocator: small and large, of zeros, resized, freed."""

    async def main(machine):
        process = await machine.spawn("p")
        heap = process.malloc(allocator)
        blocks = [await heap.malloc(size) for size in (1, "1K", "40K", "300K")]
        blocks.append(await heap.calloc(10, 100))
        blocks[1] = await heap.realloc(blocks[1], "500K")
        assert [block.length for block in blocks] == [1, 500 << 10, 40 << 10, 300 << 10, 1000]
        for block in blocks:
            touched = await process.touch(block, write=True)
            assert not touched.signal
        for block in blocks:
            await heap.free(block)
        await heap.trim()

    run(small_machine(memory="64M"), main)


def test_wrong_use_is_told():
    """No such allocator; a block that was freed, is of another heap, or is none."""

    async def main(machine):
        process = await machine.spawn("p")
        with pytest.raises(ConfigError, match=r"malloc = 'nosuch': must be one of .*ptmalloc2"):
            process.malloc("nosuch")
        heap = process.malloc()
        block = await heap.malloc(100)
        assert heap.usable_size(block) == 104
        await heap.free(block)
        for wrong in (block, await process.mmap("4K"), 17):
            with pytest.raises(WorkloadError):
                await heap.free(wrong)
        with pytest.raises(ConfigError):
            await heap.malloc("many")

    run(small_machine(), main)


def test_no_memory_is_an_errno():
    """More than there are addresses is ENOMEM; a block that cannot grow stays."""

    async def main(machine):
        process = await machine.spawn("p")
        heap = process.malloc()
        block = await heap.malloc("1M")
        for ask in (
            heap.malloc(1 << 47),
            heap.calloc(1 << 20, 1 << 30),
            heap.realloc(block, 1 << 47),
        ):
            with pytest.raises(SyscallError, match="ENOMEM"):
                await ask
        await process.touch(block, write=True)
        assert (await heap.realloc(block, 0)).address == 0

    run(small_machine(), main)


def test_a_page_that_was_dropped_faults_again():
    """What the allocator has written is not remembered longer than it is there."""

    async def main(machine):
        process = await machine.spawn("p")
        heap = process.malloc()
        block = await heap.malloc(100)
        start = block.address & -4096
        assert process.stats.pgfault == 1
        await heap.free(block)
        assert process.stats.pgfault == 1
        await process.syscall("madvise", type(block)(start, 4096), "dontneed")
        assert await heap.malloc(100) == block
        assert process.stats.pgfault == 2

    run(small_machine(), main)


def test_an_allocator_of_a_killed_process():
    """Its next call ends as every call of a process that has ended."""

    async def main(machine):
        process = await machine.spawn("p")
        heap = process.malloc()
        await heap.malloc(100)
        await process.kill()
        with pytest.raises(ProcessEndedError):
            await heap.malloc("1M")

    run(small_machine(), main)


def test_blocks_swap():
    """Headers that are on swap come back when the allocator needs them."""

    async def main(machine):
        process = await machine.spawn("p")
        heap = process.malloc()
        blocks = [await heap.malloc("100K") for _ in range(100)]
        for _ in range(3):
            for block in blocks:
                await process.touch(block, write=True)
        majflt = process.stats.pgmajfault
        for block in blocks:
            await heap.free(block)
        assert process.stats.pgmajfault > majflt > 0

    run(small_machine(memory="8M", swap="32M"), main)
