"""Memory of another node is dearer in the ratio of the distances, and nothing else changes.

One process on CPU 0 uses memory of node 1. Between two runs only the distance table differs, so
the difference of two times is what distance did.
"""

from itertools import pairwise

import pytest

from kernelsim.config.latency import LatencySpec
from tests.small_machine import PAGE, run, small_machine

pytestmark = [pytest.mark.mission("A3"), pytest.mark.mission("P8")]

PAGES = 1024
TABLES = 5  # three of the lowest level and one of each above but the highest; on the node as well
DISTANCES = (10, 15, 20, 31)
WIDE = 1 << 50  # bytes a second: no queue at controllers and links
COSTS = LatencySpec()


def times(distance: int, nid: int = 1, **latency: int) -> tuple[int, int]:
    """Return ns to write pages of a node for the first time, and to write them again."""

    async def main(machine):
        process = await machine.spawn("p", cpu=0, mempolicy=f"bind:{nid}")
        region = await process.mmap(PAGES * PAGE)
        first = await process.touch(region, write=True)
        again = await process.touch(region, write=True)
        assert (first.minflt, again.minflt) == (PAGES, 0)
        return first.latency_ns, again.latency_ns

    wide = {"memory_bandwidth_bytes_per_s": WIDE, "interconnect_bandwidth_bytes_per_s": WIDE}
    spec = small_machine(
        cpus=("0", "1"),
        distances=[[10, distance], [distance, 10]],
        latency={**wide, **latency},
    )
    return run(spec, main).result


@pytest.mark.parametrize("distance", DISTANCES[1:])
def test_an_access_is_dearer_by_the_memory_latency_in_the_ratio_of_the_distances(distance):
    """Present pages: what grows is the access to memory, not the page walk."""
    extra_ns = times(distance)[1] - times(10)[1]
    assert extra_ns * 10 == PAGES * COSTS.memory_local_ns * (distance - 10)


@pytest.mark.parametrize("distance", DISTANCES[1:])
def test_first_touch_is_dearer_by_clearing_and_access_in_the_ratio_of_the_distances(distance):
    """Without the zone lock: entry and lists cost the same wherever pages and tables are."""
    extra_ns = times(distance, zone_lock_hold_page_ns=0)[0] - times(10, zone_lock_hold_page_ns=0)[0]
    memory_ns = (PAGES + TABLES) * COSTS.page_zeroing_ns + PAGES * COSTS.memory_local_ns
    assert extra_ns * 10 == memory_ns * (distance - 10)


@pytest.mark.parametrize("distance", DISTANCES[1:])
def test_a_remote_zone_lock_is_held_longer_in_the_ratio_of_the_distances(distance):
    """Each line that moves a page comes over the interconnect while the lock is held."""

    def hold_ns(distance: int) -> int:
        return times(distance)[0] - times(distance, zone_lock_hold_page_ns=0)[0]

    extra_ns = hold_ns(distance) - hold_ns(10)
    pages_ns = (PAGES + TABLES) * COSTS.zone_lock_hold_page_ns
    assert extra_ns * 10 == pages_ns * (distance - 10)


def test_what_grows_from_one_table_to_the_next_is_proportional():
    """The steps between 10, 15, 20 and 31 are as 5 to 5 to 11, for the first touch as a whole."""
    first = [times(distance)[0] for distance in DISTANCES]
    steps = [later - earlier for earlier, later in pairwise(first)]
    assert steps[0] == steps[1] > 0
    assert steps[2] * 5 == steps[0] * 11


def test_local_memory_costs_the_same_whatever_the_distance_of_the_other_node():
    """Who stays on its node does not notice."""
    assert len({times(distance, nid=0) for distance in DISTANCES}) == 1


def test_a_narrow_link_makes_remote_first_touch_slower_still():
    """At half a page a microsecond the link, not the CPU, sets the pace."""
    narrow = times(20, interconnect_bandwidth_bytes_per_s=PAGE * 500_000)[0]
    assert narrow > PAGES * 2_000 > times(20)[0]
