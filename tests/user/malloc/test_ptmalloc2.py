"""ptmalloc2: what glibc 2.36 was seen to do."""

from functools import partial

import pytest

from kernelsim.user.malloc.ptmalloc2 import Ptmalloc2, request2size
from tests.counted_system import HEAP_START, PAGE, WALL, CountedHeap, answer

MIB = 1 << 20
Heap = partial(CountedHeap, Ptmalloc2)


def test_the_first_block():
    """The heap is 132 KiB, the thread cache comes first, one page is written."""
    heap = Heap()
    assert heap.malloc(1) == HEAP_START + 672
    assert heap.calls() == ["brk 0", "brk 33"]
    assert heap.system.minflt == 1


def test_a_freed_block_comes_again():
    """The second malloc of a size costs no call and no fault."""
    heap = Heap()
    blocks = [heap.malloc(1000) for _ in range(20)]
    heap.free(*blocks)
    heap.calls()
    faults = heap.system.minflt

    assert sorted(blocks) == sorted(heap.malloc(1000) for _ in range(20))
    assert (heap.calls(), heap.system.minflt) == ([], faults)


def test_the_last_seven_of_a_size_come_first():
    """The thread cache is a stack of seven; a fast bin has those before them."""
    heap = Heap()
    blocks = [heap.malloc(24) for _ in range(9)]
    heap.free(*blocks)

    assert [heap.malloc(24) for _ in range(9)] == [*blocks[6::-1], *blocks[8:6:-1]]


@pytest.mark.parametrize(
    ("nr_bytes", "chunk"),
    [(0, 32), (24, 32), (25, 48), (1032, 1040), (1 << 63, 0)],
)
def test_chunk_sizes(nr_bytes, chunk):
    """Eight bytes more, in steps of 16, at least 32; nothing from half the address space on."""
    assert request2size(nr_bytes) == chunk


def test_from_128_kib_on_a_block_is_a_mapping():
    """131,048 bytes fit below the threshold with their header, one more does not."""
    heap = Heap()
    heap.malloc(1)
    heap.calls()
    heap.malloc(131_048)
    assert heap.calls() == []
    block = heap.malloc(131_049)
    assert heap.calls() == ["mmap 33"]
    assert (WALL - block, heap.usable_size(block)) == (33 * PAGE - 16, 33 * PAGE - 16)


def test_a_freed_mapping_raises_the_threshold():
    """The next block of that size comes from the heap; above 32 MiB every one is mapped."""
    heap = Heap()
    heap.free(heap.malloc(200_000))
    assert heap.calls()[-2:] == ["mmap 49", "munmap 49"]
    heap.malloc(200_000)
    assert heap.calls() == ["brk 81"]
    for _ in range(2):
        heap.free(heap.malloc(33 * MIB))
        assert heap.calls() == ["mmap 8449", "munmap 8449"]


def test_the_top_is_trimmed():
    """When 128 KiB are free at the end of the heap, all but 128 KiB go back."""
    heap = Heap()
    blocks = [heap.malloc(100_000) for _ in range(3)]
    heap.calls()
    heap.free(blocks[0])
    assert heap.calls() == []
    heap.free(blocks[2], blocks[1])
    assert heap.calls() == ["brk 33"]


def test_trim_drops_pages_inside():
    """malloc_trim gives back whole pages of free chunks by madvise, then the top."""
    heap = Heap()
    blocks = [heap.malloc(50_000) for _ in range(3)]
    heap.free(blocks[1])
    heap.calls()
    answer(heap.model.trim())
    assert heap.calls() == ["madvise 11", "brk 37"]


def test_calloc_clears_what_was_there():
    """What the heap has just grown by is zeros; what the top had before is written."""
    heap = Heap()
    answer(heap.model.calloc(1, 100_000))
    assert heap.system.minflt == 25
    answer(heap.model.calloc(1, 120_000))
    assert heap.system.minflt == 35


def test_mappings_grow_by_mremap():
    """A block that is a mapping changes its length, and stays where it is if it shrinks."""
    heap = Heap()
    block = heap.malloc(200_000)
    heap.calls()
    grown = heap.realloc(block, 400_000)
    assert heap.calls() == ["mremap 98", "mmap 98"]
    assert heap.realloc(grown, 300_000) == grown
    assert heap.calls() == ["mremap 74"]


def test_a_mapping_that_cannot_grow_is_copied():
    """Without room for mremap the block goes elsewhere, or nowhere and stays."""
    heap = Heap(limit=MIB)
    block = heap.malloc(600_000)
    assert not heap.realloc(block, 900_000)
    assert heap.usable_size(block) >= 600_000
    assert heap.realloc(block, 590_000)


def test_realloc_to_nothing_frees():
    """realloc(p, 0) is free(p), realloc(NULL, n) is malloc(n)."""
    heap = Heap()
    block = heap.realloc(0, 100)
    assert not heap.realloc(block, 0)
    assert heap.malloc(100) == block


def test_no_memory():
    """NULL, and nothing has changed; a request of half the address space asks nobody."""
    heap = Heap(limit=MIB)
    heap.malloc(1)
    heap.calls()
    assert not heap.malloc(1 << 63)
    assert heap.calls() == []
    assert not heap.malloc(2 * MIB)
    assert heap.calls() == ["mmap 513", "brk 545", "mmap 545"]
    assert heap.malloc(100)
