"""mlock and its kin: what stays in memory, what it may be, and what is counted."""

import errno

import pytest

from kernelsim.errors import SyscallError
from kernelsim.mm.space.vm_flags import VmFlag
from tests.small_machine import PAGE, run, small_machine

SMALL = {"memory": "12M", "swap": "64M"}


def mlock_counters(machine):
    """Return nr_mlock, nr_unevictable and the counters of the unevictable list that are not 0."""
    counters = machine.vmstat
    names = ["nr_mlock", "nr_unevictable", *(n for n in counters if n.startswith("unevictable_"))]
    return {name.removeprefix("unevictable_pgs_"): counters[name] for name in names}


def test_locked_memory_stays_while_other_memory_goes():
    """Its pages are brought in by the call, wait on the unevictable list, and never fault again."""

    async def main(machine):
        process, hog = [await machine.spawn(name) for name in ("p", "hog")]
        region = await process.mmap("2M")
        before = process.stats.pgfault
        await process.syscall("mlock", region)
        assert process.stats.pgfault - before == 512
        await hog.touch(await hog.mmap("20M"), write=True)
        result = await process.touch(region, write=True)
        assert (result.minflt, result.majflt) == (0, 0)
        found = mlock_counters(machine)
        assert (found["nr_mlock"], found["mlocked"], found["nr_unevictable"]) == (512, 512, 512)
        assert (found["culled"], found["rescued"], found["stranded"]) == (512, 0, 0)
        assert "VmLck:\t    2048 kB\n" in process.proc("status")
        assert "Locked:             2048 kB\n" in process.proc("smaps_rollup")
        assert "Mlocked:            2048 kB\n" in machine.proc("meminfo")
        assert "Unevictable:        2048 kB\n" in machine.proc("meminfo")
        await process.exit()
        assert mlock_counters(machine)["nr_mlock"] == 0

    run(small_machine(**SMALL), main)


def test_memory_that_was_swapped_out_comes_back_and_gives_its_slots_up():
    """What it held is still there; none of it is in swap afterwards."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("16M")
        await process.touch(region, write=True)
        part = await process.mmap("1M")
        await process.touch(part, write=True)
        await process.touch(region, write=True)
        assert process.stats.swap_pages > 0
        await process.syscall("mlock", part)
        locked = machine.vmstat["nr_mlock"]
        assert locked == 256
        result = await process.touch(part)
        assert (result.minflt, result.majflt) == (0, 0)

    done = run(small_machine(**SMALL), main)
    assert done.vm_events["pgmajfault"] > 0


def test_pages_that_are_present_are_marked_and_moved():
    """No fault is needed; munlock lets them go again, once."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("1M")
        await process.touch(region, write=True)
        before = process.stats.pgfault
        await process.syscall("mlock", region)
        await process.syscall("mlock", region)
        assert process.stats.pgfault == before
        found = mlock_counters(machine)
        assert (found["nr_mlock"], found["mlocked"], found["culled"]) == (256, 256, 256)
        await process.syscall("munlock", region)
        found = mlock_counters(machine)
        assert (found["nr_mlock"], found["nr_unevictable"]) == (0, 0)
        assert (found["munlocked"], found["rescued"], found["cleared"]) == (256, 256, 0)
        assert process.capture().locked_vm == 0

    run(small_machine(**SMALL), main)


@pytest.mark.parametrize("burst_pages", [1, 512])
def test_a_page_that_is_touched_first_in_a_locked_mapping_is_locked(burst_pages):
    """Of a mapping locked on fault, by bursts and by messages: marked when it is mapped."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("1M")
        await process.syscall("mlock", region, onfault=True)
        assert machine.vmstat["nr_mlock"] == 0
        await process.touch(region)  # the page of zeros is nobody's
        assert machine.vmstat["nr_mlock"] == 0
        await process.touch(region, write=True, length="64K")
        assert machine.vmstat["nr_mlock"] == 16
        await process.syscall("munmap", region)
        found = mlock_counters(machine)
        assert (found["nr_mlock"], found["munlocked"], found["rescued"]) == (0, 16, 16)

    run(small_machine(**SMALL), main, burst_pages=burst_pages)


def test_mlockall_locks_what_is_there_and_what_will_be():
    """MCL_FUTURE gives the flag to new mappings and the heap, which are brought in at once."""

    async def main(machine):
        process = await machine.spawn("p")
        await process.mmap("1M")
        await process.syscall("mlockall", future=True)
        locked = process.capture().locked_vm
        assert locked * 4 == process.capture().total_vm * 4
        assert process.stats.rss_pages >= 256
        more = await process.mmap("1M")
        assert process.capture().locked_vm == locked + 256
        assert (await process.touch(more, write=True)).minflt == 0
        end = await process.syscall("brk", 64 << 10)
        assert end
        assert process.capture().locked_vm == locked + 256 + 16
        await process.syscall("munlockall")
        assert process.capture().locked_vm == 0
        assert machine.vmstat["nr_mlock"] == 0
        last = await process.mmap("1M")
        assert (await process.touch(last, write=True)).minflt == 256

    run(small_machine(**SMALL), main)


def test_limits_and_mistakes_are_errnos():
    """RLIMIT_MEMLOCK binds who is not root; holes lock what lies before them; advice is refused."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap("1M")
        locked = await process.syscall("mmap", "64K", locked=True)
        assert (await process.touch(locked, write=True)).minflt == 0
        with pytest.raises(SyscallError, match="EINVAL"):
            await process.syscall("madvise", locked, "dontneed")
        with pytest.raises(SyscallError, match="EINVAL"):
            await process.syscall("mlockall", current=False)
        process.uid = 1000
        limits = machine.kernel.processes[process.pid].mm.rlimits
        limits.memlock = 128 << 10
        with pytest.raises(SyscallError, match="ENOMEM"):
            await process.syscall("mlock", region)
        with pytest.raises(SyscallError, match="ENOMEM"):
            await process.syscall("mlockall")
        await process.syscall("mlock", locked)  # what is locked already counts once
        with pytest.raises(SyscallError, match="EAGAIN"):
            await process.syscall("mmap", "128K", locked=True)
        limits.memlock = 0
        with pytest.raises(SyscallError, match="EPERM"):
            await process.syscall("mlock", region)
        process.uid = 0
        mm = machine.kernel.processes[process.pid].mm
        await process.syscall("munmap", type(region)(region.address + 4 * PAGE, PAGE))
        with pytest.raises(SyscallError) as caught:
            await process.syscall("mlock", region)
        assert caught.value.errno == errno.ENOMEM
        assert mm.map.find_vma(region.address).flags & VmFlag.VM_LOCKED
        assert mm.map.find_vma(region.address).end == region.address + 4 * PAGE

    run(small_machine(**SMALL), main)


def test_locking_what_lies_behind_the_end_of_a_file_fails_and_raises_no_signal():
    """Mlock says ENOMEM, and pages before the end are locked; MAP_POPULATE says nothing."""

    async def main(machine):
        process = await machine.spawn("p")
        fd = await process.open("/data")
        await process.mmap(24 * PAGE, fd=fd, populate=True)
        region = await process.mmap(24 * PAGE, fd=fd)
        with pytest.raises(SyscallError) as failed:
            await process.syscall("mlock", region)
        assert failed.value.errno == errno.ENOMEM
        assert process.exit_status is None
        return mlock_counters(machine)["nr_mlock"]

    assert run(small_machine(files={"/data": "64K"}, **SMALL), main).result == 16


def test_locking_what_cannot_be_read_fails_and_raises_no_signal():
    """An I/O error while a page is brought in is ENOMEM of mlock, not SIGBUS."""

    async def main(machine):
        process = await machine.spawn("p")
        region = await process.mmap(16 * PAGE, fd=await process.open("/data"))
        machine.disk("vda").fail_reads()
        with pytest.raises(SyscallError) as failed:
            await process.syscall("mlock", region)
        assert failed.value.errno == errno.ENOMEM
        assert process.exit_status is None
        machine.disk("vda").mend()
        await process.syscall("mlock", region)
        return mlock_counters(machine)["nr_mlock"]

    assert run(small_machine(files={"/data": "64K"}, **SMALL), main).result == 16


def test_a_page_that_a_locker_has_copied_is_not_locked_any_more():
    """The other side of the fork keeps it; nobody has locked it there."""

    async def main(machine):
        parent = await machine.spawn("parent")
        region = await parent.mmap("256K")
        await parent.touch(region, write=True)
        child = await parent.fork()
        await child.syscall("mlock", region)
        locked = mlock_counters(machine)["nr_mlock"]
        await child.syscall("munlock", region)
        return locked, mlock_counters(machine)["nr_mlock"]

    assert run(small_machine(**SMALL), main).result == (64, 0)
