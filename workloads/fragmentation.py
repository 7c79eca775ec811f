"""Memory in pieces, and the blocks that compaction makes of it.

A program takes 24 MiB of 32 MiB so that its pages and those it gives back lie by turns: much is
free then, and hardly two free pages lie together. A driver that may not wait gets no block of
2 MiB; one that may has used pages moved together until there is one, while the program goes on
storing to them and waits only for a page that is being copied. Requests that may not wait wake
kswapd, and when that has given up, as nothing here can be reclaimed, kcompactd, which makes blocks
in the background. A write to vm.compact_memory tidies up what can be.
"""

import numpy as np

from kernelsim.config.machine import MachineSpec
from kernelsim.config.machine_file import machine_from_toml
from kernelsim.units import PAGE_SIZE
from kernelsim.workload import MachineHandle, ProcessHandle, workload
from kernelsim.workload.syscall import MappedRange

HUGE = 9  # order of 2 MiB
SMALL = 4
TRIES = 50
FIRST = "2M"  # of what stays: it lies where compaction begins
NR_PAGES = 3000  # that stay, and as many that go


def machine_of_32m() -> MachineSpec:
    """Return a machine of 32 MiB and two CPUs; nothing of what programs have can be reclaimed."""
    node = {"cpus": "0-1", "memory": "32M"}
    return machine_from_toml({"name": "pieces-32m", "node": [node]})


def indexes(machine: MachineHandle, name: str, order: int) -> list[str]:
    """Return what a file of /sys/kernel/debug/extfrag says of both zones, for an order."""
    lines = machine.sysfs(f"kernel/debug/extfrag/{name}").splitlines()
    return [line.split()[4 + order] for line in lines]


def note(machine: MachineHandle, when: str) -> None:
    """Note how much is free, and what that is good for: by zone, DMA and DMA32."""
    free = sum(machine.zone(0, name).free for name in ("DMA", "DMA32"))
    small, huge = (", ".join(indexes(machine, "unusable_index", order)) for order in (SMALL, HUGE))
    machine.note(
        f"{when:22}: {free:5} pages free; unusable for 64 KiB {small}, for 2 MiB {huge}; "
        f"extfrag {', '.join(indexes(machine, 'extfrag_index', HUGE))}"
    )


async def in_pieces(process: ProcessHandle) -> MappedRange:
    """Take pages by turns for two ranges, and give one of them back; return the other."""
    stays, goes = [await process.mmap(NR_PAGES * PAGE_SIZE) for _ in range(2)]
    first = np.array([stays.address, goes.address]) // PAGE_SIZE
    turns = np.arange(NR_PAGES)[:, None] + first
    await process.touch_pages(turns.ravel(), np.ones(2 * NR_PAGES, np.int64))
    await process.munmap(goes)
    return stays


async def direct(machine: MachineHandle) -> None:
    """Get a block of 2 MiB out of memory in pieces, under stores to it."""
    driver = machine.kernel_thread("driver", cpu=0)
    user = await machine.spawn("user", cpu=1)
    kept, is_storing, waits = await in_pieces(user), [True], []
    note(machine, "every other page free")
    machine.expect(await driver.alloc_block(HUGE, "GFP_ATOMIC") is None, "who may not wait")
    line = next(each for each in machine.dmesg.splitlines() if "order:9" in each)
    machine.note(f"who may not wait gets none: {line.partition('] ')[2]}")

    began = machine.wait_queue("stores")

    async def store(process: ProcessHandle) -> None:
        await process.touch(kept, write=True)
        before = process.stats.pgfault
        began.wake_all()
        while is_storing:
            await process.touch(kept, write=True, length=FIRST)
        waits.append(process.stats.pgfault - before)

    child = await user.fork(store, shares_vm=True)
    await began.wait()
    before, began_ns = machine.vmstat, machine.now_ns
    block = await driver.alloc_block(HUGE)
    took_us, after = (machine.now_ns - began_ns) // 1000, machine.vmstat
    is_storing.clear()
    await child.wait()
    moved = after["pgmigrate_success"] - before["pgmigrate_success"]
    machine.expect(block is not None and moved > 0, "who may wait gets it, by migration")
    machine.expect(waits[0] > 0, "stores wait for pages that are being copied")
    machine.note(
        f"who may wait gets one after {took_us} us: {moved} pages moved, "
        f"{after['compact_migrate_scanned']} and {after['compact_free_scanned']} frames looked at; "
        f"{waits[0]} stores waited"
    )
    note(machine, "with a block of 2 MiB")


async def background(machine: MachineHandle) -> None:
    """Ask for blocks at once, until kcompactd is woken for them."""
    driver, nr_refused = machine.kernel_thread("driver2", cpu=0), 0
    got = await driver.alloc_block(HUGE, "GFP_ATOMIC")
    while got is None and nr_refused < TRIES:
        nr_refused += 1
        await machine.sleep("2ms")
        got = await driver.alloc_block(HUGE, "GFP_ATOMIC")
    scanned = machine.vmstat["compact_daemon_migrate_scanned"]
    machine.expect(scanned and got is not None, "kcompactd makes what there was not")
    machine.note(
        f"who may not wait is refused {nr_refused} times, kswapd gives up; then kcompactd "
        f"looks at {scanned} frames, and there is one"
    )
    if got is not None:
        await driver.free_block(got)


@workload(machine=machine_of_32m())
async def main(machine: MachineHandle) -> None:
    """A block is made directly, some in the background, and then all that can be."""
    note(machine, "at boot")
    await direct(machine)
    await background(machine)
    note(machine, "after kcompactd")
    before = indexes(machine, "unusable_index", SMALL)
    await machine.compact_memory()
    pairs = zip(indexes(machine, "unusable_index", SMALL), before, strict=True)
    is_lower = all(float(now) < float(then) for now, then in pairs)
    machine.expect(is_lower, "vm.compact_memory makes blocks of 64 KiB in both zones")
    note(machine, "vm.compact_memory")
