"""libumem: what portable umem 1.0.2 was seen to do."""

from kernelsim.user.malloc.libumem import LibUmem
from tests.counted_system import CountedSystem, answer

MIB = 1 << 20
SECOND = 1_000_000_000


def started(**options):
    """Return a heap of a program that reached main, and its system."""
    system = CountedSystem(**options)
    heap = LibUmem(system)
    return heap, system


def test_no_memory_at_all():
    """Without memory for its own tables every request fails, and none is tried twice."""
    heap, system = started(limit=80_000)
    assert answer(heap.malloc(1)) == 0
    calls = len(system.log)
    assert answer(heap.malloc(1)) == 0
    assert calls == len(system.log)


def test_first_malloc():
    """Nothing before it; malloc(1) costs 76 mmap calls and 39 pages."""
    heap, system = started()
    assert not system.log
    answer(heap.malloc(1))
    assert system.calls == {"mmap": 76}
    assert len(system.resident) == 39
    assert system.none == 118784


def test_large_blocks_come_and_go():
    """A block above 16 KiB is made accessible and covered again, in the same place."""
    heap, system = started()
    answer(heap.malloc(1))
    for _ in range(2):  # meanwhile records of segments take a page
        answer(heap.free(answer(heap.malloc(100_000))))
    block = answer(heap.malloc(100_000))
    answer(system.write(block, 100_000))
    pages = len(system.resident)
    answer(heap.free(block))
    assert ("mmap", 102400, "none", block - 16) == system.log[-1]
    assert pages - 25 == len(system.resident)
    assert block == answer(heap.malloc(100_000))
    assert ("mmap", 102400, "rwx", block - 16) == system.log[-1]


def test_realloc_always_moves():
    """A realloc to another size copies; to the same size it does nothing."""
    heap, _ = started()
    block = answer(heap.malloc(100))
    assert block == answer(heap.realloc(block, 100))
    assert block != answer(heap.realloc(block, 101))


def test_magazines_hold_free_blocks():
    """Blocks that were freed sit in magazines: their slabs stay."""
    heap, system = started()
    blocks = [answer(heap.malloc(1000)) for _ in range(400)]
    mapped = system.mapped
    for block in blocks:
        answer(heap.free(block))
    assert system.mapped >= mapped


def test_reap():
    """The first reap, a second later, starts a thread; what nobody needed goes at the third."""
    heap, system = started()
    blocks = [answer(heap.malloc(1000)) for _ in range(4000)]
    for block in blocks:
        answer(heap.free(block))
    for seconds, thread, reaps in ((0, 0, False), (1, 1, False), (5, 1, False), (15, 1, True)):
        system.now_ns = seconds * SECOND
        before = len(system.log)
        assert answer(heap.malloc((seconds + 2) * MIB))
        assert thread == system.calls["mprotect"]
        covered = sum(call[2] == "none" and call[3] > 0 for call in system.log[before:])
        assert reaps == (covered > 100)


def test_no_reap_without_time():
    """Within the first second memory is never reaped."""
    heap, system = started()
    for size in range(1, 40):
        answer(heap.malloc(size * MIB // 4))
    assert system.calls["mprotect"] == 0


def test_overflow():
    """A product or a size that no address space holds gives NULL."""
    heap, _ = started(limit=64 * MIB)
    assert answer(heap.calloc(1 << 40, 1 << 40)) == 0
    assert answer(heap.malloc((1 << 64) - 1)) == 0
    assert answer(heap.malloc(1 << 50)) == 0
