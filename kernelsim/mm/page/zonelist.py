"""Build the order in which a request falls back from node to node and from zone to zone.

Linux: mm/page_alloc.c of 6.1 (build_all_zonelists, build_zonelists, find_next_best_node).
Interface: `build_all_zonelists` returns one `Zonelists` a node; call it again after hotplug.
Units: node numbers and zone indices (position of the type in the architecture's order).

Within a node zones come highest first. Nodes come nearest first; among equals the later ones are
preferred, round robin, so that the fallbacks of several nodes do not meet on the same victim: the
first node of each group of equal distance gets a load point, which counts against it in the lists
built after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Zonelists", "Zoneref", "build_all_zonelists", "find_next_best_node"]

MAX_NUMNODES: Final = 1024  # nodes; 1 << CONFIG_NODES_SHIFT (10)
PENALTY_FOR_NODE_WITH_CPUS: Final = 1  # distance; linux/topology.h


@attrs.frozen
class Zoneref:
    """One entry of a zonelist."""

    nid: int
    """Node number."""
    zid: int
    """Zone index in the architecture's order."""


@attrs.frozen(kw_only=True)
class Zonelists:
    """The fallback orders of one node."""

    nid: int
    """Node number."""
    node_order: tuple[int, ...]
    """Nodes in fallback order, itself first."""
    fallback: tuple[Zoneref, ...]
    """ZONELIST_FALLBACK: all populated zones."""


def build_all_zonelists(
    *,
    distances: Sequence[Sequence[int]],
    populated: Sequence[Sequence[bool]],
    has_cpus: Sequence[bool] | None = None,
) -> tuple[Zonelists, ...]:
    """Return the zonelists of all nodes.

    Args:
        distances: distances[from][to]; row `from` counts, the table may be asymmetric.
        populated: populated[nid][zid], whether the zone has memory.
        has_cpus: whether each node has CPUs. None is a booting kernel: the lists are built before
            any CPU is entered in its node, so no node has one; hotplug builds them with CPUs.

    Source: Linux 6.1 mm/page_alloc.c:__build_all_zonelists, build_zonelists
    """
    cpus = [False] * len(populated) if has_cpus is None else has_cpus
    has_memory = [any(zones) for zones in populated]
    node_load = [0] * len(populated)
    result: list[Zonelists] = []
    for local_node in range(len(populated)):
        order: list[int] = []
        previous = local_node
        while True:
            node = find_next_best_node(
                local_node,
                used=order,
                distances=distances,
                has_memory=has_memory,
                has_cpus=cpus,
                node_load=node_load,
            )
            if node is None:
                break
            if distances[local_node][node] != distances[local_node][previous]:
                node_load[node] += 1
            order.append(node)
            previous = node
        result.append(
            Zonelists(
                nid=local_node,
                node_order=tuple(order),
                fallback=tuple(ref for node in order for ref in _zonerefs(node, populated[node])),
            )
        )
    return tuple(result)


def _zonerefs(nid: int, populated: Sequence[bool]) -> tuple[Zoneref, ...]:
    """Return the populated zones of a node, highest first."""
    return tuple(Zoneref(nid, zid) for zid in reversed(range(len(populated))) if populated[zid])


def find_next_best_node(
    node: int,
    *,
    used: Sequence[int],
    distances: Sequence[Sequence[int]],
    has_memory: Sequence[bool],
    has_cpus: Sequence[bool],
    node_load: Sequence[int],
) -> int | None:
    """Return the node that comes next in the fallback order of `node`, None when all are used.

    The node itself is first. Then the smallest distance wins; a node with a lower number, one
    with CPUs and one that is already first choice of others come later among equals.

    Args:
        node: whose list is built.
        used: nodes in the list so far.
        distances: distances[from][to].
        has_memory: by node; others are never chosen.
        has_cpus: by node.
        node_load: by node, points of the lists built so far.

    Source: Linux 6.1 mm/page_alloc.c:find_next_best_node
    """
    if node not in used:
        return node
    best: int | None = None
    best_value = 0
    for other, memory in enumerate(has_memory):
        if not memory or other in used:
            continue
        value = distances[node][other] + (other < node)
        value += PENALTY_FOR_NODE_WITH_CPUS if has_cpus[other] else 0
        value = value * MAX_NUMNODES + node_load[other]
        if best is None or value < best_value:
            best, best_value = other, value
    return best
