"""Bugs that were found by stress, each kept as the shortest run that showed it."""

import numpy as np
import pytest

from kernelsim.check.machine import check_machine
from kernelsim.errors import SyscallError, WorkloadError
from kernelsim.mm.core.mem import PAGEVEC_SIZE, PG_kernel, nid_of, nids_of
from kernelsim.mm.core.vmstat import PSWPOUT
from kernelsim.mm.space.pgtable import pte_at
from kernelsim.workload.handle import ProcessHandle
from kernelsim.workload.syscall import MappedRange
from tests.small_machine import PAGE, OpenMachine, run, small_machine


def pages_present(machine: OpenMachine, handle: ProcessHandle, mapping: MappedRange) -> list[int]:
    """Return which pages of a mapping have an entry, counted from its start."""
    kernel = machine.kernel
    number, first = handle._process.mm.number, mapping.address // PAGE
    return [
        page
        for page in range(-(-mapping.length // PAGE))
        if pte_at(*kernel.space, number, first + page)
    ]


def test_reclaim_does_not_free_what_an_unmapping_task_frees() -> None:
    """Clean pages of the swap cache, unmapped while others reclaim, are freed once."""
    sizes = {
        100: (2078, 1267, 1567, 2351, 995, 2153),
        101: (1683, 2151, 1403, 1034, 1994, 1119),
        102: (1359, 2124, 2099, 1620, 1784, 935),
        103: (886, 2176, 2137, 968, 1394, 1712),
    }

    async def reread(process: ProcessHandle) -> None:
        for nr_pages in sizes[process.pid]:
            mapping = await process.mmap(PAGE * nr_pages, noreserve=True)
            await process.touch(mapping, write=True)
            await process.touch(mapping)
            await process.touch(mapping)
            await process.madvise_dontneed(mapping)
            await process.munmap(mapping)

    async def main(machine: OpenMachine) -> list[int]:
        processes = [await machine.spawn(f"r{number}", reread) for number in range(4)]
        return [await process.wait() for process in processes]

    spec = small_machine(cpus=("0-3",), swap="64M")
    done = run(spec, main, seed=8, schedule_seed=8)

    assert done.result == [0, 0, 0, 0]
    assert check_machine(done.machine.kernel) == []  # no page is free twice, none is lost
    assert done.machine.mem.vm_event[PSWPOUT] > 0  # reclaim was at work meanwhile


def test_segmentation_fault_ends_all_passes() -> None:
    """A process killed by its first access does not access again, nor exit again."""

    async def main(machine: OpenMachine) -> int:
        process = await machine.spawn("wild")
        mapping = await process.mmap(PAGE)
        await process.munmap(mapping)
        return (await process.touch(mapping, passes=2)).signal

    assert run(small_machine(), main).result == 11


@pytest.mark.parametrize(
    ("stride", "pages"), [(64, [0, 1, 2, 3]), (PAGE * 3 // 2, [0, 1, 3]), (2 * PAGE, [0, 2])]
)
def test_stride_stays_inside_the_mapping(stride: int, pages: list[int]) -> None:
    """One byte each stride is accessed, whatever part of a page the stride is."""

    async def main(machine: OpenMachine) -> tuple[list[int], int]:
        process = await machine.spawn("strider")
        mapping = await process.mmap(4 * PAGE)
        await process.touch(mapping, write=True, stride=stride)
        return pages_present(machine, process, mapping), process.stats.rss_pages

    assert run(small_machine(), main).result == (pages, len(pages))


def test_stride_of_nothing_is_refused() -> None:
    """A stride of 0 is a mistake of the workload, told as one."""

    async def main(machine: OpenMachine) -> None:
        process = await machine.spawn("strider")
        mapping = await process.mmap(PAGE)
        with pytest.raises(WorkloadError, match="stride"):
            await process.touch(mapping, stride=0)

    run(small_machine(), main)


def test_madvise_rounds_its_length_up() -> None:
    """The page that the last byte lies in is dropped too."""

    async def main(machine: OpenMachine) -> list[int]:
        process = await machine.spawn("adviser")
        mapping = await process.mmap(PAGE + 1)
        await process.touch(mapping, write=True)
        await process.madvise_dontneed(mapping)
        return pages_present(machine, process, mapping)

    assert run(small_machine(), main).result == []


def test_madvise_drops_what_lies_around_a_hole() -> None:
    """It fails with ENOMEM, but only after all that is mapped was dropped."""

    async def main(machine: OpenMachine) -> list[int]:
        process = await machine.spawn("adviser")
        mapping = await process.mmap(12 * PAGE)
        await process.touch(mapping, write=True)
        await process.munmap(MappedRange(mapping.address + 4 * PAGE, 4 * PAGE))
        with pytest.raises(SyscallError):
            await process.madvise_dontneed(mapping)
        return pages_present(machine, process, mapping)

    assert run(small_machine(), main).result == []


def test_wait_returns_when_the_memory_is_free() -> None:
    """Who waits for a process that is exiting already waits until it is gone."""

    async def main(machine: OpenMachine) -> tuple[int | None, int]:
        process = await machine.spawn("large")
        await process.touch(await process.mmap("8M"), write=True)
        await process.kill()
        await machine.sleep(20_000)
        status = process.exit_status
        await process.wait()
        return status, len(machine.kernel.processes)

    assert run(small_machine(), main).result == (-9, 0)


def test_a_pageblock_of_two_nodes_is_counted_page_by_page() -> None:
    """Nodes that end inside a pageblock keep their own counts, and none frees for the other."""

    def kernel_pages(machine: OpenMachine) -> list[int]:
        held = np.flatnonzero(machine.mem.pages.flags & PG_kernel)
        return np.bincount(nids_of(machine.mem, held), minlength=2).tolist()

    async def main(machine: OpenMachine) -> list[str]:
        at_boot = kernel_pages(machine)
        process = await machine.spawn("wide")
        mapping = await process.mmap("12M")
        await process.touch(mapping, write=True)
        problems = check_machine(machine.kernel)
        await process.exit()
        bare = [batch[1 : 1 + batch[0]] for batch in machine.mem.lru_batch]
        nids = [nid_of(machine.mem, int(pfn)) for pfn in np.concatenate(bare)]
        counts = [nids.count(0), nids.count(1)]
        assert sum(counts) < PAGEVEC_SIZE
        grown = np.subtract(kernel_pages(machine), at_boot)
        assert [node.nr_granted for node in machine.kernel.nodes] == (counts + grown).tolist()
        return problems + check_machine(machine.kernel)

    assert run(small_machine(cpus=("0", "1"), memory="9M"), main).result == []
