"""jemalloc: what 5.3.0 was seen to do."""

from hypothesis import given

from kernelsim.user.malloc.jemalloc import JeMalloc
from kernelsim.user.malloc.jemalloc_classes import NCACHED_MAX, NREGS, SIZES, SLAB_SIZES, size2index
from kernelsim.user.malloc.jemalloc_decay import H_STEPS, Decay
from tests.counted_system import CountedSystem, answer
from tests.heap_program import STEPS

KIB = 1 << 10
MIB = 1 << 20
SECOND = 1_000_000_000


def started(**options):
    """Return a heap of a program that reached main, and its system."""
    system = CountedSystem(**options)
    heap = JeMalloc(system)
    answer(heap.malloc(72704))  # libstdc++'s, before main
    return heap, system


def test_classes():
    """Four sizes a doubling; slabs without waste; caches of twice a slab, 20 to 200 blocks."""
    assert [8, 16, 32, 48, 64, 80, 96, 112, 128, 160] == SIZES[:10]
    assert [SIZES[size2index(n)] for n in (0, 9, 1025, 14337, 70_000)] == [
        8,
        16,
        1280,
        16384,
        81920,
    ]
    assert (20480, 16, 32) == next(
        row[1:]
        for row in zip(SIZES, SLAB_SIZES, NREGS, NCACHED_MAX, strict=False)
        if row[0] == 1280
    )
    assert all(slab % size == 0 for slab, size in zip(SLAB_SIZES, SIZES, strict=False))


def test_start():
    """Before main: two probes of a page, 8 MiB mapped, 26 pages written."""
    _, system = started()
    mapped = [call[1] for call in system.log if call[0] == "mmap"]
    assert [4096, 4096, 2 * MIB, 2 * MIB, 4 * MIB] == mapped
    assert (28, 26) == (system.minflt, len(system.resident))


def test_mappings_grow():
    """Each mapping is a size class longer than the last; nothing is unmapped."""
    heap, system = started()
    before = len(system.log)
    blocks = [answer(heap.malloc(300 * KIB)) for _ in range(60)]
    for block in blocks:
        answer(heap.free(block))
    lengths = [call[1] / MIB for call in system.log[before:]]
    assert [2.5, 3, 3.5, 4, 5, 6] == lengths


def test_large_blocks_start_anywhere_in_a_page():
    """Blocks of 16 KiB and more start at a step of 64 bytes, not all at the same."""
    heap, _ = started()
    starts = {answer(heap.malloc(20_000)) % 4096 for _ in range(20)}
    assert len(starts) > 5
    assert all(start % 64 == 0 for start in starts)


def test_huge_blocks_are_purged_at_once():
    """Requests from 8 MiB on have an arena of their own; its free pages go to the kernel."""
    heap, system = started()
    block = answer(heap.malloc(9 * MIB))
    assert ("mmap", 2 * MIB, "rw", 0) == system.log[-2]
    answer(system.write(block, 9 * MIB))
    pages = len(system.resident)
    answer(heap.free(block))
    assert ("madvise", 10 * MIB + 4096) == (system.log[-1][0], system.log[-1][2])
    assert len(system.resident) < pages - 2300


def test_dirty_pages_age():
    """Dirty pages stay while no time passes or nobody calls, and go after ten seconds."""
    heap, system = started()
    for block in [answer(heap.malloc(100 * KIB)) for _ in range(40)]:
        answer(heap.free(block))
    purged = []
    for seconds in (0, 5, 20):
        system.now_ns = seconds * SECOND
        before = system.calls["madvise"]
        for _ in range(9000):
            answer(heap.free(answer(heap.malloc(64 * KIB))))
        purged.append(system.calls["madvise"] - before)
    assert purged[0] == 0
    assert purged[2] > 0


def test_calloc_drops_pages():
    """Calloc of a large block clears recycled memory by madvise, of a small one by writing."""
    heap, system = started()
    block = answer(heap.malloc(100 * KIB))
    answer(system.write(block, 100 * KIB))
    answer(heap.free(block))
    before = system.calls["madvise"]
    answer(heap.calloc(100, KIB))
    assert before + 1 == system.calls["madvise"]


def test_realloc_in_place():
    """A large block grows into free memory behind it and shrinks where it is."""
    heap, _ = started()
    block = answer(heap.malloc(100 * KIB))
    assert block == answer(heap.realloc(block, 400 * KIB))
    assert 448 * KIB == heap.usable_size(block)
    assert block == answer(heap.realloc(block, 64 * KIB))
    assert 64 * KIB == heap.usable_size(block)


def test_tables_on_huge_pages():
    """Blocks of tables start at 2 MiB; where the kernel places them elsewhere, they are trimmed."""
    system = CountedSystem()
    answer(system.mmap(4096))
    heap = JeMalloc(system)
    answer(heap.malloc(72704))  # libstdc++'s, before main
    assert system.calls["munmap"] > 2
    assert answer(heap.malloc(100))


def test_smoothstep():
    """The curve of decay is the published one."""
    assert [0x14, 0x800000, 0xAEBC40, 0x1000000] == [H_STEPS[i - 1] for i in (1, 100, 120, 200)]


@given(STEPS)
def test_decay_limit(steps):
    """What may stay never exceeds what was there, and after ten quiet seconds it is nothing."""
    decay = Decay(0, 10_000, 7)
    now, pages, most = 0, 0, 0
    for _, a, b in steps:
        now += a * 1000 + b * 10_000_000
        pages = max(pages + a % 100 - 40, 0)
        most = max(most, pages)
        if decay.maybe_advance_epoch(now, pages):
            pages = min(pages, decay.npages_limit)
            assert decay.npages_limit <= most * 2
    for _ in range(3):
        now += 11 * SECOND
        decay.maybe_advance_epoch(now, 0)
    assert decay.npages_limit == 0


def test_overflow():
    """A product or a size that no address space holds gives NULL."""
    heap, _ = started(limit=64 * MIB)
    assert answer(heap.calloc(1 << 40, 1 << 40)) == 0
    assert answer(heap.malloc((1 << 64) - 1)) == 0
    assert answer(heap.malloc(1 << 50)) == 0
