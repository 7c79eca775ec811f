"""What readahead brings: of a cold file, of a file read in order, of a file read at random.

A cold read of 4 KiB brings 16 KiB. A program that goes on in order finds its window doubled, up to
128 KiB, and each next window is on its way before it is needed. One that jumps about gets what it
asks for and no more. Where readahead guesses wrong, its pages go unused; they are the first to be
reclaimed, and what is in use stays.
"""

from itertools import pairwise

from kernelsim.workload import MachineHandle, ProcessHandle, workload

PAGE = 4096
PAGES_OF_16K = 4
PAGES_OF_128K = 32
DATABASE_PAGES = 64 << 8
STEP = 256 << 10
MOSTLY_WASTE = 4
WANTED = 6  # pages at each place
PLACES = (1 << 30) // STEP


async def cached(process: ProcessHandle, fd: int) -> int:
    """Return how many pages of a file are in memory."""
    return len(await process.mincore(fd))


@workload(machine="files-512m")
async def main(machine: MachineHandle) -> None:
    """Read one file in order, another one at random."""
    reader = await machine.spawn("reader")
    log = await reader.open("/srv/log")
    await reader.read(log, PAGE)
    first = await cached(reader, log)
    machine.note(f"a cold read of one page: {first} pages cached")
    machine.expect(first == PAGES_OF_16K, "4 KiB bring 16 KiB")

    steps = [first]
    for _ in range(60):
        await reader.read(log, PAGE)
        now = await cached(reader, log)
        if now != steps[-1]:
            steps.append(now)
    machine.note(f"read on in order: {' '.join(map(str, steps))} pages cached")
    grown = [after - before for before, after in pairwise(steps)]
    machine.expect(grown[:3] == [8, 16, 32], "the window doubles")
    machine.expect(max(grown) == PAGES_OF_128K, "up to read_ahead_kb")

    database = await reader.open("/srv/database")
    draws = machine.rng("pages")
    pages = {draws.below(1 << 13) * 2: None for _ in range(200)}  # no two are neighbours
    for page in pages:
        await reader.read(database, PAGE, offset=page * PAGE)
    nr = await cached(reader, database)
    machine.note(f"{len(pages)} pages read at random: {nr} pages cached")
    machine.expect(nr < 2 * len(pages), "random reads bring hardly more than they ask for")
    await guess_wrong(machine, reader, database)


async def guess_wrong(machine: MachineHandle, reader: ProcessHandle, database: int) -> None:
    """Begin to read in order at many places, and stop each time when readahead has begun."""
    for _ in range(2):
        await reader.read(database, "64M", offset=0, block="64K")
    backup = await reader.open("/srv/backup")
    before = machine.vmstat["pgpgin"]
    for place in range(PLACES):
        await reader.read(backup, WANTED * PAGE, offset=place * STEP, block=PAGE)
    brought = (machine.vmstat["pgpgin"] - before) * 1024 // PAGE
    hot = await cached(reader, database)
    machine.note(f"{WANTED * PLACES} pages wanted, {brought} read: {hot} of 16384 hot pages cached")
    machine.expect(
        brought > MOSTLY_WASTE * WANTED * PLACES, "most of what was read ahead was for nothing"
    )
    machine.expect(hot == DATABASE_PAGES, "it takes no page that is in use")
