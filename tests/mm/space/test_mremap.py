"""mremap and mprotect: what they do to mappings, what they refuse, what they leave behind."""

import errno

from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mprotect import do_mprotect
from kernelsim.mm.space.mremap import (
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    Move,
    do_mremap,
    end_move,
)
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_PRIVATE,
    PROT_GROWSDOWN,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    VmFlag,
)
from kernelsim.units import PAGE_SIZE
from tests.commit_account import commit_account

LOW = 1024  # first page of all
TO = MREMAP_MAYMOVE | MREMAP_FIXED


def process(*parts: tuple[int, int]) -> MmStruct:
    """Return an address space with writable mappings: first page and pages of each."""
    mm = MmRegistry(commit_account(1 << 20)).mm_alloc(1)
    mm.mmap_base = 4096 * PAGE_SIZE
    for first, nr in parts:
        made = mm.mmap(
            nr * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, address=page(first)
        )
        assert made.result == page(first)
    return mm


def page(number: int) -> int:
    """Return the address of a page."""
    return (LOW + number) * PAGE_SIZE


def ranges(mm: MmStruct) -> list[tuple[int, int]]:
    """Return the pages of each mapping."""
    return [((v.start // PAGE_SIZE) - LOW, (v.end // PAGE_SIZE) - LOW) for v in mm.map]


def remap(mm: MmStruct, first: int, old: int, new: int, flags: int = 0, to: int = 0) -> int:
    """Remap pages; return the page they are at, or a negative errno."""
    change = do_mremap(
        mm, page(first), old * PAGE_SIZE, new * PAGE_SIZE, flags, page(to) if to else 0
    )
    if change.move is not None:
        end_move(mm, change, is_done=True)
    return change.result // PAGE_SIZE - LOW if change.result > 0 else change.result


def test_a_mapping_grows_in_place_and_joins_the_next() -> None:
    """Only if the range ends where the mapping does; what it takes is promised."""
    mm = process((0, 4), (6, 2))
    assert remap(mm, 0, 2, 4) == -errno.ENOMEM
    assert remap(mm, 0, 4, 7) == -errno.ENOMEM
    assert remap(mm, 0, 4, 6) == 0
    assert (ranges(mm), mm.total_vm, mm.commit.committed_pages) == ([(0, 8)], 8, 8)


def test_one_that_moves_leaves_its_place_and_its_promise_stays() -> None:
    """Entries are to be moved before the old place is unmapped."""
    mm = process((0, 4), (4, 1))
    do_mprotect(mm, page(4), PAGE_SIZE, PROT_READ)
    change = do_mremap(mm, page(0), 4 * PAGE_SIZE, 8 * PAGE_SIZE, TO, page(20))
    assert change.result == page(20)
    assert change.move == Move(LOW, 4, LOW + 20)
    assert (ranges(mm), mm.total_vm) == ([(0, 4), (4, 5), (20, 28)], 13)
    end_move(mm, change, is_done=True)
    assert change.unmapped is not None
    assert change.unmapped.unmapped[0].start == page(0)
    assert (ranges(mm), mm.total_vm, mm.commit.committed_pages) == ([(4, 5), (20, 28)], 9, 9)


def test_one_that_cannot_be_moved_stays_with_its_promise() -> None:
    """Without memory for page tables the new place is unmapped, not the old one."""
    mm = process((0, 4))
    mm.change_flags(next(iter(mm.map)), next(iter(mm.map)).flags | VmFlag.VM_LOCKED)
    mm.locked_vm = 4
    for flags in (TO, TO | MREMAP_DONTUNMAP):
        length = (8 if flags == TO else 4) * PAGE_SIZE
        change = do_mremap(mm, page(0), 4 * PAGE_SIZE, length, flags, page(20))
        end_move(mm, change, is_done=False)
        assert change.result == -errno.ENOMEM
        assert change.unmapped is not None
        assert change.unmapped.unmapped[0].start == page(20)
        assert (ranges(mm), mm.total_vm, mm.commit.committed_pages) == ([(0, 4)], 4, 4)
        assert (mm.locked_vm, mm.commit.in_flight_pages, change.populate) == (4, 0, (0, 0))


def test_shrinking_unmaps_the_tail_whatever_it_is() -> None:
    """Other mappings and holes, too."""
    mm = process((0, 4), (6, 2))
    assert remap(mm, 0, 8, 1) == 0
    assert ranges(mm) == [(0, 1)]


def test_a_target_is_unmapped_before_the_source_is_looked_at() -> None:
    """It is gone when the source turns out to be two mappings; nothing is when it is none."""
    mm = process((0, 2), (4, 2), (20, 4))
    assert remap(mm, 0, 6, 6, TO, 20) == -errno.EFAULT
    assert ranges(mm) == [(0, 2), (4, 2 + 4)]
    mm = process((0, 2), (20, 4))
    assert remap(mm, 8, 2, 2, TO, 20) == -errno.EFAULT
    assert ranges(mm) == [(0, 2), (20, 24)]


def test_a_mapping_may_stay_when_its_pages_move() -> None:
    """MREMAP_DONTUNMAP: the copy is charged; it joins nothing beside what stays."""
    mm = process((0, 2))
    flags = TO | MREMAP_DONTUNMAP
    assert remap(mm, 0, 2, 2, flags, 2) == 2
    assert (ranges(mm), mm.commit.committed_pages) == ([(0, 2), (2, 4)], 4)
    assert remap(mm, 0, 2, 1, flags, 8) == -errno.EINVAL


def test_permissions_change_mapping_by_mapping_up_to_a_hole() -> None:
    """What lies before it has been changed; neighbours that are alike become one."""
    mm = process((0, 2), (4, 2))
    assert do_mprotect(mm, page(1), 5 * PAGE_SIZE, PROT_READ).result == -errno.ENOMEM
    assert ranges(mm) == [(0, 1), (1, 2), (4, 6)]
    assert do_mprotect(mm, page(1), PAGE_SIZE, PROT_READ | PROT_WRITE).result == 0
    assert ranges(mm) == [(0, 2), (4, 6)]


def test_memory_is_charged_when_it_becomes_writable_and_stays_so() -> None:
    """A private mapping that was never writable promises nothing."""
    mm = process((0, 2))
    mm.mmap(PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_FIXED, address=page(4))
    assert mm.commit.committed_pages == 2
    for prot in (PROT_READ | PROT_WRITE, PROT_NONE):
        assert do_mprotect(mm, page(4), PAGE_SIZE, prot).result == 0
        assert mm.commit.committed_pages == 3


def test_wrong_arguments_of_mprotect() -> None:
    """Unaligned, unknown bits, a stack that is none, nothing mapped, nothing wanted."""
    mm = process((0, 2))
    wrong = [
        (page(0) + 1, PAGE_SIZE, PROT_READ, -errno.EINVAL),
        (page(0), PAGE_SIZE, 0x10, -errno.EINVAL),
        (page(0), PAGE_SIZE, PROT_READ | PROT_GROWSDOWN, -errno.EINVAL),
        (page(8), PAGE_SIZE, PROT_READ, -errno.ENOMEM),
        (page(0), (1 << 64) - 1, PROT_READ, -errno.ENOMEM),
        (page(8), 0, PROT_READ, 0),
    ]
    assert [do_mprotect(mm, *args).result for *args, _ in wrong] == [last for *_, last in wrong]
