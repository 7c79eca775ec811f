"""What holds of every allocator, for any program."""

import pytest
from hypothesis import given

from kernelsim.user.malloc.mallocs import MALLOCS
from tests.counted_system import HEAP_START
from tests.heap_program import STEPS, HeapProgram

MIB = 1 << 20
BY_PAGE = ("ptmalloc2", "dlmalloc")  # these tell of their stores by page
LIMITS = {"jemalloc": 16 * MIB, "libumem": 3 * MIB}  # others live in 12 MiB


def program_on(name, **limits):
    """Return a program on an allocator."""
    return HeapProgram(MALLOCS[name], by_page=name in BY_PAGE, **limits)


@pytest.mark.parametrize("name", MALLOCS)
@given(steps=STEPS)
def test_blocks(name, steps):
    """Blocks are apart, aligned, large enough, and keep what is in them."""
    assert program_on(name).run(steps) == []


@pytest.mark.parametrize("name", MALLOCS)
@given(steps=STEPS)
def test_little_memory(name, steps):
    """Where memory ends, requests fail and what is there stays as it was."""
    limit = LIMITS.get(name, 12 * MIB)
    program = program_on(name, limit=limit)
    assert program.run(steps) == []
    assert program.system.peak <= limit


@pytest.mark.parametrize("name", [*BY_PAGE, "tcmalloc"])
@given(steps=STEPS)
def test_heap_in_the_way(name, steps):
    """Where the break cannot move, those that move it map blocks or segments instead."""
    program = program_on(name, brk_limit=HEAP_START + MIB)
    assert program.run(steps) == []
    assert program.system.heap <= MIB
