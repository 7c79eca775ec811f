"""Memory in whole pieces: first fit, holes that merge, against a naive model of bytes."""

import re

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.hw.contiguous_memory import ContiguousMemory

SIZE = 64


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.integers(0, 9)), max_size=40))
def test_it_is_what_a_row_of_bytes_is(steps):
    """A piece goes where the first run of free bytes is long enough."""
    memory, naive = ContiguousMemory(SIZE), "." * SIZE
    taken = []
    for number, (size, frees, which) in enumerate(steps):
        if frees and taken:
            start, had = taken.pop(which % len(taken))
            memory.free(start)
            naive = naive[:start] + "." * had + naive[start + had :]
            continue
        name = chr(ord("a") + number % 26)
        start = naive.find("." * size)
        assert memory.place(name, size) == start
        if start >= 0:
            taken.append((start, size))
            naive = naive[:start] + name * size + naive[start + size :]
        pieces = memory.pieces()
        assert "".join((piece.name or ".") * piece.size for piece in pieces) == naive
        holes = [len(run) for run in re.findall(r"\.+", naive)]
        assert memory.free_bytes() == {"all": sum(holes), "largest": max(holes, default=0)}
