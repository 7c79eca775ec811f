"""Address spaces: system calls, limits, accounting, layout."""

import errno

import attrs
import pytest

from kernelsim.mm.space.address_layout import ADDRESS_LAYOUTS
from kernelsim.mm.space.brk import fault_vma, set_brk
from kernelsim.mm.space.exec import (
    NOT_MOVED,
    AddressDraw,
    draw_addresses,
    load_image,
    mmap_base,
    static_image,
)
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mm_struct import MmStruct, Rlimits
from kernelsim.mm.space.mmap import TASK_SIZE, MappedFile
from kernelsim.mm.space.static_program import bss_end, map_libc_start
from kernelsim.mm.space.util import OVERCOMMIT_NEVER
from kernelsim.mm.space.vm_flags import (
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    VM_ACCESS_FLAGS,
    VmFlag,
)
from kernelsim.units import GIB, KIB, MIB, PAGE_SIZE
from tests.commit_account import commit_account

PROGRAM = MappedFile("/bin/memhog", 12, (8, 1))
IMAGE = static_image(text_bytes=600 * KIB, data_bytes=20 * KIB, bss_bytes=30 * KIB)


def set_tunable(mm: MmStruct, **values: int) -> None:
    """Put a tunable into force."""
    tunables = mm.commit.tunables
    tunables.now = attrs.evolve(tunables.now, **values)


def new_process(rlimits: Rlimits | None = None, *, root: bool = True) -> MmStruct:
    """Return an address space with a program in it."""
    mm = MmRegistry(commit_account(GIB // 1024)).mm_alloc(1, rlimits=rlimits, cap_sys_admin=root)
    assert not load_image(mm, PROGRAM, IMAGE).failed
    return mm


def sizes(mm: MmStruct) -> tuple[int, int, int, int]:
    """Return total, data, exec and stack pages."""
    return mm.total_vm, mm.data_vm, mm.exec_vm, mm.stack_vm


@pytest.mark.mission("V10")
def test_layout_of_a_fresh_process() -> None:
    """Text, data, bss, no heap yet, a stack of 132 kB at the very top, mmap below 128 MB."""
    mm = new_process()
    data = VmFlag.VM_READ | VmFlag.VM_WRITE
    found = [
        (vma.start, vma.end, vma.flags & VM_ACCESS_FLAGS, vma.file, mm.vma_name(vma))
        for vma in mm.map
    ]
    assert found == [
        (0x400000, 0x496000, VmFlag.VM_READ | VmFlag.VM_EXEC, PROGRAM, ""),
        (0x496000, 0x49B000, data, PROGRAM, ""),
        (0x49B000, 0x4A3000, data, None, "[heap]"),
        (0x7FFFFFFDE000, 0x7FFFFFFFF000, data, None, "[stack]"),
    ]
    assert mm.mmap_base == 0x7FFF_F7FF_F000
    assert mm.start_brk == mm.brk == 0x4A3000
    assert sizes(mm) == (150 + 5 + 8 + 33, 13, 150, 33)
    assert mm.commit.committed_pages == 5 + 8 + 33


@pytest.mark.mission("V10")
def test_mmap_base_follows_the_stack_limit() -> None:
    """The gap for the stack is its limit and a guard, at least 128 MB, at most 5/6 of all."""
    assert mmap_base(8 * MIB) == TASK_SIZE - 128 * MIB
    assert mmap_base(GIB) == TASK_SIZE - GIB - MIB
    assert mmap_base(1 << 63) == TASK_SIZE - (TASK_SIZE // 6 * 5 & -PAGE_SIZE)


@pytest.mark.mission("V10")
@pytest.mark.parametrize(
    ("arch", "mmap_range", "stack_range"),
    [
        ("x86_64", ((1 << 28) - 1) << 12, 0x3FFFFF << 12),
        ("i386", 255 << 12, 0x7FF << 12),
        ("i386pae", 255 << 12, 0x7FF << 12),
    ],
)
def test_addresses_are_moved_as_far_as_linux_moves_them(arch, mmap_range, stack_range) -> None:
    """The draws are at their ends: mappings, stack and heap as low and as high as they may be."""
    layout = ADDRESS_LAYOUTS[arch]
    for lowest in (False, True):
        draw = draw_addresses(lambda bound, low=lowest: bound - 1 if low else 0, layout, 2)
        mm = MmRegistry(commit_account(GIB // 1024), task_size=layout.task_size).mm_alloc(1)
        assert not load_image(mm, PROGRAM, IMAGE, draw=draw).failed
        gap = max(8 * MIB + MIB + stack_range, 128 * MIB)
        moved = mmap_range if lowest else 0
        assert mm.mmap_base == layout.task_size - gap - moved
        assert mm.map.areas[-1].end == layout.task_size - (stack_range if lowest else 0)
        assert mm.start_brk == 0x4A3000 + ((32 * MIB - PAGE_SIZE) if lowest else 0)
        assert bss_end(mm) == 0x4A3000


def test_what_is_moved_follows_the_sysctl() -> None:
    """0 moves nothing, 1 all but the heap."""
    layout = ADDRESS_LAYOUTS["x86_64"]
    drawn = [draw_addresses(lambda bound: bound // 2, layout, mode) for mode in (0, 1, 2)]
    assert drawn[0] == NOT_MOVED
    assert (drawn[1].mmap_pages, drawn[1].stack_pages, drawn[1].brk_pages) == (
        1 << 27, 1 << 21, 0,
    )  # fmt: skip
    assert drawn[2].brk_pages == 4096


def test_the_vdso_lies_above_the_stack_within_its_2_mib() -> None:
    """Wherever it is drawn; without a draw it is a mapping like others."""
    for vdso in (0, 1 << 31, (1 << 32) - 1):
        mm = MmRegistry(commit_account(GIB // 1024)).mm_alloc(1)
        load_image(mm, PROGRAM, IMAGE, draw=AddressDraw(stack_pages=200, vdso=vdso))
        stack_end = mm.map.areas[-1].end
        map_libc_start(mm)
        vvar, text = mm.map.areas[-2:]
        assert (vvar.nr_pages, text.nr_pages, vvar.end) == (4, 2, text.start)
        assert stack_end <= vvar.start
        assert text.end <= -(-stack_end // (2 * MIB)) * 2 * MIB
    mm = new_process()
    map_libc_start(mm)
    assert max(vma.end for vma in mm.map if vma.file and vma.file.path == "[vdso]") == mm.mmap_base


@pytest.mark.mission("V16")
def test_mmap_adds_virtual_memory_only() -> None:
    """A mapping grows VSZ and the promise; unmapping takes both back."""
    mm = new_process()
    before, promised = mm.total_vm, mm.commit.committed_pages
    change = mm.mmap(GIB)
    assert change.result == mm.mmap_base - GIB
    assert (mm.total_vm - before, mm.commit.committed_pages - promised) == (262144, 262144)
    gone = mm.munmap(change.result, GIB)
    assert gone.result == 0
    assert [vma.nr_pages for vma in gone.unmapped] == [262144]
    assert (mm.total_vm, mm.commit.committed_pages, mm.hiwater_vm) == (
        before,
        promised,
        before + 262144,
    )


def test_munmap_says_where_page_tables_may_go() -> None:
    """Floor and ceiling are the ends of the neighbours, or of the address space."""
    mm = new_process()
    low = mm.mmap(MIB, PROT_READ).result
    gone = mm.munmap(low, MIB)
    assert (gone.floor, gone.ceiling) == (0x4A3000, 0x7FFF_FFFD_E000)
    gone = mm.exit_mmap()
    assert (gone.floor, gone.ceiling) == (0, 1 << 47)
    assert len(gone.unmapped) == 4
    assert sizes(mm) == (0, 0, 0, 0)
    assert mm.commit.committed_pages == 0


def test_fixed_mapping_replaces_and_reports_what_was_there() -> None:
    """MAP_FIXED over a mapping returns the old piece for zapping and keeps the sums right."""
    mm = new_process()
    start = mm.mmap(MIB).result
    total = mm.total_vm
    change = mm.mmap(PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED, address=start + PAGE_SIZE)
    assert change.result == start + PAGE_SIZE
    assert [(v.start, v.nr_pages) for v in change.unmapped] == [(start + PAGE_SIZE, 1)]
    assert mm.total_vm == total
    assert mm.commit.committed_pages == 46 + 255


@pytest.mark.mission("V17")
def test_only_private_writable_memory_is_promised() -> None:
    """Shared, read-only and MAP_NORESERVE mappings promise nothing, but in mode 2."""
    mm = new_process()
    promised = mm.commit.committed_pages
    mm.mmap(MIB, PROT_READ)
    mm.mmap(MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE)
    mm.mmap(MIB, PROT_READ | PROT_WRITE, MAP_SHARED)
    assert mm.commit.committed_pages == promised
    set_tunable(mm, vm_overcommit_memory=OVERCOMMIT_NEVER)
    mm.mmap(MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE)
    assert mm.commit.committed_pages == promised + 256


@pytest.mark.mission("V17")
def test_refused_promise_changes_nothing() -> None:
    """ENOMEM leaves mappings and sums as they were, also for MAP_FIXED over a mapping."""
    mm = new_process()
    start = mm.mmap(MIB).result
    before = (list(mm.map), sizes(mm), mm.commit.committed_pages)
    assert mm.mmap(5 * GIB).result == -errno.ENOMEM
    fixed = mm.mmap(5 * GIB, 3, MAP_PRIVATE | MAP_FIXED, address=start - GIB)
    assert fixed.result == -errno.ENOMEM
    assert (list(mm.map), sizes(mm), mm.commit.committed_pages) == before


def test_bad_lengths() -> None:
    """Length 0 is EINVAL, more than the address space ENOMEM; unaligned munmap EINVAL."""
    mm = new_process()
    assert mm.mmap(0).result == -errno.EINVAL
    assert mm.mmap(TASK_SIZE + 1).result == -errno.ENOMEM
    assert mm.munmap(0x1001, PAGE_SIZE).result == -errno.EINVAL
    assert mm.munmap(0x1000, 0).result == -errno.EINVAL
    assert mm.munmap(0x1000, PAGE_SIZE).result == 0


def test_too_many_mappings() -> None:
    """Splitting beyond max_map_count is ENOMEM; so is one more mapping."""
    mm = new_process()
    start = mm.mmap(10 * PAGE_SIZE).result
    set_tunable(mm, vm_max_map_count=len(mm.map))
    assert mm.munmap(start + PAGE_SIZE, PAGE_SIZE).result == -errno.ENOMEM
    assert mm.munmap(start, PAGE_SIZE).result == 0
    assert mm.mmap(PAGE_SIZE, PROT_READ).result > 0
    assert mm.mmap(PAGE_SIZE, PROT_NONE).result == -errno.ENOMEM


def test_limits_of_the_process() -> None:
    """RLIMIT_AS bounds everything, RLIMIT_DATA only private writable memory."""
    mm = new_process(Rlimits(address_space=10 * MIB, data=2 * MIB))
    assert mm.mmap(4 * MIB).result == -errno.ENOMEM
    assert mm.mmap(4 * MIB, PROT_READ).result > 0
    assert mm.mmap(8 * MIB, PROT_READ).result == -errno.ENOMEM


@pytest.mark.mission("V14")
def test_brk_grows_and_shrinks_the_heap() -> None:
    """The heap merges with the bss behind it, keeps byte ends, and shrinking returns the pages."""
    mm = new_process()
    start = mm.brk
    assert set_brk(mm, start + 0x21000).result == start + 0x21000
    assert mm.map.find_vma(start).end == start + 0x21000
    assert set_brk(mm, start + 100).result == start + 100
    assert mm.map.find_vma(start).end == start + PAGE_SIZE
    change = set_brk(mm, start)
    assert [(v.start, v.nr_pages) for v in change.unmapped] == [(start, 1)]
    assert sizes(mm)[0] == 196


def test_brk_that_cannot_be_returns_the_old_end() -> None:
    """Below the heap's start, into a mapping or beyond RLIMIT_DATA nothing moves."""
    mm = new_process(Rlimits(data=GIB))
    start = mm.brk
    assert set_brk(mm, start - 1).result == start
    assert set_brk(mm, start + 2 * GIB).result == start
    mm.mmap(PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED, address=start + MIB)
    assert set_brk(mm, start + MIB).result == start
    assert set_brk(mm, start + MIB - PAGE_SIZE).result == start + MIB - PAGE_SIZE


@pytest.mark.mission("V10")
def test_stack_grows_to_its_limit_and_no_further() -> None:
    """8 MB below the top is the last page; with 16 MB it is twice as deep."""
    for limit in (8 * MIB, 16 * MIB):
        mm = new_process(Rlimits(stack=limit))
        lowest = TASK_SIZE - limit
        assert fault_vma(mm, lowest - 1, write=True) is None
        assert fault_vma(mm, lowest, write=True).start == lowest
        assert mm.stack_vm == limit // PAGE_SIZE
        assert mm.commit.committed_pages == 13 + limit // PAGE_SIZE


@pytest.mark.mission("V10")
def test_accesses_that_are_a_segmentation_fault() -> None:
    """NULL, a hole, and a write to text have no mapping to go to; reading text has."""
    mm = new_process()
    assert fault_vma(mm, 0, write=False) is None
    assert fault_vma(mm, 0x3FFFFF, write=False) is None
    assert fault_vma(mm, 0x400000, write=True) is None
    assert fault_vma(mm, 0x400000, write=False).start == 0x400000
    assert fault_vma(mm, 1 << 47, write=False) is None


@pytest.mark.mission("V10")
def test_stack_does_not_grow_into_the_guard_gap() -> None:
    """It stops 1 MB above an accessible mapping below it; a PROT_NONE one does not count."""
    stack = TASK_SIZE - 4 * MIB
    for prot, grown in ((PROT_READ, False), (PROT_NONE, True)):
        mm = new_process()
        fixed = MAP_PRIVATE | MAP_FIXED
        mm.mmap(PAGE_SIZE, prot, fixed, address=stack - MIB)
        assert (fault_vma(mm, stack, write=True) is not None) == grown
        assert fault_vma(mm, stack + PAGE_SIZE, write=True) is not None
