"""Pages that leave a memory block: whoever has them, and whatever their users do meanwhile."""

import errno
from typing import Any

import pytest

from kernelsim.check.machine import check_machine
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.mm.space.mremap import MREMAP_FIXED, MREMAP_MAYMOVE
from tests.small_machine import PAGE, OpenMachine, run

FILE = "devices/system/memory/memory32/state"
STATE = f"/sys/{FILE}"
SLOTS = {"name": "slots", "maxmem": "384M", "node": [{"cpus": "0-7", "memory": "256M"}]}
TARGET = 1 << 40
SIZE = 512 * PAGE


async def with_region(machine: OpenMachine, name: str) -> tuple[Any, Any]:
    """Bring a DIMM online; return a process and a region of it that is there."""
    if machine.kernel.phys.block(32) is None:
        await machine.dimms.add("dimm0", "128M")
        await machine.write_sysfs(STATE, "online_movable")
    process = await machine.spawn(name)
    region = await process.mmap(SIZE)
    await process.touch(region, write=True)
    return process, region


async def move(process: Any, region: Any, target: int = TARGET) -> Any:
    """Have a process move a region elsewhere; return it."""
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    return await process.syscall("mremap", region, SIZE, flags=flags, new_address=target)


async def while_pages_move(machine: OpenMachine, process: Any) -> None:
    """Have a process sleep until pages are being moved; fail if they are all gone by then."""
    while not machine.kernel.migrations:
        assert machine.kernel.phys.block(32).state != "offline", "too late"
        await process.sleep("3us")
    assert check_machine(machine.kernel) == []


def test_a_page_that_one_side_of_a_fork_has_moved_is_found_by_all() -> None:
    """Both have it in its new frame, and need no fault for it."""

    async def main(machine: OpenMachine) -> tuple[list[int], int]:
        parent, region = await with_region(machine, "parent")
        child = await parent.fork()
        moved = await move(child, region)
        await machine.write_sysfs(STATE, "offline")
        again = [await parent.touch(region), await child.touch(moved)]
        return [each.minflt for each in again], machine.vmstat["pgmigrate_success"]

    faults, nr_moved = run(machine_from_toml(SLOTS), main).result
    assert faults == [0, 0]
    assert nr_moved >= SIZE // PAGE


def test_what_users_do_to_pages_that_are_being_moved() -> None:
    """They move, unmap, share, leave: nothing of it is lost, and nobody is waited for."""

    async def main(machine: OpenMachine) -> tuple[list[int], int]:
        parent, region = await with_region(machine, "parent")

        async def mover(child: Any) -> None:
            await while_pages_move(machine, child)
            await move(child, await move(child, region), region.address)
            await child.touch(region)

        async def unmapper(child: Any) -> None:
            await while_pages_move(machine, child)
            await child.munmap(region)

        async def forker(child: Any) -> None:
            await while_pages_move(machine, child)
            grandchild = await child.fork()
            await grandchild.touch(region, write=True)

        async def leaver(child: Any) -> None:
            await while_pages_move(machine, child)

        programs = (mover, unmapper, forker, leaver)
        children = [await parent.fork(program) for program in programs]
        await machine.write_sysfs(STATE, "offline")
        for child in children:
            await child.wait()
        return [child.exit_status for child in children], (await parent.touch(region)).minflt

    assert run(machine_from_toml(SLOTS), main).result == ([0] * 4, 0)


BY_PAGE = ("ks_fault", "page_fault_user")  # one event a burst, one event a page


def removal(burst_pages: int, *, by_owner: bool) -> tuple[Any, ...]:
    """Take a block offline that several have pages in; return all that can be seen of it."""

    async def main(machine: OpenMachine) -> tuple[Any, ...]:
        await machine.dimms.add("dimm0", "128M")
        await machine.write_sysfs(STATE, "online_movable")
        parent = await machine.spawn("parent", cpu=0)
        fd = await parent.open("/p")
        regions = [await parent.mmap(2 * SIZE), await parent.mmap("1M", fd=fd)]
        for region in regions:
            await parent.touch(region, write=region is regions[0])
        child = await parent.fork()

        async def user(process: Any) -> None:
            own = await process.mmap("256K")
            while machine.kernel.phys.block(32).state != "offline":
                await process.touch(own, write=True)
                await process.touch(regions[0])
                await process.sleep("600us")

        other = await child.fork(user)
        if by_owner:  # whose CPU has to forget each page
            await parent.syscall("write_sysfs", STATE, "offline")
        else:
            await machine.write_sysfs(STATE, "offline")
        await other.wait()
        again = [
            (await each.touch(region)).minflt for each in (parent, child) for region in regions
        ]
        assert check_machine(machine.kernel) == []
        return again, machine.now_ns, machine.kernel.engine.clock.number

    rest = {
        "latency": {"cache_line_spread_permille": 1000},
        "device": [{"name": "vda"}],
        "files": [{"path": "/p", "size": "1M", "device": "vda"}],
    }
    done = run(machine_from_toml(SLOTS | rest), main, burst_pages=burst_pages, sound=False)
    log = [
        (event.t_ns, event.actor, event.event, sorted(event.fields.items()))
        for event in done.log.events
        if event.event not in BY_PAGE
    ]
    accounts = (
        done.machine.engine.accounts
    )  # of what is no lock a burst does not enter who met whom
    locks = {name: account for name, account in accounts.items() if "lock" in name}
    return done.result, done.machine.vmstat, sorted(log), locks


@pytest.mark.parametrize("by_owner", [False, True])
def test_moving_pages_in_one_go_is_as_moving_them_with_messages(*, by_owner: bool) -> None:
    """The same to the last nanosecond, counter and wait, with another who comes in between."""
    by_messages, in_one_go = (removal(burst, by_owner=by_owner) for burst in (1, 512))
    assert by_messages[1]["pgmigrate_success"] > 2 * SIZE // PAGE
    for one, other in zip(by_messages, in_one_go, strict=True):
        assert one == other


def test_pages_without_a_frame_to_go_to_stay_where_they_are() -> None:
    """There is less memory elsewhere than is in use: the rest is put back until a signal comes."""

    async def main(machine: OpenMachine) -> str:
        await machine.dimms.add("dimm0", "128M")
        await machine.write_sysfs(STATE, "online_movable")
        owner = await machine.spawn("owner")
        region = await owner.mmap("24M")
        await owner.touch(region, write=True)

        async def write(process: Any) -> None:
            await process.syscall("write_sysfs", STATE, "offline")

        writer = await machine.spawn("writer", write)
        before = machine.vmstat["pgmigrate_fail"]
        while machine.vmstat["pgmigrate_fail"] == before:
            await machine.sleep("1ms")
        await writer.kill()
        await writer.wait()
        assert check_machine(machine.kernel) == []
        assert (await owner.touch(region, write=True)).minflt == 0
        return machine.sysfs(FILE)

    node = {"cpus": "0-1", "memory": "16M"}
    spec = machine_from_toml({"name": "short", "maxmem": "144M", "node": [node]})
    assert run(spec, main, sound=False).result == "online\n"


def test_smaps_counts_a_page_that_is_being_moved_as_resident() -> None:
    """It is in memory, not in swap."""

    async def main(machine: OpenMachine) -> tuple[int, int]:
        owner, region = await with_region(machine, "owner")
        seen = []

        async def look(process: Any) -> None:
            await while_pages_move(machine, process)
            vmas = owner.capture(usage=True).vmas
            seen.extend(each.usage for each in vmas if each.start == region.address)

        watcher = await machine.spawn("watcher", look)
        await machine.write_sysfs(STATE, "offline")
        await watcher.wait()
        return seen[0].rss, seen[0].swap

    assert run(machine_from_toml(SLOTS), main).result == (SIZE, 0)


def test_a_signal_ends_a_removal_and_all_is_as_it_was() -> None:
    """The writer is killed while pages move: EINTR, and the block stays online."""

    async def main(machine: OpenMachine) -> str:
        owner, region = await with_region(machine, "owner")

        async def write(process: Any) -> None:
            await process.syscall("write_sysfs", STATE, "offline")

        writer = await machine.spawn("writer", write)
        await while_pages_move(machine, owner)
        await writer.kill()
        await writer.wait()
        await owner.touch(region, write=True)
        return machine.sysfs(FILE)

    ended = run(machine_from_toml(SLOTS), main)
    last = ended.log.named("ks_memory_block")[-1].fields
    assert (ended.result, last["errno"], last["reason"]) == (
        "online\n", errno.EINTR, "signal backoff",
    )  # fmt: skip


def test_copies_of_pages_that_move_share_the_bus() -> None:
    """Each page passes it twice, which takes longer than the CPU does."""

    async def main(machine: OpenMachine) -> int:
        await with_region(machine, "owner")
        began_ns = machine.now_ns
        await machine.write_sysfs(STATE, "offline")
        return machine.now_ns - began_ns

    latency = {"bus_bandwidth_bytes_per_s": 2 * 10**8}
    took_ns = run(machine_from_toml(SLOTS | {"latency": latency}), main).result
    assert took_ns > 2 * 5 * SIZE


@pytest.mark.parametrize("does", ["read", "fsync"])
def test_a_page_that_a_disk_works_on_is_waited_for_asleep(does: str) -> None:
    """Who takes its block offline does not look again and again until a slow disk is done."""

    async def main(machine: OpenMachine) -> tuple[int, int]:
        await machine.dimms.add("dimm0", "128M")
        await machine.write_sysfs(STATE, "online_movable")

        async def user(process: Any) -> None:
            fd = await process.open("/p")
            if does == "fsync":
                await process.write(fd, "64K")
                await process.fsync(fd)
            else:
                await process.read(fd, "64K")

        process = await machine.spawn("user", user)
        await machine.sleep("1ms")
        before = machine.kernel.engine.clock.number
        await machine.write_sysfs(STATE, "offline")
        events = machine.kernel.engine.clock.number - before
        await process.wait()
        return events, machine.now_ns

    disk = {"name": "vda", "read_latency": "50ms", "write_latency": "50ms"}
    files = [{"path": "/p", "size": "64K", "device": "vda"}]
    events, now_ns = run(machine_from_toml(SLOTS | {"device": [disk], "files": files}), main).result
    assert events < 3000
    assert now_ns > 50 * 10**6
