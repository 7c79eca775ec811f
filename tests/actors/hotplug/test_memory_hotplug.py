"""Memory blocks of running machines: what may be written, what it does, and what it leaves."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from kernelsim.config.machine_file import machine_from_toml
from kernelsim.errors import ConfigError, SyscallError
from kernelsim.mm.core.mem import Z_NID, Z_PRESENT, Z_SPANNED, Z_START_PFN, PG_kernel, zones_of
from kernelsim.mm.page.memory_hotplug import block_range
from kernelsim.mm.space.util import ADMIN_RESERVE_KBYTES_MAX
from tests.small_machine import OpenMachine, run, small_machine

MEMORY = "/sys/devices/system/memory"
SLOTS = {"name": "slots", "maxmem": "384M", "node": [{"cpus": "0-1", "memory": "256M"}]}


async def written(machine: OpenMachine, name: str, word: str) -> int:
    """Write to a file below the memory blocks; return the errno."""
    try:
        await machine.write_sysfs(f"{MEMORY}/{name}", word)
    except SyscallError as error:
        return error.errno
    return 0


def in_use(machine: OpenMachine, index: int) -> int:
    """Return how many pages of a block are in use."""
    start, end = block_range(machine.kernel.phys, index)
    return int((machine.mem.pages.flags[start:end] != 0).sum())


@asynccontextmanager
async def block_0_full(machine: OpenMachine) -> AsyncIterator[None]:
    """Have what is touched inside the block come to block 1 of 256 MiB; then there is room in 0."""
    filler = await machine.spawn("filler")
    await filler.touch(await filler.mmap("112M"), write=True)
    while not in_use(machine, 1):
        await filler.touch(await filler.mmap("1M"), write=True)
    yield
    await filler.exit()


def test_what_is_no_block_or_no_change_is_refused() -> None:
    """A block that is not there, a file to read, a state it has, a block in two zones."""

    async def main(machine: OpenMachine) -> list[int]:
        names = ("memory9/state", "memory1/valid_zones", "memory0/state", "memory9/none")
        errors = [await written(machine, name, "offline") for name in names]
        errors.append(await written(machine, "memory1/state", "online"))
        errors.append(await written(machine, "memory1/online", "1"))
        return errors

    wanted = [errno.ENOENT, errno.EACCES, errno.EINVAL, errno.ENOENT, errno.EINVAL, 0]
    assert wanted == run(small_machine(memory="256M"), main).result


@pytest.mark.mission("P5")
def test_pages_in_use_move_and_keep_what_they_hold() -> None:
    """Anonymous pages, shared ones, a file's: all are elsewhere, and no access faults for it."""

    async def main(machine: OpenMachine) -> tuple[int, int, list[int]]:
        process = await machine.spawn("user")
        fd = await process.syscall("open", "/data")
        regions = [await process.mmap("2M"), await process.mmap("1M", shared=True)]
        regions.append(await process.mmap("2M", fd=fd))
        for region in regions:  # tables, and slabs for the file, which cannot move, come first
            await process.touch(region, length=1)
        async with block_0_full(machine):
            for region in regions:
                await process.touch(region, write=region is not regions[2])
        error = await written(machine, "memory1/state", "offline")
        assert machine.vmstat["pgmigrate_success"] >= 4 << 8
        again = [await process.touch(region) for region in regions]
        return error, in_use(machine, 1), [each.minflt for each in again]

    spec = small_machine(memory="256M", files={"/data": "2M"})
    assert (0, 0, [0, 0, 0]) == run(spec, main).result


@pytest.mark.mission("P6")
def test_a_page_of_the_kernel_keeps_its_block_online() -> None:
    """EBUSY, the page in the log, and the block is as it was."""

    async def main(machine: OpenMachine) -> tuple[int, int, str, str]:
        start, _ = block_range(machine.kernel.phys, 1)
        pages = machine.kernel.mem.pages.flags
        process = await machine.spawn("user")
        await process.touch(await process.mmap("130M"), write=True)
        pfn = start + int((pages[start : start + 4096] != 0).argmax())
        before = pages[pfn]
        pages[pfn] = PG_kernel
        error = await written(machine, "memory1/state", "offline")
        pages[pfn] = before
        state = machine.sysfs("devices/system/memory/memory1/state")
        return error, pfn, state, machine.dmesg.splitlines()[-2]

    error, pfn, state, line = run(small_machine(memory="256M"), main).result
    assert (errno.EBUSY, "online\n") == (error, state)
    assert f"pfn:{pfn:#x}" in line


def test_a_dimm_needs_a_slot() -> None:
    """Memory beyond maxmem, and sizes that are no blocks, are mistakes of the user."""

    async def main(machine: OpenMachine) -> list[str]:
        rules = []
        for size in ("100M", "256M"):
            with pytest.raises(ConfigError) as refusal:
                await machine.dimms.add("dimm0", size)
            rules.append(refusal.value.rule)
        await machine.dimms.add("dimm0", "128M")
        with pytest.raises(ConfigError) as refusal:
            await machine.dimms.add("dimm0", "128M")
        rules.append(refusal.value.rule)
        await machine.dimms.remove("dimm0")
        return rules

    rules = run(machine_from_toml(SLOTS), main).result
    assert ["multiple", "finds no room", "already"] == [
        word
        for word, rule in zip(("multiple", "finds no room", "already"), rules, strict=True)
        if word in rule
    ]


def test_a_dimm_goes_where_it_is_told_if_nothing_is_there() -> None:
    """Frames of RAM or of another DIMM are refused by the kernel; nothing has changed then."""

    async def main(machine: OpenMachine) -> list[object]:
        async def told(name: object, addr: object) -> object:
            before = list(machine.kernel.phys.memory_blocks.blocks), dict(machine.dimms.places)
            try:
                await machine.dimms.add(name, "128M", addr=addr)
            except (ConfigError, SyscallError) as error:
                after = list(machine.kernel.phys.memory_blocks.blocks), dict(machine.dimms.places)
                assert before == after
                return getattr(error, "errno", None) or str(error).partition(":")[0]
            return [block.index for block in machine.kernel.phys.memory_blocks.blocks][2:]

        at = 4 << 30
        wanted = [("d", 0), ("d", "128M"), ("d", at), ("e", at), ("e", at + 4096), ("e", "8G")]
        return [await told(*each) for each in [*wanted, ("", None), (7, None), ([], None)]]

    found = run(machine_from_toml(SLOTS | {"maxmem": "512M"}), main).result
    rules = ["dimm addr = 4294971392", "dimm addr = '8G'", "dimm = ''", "dimm = 7", "dimm = []"]
    assert [errno.EEXIST, errno.EEXIST, [32], errno.EEXIST, *rules] == found


@pytest.mark.mission("P3")
def test_discontigmem_has_its_maps_from_boot_on() -> None:
    """A DIMM of the last node takes no page for its struct pages; other nodes get none."""

    async def main(machine: OpenMachine) -> tuple[list[int], str]:
        with pytest.raises(ConfigError) as refusal:
            await machine.dimms.add("dimm0", "128M")
        free = [machine.vmstat["nr_free_pages"]]
        await machine.dimms.add("dimm0", "128M", nid=1)
        free.append(machine.vmstat["nr_free_pages"])
        await machine.dimms.remove("dimm0")
        return [*free, machine.vmstat["nr_free_pages"]], str(refusal.value)

    nodes = [{"cpus": "0", "memory": "128M"}, {"cpus": "1", "memory": "128M"}]
    old = {"era": "classic", "memory_model": "discontigmem", "maxmem": "384M", "node": nodes}
    free, mistake = run(machine_from_toml({"name": "old", **old}), main).result
    assert len(set(free)) == 1
    assert "discontigmem has a map for DIMMs on node 1 alone" in mistake


def test_flatmem_has_no_memory_that_comes() -> None:
    """The reason is the model's."""
    with pytest.raises(ConfigError, match="one array of struct page"):
        machine_from_toml({**SLOTS, "memory_model": "flatmem"})


@pytest.mark.mission("P5")
def test_programs_at_work_take_new_memory_at_once() -> None:
    """Also those in the middle of a burst: the zone that comes first serves their next page."""
    is_over: list[bool] = []

    async def churn(process: Any) -> None:
        while not is_over:
            region = await process.mmap("4M")
            await process.touch(region, write=True)
            await process.munmap(region)

    async def main(machine: OpenMachine) -> tuple[list[int], list[bool]]:
        users = [await machine.spawn(name, churn) for name in ("a", "b")]
        await machine.dimms.add("dimm0", "128M")
        errors, nr_used = [], []
        for word in ("online_movable", "offline", "online"):
            errors.append(await written(machine, "memory32/state", word))
            await machine.sleep("500us")
            nr_used.append(in_use(machine, 32))
        is_over.append(True)
        for user in users:
            await user.wait()
        return errors, [nr > 0 for nr in nr_used]

    assert run(machine_from_toml(SLOTS), main).result == ([0] * 3, [True, False, True])


def test_who_waits_for_a_busy_controller_leaves_its_cpu() -> None:
    """One CPU, two that write: the first goes on, the second finds its work done."""

    async def main(machine: OpenMachine) -> list[int]:
        owner = await machine.spawn("owner")
        async with block_0_full(machine):
            await owner.touch(await owner.mmap("2M"), write=True)
        found = {}

        async def write(process: Any) -> None:
            found[process.pid] = 0
            try:
                await process.syscall("write_sysfs", f"{MEMORY}/memory1/state", "offline")
            except SyscallError as error:
                found[process.pid] = error.errno

        users = [await machine.spawn(name, write) for name in ("a", "b")]
        for user in users:
            await user.wait()
        return [found[user.pid] for user in users]

    assert run(small_machine(memory="256M"), main).result == [0, errno.EINVAL]


def test_a_dimm_leaves_once() -> None:
    """Two ask for it; a user who switches one of its blocks meanwhile waits, and finds it gone."""

    async def main(machine: OpenMachine) -> tuple[list[int], list[int], int]:
        await machine.dimms.add("dimm0", "256M")
        for index in (32, 33):
            await machine.write_sysfs(f"{MEMORY}/memory{index}/state", "online_movable")
        user = await machine.spawn("user")
        await user.touch(await user.mmap("12M"), write=True)
        errors, in_time = [], []

        async def remove(_: Any) -> None:
            try:
                await machine.dimms.remove("dimm0")
            except SyscallError as error:
                errors.append(error.errno)

        async def switch(process: Any) -> None:
            await process.sleep("3ms")
            try:
                await process.syscall("write_sysfs", f"{MEMORY}/memory32/state", "online")
            except SyscallError as error:
                in_time.append(error.errno)

        users = [await machine.spawn("a", remove), await machine.spawn("b", remove)]
        users.append(await machine.spawn("c", switch))
        for each in users:
            await each.wait()
        return errors, in_time, len(machine.kernel.phys.memory_blocks.blocks)

    spec = machine_from_toml({**SLOTS, "maxmem": "768M", "node": [{"cpus": "0", "memory": "512M"}]})
    assert run(spec, main).result == ([errno.ENODEV], [errno.ENODEV], 4)


def test_what_follows_from_memory_that_comes_online_by_itself() -> None:
    """Two blocks at once: reserves grow, they are lowmem, and their zone's marks are watched."""

    async def main(machine: OpenMachine) -> tuple[str, list[Any], list[bool]]:
        assert machine.sysctl("vm.admin_reserve_kbytes") < ADMIN_RESERVE_KBYTES_MAX
        machine.sysctl("vm.user_reserve_kbytes", 0)
        await machine.write_sysfs(f"{MEMORY}/auto_online_blocks", "online_movable")
        await machine.dimms.add("dimm0", "256M")
        kernel = machine.kernel
        zones = machine.sysfs("devices/system/memory/memory33/valid_zones")
        assert kernel.init_mm.layout.is_lowmem(block_range(kernel.phys, 33)[1] - 1)
        keys = ("vm.user_reserve_kbytes", "vm.admin_reserve_kbytes")
        kbytes = [machine.sysctl(key) for key in keys]
        bands = [kernel.nodes[0].bands.entries.get(3)]
        await machine.write_sysfs(f"{MEMORY}/memory33/state", "offline")
        await machine.write_sysfs(f"{MEMORY}/memory32/state", "offline")
        bands.append(kernel.nodes[0].bands.entries.get(3))
        return zones, kbytes, [band is not None for band in bands]

    small = {"cpus": "0", "memory": "128M"}
    zones, kbytes, crossed = run(machine_from_toml({**SLOTS, "node": [small]}), main).result
    assert zones == "Movable\n"
    assert kbytes == [0, ADMIN_RESERVE_KBYTES_MAX]  # 0 is a user's, and stays
    assert crossed == [False, True]


def test_a_dimm_that_cannot_leave_stays_whole() -> None:
    """Its first block goes offline, its second does not: both are online in the end."""

    async def main(machine: OpenMachine) -> tuple[int, list[str]]:
        await machine.write_sysfs(f"{MEMORY}/auto_online_blocks", "online_kernel")
        await machine.dimms.add("dimm0", "256M")
        user = await machine.spawn("user")
        await user.touch(await user.mmap("1M"), write=True)
        last = 33 if in_use(machine, 33) else 32
        start, end = block_range(machine.kernel.phys, last)
        pages = machine.mem.pages.flags[start:end]
        at = int((pages != 0).argmax())
        before, pages[at] = pages[at], PG_kernel
        with pytest.raises(SyscallError) as refusal:
            await machine.dimms.remove("dimm0")
        pages[at] = before
        events = machine.dmesg.splitlines()[-1]
        assert f"memory memory{last}: Offline failed." in events
        blocks = machine.kernel.phys.memory_blocks.blocks
        return refusal.value.errno, [block.state for block in blocks if block.index >= 32]

    spec = machine_from_toml({**SLOTS, "maxmem": "768M", "node": [{"cpus": "0", "memory": "512M"}]})
    assert run(spec, main).result == (errno.EBUSY, ["online", "online"])


def test_memory_that_comes_to_a_node_changes_the_zone_of_no_other_page() -> None:
    """Three nodes share a pageblock; the DIMM of the second lies behind the third."""

    async def main(machine: OpenMachine) -> list[list[int]]:
        below = np.arange((16 << 20) // 4096)
        found = [zones_of(machine.mem, below).tolist()]
        await machine.dimms.add("dimm0", "128M", 1)
        for word in ("online_movable", "offline", "online"):
            await machine.write_sysfs(f"{MEMORY}/memory32/state", word)
            found.append(zones_of(machine.mem, below).tolist())
        return found

    nodes = [{"cpus": str(cpu), "memory": size} for cpu, size in enumerate(("12M", "1M", "3M"))]
    spec = machine_from_toml({"name": "shared", "maxmem": "144M", "node": nodes})
    first, *others = run(spec, main).result
    assert len(set(first)) == len(nodes) + 1
    assert others == [first] * 3


def test_a_zone_that_comes_to_span_another_takes_nothing_of_it() -> None:
    """Two nodes share a pageblock above 4 GiB; the DIMM of the first lies behind the second."""
    shared = 1 << 20, (1 << 20) + 2048

    async def main(machine: OpenMachine) -> list[list[list[int]]]:
        found = []

        def note() -> None:
            rows = machine.mem.zone[:, [Z_NID, Z_START_PFN, Z_SPANNED, Z_PRESENT]]
            found.append([zones_of(machine.mem, np.arange(*shared)).tolist(), rows.tolist()])

        note()
        await machine.dimms.add("dimm0", "128M", 0)
        index = machine.kernel.phys.memory_blocks.blocks[-1].index
        await machine.write_sysfs(f"{MEMORY}/memory{index}/state", "online")
        note()
        user = await machine.spawn("user", cpu=1, mempolicy="bind:1")
        region = await user.mmap("6M")
        await user.touch(region, write=True)
        await user.munmap(region)
        await machine.dimms.remove("dimm0")
        note()
        return found

    sizes = f"{(3 << 20) + 4100}K", "8M"
    nodes = [{"cpus": str(cpu), "memory": size} for cpu, size in enumerate(sizes)]
    spec = machine_from_toml({"name": "spans", "maxmem": "4G", "node": nodes})
    first, second, third = run(spec, main).result
    assert first == third
    assert first[0] == second[0]
    assert len(set(first[0])) == len(nodes)
    assert first[1] != second[1]
