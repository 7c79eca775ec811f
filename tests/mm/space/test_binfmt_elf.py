"""Where segments go: fixed programs, those that may lie anywhere, and loaders."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsim.mm.space.binfmt_elf import (
    ElfImage,
    ElfProgram,
    ElfSegment,
    load_elf,
    total_mapping_size,
)
from kernelsim.mm.space.exec import setup_arg_pages
from kernelsim.mm.space.mm_registry import MmRegistry
from kernelsim.mm.space.mmap import MappedFile
from tests.commit_account import commit_account

PAGE = 4096
R, W, X = 1, 2, 4
DYN_BASE = 0x5555_5555_4000  # two thirds of 47 bits, as gdb shows programs without ASLR


def segment(address, prot, *, pages=1, memory=None, part=0):
    """Return a segment of whole pages and a part, at the same place in file and memory."""
    nr_bytes = pages * PAGE + part
    return made(address, nr_bytes, memory or nr_bytes, prot)


def made(address, file_bytes, memory_bytes, prot):
    """Return a segment."""
    return ElfSegment(
        offset=address,
        address=address,
        file_bytes=file_bytes,
        memory_bytes=memory_bytes,
        prot=prot,
    )


def load(segments, *, is_dyn=True, interpreter=None, **moved):
    """Load a program into a fresh address space; return it and where it is."""
    mm = MmRegistry(commit_account(1 << 20)).mm_alloc(1)
    setup_arg_pages(mm)
    image = ElfImage(path="/p", segments=segments, is_dyn=is_dyn)
    loader = interpreter and ElfImage(path="/ld", segments=interpreter, is_dyn=True)
    files = {path: MappedFile(path) for path in ("/p", "/ld")}
    return mm, load_elf(mm, ElfProgram(image=image, interpreter=loader), files, **moved)


DATA = segment(4 * PAGE, R | W, memory=3 * PAGE, part=8)
PIE = (segment(0, R), segment(PAGE, R | X, pages=2), DATA)
LOADER = (segment(0, R | X), segment(2 * PAGE, R | W))


def shape(mm):
    """Return address, pages, permissions and file of each mapping below the stack."""
    return [
        (vma.start, vma.nr_pages, int(vma.flags) & (R | W | X), vma.file and vma.file.path)
        for vma in list(mm.map)[:-1]
    ]


@pytest.mark.mission("V13")
def test_a_position_independent_program_and_its_loader():
    """The program from two thirds of the addresses on, its loader below the stack, with its gap."""
    mm, loaded = load(PIE, interpreter=LOADER)
    at = loaded.interpreter_bias
    assert shape(mm) == [
        (DYN_BASE, 1, R, "/p"),
        (DYN_BASE + PAGE, 2, R | X, "/p"),
        (DYN_BASE + 4 * PAGE, 2, R | W, "/p"),
        (DYN_BASE + 6 * PAGE, 1, R | W, None),
        (at, 1, R | X, "/ld"),
        (at + 2 * PAGE, 1, R | W, "/ld"),
    ]
    assert at + total_mapping_size(LOADER) == mm.mmap_base
    assert (loaded.bias, loaded.padded) == (DYN_BASE, (DYN_BASE + 5 * PAGE + 8,))
    assert (mm.start_brk, mm.brk) == (DYN_BASE + 7 * PAGE,) * 2
    assert (mm.start_code, mm.end_code) == (DYN_BASE + PAGE, DYN_BASE + 3 * PAGE)
    assert (mm.start_data, mm.end_data) == (DYN_BASE + 4 * PAGE, DYN_BASE + 5 * PAGE + 8)


def test_a_loader_by_itself_lies_where_mappings_go_and_its_heap_does_not():
    """It keeps away from where the programs it loads will lie; with ASLR its heap is there."""
    mm, loaded = load(LOADER, rnd_pages=7, brk_rnd_pages=3)
    assert loaded.bias + total_mapping_size(LOADER) == mm.mmap_base
    assert mm.brk == DYN_BASE + 3 * PAGE


def test_a_fixed_program_lies_where_it_says_and_not_over_what_is_there():
    """ET_EXEC: no bias; one that would lie on the stack is refused."""
    mm, loaded = load((segment(0x40_0000, R | X),), is_dyn=False, rnd_pages=7)
    assert (loaded.bias, shape(mm)) == (0, [(0x40_0000, 1, R | X, "/p")])
    stack = list(mm.map)[-1]
    _, refused = load((segment(stack.start, R | X),), is_dyn=False)
    assert refused.change.failed


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 3 * PAGE), st.integers(0, 3 * PAGE)),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 1 << 28),
)
def test_every_byte_of_every_segment_is_mapped(pieces, rnd_pages):
    """From the file where it has it, as zeros behind; a later segment has what both want."""
    segments, address = [], 0
    for gap, file_bytes, zeros in pieces:
        address += gap * PAGE
        segments.append(made(address, file_bytes, file_bytes + zeros, R | W))
        address += file_bytes + zeros
    mm, loaded = load(tuple(segments), interpreter=LOADER, rnd_pages=rnd_pages)
    assert not loaded.change.failed
    owner = {}
    for each in segments:
        first, middle = each.address // PAGE, -(-(each.address + each.file_bytes) // PAGE)
        end = -(-(each.address + each.memory_bytes) // PAGE)
        owner |= dict.fromkeys(range(first, middle), True)
        owner |= dict.fromkeys(range(middle, end), False)
    for page, is_of_file in owner.items():
        vma = mm.map.find_vma_intersection(loaded.bias + page * PAGE, loaded.bias + page * PAGE + 1)
        assert (vma.file is not None) == is_of_file
