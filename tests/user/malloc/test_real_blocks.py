"""A program of random requests gets its blocks where the real allocators put them.

The places are of tcmalloc_minimal 2.10-1, libjemalloc2 5.3.0-1 (Debian 12) and portable umem 1.0.2
running the same program without address randomisation on Linux 6.18: from the heap's start, or
below a GiB boundary under which the first mapping goes.
"""

import pytest

from kernelsim.user.malloc.jemalloc import JeMalloc
from kernelsim.user.malloc.libumem import LibUmem
from kernelsim.user.malloc.tcmalloc import TcMalloc
from tests.counted_system import HEAP_START, WALL, CountedSystem, answer

LIBSTDCXX_POOL = 72704  # comes with tcmalloc and jemalloc
SIZES_MAX = (200, 200, 200, 2000, 2000, 9000, 100_000, 1_500_000)
EVERY = 250  # allocation of which the place is compared
PLACES = {
    "TcMalloc": [
        8478720,
        10401280,
        10388256,
        18276352,
        8462376,
        9773216,
        8610560,
        32334720,
        8636032,
        10691280,
        9773504,
        10387456,
        28131328,
        19660800,
    ],
    "JeMalloc": [
        -4075520,
        -3662336,
        -3816192,
        -28310464,
        -3239904,
        -2465760,
        -3734016,
        -3291840,
        -3947008,
        -3816512,
        -2465504,
        -3816352,
        -57125120,
        -14753344,
    ],
    "LibUmem": [
        -139536,
        -191088,
        -162096,
        -8843248,
        -204936,
        -135408,
        -215024,
        -185712,
        -154176,
        -152736,
        -135504,
        -161712,
        -47407088,
        -24432624,
    ],
}


def program(nr_steps=6000):
    """Return lines of a trace: malloc, calloc, realloc and free, growing and shrinking in turns."""
    state, live, lines = 1, [], []

    def below(limit):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (state >> 33) % limit

    def size():
        return below(SIZES_MAX[below(len(SIZES_MAX))])

    for step in range(1, nr_steps + 1):
        kind = below(100)
        grows = 58 if step // 800 % 2 == 0 else 42
        if kind < grows or not live:
            lines.append(f"c {step} 1 {size()}" if kind % 8 == 0 else f"m {step} {size()}")
            live.append(step)
        elif kind < grows + 8:
            lines.append(f"r {live[below(len(live))]} {1 + size()}")
        else:
            lines.append(f"f {live.pop(below(len(live)))}")
    return lines


async def perform(heap, lines):
    """Return the places of the blocks that the lines of a trace get."""
    blocks, places = {}, []
    for line in lines:
        kind, block, *sizes = line.split()
        if kind == "f":
            await heap.free(blocks.pop(block))
            continue
        numbers = [int(size) for size in sizes]
        if kind == "m":
            address = await heap.malloc(*numbers)
        elif kind == "c":
            address = await heap.calloc(*numbers)
        else:
            address = await heap.realloc(blocks[block], *numbers)
        blocks[block] = address
        places.append(address - (HEAP_START if address < WALL - (1 << 40) else WALL))
    return places


@pytest.mark.parametrize("model", [TcMalloc, JeMalloc, LibUmem])
def test_places(model):
    """Block for block."""
    system = CountedSystem(huge_aligned=True)
    heap = model(system)
    if model is not LibUmem:
        answer(heap.malloc(LIBSTDCXX_POOL))
    assert PLACES[model.__name__] == answer(perform(heap, program()))[::EVERY]
