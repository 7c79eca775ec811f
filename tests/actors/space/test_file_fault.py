"""Faults on mapped files: what is mapped, what counts, who sees stores, what truncation does."""

from functools import partial

import numpy as np
import pytest

from kernelsim.actors.core import writepages
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.file.truncate import invalidate_pages
from kernelsim.actors.space.file_fault import FileFault, VmFault, opened_by
from kernelsim.check.machine import check_machine
from kernelsim.mm.core.vmstat import VM_EVENT_NAMES
from kernelsim.mm.core.xarray import xa_load
from kernelsim.mm.space.pgtable import MM_ANONPAGES, MM_FILEPAGES
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.workload.api import Workload
from tests.small_machine import PAGE, opened, run, small_machine

pytestmark = [pytest.mark.mission("A6")]

SIGBUS = 7
BURSTS = [pytest.param({}, id="bursts"), pytest.param({"burst_pages": 1}, id="messages")]


def machine_with_file(pages=512, **options):
    """A small machine with one file of so many pages."""
    files = {"/data": f"{pages * 4}K"}
    return small_machine(**{"files": files, "memory": "32M", **options})


async def mapper(machine, name="mapper", path="/data", pages=512, **how):
    """Start a process that has mapped a file, and closed it."""
    process = await machine.spawn(name)
    fd = await process.open(path)
    mapping = await process.mmap(pages * PAGE, fd=fd, **how)
    await process.close(fd)
    return process, mapping


async def cached(process, path="/data"):
    """Read a file, so that all of it is in memory."""
    fd = await process.open(path)
    await process.read(fd, 1 << 40)
    await process.close(fd)


def events(machine, *names):
    """Return counters of events."""
    counts = machine.mem.vm_event
    return tuple(int(counts[VM_EVENT_NAMES.index(name)]) for name in names)


def since(before, now):
    """Return what was added to some numbers."""
    return tuple(int(b - a) for a, b in zip(before, now, strict=True))


def rss(machine, process):
    """Return the resident pages of a process: of files, anonymous."""
    mms = machine.kernel.mms
    number = machine.kernel.processes[process.pid].mm.number
    return int(mms.mms.rss[number, MM_FILEPAGES]), int(mms.mms.rss[number, MM_ANONPAGES])


def token_of(machine, index, path="/data"):
    """Return what a cached page of a file holds."""
    number = machine.kernel.files.by_path[path].number
    return int(machine.mem.pages.token[xa_load(machine.kernel.spaces.pool.xa, number, index)])


@pytest.mark.parametrize("options", BURSTS)
def test_a_page_that_is_not_in_memory_is_a_major_fault_with_a_window_around_it(options):
    """Page 100 of a cold file: 32 pages from 84 on are read, once; 16 of them are mapped.

    Two tries, so that pgfault counts two; one major fault of the process.
    """

    async def main(machine):
        process, mapping = await mapper(machine)
        before, own = events(machine, "pgfault", "pgmajfault"), process.stats
        await process.touch(mapping, offset=100 * PAGE, length=PAGE)
        counts = since(before, events(machine, "pgfault", "pgmajfault"))
        fd = await process.open("/data")
        pages = await process.mincore(fd)
        major = process.stats.pgmajfault - own.pgmajfault
        return counts, major, (pages.min(), pages.max()), machine.vmstat["nr_mapped"]

    result = run(machine_with_file(), main, **options).result

    assert result == ((2, 1), 1, (84, 115), 15)  # page 108 is marked for readahead


@pytest.mark.parametrize("options", BURSTS)
def test_pages_in_memory_are_mapped_sixteen_at_once(options):
    """512 cached pages read through a mapping: 32 minor faults, no major one, all resident."""

    async def main(machine):
        process, mapping = await mapper(machine)
        await cached(process)
        before = process.stats
        await process.touch(mapping)
        now = process.stats
        faults = since((before.pgfault, before.pgmajfault), (now.pgfault, now.pgmajfault))
        return faults, rss(machine, process)[0], machine.vmstat["nr_mapped"]

    assert run(machine_with_file(), main, **options).result == ((32, 0), 512, 512)


@pytest.mark.parametrize("options", BURSTS)
def test_a_stream_through_a_mapping_reads_ahead(options):
    """A cold file page by page: one miss, then windows of 32 ahead of it, as a recording has it."""

    async def main(machine):
        process, mapping = await mapper(machine)
        before, own = events(machine, "pgfault", "pgmajfault"), process.stats
        await process.touch(mapping)
        now = process.stats
        faults = since((own.pgfault, own.pgmajfault), (now.pgfault, now.pgmajfault))
        return since(before, events(machine, "pgfault", "pgmajfault")), faults

    # Major: pages 0, 24, 32, 64 … 480, each with two tries; minor: pages 16, 48, 80 … 496.
    assert run(machine_with_file(), main, **options).result == ((50, 1), (33, 17))


@pytest.mark.parametrize("options", BURSTS)
def test_a_store_to_a_private_mapping_makes_a_copy(options):
    """Its page becomes anonymous, whether it was mapped before or not; the file stays clean."""

    async def main(machine):
        process, mapping = await mapper(machine, pages=32)
        held = [int(token) for token in machine.kernel.files.by_path["/data"].disk[:32]]
        await process.touch(mapping, length=16 * PAGE)
        await process.touch(mapping, length=32 * PAGE, write=True)
        await cached(process)
        return (
            rss(machine, process),
            machine.vmstat["nr_dirty"],
            held == [token_of(machine, index) for index in range(32)],
        )

    (of_file, anon), dirty, is_kept = run(machine_with_file(32), main, **options).result

    assert (of_file, anon >= 32, dirty, is_kept) == (0, True, 0, True)


@pytest.mark.parametrize("options", BURSTS)
def test_a_store_to_a_shared_mapping_is_one_to_the_file(options):
    """The other process sees it, the page is dirty, fsync brings it to the disk."""

    async def main(machine):
        one, mapping = await mapper(machine, "one", shared=True)
        two, other = await mapper(machine, "two", shared=True)
        await one.touch(mapping, length=4 * PAGE, write=True)
        await two.touch(other, length=4 * PAGE)
        dirty, inode = machine.vmstat["nr_dirty"], machine.kernel.files.by_path["/data"]
        stored = [token_of(machine, index) for index in range(4)]
        fd = await one.open("/data")
        await one.fsync(fd)
        return (
            dirty,
            machine.vmstat["nr_dirty"],
            stored == inode.disk[:4].tolist(),
            {token >> 32 for token in stored} == {one.pid},
        )

    assert run(machine_with_file(), main, **options).result == (4, 0, True, True)


@pytest.mark.parametrize("options", BURSTS)
def test_what_was_written_back_becomes_dirty_with_the_next_store(options):
    """Writing a page back takes the right to store away: the next store faults, and dirties it."""

    async def main(machine):
        process, mapping = await mapper(machine, shared=True)
        fd = await process.open("/data")
        seen = []
        for _ in range(2):
            before = process.stats.pgfault
            for _ in range(2):
                await process.touch(mapping, length=8 * PAGE, write=True)
            seen.append((process.stats.pgfault - before, machine.vmstat["nr_dirty"]))
            await process.fsync(fd)
        inode = machine.kernel.files.by_path["/data"]
        kept = [token_of(machine, index) for index in range(8)] == inode.disk[:8].tolist()
        return seen, kept

    assert run(machine_with_file(), main, **options).result == ([(8, 8), (8, 8)], True)


def test_a_store_before_the_flush_of_what_is_written_is_written(monkeypatch):
    """Until TLBs are flushed a CPU may store to a page that is being written: the disk gets it."""
    real = writepages.try_to_unmap_flush

    async def main(machine):
        process, mapping = await mapper(machine, shared=True)
        await process.touch(mapping, length=2 * PAGE, write=True)
        fd = await process.open("/data")
        pages, files = machine.mem.pages, machine.kernel.files.by_path
        pfn = xa_load(machine.kernel.spaces.pool.xa, files["/data"].number, 1)

        async def store_first(current, times):
            pages.token[pfn] += 1
            token = int(pages.token[pfn])
            machine.kernel.observer.stored(process.pid, mapping.address // PAGE + 1, 1, 1, token)
            await real(current, times)

        monkeypatch.setattr(writepages, "try_to_unmap_flush", store_first)
        before = int(pages.token[pfn])
        await process.fsync(fd)
        return int(files["/data"].disk[1]) - before

    assert run(machine_with_file(), main).result == 1


@pytest.mark.parametrize("write", [False, True])
def test_an_access_behind_the_end_of_the_file_is_sigbus(write):
    """The last page of a mapping that is longer than its file."""

    async def main(machine):
        process, mapping = await mapper(machine, pages=300, shared=True)
        await process.touch(mapping, length=256 * PAGE)
        return (await process.touch(mapping, offset=256 * PAGE, write=write)).signal

    assert run(machine_with_file(256), main).result == SIGBUS


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_that_becomes_shorter_is_unmapped(shared):
    """Pages behind the new end are in no mapping, copies neither; touching them is SIGBUS."""

    async def main(machine):
        process, mapping = await mapper(machine, shared=shared)
        await process.touch(mapping)
        await process.touch(mapping, offset=64 * PAGE, length=4 * PAGE, write=True)
        other = await machine.spawn("other")
        fd = await other.open("/data")
        before = rss(machine, process)
        await other.syscall("ftruncate", fd, 10 * PAGE)
        assert check_machine(machine.kernel) == []
        after = rss(machine, process)
        inside = (await process.touch(mapping, length=10 * PAGE)).signal
        behind = (await process.touch(mapping, offset=64 * PAGE, length=PAGE)).signal
        return since(after, before), after[0], inside, behind

    gone = (502, 0) if shared else (498, 4)
    assert run(machine_with_file(), main).result == (gone, 10, 0, SIGBUS)


@pytest.mark.mission("R6")
def test_reclaim_takes_mapped_pages_of_files():
    """A mapped file larger than memory is read whole twice; nobody is killed, pages come again."""

    async def main(machine):
        process, mapping = await mapper(machine, pages=6144, prot=PROT_READ)
        for _ in range(2):
            await process.touch(mapping)
            assert check_machine(machine.kernel) == []
        return process.exit_status, rss(machine, process)[0] < 5000, machine.vmstat["pgsteal_file"]

    status, has_lost, stolen = run(machine_with_file(6144, memory="16M"), main).result

    assert (status, has_lost, stolen > 6000) == (None, True, True)


def test_dirty_pages_of_a_shared_mapping_survive_reclaim():
    """A file is stored to whole on a machine smaller than it: nothing of it is lost."""

    async def main(machine):
        process, mapping = await mapper(machine, pages=6144, shared=True)
        await process.touch(mapping, write=True)
        fd = await process.open("/data")
        await process.fsync(fd)
        tokens = machine.kernel.files.by_path["/data"].disk
        return np.unique(tokens >> np.uint64(32)).tolist() == [process.pid]

    assert run(machine_with_file(6144, memory="16M"), main).result


def test_pages_of_a_program_outlive_a_stream():
    """Of mapped pages used once, those of an executable mapping stay when a stream comes."""

    async def main(machine, prot):
        process, mapping = await mapper(machine, prot=prot)
        stream = await machine.spawn("stream")
        fd = await stream.open("/stream")
        await process.touch(mapping)
        await stream.read(fd, 1 << 25)
        return rss(machine, process)[0]

    spec = machine_with_file(memory="16M", files={"/data": "2M", "/stream": "32M"})
    program, data = (
        run(spec, partial(main, prot=prot)).result for prot in (PROT_READ | PROT_EXEC, PROT_READ)
    )
    assert (program, data) == (512, 0)


@pytest.mark.parametrize("stride", [1, 7])
def test_bursts_count_what_messages_do(stride):
    """Mixed accesses to mapped files and anonymous memory: the same counters either way."""

    async def main(machine):
        process, mapping = await mapper(machine, shared=True)
        copy = await mapper(machine, "copier")
        heap = await process.mmap(64 * PAGE)
        for write in (False, True):
            await process.touch(mapping, write=write, stride=stride * PAGE)
            await copy[0].touch(copy[1], write=write, stride=stride * PAGE)
            await process.touch(heap, write=write)
        first = mapping.address >> 12
        vpns = np.concatenate([first + np.arange(0, 256, 3), (heap.address >> 12) + np.arange(64)])
        await process.touch_pages(vpns, vpns % 2)
        return machine.mem.vm_event.tolist(), machine.mem.node_stat.tolist(), process.stats

    one, other = (run(machine_with_file(), main, **each.values[0]).result for each in BURSTS)

    assert one == other


def test_a_file_is_cut_off_while_a_process_has_begun_to_unmap_it():
    """Its mapping is gone, but not yet its entries: the file still leads to them."""

    async def main(machine):
        process, mapping = await mapper(machine, pages=8)
        await process.touch(mapping)
        mm = next(mm for mm in machine.kernel.mms.by_number.values() if mm.map.nr_of_files)
        vma = next(vma for vma in mm.map if vma.file_number)
        mm.map.unmap(vma.start, vma.end)
        before = machine.vmstat["nr_mapped"]
        other = await machine.spawn("other")
        await other.syscall("ftruncate", await other.open("/data"), PAGE)
        return before, machine.vmstat["nr_mapped"], machine.vmstat["nr_file_pages"]

    assert run(machine_with_file(), main, sound=False).result == (8, 1, 1)


def test_a_page_that_a_lock_asks_the_disk_for_again_is_a_major_fault(monkeypatch):
    """Reclaim took it between two tries; the fault that has it in the end counts it, once."""
    do_fault, lost = FileFault._do_fault, []

    async def unlucky(self, fault, *, tried):
        result = await do_fault(self, fault, tried=tried)
        if not tried and result.end is VmFault.RETRY:
            lost.append(fault.vpn)
            await lru_add_drain(self._current)
            assert await invalidate_pages(self._current, opened_by(fault).inode, 0, 1 << 40)
        return result

    monkeypatch.setattr(FileFault, "_do_fault", unlucky)

    async def main(machine):
        process, mapping = await mapper(machine, pages=4)
        await process.syscall("mlock", mapping)
        assert lost[0] == mapping.address // PAGE
        assert process.stats.pgmajfault == len(lost) == 1

    run(machine_with_file(pages=4), main, burst_pages=1)


def test_a_copy_made_for_a_lock_is_known_before_the_fault_ends():
    """It holds the page of the file from when it is mapped, also while TLBs are flushed."""

    async def main(machine):
        process, mapping = await mapper(machine, pages=8)
        await process.touch(mapping)
        before = events(machine, "pgreuse", "pgmajfault")
        await process.syscall("mlock", mapping)
        assert before == events(machine, "pgreuse", "pgmajfault")
        assert rss(machine, process) == (0, 8)

    options = RunOptions(machine=machine_with_file(pages=8), check=True, check_every=1)
    run_machine(Workload(opened(main), "machine"), options, name="w.py")
