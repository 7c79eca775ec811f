"""The same pressure on the two lists and on the multi-generational LRU: what is read again?

Two stories on 512 MiB, most of them locked away. A server reads its database again and again beside
a backup that passes once over another file: both together are a little more than fits. Then a
program uses some of its pages far more often than others, beside one that uses each page once.
The lists take what was read longest ago, and judge by the distance of a refault. Generations count
uses, and spare pages of many uses once it shows that such pages come back: here they keep a part of
a database of which the lists keep nothing, as they do of 24 to 64 MiB beside the same backup. Of
16 MiB they keep nothing either, and beside a backup of 16 MiB, which leaves the lists two thirds of
the database, they keep less than these. What a program touches for the first time is as young as
what it always uses, until the node has aged twice.
"""

import numpy as np

from kernelsim.user.cache.made_traces import MADE_TRACES, TraceShape
from kernelsim.workload import MachineHandle, workload

LISTS, GENERATIONS = 0, 3  # lru_gen.enabled: 1 the generations, 2 their walks of page tables
NAMES = {LISTS: "two lists", GENERATIONS: "generations"}
LOCKED = "416M"
ROUNDS = 8
DATABASE_PAGES = 32 << 8
HEAP_PAGES = 64 << 8
HOT_PAGES = HEAP_PAGES // 10
ACCESSES = 75_000
AT_ONCE = 4096
SCAN = 4 << 20


async def database_beside_backup(machine: MachineHandle) -> tuple[int, int]:
    """Return how many pages of the database were read again, and the share of it that is left."""
    server, backup = await machine.spawn("server", cpu=0), await machine.spawn("backup", cpu=1)
    database, stream = await server.open("/srv/database"), await backup.open("/srv/backup")
    again = -DATABASE_PAGES  # the first time does not count
    for _ in range(ROUNDS):
        again += DATABASE_PAGES - len(await server.mincore(database))
        await server.read(database, DATABASE_PAGES << 12, offset=0, block="64K")
        await backup.read(stream, "48M", block="64K")
    left = len(await server.mincore(database)) * 100 // DATABASE_PAGES
    await server.exit()
    await backup.exit()
    await machine.drop_caches()
    return again, left


async def popular_pages(machine: MachineHandle) -> tuple[int, int]:
    """Return how many pages came back from swap, and the share of the popular that are left."""
    program, scanner = await machine.spawn("program", cpu=0), await machine.spawn("scanner", cpu=1)
    heap, once = await program.mmap(HEAP_PAGES << 12), await scanner.mmap("512M")
    await program.touch(heap, write=True)
    before = machine.vmstat["pswpin"]
    shape = TraceShape(HEAP_PAGES, ACCESSES, machine.rng("popularity"))
    pages = np.array([request.page for request in MADE_TRACES["zipf"](shape)], np.int64)
    vpns = pages + (heap.address >> 12)
    for first in range(0, ACCESSES, AT_ONCE):
        part = vpns[first : first + AT_ONCE]
        await program.touch_pages(part, np.ones(len(part), np.uint8))
        await scanner.touch(once, write=True, offset=first // AT_ONCE * SCAN, length=SCAN)
    again = machine.vmstat["pswpin"] - before
    popular = np.argsort(-np.bincount(pages, minlength=HEAP_PAGES), kind="stable")[:HOT_PAGES]
    looked = await program.touch_pages(
        np.sort(popular) + (heap.address >> 12), np.zeros(HOT_PAGES, np.uint8)
    )
    await program.exit()
    await scanner.exit()
    return again, (HOT_PAGES - looked.majflt) * 100 // HOT_PAGES


STORIES = {"database beside backup": database_beside_backup, "popular pages": popular_pages}


@workload(machine="files-512m")
async def main(machine: MachineHandle) -> None:
    """Each story with the lists, then with generations."""
    ballast = await machine.spawn("ballast")
    await ballast.syscall("mlock", await ballast.mmap(LOCKED))
    again = {}
    for name, story in STORIES.items():
        for enabled in (LISTS, GENERATIONS):
            machine.sysctl("lru_gen.enabled", enabled)
            before = machine.vmstat
            again[name, enabled], left = await story(machine)
            after = machine.vmstat
            names = (
                "pgscan_kswapd",
                "pgscan_direct",
                "pgrefill",
                "pgsteal_kswapd",
                "pgsteal_direct",
            )
            kswapd, direct, refill, *stolen = (after[each] - before[each] for each in names)
            machine.note(
                f"{name:22}  {NAMES[enabled]:11}  {again[name, enabled]:6} pages read again, "
                f"{(kswapd + direct + refill) / max(1, sum(stolen)):4.1f} looks a page reclaimed, "
                f"{left:3} % of the hot left"
            )
            machine.expect(again[name, enabled] > 0, f"{name}: not all of it fits")
    backup = [again["database beside backup", enabled] for enabled in NAMES]
    machine.expect(backup[1] < backup[0], "generations keep a part of what the lists lose")
