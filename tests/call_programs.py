"""Random programs of system calls, sane and evil: what each step asks, drawn by Hypothesis.

A step says where and how much in terms of what is mapped when it is made ("area 3, a page behind
its start"), so that a program stays what it is while Hypothesis makes it smaller.
Interface: `programs` draws `Program`s, `value_of` makes the value a process is asked.
Units: bytes, pages.
"""

from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from kernelsim.actors.process.calls import (
    access,
    advising,
    executing,
    file_write,
    files,
    forking,
    life,
    limits,
    locking,
    mapping,
    mempolicy,
    migrating,
    protecting,
    swapping,
)
from kernelsim.mm.page.mempolicy import MODES, MPOL_DEFAULT
from kernelsim.mm.space import vm_flags
from kernelsim.mm.space.mmap import TASK_SIZE
from kernelsim.mm.space.static_program import DEFAULT_PROGRAM
from tests.small_machine import PAGE

WINDOW = 0x1000_0000_0000  # where most mappings go, next to and over each other
WORD = 1 << 64
EVIL = (
    0, 1, PAGE - 1, PAGE, 15 * PAGE, 16 * PAGE, WINDOW + 1, TASK_SIZE - PAGE, TASK_SIZE,
    TASK_SIZE + PAGE, 1 << 32, 1 << 40, (1 << 46) + 5, 0xFFFF_8000_0000_0000, (1 << 63) - 1,
    1 << 63, WORD - 2 * PAGE, WORD - PAGE, WORD - PAGE + 1, WORD - 1,
)  # fmt: skip
EVIL_NUMBERS = (-1, -2, 3, 7, 99, 1 << 16, (1 << 31) - 1, -(1 << 31))
FILES = ("/data", "/dev/shm/f")
FILE_PAGES = 16
PROTS = (0, 1, 2, 3, 4, 5, 7)
TYPES = (vm_flags.MAP_PRIVATE, vm_flags.MAP_SHARED, vm_flags.MAP_SHARED_VALIDATE)
MAP_BITS = (
    vm_flags.MAP_FIXED, vm_flags.MAP_FIXED_NOREPLACE, vm_flags.MAP_GROWSDOWN,
    vm_flags.MAP_LOCKED, vm_flags.MAP_NORESERVE, vm_flags.MAP_POPULATE, vm_flags.MAP_NONBLOCK,
    vm_flags.MAP_STACK, vm_flags.MAP_HUGETLB, vm_flags.MAP_32BIT, vm_flags.MAP_DENYWRITE,
)  # fmt: skip


@attrs.frozen
class Step:
    """One call of a program.

    Attributes:
        name: Of a function of BUILDERS.
        who: Which of the living processes makes it, counted round.
        draws: What its arguments are made of.
    """

    name: str
    who: int
    draws: tuple[Any, ...]


@attrs.frozen
class Program:
    """Steps, and the machine they are made on.

    Attributes:
        nr_nodes: Nodes of memory.
        swap: Size of the swap area; None for none.
        overcommit: vm.overcommit_memory.
        max_map_count: vm.max_map_count.
        uid: Whose process it is.
        catches_faults: It goes on after SIGSEGV and SIGBUS.
        burst_pages: As of a run.
        steps: What is called.
    """

    nr_nodes: int
    swap: str | None
    overcommit: int
    max_map_count: int
    uid: int
    catches_faults: bool
    burst_pages: int
    steps: list[Step]


def _mostly(usual, *seldom):
    """Draw from `usual` three times in four."""
    return st.one_of(usual, usual, usual, *seldom)


_SKEW = st.sampled_from([0] * 12 + [1, 2048, PAGE - 1])
_EVIL = st.sampled_from(EVIL)
_PAGES = st.integers(0, 24)
PLACES = _mostly(
    st.one_of(
        st.tuples(st.just("window"), st.integers(0, 40), _SKEW),
        st.tuples(st.just("area"), st.integers(0, 15), st.integers(-2, 8), _SKEW),
    ),
    st.tuples(st.just("raw"), _EVIL),
)
LENGTHS = _mostly(
    st.one_of(
        st.tuples(st.just("pages"), _PAGES, _SKEW), st.tuples(st.just("area"), st.integers(0, 15))
    ),
    st.tuples(st.just("raw"), _EVIL),
)
NUMBERS = _mostly(st.integers(0, 4), st.sampled_from(EVIL_NUMBERS))
PROT_BITS = _mostly(st.sampled_from(PROTS), st.sampled_from((8, 16, 1 << 24, 1 << 25, 3 << 24, -1)))
FDS = _mostly(st.integers(3, 6), st.sampled_from((-1, 0, 7, 1 << 31)))
NODES = st.lists(st.sampled_from((0, 0, 1, 1, 2, 63, 1023, 1024, -1)), max_size=3).map(tuple)
POLICY_MODES = st.sampled_from((MPOL_DEFAULT, *MODES))
OFFSETS = _mostly(st.integers(0, FILE_PAGES + 2).map(lambda n: n * PAGE), _EVIL)
# Of files: what a page of one holds is kept in an array, so that none may end far away.
FILE_EVIL = tuple(number for number in EVIL if number < PAGE * 64 or number >= 1 << 63)
FILE_LENGTHS = _mostly(
    st.tuples(st.just("pages"), _PAGES, _SKEW),
    st.tuples(st.just("raw"), st.sampled_from(FILE_EVIL)),
)
FILE_OFFSETS = _mostly(st.integers(-1, 99).map(lambda n: n * 1000), st.sampled_from(FILE_EVIL))
REMAP_BITS = _mostly(st.sampled_from((0, 1, 1, 3, 5, 7)), st.sampled_from((2, 4, 6, 8, -1)))
HOW_TO_MAP = st.builds(
    lambda kind, bits, is_anon: kind | sum(set(bits)) | (vm_flags.MAP_ANONYMOUS if is_anon else 0),
    _mostly(st.sampled_from(TYPES), st.sampled_from((4, 15))),
    st.lists(_mostly(st.sampled_from(MAP_BITS[:2]), st.sampled_from(MAP_BITS)), max_size=3),
    _mostly(st.booleans(), st.just(True)),
)
FLAGS = st.tuples(*[st.booleans()] * 3)

# By name: what is drawn, and how often.
DRAWN = {
    "mmap": (6, PLACES, LENGTHS, PROT_BITS, HOW_TO_MAP, FDS, OFFSETS),
    "munmap": (3, PLACES, LENGTHS),
    "mprotect": (3, PLACES, LENGTHS, PROT_BITS),
    "mremap": (3, PLACES, LENGTHS, LENGTHS, REMAP_BITS, PLACES),
    "brk": (2, _mostly(st.integers(-3, 8).map(lambda n: n * PAGE), _EVIL, _EVIL.map(lambda n: -n))),
    "madvise": (4, PLACES, LENGTHS, st.sampled_from((*advising.ADVICE, "dontneed", "silly"))),
    "mlock2": (2, PLACES, LENGTHS, NUMBERS),
    "munlock": (1, PLACES, LENGTHS),
    "mlockall": (1, NUMBERS),
    "munlockall": (1,),
    "mincore": (1, PLACES, LENGTHS),
    "msync": (1, PLACES, LENGTHS, NUMBERS),
    "mbind": (2, PLACES, LENGTHS, POLICY_MODES, NODES, FLAGS, FLAGS),
    "set_mempolicy": (1, POLICY_MODES, NODES, FLAGS),
    "get_mempolicy": (1, st.none() | PLACES, FLAGS),
    "home_node": (1, PLACES, LENGTHS, NUMBERS),
    "move_pages": (1, NUMBERS, st.lists(PLACES, max_size=4), st.none() | NODES, st.booleans()),
    "migrate_pages": (1, NUMBERS, NODES, NODES),
    "setrlimit": (
        1, st.sampled_from((*limits.RESOURCES, "NPROC")), LENGTHS, st.none() | LENGTHS,
    ),
    "fork": (2, st.sampled_from(("copy", "copy", "share", "vfork"))),
    "wait": (1, NUMBERS),
    "exit": (1, st.integers(0, 255)),
    "exec": (1,),
    "touch": (6, PLACES, LENGTHS, st.booleans(), st.sampled_from((PAGE, PAGE, 64, 3 * PAGE))),
    "read": (1, FDS, FILE_LENGTHS, FILE_OFFSETS, st.none() | PLACES),
    "write": (1, FDS, FILE_LENGTHS, FILE_OFFSETS),
    "ftruncate": (1, FDS, FILE_LENGTHS),
    "fsync": (1, FDS),
    "fadvise": (1, FDS, st.sampled_from(files.ADVICE), OFFSETS, LENGTHS),
    "close": (1, FDS),
    "swap": (1, st.booleans(), st.sampled_from(("/dev/vda", "/nowhere"))),
    "sleep": (1, st.sampled_from((1000, 10**6, 10**8))),
}  # fmt: skip
_STEPS = st.one_of(
    *(
        st.builds(Step, st.just(name), st.integers(0, 2), st.tuples(*drawn))
        for name, (weight, *drawn) in DRAWN.items()
        for _ in range(weight)
    )
)


def programs():
    """Draw programs, on machines that let most calls succeed and on some that do not."""
    return st.builds(
        Program,
        nr_nodes=st.sampled_from((1, 1, 2)),
        swap=st.sampled_from((None, "4M")),
        overcommit=st.sampled_from((0, 0, 1, 2)),
        max_map_count=st.sampled_from((65_530, 65_530, 65_530, 14)),
        uid=st.sampled_from((0, 0, 1000)),
        catches_faults=_mostly(st.just(value=True), st.just(value=False)),
        burst_pages=st.sampled_from((1, 512)),
        steps=st.lists(_STEPS, min_size=1, max_size=20),
    )


class Arguments:
    """What the draws of a step mean for a process.

    Args:
        areas: Its mappings, as pairs of start and end.
        brk: End of its heap.
        pids: Of all processes there have been.
    """

    def __init__(self, areas, brk, pids):
        self._areas = areas or [(0, 0)]
        self._brk = brk
        self._pids = pids

    def place(self, drawn):
        """Return an address."""
        kind, number, *rest = drawn
        if kind == "raw":
            return number
        if kind == "window":
            return WINDOW + number * PAGE + rest[0]
        start, _ = self._areas[-1 - number % len(self._areas)]
        return (start + rest[0] * PAGE + rest[1]) % WORD

    def length(self, drawn):
        """Return a length."""
        kind, number, *rest = drawn
        if kind == "raw":
            return number
        if kind == "pages":
            return number * PAGE + rest[0]
        start, end = self._areas[-1 - number % len(self._areas)]
        return end - start

    def pid(self, drawn):
        """Return a pid; 0 is the caller's own."""
        return self._pids[drawn - 1] if 0 < drawn <= len(self._pids) else drawn

    def value(self, step):
        """Return the value that asks for the call of a step."""
        return BUILDERS[step.name](self, *step.draws)

    def range(self, place, length):
        """Return address and length."""
        return self.place(place), self.length(length)


def _mmap(args, place, length, prot, flags, fd, offset):
    return mapping.Mmap(
        args.length(length), address=args.place(place), prot=prot, flags=flags, fd=fd, offset=offset
    )


def _mremap(args, place, old, new, flags, new_place):
    old_length, new_length = args.length(old), args.length(new)
    return protecting.Mremap(
        args.place(place), old_length, new_length, flags, args.place(new_place)
    )


def _mbind(args, place, length, mode, nodes, how, then):
    static, relative, move_all = how
    strict, move, _ = then
    return mempolicy.Mbind(
        *args.range(place, length), mode, nodes, static, relative, strict, move, move_all
    )


def _get_mempolicy(args, place, how):
    address = None if place is None else args.place(place)
    return mempolicy.GetMempolicy(address, node=how[0], allowed=how[1] and how[2])


def _move_pages(args, pid, places, nodes, move_all):
    addresses = np.array([args.place(place) for place in places], np.uint64).astype(np.int64)
    where = None if nodes is None else np.resize(np.array(nodes or (0,), np.int64), len(places))
    return migrating.MovePages(args.pid(pid), addresses, where, move_all)


def _setrlimit(args, resource, limit, hard):
    return limits.Setrlimit(
        resource, args.length(limit), None if hard is None else args.length(hard)
    )


def _read(args, fd, length, offset, buffer):
    address = 0 if buffer is None else args.place(buffer)
    return files.Read(fd, args.length(length), offset, buffer=address)


def _fork(_args, how):
    return forking.Fork(shares_vm=how != "copy", vfork=how == "vfork")


BUILDERS = {
    "mmap": _mmap,
    "munmap": lambda args, *where: mapping.Munmap(*args.range(*where)),
    "mprotect": lambda args, at, nr, prot: protecting.Mprotect(*args.range(at, nr), prot),
    "mremap": _mremap,
    "brk": lambda _args, increment: mapping.Brk(increment),
    "madvise": lambda args, at, nr, advice: advising.Madvise(*args.range(at, nr), advice),
    "mlock2": lambda args, at, nr, flags: locking.Mlock2(*args.range(at, nr), flags),
    "munlock": lambda args, *where: locking.Munlock(*args.range(*where)),
    "mlockall": lambda _args, flags: locking.MlockallFlags(flags),
    "munlockall": lambda _args: locking.Munlockall(),
    "mincore": lambda args, *where: advising.MincoreRange(*args.range(*where)),
    "msync": lambda args, at, nr, flags: advising.Msync(*args.range(at, nr), flags),
    "mbind": _mbind,
    "set_mempolicy": lambda _args, mode, nodes, how: mempolicy.SetMempolicy(mode, nodes, *how[:2]),
    "get_mempolicy": _get_mempolicy,
    "home_node": lambda args, at, nr, nid: mempolicy.SetMempolicyHomeNode(*args.range(at, nr), nid),
    "move_pages": _move_pages,
    "migrate_pages": lambda args, pid, old, new: migrating.MigratePages(args.pid(pid), old, new),
    "setrlimit": _setrlimit,
    "fork": _fork,
    "wait": lambda args, pid: forking.Wait4(args.pid(pid)),
    "exit": lambda _args, status: life.Exit(status),
    "exec": lambda _args: executing.Execve("other", DEFAULT_PROGRAM),
    "touch": lambda args, at, nr, write, stride: access.Touch(*args.range(at, nr), write, stride),
    "read": _read,
    "write": lambda args, fd, nr, offset: file_write.Write(fd, args.length(nr), offset),
    "ftruncate": lambda args, fd, nr: file_write.Ftruncate(fd, args.length(nr)),
    "fsync": lambda _args, fd: file_write.Fsync(fd),
    "fadvise": lambda args, fd, advice, at, nr: files.Fadvise(fd, advice, at, args.length(nr)),
    "close": lambda _args, fd: files.Close(fd),
    "swap": lambda _args, on, path: swapping.Swapon(path) if on else swapping.Swapoff(path),
    "sleep": lambda _args, ns: life.Sleep(ns),
}
