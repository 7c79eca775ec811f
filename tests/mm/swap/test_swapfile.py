"""Swap slots: the order they are handed out in, and who holds them."""

import numpy as np
import pytest

from kernelsim.check.swap import check_free_clusters, check_usage
from kernelsim.mm.swap.swap_area import (
    SA_INUSE,
    SS_FREE,
    SS_TOTAL,
    SWAP_HAS_CACHE,
    SWAP_MAP_MAX,
    SWAP_SLOTS_CACHE_SIZE,
    SWAPFILE_CLUSTER,
    swap_count,
    swapon,
    vm_swap_full,
)
from kernelsim.mm.swap.swapfile import (
    folio_alloc_swap,
    get_swap_slots,
    put_swap_slot,
    swap_duplicate,
    swap_free,
)


def take(swap, nr, cpu=0):
    """Take slots and return those that were there."""
    out = np.zeros(nr, np.int64)
    got = get_swap_slots(swap, cpu, nr, out)
    return out[:got].tolist()


def problems(swap):
    """Return what the checker finds."""
    return check_usage(swap) + check_free_clusters(swap)


def test_usable_slots_are_one_less_than_the_device():
    """A 1 GiB device gives 262143 slots: the first page is the header."""
    swap = swapon([262144], [-2], 1)
    assert swap.state[SS_TOTAL] == 262143
    assert swap.state[SS_FREE] == 262143
    assert problems(swap) == []


def test_no_swap_gives_no_slots():
    """A machine without swap areas has no slot to give, and is not "full" either."""
    swap = swapon([], [], 2)
    assert take(swap, 4) == []
    assert not vm_swap_full(swap)
    assert problems(swap) == []


def test_slots_of_a_cpu_are_consecutive():
    """One CPU fills wholly free clusters slot after slot."""
    swap = swapon([2048], [-2], 1)
    first = SWAPFILE_CLUSTER
    assert take(swap, 600) == list(range(first, first + 600))
    assert swap.map[first] == SWAP_HAS_CACHE
    assert swap.area[0, SA_INUSE] == 600
    assert problems(swap) == []


def test_two_cpus_fill_different_clusters():
    """What two CPUs evict at the same time does not mix."""
    swap = swapon([2048], [-2], 2)
    zero = take(swap, 3, cpu=0) + take(swap, 3, cpu=0)
    one = take(swap, 3, cpu=1)
    assert {slot // SWAPFILE_CLUSTER for slot in zero} == {1}
    assert {slot // SWAPFILE_CLUSTER for slot in one} == {2}


def test_all_slots_can_be_used_once():
    """Every slot but the headers is handed out exactly once, then swap is full."""
    swap = swapon([700, 300], [-2, -3], 2)
    slots = take(swap, 500) + take(swap, 800, cpu=1)
    assert len(slots) == len(set(slots)) == 698 + 300
    assert 0 not in slots
    assert 768 not in slots
    assert swap.state[SS_FREE] == 0
    assert take(swap, 1) == []
    assert problems(swap) == []


def test_higher_priority_first():
    """An area is used only when those of higher priority are full."""
    swap = swapon([300, 600], [1, 5], 1)
    slots = take(swap, 599)
    assert min(slots) > 512
    assert take(swap, 1)[0] < 300


def test_equal_priorities_take_turns():
    """Areas of one priority give 64 slots each in turn."""
    swap = swapon([1024, 1024], [3, 3], 1)
    slots = take(swap, 256)
    areas = [slot // 1024 for slot in slots]
    assert areas == [0] * 64 + [1] * 64 + [0] * 64 + [1] * 64


def test_slot_is_free_when_nobody_holds_it():
    """The cache's hold and the page-table entries each keep a slot; the last to go frees it."""
    swap = swapon([1024], [-2], 1)
    (slot,) = take(swap, 1)
    swap.token[slot] = 77
    assert swap_duplicate(swap, slot, 2)
    put_swap_slot(swap, slot)
    assert swap_free(swap, slot) == 1
    assert swap.state[SS_FREE] == 1022
    assert swap_free(swap, slot) == 0
    assert swap.state[SS_FREE] == 1023
    assert swap.token[slot] == 0
    assert problems(swap) == []


def test_freed_cluster_goes_to_the_tail():
    """A cluster that becomes wholly free is used again after all other free ones."""
    swap = swapon([1024], [-2], 1)
    slots = take(swap, 257)
    for slot in slots[:256]:
        put_swap_slot(swap, slot)
    more = take(swap, 255 + 256)
    assert {slot // SWAPFILE_CLUSTER for slot in more[:255]} == {2}
    assert {slot // SWAPFILE_CLUSTER for slot in more[255:]} == {3}
    assert take(swap, 1)[0] // SWAPFILE_CLUSTER == 1
    assert problems(swap) == []


def test_current_cluster_that_ran_empty_is_not_lost():
    """When all slots of the cluster a CPU writes into are freed, it moves on and none is lost."""
    swap = swapon([1024], [-2], 1)
    for slot in take(swap, 10):
        put_swap_slot(swap, slot)
    assert problems(swap) == []
    assert take(swap, 1)[0] // SWAPFILE_CLUSTER == 2
    assert len(take(swap, 2000)) == 1022
    assert problems(swap) == []


def test_count_has_a_limit():
    """A slot counts at most 62 entries; one more is refused and changes nothing."""
    swap = swapon([1024], [-2], 1)
    (slot,) = take(swap, 1)
    assert swap_duplicate(swap, slot, SWAP_MAP_MAX)
    assert not swap_duplicate(swap, slot, 1)
    assert swap_count(swap, slot) == SWAP_MAP_MAX


@pytest.mark.parametrize(("taken", "full"), [(511, False), (512, True)])
def test_swap_counts_as_full_above_half(taken, full):
    """Slots are no longer held for clean pages when less than half are free."""
    swap = swapon([1024], [-2], 1)
    take(swap, taken)
    assert vm_swap_full(swap) == full


def take_one_by_one(swap, nr, cpu=0):
    """Take slots as reclaim does, through what the CPU took ahead."""
    out = np.zeros(1, np.int64)
    slots = []
    for _ in range(nr):
        if not folio_alloc_swap(swap, cpu, out):
            break
        slots.append(int(out[0]))
    return slots


def test_cpus_take_64_slots_ahead():
    """So that what one evicts lies together; they count as used before a page has them."""
    swap = swapon([4096], [-2], 2, [True])
    zero, one = take_one_by_one(swap, 3), take_one_by_one(swap, 3, cpu=1)
    assert zero + one == [1, 2, 3, 65, 66, 67]
    assert swap.state[SS_TOTAL] - swap.state[SS_FREE] == 2 * SWAP_SLOTS_CACHE_SIZE
    assert take_one_by_one(swap, 62)[-2:] == [64, 129]
    assert problems(swap) == []


def test_slots_taken_ahead_go_back_when_few_are_free():
    """In the end each is handed out once, whoever took it first."""
    swap = swapon([1024], [-2], 2, [True])
    slots = take_one_by_one(swap, 100, cpu=1) + take_one_by_one(swap, 2000)
    assert sorted(slots) == list(range(1, 1024))
    assert swap.cpu_slots_left.sum() == 0
    assert problems(swap) == []


def test_a_rotating_disk_is_filled_run_by_run_from_its_start():
    """A new run is the first with 256 free slots; without one, single free slots are taken."""
    swap = swapon([1024], [-2], 2, [True])
    assert take(swap, 300, cpu=0) + take(swap, 100, cpu=1) == list(range(1, 401))
    for slot in range(10, 300):
        put_swap_slot(swap, slot)
    assert take(swap, 112) == list(range(401, 513))  # the rest of the second run
    assert take(swap, 256) == list(range(10, 266))
    assert problems(swap) == []
