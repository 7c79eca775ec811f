"""Mapped files in any mix: processes that map, store, cut off, lock and read two files at once.

Each step is drawn from a seed; after every few of them all invariants are checked, what pages hold
among them, on a machine that is too small for what they do.
"""

import pytest

from kernelsim.check.machine import check_machine
from kernelsim.errors import ProcessEndedError, SyscallError
from kernelsim.mm.space.vm_flags import PROT_EXEC, PROT_READ, PROT_WRITE
from tests.small_machine import PAGE, run, small_machine

PATHS = ("/one", "/two")
PAGES_MAX = 1200
SAFE_PAGES = PAGES_MAX - 300 - 64  # of a mapping; they are not behind the end of the file
STEPS = 60


class Mixer:
    """The program of one process."""

    def __init__(self, machine, name):
        self.machine = machine
        self.rng = machine.rng(name)
        self.mappings = []
        self.process = None

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

    async def do_map(self):
        """Map a part of a file, or of nothing."""
        size, fd = (1 + self.draw(PAGES_MAX)) * PAGE, await self.opened()
        how = {
            "fd": fd,
            "offset": self.draw(64) * PAGE,
            "shared": bool(self.draw(2)),
            "prot": (PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC)[self.draw(3)],
        }
        writable = how["prot"] & PROT_WRITE
        self.mappings.append((await self.process.mmap(size, **how), bool(writable)))
        await self.process.close(fd)

    async def do_unmap(self):
        """Unmap a part of a mapping."""
        if self.mappings:
            mapping, writable = self.mappings.pop(self.draw(len(self.mappings)))
            nr = mapping.length // PAGE
            first = self.draw(nr)
            rest = type(mapping)(mapping.address + first * PAGE, mapping.length - first * PAGE)
            await self.process.munmap(rest)
            if first:
                kept = type(mapping)(mapping.address, first * PAGE)
                self.mappings.append((kept, writable))

    async def do_touch(self):
        """Read or write a part of a mapping."""
        if self.mappings:
            mapping, writable = self.mappings[self.draw(len(self.mappings))]
            nr = min(mapping.length // PAGE, SAFE_PAGES if self.draw(100) else PAGES_MAX)
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
        """Make a file shorter or longer, seldom by much."""
        fd = await self.opened()
        await self.process.syscall("ftruncate", fd, (PAGES_MAX - self.draw(300)) * PAGE)
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
        """Drop caches."""
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
        return machine.mem.vm_event.tolist(), machine.now_ns

    spec = small_machine(
        cpus=("0-1",), memory="10M", swap="16M", disk={"bandwidth": "200M"},
        files=dict.fromkeys(PATHS, f"{PAGES_MAX * 4}K"),
    )  # fmt: skip
    return run(spec, main, seed=seed, **options).result


@pytest.mark.parametrize("seed", [1, 3, 5, 19])
def test_any_mix_keeps_all_invariants(seed):
    """Nothing is lost, nothing is counted wrong, nothing of what ended stays."""
    mixed(seed)


def test_bursts_change_nothing_in_a_mix():
    """The same events and the same end, message by message."""
    assert mixed(7) == mixed(7, burst_pages=1)
