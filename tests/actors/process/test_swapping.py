"""swapon and swapoff: what comes back, what it takes, and what may go wrong."""

import errno

import pytest

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.mm.swap.swap_area import SA_INUSE
from tests.small_machine import run, small_machine


def two_areas(*, prio=(5, 5), on=(True, True), memory="12M", size="8M"):
    """Describe a machine with two swap areas, each on a disk of its own."""
    return machine_from_toml(
        {
            "name": "two areas",
            "node": [{"cpus": "0-1", "memory": memory}],
            "device": [{"name": "vda"}, {"name": "vdb"}],
            "swap": [
                {"size": size, "device": name, "prio": each, "on": is_on}
                for name, each, is_on in zip(("vda", "vdb"), prio, on, strict=True)
            ],
        }
    )


def in_use(machine):
    """Return the slots in use of each area."""
    return machine.kernel.swap.area[:, SA_INUSE].tolist()


async def filled(machine, size="16M"):
    """Return a process that has written more than fits."""
    process = await machine.spawn("p")
    region = await process.mmap(size)
    await process.touch(region, write=True)
    return process, region


def test_areas_of_equal_priority_take_turns():
    """Each gets about half of the slots."""

    async def main(machine):
        await filled(machine)
        return in_use(machine)

    first, second = run(two_areas(), main).result
    assert first > 300
    assert abs(first - second) <= 128  # a turn is 64 slots


def test_the_area_of_the_highest_priority_is_filled_first():
    """The next is used when it is full; the areas are listed as they are."""

    async def main(machine):
        await filled(machine, "14M")
        first = in_use(machine)
        await filled(machine, "14M")
        return first, in_use(machine), machine.proc("swaps")

    before, after, text = run(two_areas(prio=(1, 7), size="16M"), main).result
    assert before[0] == 0
    assert before[1] > 500
    assert after[0] > 0
    assert after[1] >= 4095 - 64
    assert text.splitlines()[2].split()[0] == "/dev/vdb"
    assert text.splitlines()[2].split()[4] == "7"


def test_swapoff_brings_everything_back():
    """It takes real reads; counters, /proc/swaps and meminfo follow; nothing is lost."""

    async def main(machine):
        process, region = await filled(machine, "14M")
        hog = await machine.spawn("hog")
        assert process.stats.swap_pages > 0
        # what was written first is in swap
        await process.syscall("munmap", type(region)(region.address + (6 << 20), 8 << 20))
        assert process.stats.swap_pages > 0
        before = machine.vmstat["pswpin"]
        began_ns = machine.now_ns
        await hog.syscall("swapoff", "/dev/vda")
        assert machine.now_ns > began_ns + 100_000
        assert process.stats.swap_pages == 0
        assert in_use(machine) == [0]
        assert machine.vmstat["pswpin"] > before
        assert machine.proc("swaps").count("\n") == 1
        assert "SwapTotal:             0 kB\n" in machine.proc("meminfo")
        rest = type(region)(region.address, 6 << 20)
        assert (await process.touch(rest)).majflt == 0
        await hog.syscall("swapon", "/dev/vda", 3)
        assert machine.proc("swaps").splitlines()[1].split()[4] == "3"
        await process.touch(await process.mmap("10M"), write=True)
        assert in_use(machine)[0] > 0
        return [line for _, line in machine.kernel.dmesg]

    log = run(small_machine(memory="12M", swap="32M"), main).result
    assert log == [
        "Adding 32764k swap on /dev/vda.  Priority:3 extents:1 across:32764k SSFS",
    ]


def test_what_does_not_fit_goes_to_the_other_area():
    """Reclaim goes on while an area is emptied; the rest of what it held ends up in the other."""

    async def main(machine):
        process, region = await filled(machine, "15M")
        other = await machine.spawn("other")
        await other.syscall("swapoff", "/dev/vda")
        used = in_use(machine)
        assert used[0] == 0
        assert used[1] > 500
        assert (await process.touch(region)).signal == 0

    run(two_areas(size="16M"), main)


def test_swapoff_of_what_does_not_fit_is_killed_and_the_area_stays():
    """Its task is the first the OOM killer takes; who has its memory in swap lives on."""

    async def main(machine):
        process, region = await filled(machine, "20M")
        other = await machine.spawn("other")
        before = in_use(machine)[0]
        with pytest.raises(ProcessEndedError, match="other"):
            await other.syscall("swapoff", "/dev/vda")
        assert await other.wait() == -9
        assert in_use(machine)[0] > before // 2
        assert machine.proc("swaps").count("\n") == 2
        assert (await process.touch(region, write=True)).signal == 0

    run(small_machine(memory="12M", swap="32M"), main)


def test_swapoff_that_is_killed_leaves_the_area_in_use():
    """EINTR: what has come back stays, the rest is where it was."""

    async def main(machine):
        process, region = await filled(machine, "13M")
        other = await machine.spawn("other", lambda handle: handle.syscall("swapoff", "/dev/vda"))
        machine.disk("vda").stall("10ms")
        await machine.sleep("1ms")
        await other.kill()
        assert await other.wait() == -9
        assert machine.proc("swaps").count("\n") == 2
        assert (await process.touch(region, write=True)).signal == 0

    run(small_machine(memory="12M", swap="32M"), main)


def test_a_process_that_ends_meanwhile_is_no_loss():
    """Swapoff holds its address space, and lets it go at the end."""

    async def main(machine):
        process, region = await filled(machine, "14M")
        await process.syscall("munmap", type(region)(region.address, 8 << 20))
        other = await machine.spawn("other", lambda handle: handle.syscall("swapoff", "/dev/vda"))
        machine.disk("vda").stall("10ms")
        await machine.sleep("1ms")
        await process.kill()
        assert await other.wait() == 0
        assert in_use(machine) == [0]
        assert machine.kernel.nr_in_flight == 0

    run(small_machine(memory="12M", swap="32M"), main)


def test_mistakes_are_errnos():
    """No such area, one that is on or off already, no permission, a commit limit in the way."""

    async def main(machine):
        process = await machine.spawn("p")

        async def errno_of(*call):
            with pytest.raises(SyscallError) as caught:
                await process.syscall(*call)
            return caught.value.errno

        assert await errno_of("swapoff", "/dev/vdb") == errno.EINVAL
        assert await errno_of("swapon", "/dev/vda") == errno.EBUSY
        assert await errno_of("swapon", "/dev/none") == errno.ENOENT
        assert await errno_of("swapoff", "/dev/none") == errno.ENOENT
        assert await errno_of("swapon", "/dev/vdb", 40_000) == errno.EINVAL
        machine.disk("vdb").fail_reads()
        assert await errno_of("swapon", "/dev/vdb") == errno.EIO
        machine.disk("vdb").mend()
        await process.syscall("swapon", "/dev/vdb")
        await process.mmap("40M")
        machine.sysctl("vm.overcommit_memory", 2)
        machine.sysctl("vm.overcommit_ratio", 0)
        assert await errno_of("swapoff", "/dev/vda") == errno.ENOMEM
        process.uid = 1000
        assert await errno_of("swapoff", "/dev/vda") == errno.EPERM
        return machine.proc("swaps").splitlines()

    lines = run(two_areas(prio=(5, -2), on=(True, False), size="32M"), main).result
    assert [line.split()[4] for line in lines[1:]] == ["5", "-2"]
