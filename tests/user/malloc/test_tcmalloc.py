"""gperftools' tcmalloc: what 2.10 was seen to do."""

from kernelsim.user.malloc.tcmalloc import TcMalloc
from tests.counted_system import HEAP_START, CountedSystem, answer

MIB = 1 << 20


def started(**options):
    """Return a heap of a program that reached main, and its system."""
    system = CountedSystem(**options)
    heap = TcMalloc(system)
    answer(heap.malloc(72704))  # libstdc++'s, before main
    return heap, system


def test_start():
    """Before main: 8 MiB for tables, 1 MiB for blocks, and 522 pages written."""
    _, system = started()
    assert [("brk", 0), ("brk", HEAP_START + 8 * MIB), ("brk", HEAP_START + 9 * MIB)] == system.log
    assert len(system.resident) == 522


def test_second_block_is_free_of_charge():
    """A freed block is the next one of its size, without a call or a fault."""
    heap, system = started()
    block = answer(heap.malloc(100))
    calls, faults = len(system.log), system.minflt
    answer(heap.free(block))
    assert block == answer(heap.malloc(100))
    assert (calls, faults) == (len(system.log), system.minflt)


def test_size_classes():
    """Sizes grow by 8, then 16 bytes, then about an eighth; above 256 KiB by pages of 8 KiB."""
    heap, _ = started()
    usable = {n: heap.usable_size(answer(heap.malloc(n))) for n in (0, 9, 130, 1025, 262145)}
    assert {0: 8, 9: 16, 130: 144, 1025: 1152, 262145: 270336} == usable


def test_heap_grows_by_need():
    """A block above 1 MiB grows the heap by its own pages; its pages are not written."""
    heap, system = started()
    before = system.heap
    faults = system.minflt
    answer(heap.malloc(5 * MIB + 1))
    assert before + 5 * MIB + 8192 == system.heap
    assert system.minflt - faults <= 2


def test_nothing_goes_back_before_2_gib():
    """The first pages go to the kernel when 2 GiB have been freed, then the rate holds."""
    heap, system = started()
    for i in range(70):
        answer(heap.free(answer(heap.malloc(32 * MIB))))
        if i < 62:
            assert system.calls["madvise"] == 0
    assert system.calls["madvise"] > 0


def test_unaligned_heap():
    """Where the heap does not start at a page of 8 KiB, a little more brk moves to one."""
    system = CountedSystem()
    system.end += 4096
    heap = TcMalloc(system)
    answer(heap.malloc(72704))  # libstdc++'s, before main
    assert system.end % 8192 == 0
    assert answer(heap.malloc(300_000)) % 8192 == 0


def test_no_heap_to_grow():
    """When brk fails, memory comes from mmap, aligned; brk is not asked again."""
    heap, system = started()
    system.brk_limit = system.end
    block = answer(heap.malloc(3 * MIB))
    assert block % 8192 == 0
    assert block > system.end
    tried = system.calls["brk"]
    answer(heap.malloc(3 * MIB))
    assert tried == system.calls["brk"]


def test_overflow():
    """A product or a size that no address space holds gives NULL."""
    heap, _ = started(limit=64 * MIB)
    assert answer(heap.calloc(1 << 40, 1 << 40)) == 0
    assert answer(heap.malloc((1 << 64) - 1)) == 0
