"""Fallback orders: nearest node first, round robin among equals, highest zone first."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from kernelsim.mm.page.zonelist import Zoneref, build_all_zonelists, find_next_best_node

ALL = (True, True, True)


def orders(distances: list[list[int]], has_cpus: list[bool] | None = None) -> list[list[int]]:
    """Return the node orders of a machine whose nodes have one populated zone each."""
    lists = build_all_zonelists(
        distances=distances, populated=[(True,)] * len(distances), has_cpus=has_cpus
    )
    return [list(item.node_order) for item in lists]


def test_zones_come_highest_first_and_nodes_nearest_first() -> None:
    """All zones of the own node, then those of the other."""
    lists = build_all_zonelists(
        distances=[[10, 20], [20, 10]], populated=[(True, True, False), (False, True, True)]
    )

    assert (Zoneref(0, 1), Zoneref(0, 0), Zoneref(1, 2), Zoneref(1, 1)) == lists[0].fallback
    assert (1, 0) == lists[1].node_order


def test_the_row_of_the_asking_node_counts() -> None:
    """With asymmetric distances each node looks at its own row."""
    assert [[0, 1, 2], [1, 2, 0], [2, 0, 1]] == orders([[10, 15, 25], [25, 10, 15], [15, 25, 10]])


def test_nodes_without_cpus_are_preferred_after_boot() -> None:
    """At equal distance a node without CPUs comes first, once the kernel knows CPUs."""
    equal = [[10, 20, 20], [20, 10, 20], [20, 20, 10]]

    assert [0, 1, 2] == orders(equal)[0]
    assert [0, 2, 1] == orders(equal, [True, True, False])[0]


def test_first_choices_are_spread() -> None:
    """A node that is already the first choice of others yields among equals."""
    far = [[10, 40, 20, 20], [40, 10, 20, 20], [20, 20, 10, 40], [20, 20, 40, 10]]
    first = [order[1] for order in orders(far)]

    assert [2, 3] == first[:2]


def test_a_node_without_memory_is_never_chosen_by_others() -> None:
    """Its own list begins with itself and has the zones of others only."""
    lists = build_all_zonelists(distances=[[10, 20], [20, 10]], populated=[(True,), (False,)])

    assert (0,) == lists[0].node_order
    assert ((1, 0), (Zoneref(0, 0),)) == (lists[1].node_order, lists[1].fallback)


def test_no_node_is_left() -> None:
    """When all nodes are used the answer is None."""
    found = find_next_best_node(
        0,
        used=[0, 1, 2],
        distances=[[10, 20, 20]] * 3,
        has_memory=ALL,
        has_cpus=ALL,
        node_load=[0, 0, 0],
    )

    assert found is None


@given(st.integers(1, 6), st.data())
def test_every_list_is_a_permutation_sorted_by_distance(nr_nodes: int, data: st.DataObject) -> None:
    """Each node appears once, itself first; nodes further by two or more never overtake."""
    row = st.lists(st.integers(11, 60), min_size=nr_nodes, max_size=nr_nodes)
    table = [data.draw(row) for _ in range(nr_nodes)]
    for nid in range(nr_nodes):
        table[nid][nid] = 10

    for nid, order in enumerate(orders(table)):
        far = [table[nid][other] for other in order]
        assert sorted(order) == list(range(nr_nodes))
        assert nid == order[0]
        assert all(left <= right + 1 for left, right in itertools.pairwise(far))
