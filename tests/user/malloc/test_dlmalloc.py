"""dlmalloc: what 2.8.6 was seen to do."""

from functools import partial

from kernelsim.user.malloc.dlmalloc import Dlmalloc
from tests.counted_system import HEAP_START, PAGE, WALL, CountedHeap, answer

MIB = 1 << 20
Heap = partial(CountedHeap, Dlmalloc)


def test_the_heap_grows_by_single_pages():
    """One page for the first block, at its start; then as many as the request lacks."""
    heap = Heap()
    assert heap.malloc(1) == HEAP_START + 16
    assert heap.calls() == ["brk 0", "brk 1"]
    heap.malloc(100_000)
    assert heap.calls() == ["brk 25"]


def test_a_freed_block_joins_its_neighbours():
    """No cache keeps it apart: what three blocks had is one block at once."""
    heap = Heap()
    blocks = [heap.malloc(1000) for _ in range(4)]
    heap.free(blocks[0], blocks[2], blocks[1])
    heap.calls()
    assert heap.malloc(3000) == blocks[0]
    assert heap.calls() == []


def test_small_blocks_are_cut_from_the_victim():
    """What is left of the chunk that was cut last serves the next ones: they are neighbours."""
    heap = Heap()
    large, _ = heap.malloc(2000), heap.malloc(100)
    heap.free(large)
    small = [heap.malloc(40) for _ in range(3)]
    assert small == [large, large + 48, large + 96]


def test_the_best_fit_is_taken():
    """Of several free chunks the smallest that is large enough, whatever their order."""
    heap = Heap()
    sizes = (5000, 900, 70_000, 3000, 1500, 900)
    blocks = []
    for size in sizes:
        blocks.append(heap.malloc(size))
        heap.malloc(24)
    heap.free(*blocks)
    assert [heap.malloc(n) for n in (2900, 890, 1400, 4800)] == [
        blocks[3],
        blocks[1],
        blocks[4],
        blocks[0],
    ]


def test_from_256_kib_on_a_block_is_a_mapping():
    """It goes when it is freed, and the threshold stays."""
    heap = Heap()
    heap.malloc(1)
    heap.calls()
    for _ in range(2):
        block = heap.malloc(270_000)
        assert WALL - block == 66 * PAGE - 16
        heap.free(block)
        assert heap.calls() == ["mmap 66", "munmap 66"]


def test_the_first_block_is_never_a_mapping():
    """Before there is a heap even a large one comes from brk."""
    heap = Heap()
    heap.malloc(270_000)
    assert heap.calls() == ["brk 0", "brk 66"]


def test_the_top_goes_back_when_it_is_large():
    """Above 2 MiB all of it; nothing below that."""
    heap = Heap()
    blocks = [heap.malloc(200_000) for _ in range(11)]
    heap.calls()
    heap.free(*blocks[:0:-1])
    assert heap.calls() == []
    heap.free(blocks[0])
    assert heap.calls() == ["brk 1"]


def test_trim_gives_back_the_top_only():
    """malloc_trim shrinks the heap to its last block; pages inside stay."""
    heap = Heap()
    blocks = [heap.malloc(100_000) for _ in range(3)]
    heap.free(blocks[0], blocks[2])
    heap.calls()
    answer(heap.model.trim())
    assert heap.calls() == ["brk 49"]


def test_calloc_writes_all_but_mappings():
    """Fresh memory of the heap, too, unlike glibc."""
    heap = Heap()
    answer(heap.model.calloc(1, 100_000))
    assert heap.system.minflt == 25
    answer(heap.model.calloc(1, 300_000))
    assert heap.system.minflt == 25 + 2


def test_blocks_grow_where_they_are():
    """Into the top, into the victim, into a free neighbour; else they move."""
    heap = Heap()
    block = heap.malloc(1000)
    assert heap.realloc(block, 2000) == block
    large, fence = heap.malloc(3000), heap.malloc(1000)
    heap.free(large)
    assert heap.realloc(block, 3000) == block, "into a free chunk of a bin"
    heap.malloc(40)
    assert heap.realloc(block, 3100) != block, "something lies behind it now"
    assert heap.model.usable_size(fence) == 1000


def test_mappings_change_their_length():
    """By mremap, unless the block is too large by a page at most; a small one moves to the heap."""
    heap = Heap()
    heap.malloc(1)
    block = heap.malloc(300_000)
    heap.calls()
    assert heap.realloc(block, 297_000) == block
    assert heap.calls() == []
    grown = heap.realloc(block, 400_000)
    assert heap.calls() == ["mremap 98", "mmap 98"]
    assert heap.realloc(grown, 100) == HEAP_START + 48
    assert heap.calls() == ["munmap 98"]
