"""Mapped files in any mix: processes that map, store, cut off, lock and read two files at once.

Each step is drawn from a seed; after every few of them all invariants are checked, what pages hold
among them, on a machine that is too small for what they do.
"""

import numpy as np
import pytest

from kernelsim.check.machine import check_machine
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.mm.core.mem import PG_anon
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ, PROT_WRITE
from tests.small_machine import PAGE, run, small_machine

PATHS = ("/one", "/two")
PAGES_MAX = 1200
STEPS = 100


class Mixer:
    """The program of one process."""

    def __init__(self, machine, name):
        self.machine = machine
        self.rng = machine.rng(name)
        self.mappings = []
        self.process = None
        self.nr_cut = 0  # pages that were mapped and behind a new end

    def draw(self, end):
        """Return a number below `end`."""
        return self.rng.below(end)

    async def __call__(self, process):
        """Do steps; an error of the kernel is an outcome as any other."""
        self.process = process
        for _ in range(STEPS):
            name = ("map", "map", "unmap", "touch", "touch", "touch", "read", "write", "cut",
                    "sync", "advise", "lock", "drop", "sleep")[self.draw(14)]  # fmt: skip
            try:
                await getattr(self, f"do_{name}")()
            except SyscallError:
                continue
            except ProcessEndedError:
                return

    async def opened(self):
        """Open one of the files."""
        return await self.process.open(PATHS[self.draw(2)])

    def inode(self, path):
        """Return a file as the kernel has it."""
        return self.machine.kernel.files.by_path[path]

    async def do_map(self):
        """Map a part of a file, or of nothing."""
        size, path, pgoff = (1 + self.draw(PAGES_MAX)) * PAGE, PATHS[self.draw(2)], self.draw(64)
        fd = await self.process.open(path)
        how = {
            "fd": fd,
            "offset": pgoff * PAGE,
            "shared": bool(self.draw(2)),
            "prot": (PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC)[self.draw(3)],
        }
        writable = bool(how["prot"] & PROT_WRITE)
        self.mappings.append((await self.process.mmap(size, **how), (writable, path, pgoff)))
        await self.process.close(fd)

    async def do_unmap(self):
        """Unmap a part of a mapping."""
        if self.mappings:
            mapping, about = self.mappings.pop(self.draw(len(self.mappings)))
            nr = mapping.length // PAGE
            first = self.draw(nr)
            rest = type(mapping)(mapping.address + first * PAGE, mapping.length - first * PAGE)
            await self.process.munmap(rest)
            if first:
                kept = type(mapping)(mapping.address, first * PAGE)
                self.mappings.append((kept, about))

    async def do_touch(self):
        """Read or write a part of a mapping, seldom behind the end of the file."""
        if self.mappings:
            mapping, (writable, path, pgoff) = self.mappings[self.draw(len(self.mappings))]
            end = self.inode(path).nr_pages - pgoff if self.draw(100) else PAGES_MAX
            nr = min(mapping.length // PAGE, end)
            first, stride = self.draw(nr), 1 + self.draw(3)
            await self.process.touch(
                mapping, write=writable and bool(self.draw(2)), offset=first * PAGE,
                length=min(nr - first, 200) * PAGE, stride=stride * PAGE,
            )  # fmt: skip

    async def do_read(self):
        """Read a part of a file."""
        fd = await self.opened()
        await self.process.read(fd, self.draw(256) * PAGE, offset=self.draw(PAGES_MAX) * PAGE)
        await self.process.close(fd)

    async def do_write(self):
        """Write a part of a file."""
        fd = await self.opened()
        await self.process.write(fd, self.draw(64) * PAGE, offset=self.draw(PAGES_MAX) * PAGE)
        await self.process.close(fd)

    async def do_cut(self):
        """Make a file shorter or longer."""
        path, nr = PATHS[self.draw(2)], PAGES_MAX - self.draw(900)
        fd, pages = await self.process.open(path), self.machine.mem.pages
        of_file = (pages.mapping == self.inode(path).number) & (pages.flags & PG_anon == 0)
        self.nr_cut += int(np.count_nonzero(of_file & (pages.index >= nr) & (pages.mapcount > 0)))
        await self.process.syscall("ftruncate", fd, nr * PAGE)
        await self.process.close(fd)

    async def do_sync(self):
        """Bring a file or a mapping to the disk."""
        if self.mappings and self.draw(2):
            await self.process.syscall("msync", self.mappings[0][0])
            return
        fd = await self.opened()
        await self.process.fsync(fd)
        await self.process.close(fd)

    async def do_advise(self):
        """Say how a mapping is used."""
        if self.mappings:
            words = ("dontneed", "normal", "random", "sequential", "willneed")
            mapping, _ = self.mappings[self.draw(len(self.mappings))]
            await self.process.syscall("madvise", mapping, words[self.draw(5)])

    async def do_lock(self):
        """Lock a mapping, or let it go."""
        if self.mappings:
            mapping, _ = self.mappings[self.draw(len(self.mappings))]
            name = ("mlock", "munlock", "munlock")[self.draw(3)]
            await self.process.syscall(name, type(mapping)(mapping.address, PAGE * 16))

    async def do_drop(self):
        """Drop caches, seldom: what is left is for reclaim."""
        if self.draw(8) == 0:
            await self.process.syscall("drop_caches", 1)

    async def do_sleep(self):
        """Sleep."""
        await self.process.sleep(f"{1 + self.draw(20)}ms")


def mixed(seed, **options):
    """Run a mix; return what is counted at its end."""

    async def main(machine):
        programs = [Mixer(machine, f"mixer{number}") for number in range(3)]
        processes = [
            await machine.spawn(f"mixer{number}", program)
            for number, program in enumerate(programs)
        ]
        while any(process.exit_status is None for process in processes):
            await machine.sleep("2ms")
            found = check_machine(machine.kernel)
            assert found == [], found
        for process in processes:
            await process.wait()
        found = check_machine(machine.kernel)
        assert found == [], found
        assert machine.vmstat["nr_mapped"] == machine.vmstat["nr_mlock"] == 0
        nr_cut = sum(program.nr_cut for program in programs)
        return machine.vmstat | {"cut": nr_cut}, machine.now_ns

    spec = small_machine(
        cpus=("0-1",), memory="6M", swap="16M", disk={"bandwidth": "200M"},
        files=dict.fromkeys(PATHS, f"{PAGES_MAX * 4}K"),
    )  # fmt: skip
    return run(spec, main, seed=seed, **options).result


@pytest.mark.parametrize("seed", [1, 3, 5, 19])
def test_any_mix_keeps_all_invariants(seed):
    """Nothing is lost, nothing is counted wrong, nothing of what ended stays.

    All of it happens in each mix: pages are read by faults, become dirty, are written, reclaimed,
    and cut off while they are mapped.
    """
    counts, _ = mixed(seed)
    names = ("pgmajfault", "nr_dirtied", "nr_written", "pgsteal_file", "cut")
    assert [name for name in names if not counts[name]] == []


def test_bursts_change_nothing_in_a_mix():
    """The same events and the same end, message by message."""
    assert mixed(7) == mixed(7, burst_pages=1)
