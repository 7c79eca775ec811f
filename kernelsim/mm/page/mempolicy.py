"""Memory policies: which nodes a task's pages may come from, and which is asked first.

Linux: mm/mempolicy.c: policy_nodemask, policy_node, apply_policy_zone, check_highest_zone, 6.1.
Differs: Of the memory policies there are bind and preferred with one node; default and local are
None.
Interface: a `Mempolicy` belongs to a process; `MODES` says what its mode means, and is where a new
one goes. `policy_zonelist` turns it into the zones one request tries, `policy_nodemask` into the
nodes the request is confined to.
Units: node numbers; zones as rows of `Mem.zone`, their types as positions in the machine's
zone_types.
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from kernelsim.config.zones import ZoneType

MPOL_PREFERRED: Final = "preferred"
MPOL_BIND: Final = "bind"


@attrs.frozen
class Mempolicy:
    """One policy.

    Attributes:
        mode: One of `MODES`.
        nodes: Nodes with memory, at least one; `preferred` uses the first.
    """

    mode: str
    nodes: tuple[int, ...]


@attrs.frozen
class PolicyMode:
    """What a mode of policies means.

    Attributes:
        is_strict: Whether requests are confined to the policy's nodes.
        first_nid: Of a policy and the node of the task's CPU, the node that is asked first.
    """

    is_strict: bool
    first_nid: Callable[[Mempolicy, int], int]


MODES: Final[dict[str, PolicyMode]] = {
    MPOL_PREFERRED: PolicyMode(False, lambda policy, _local_nid: policy.nodes[0]),
    MPOL_BIND: PolicyMode(True, lambda _policy, local_nid: local_nid),
}
"""Mode, by the name `spawn` takes -> what it means."""


def policy_zone(zonelist: Sequence[int], zone_types: Sequence[ZoneType]) -> int:
    """Return the lowest zone type that policies rule: the highest there is, movable left out.

    Args:
        zonelist: All zone rows with memory.
        zone_types: Zone types of the machine, lowest first.

    Source: Linux 6.1 mm/mempolicy.c:check_highest_zone
    """
    movable = zone_types.index(ZoneType.ZONE_MOVABLE)
    nr_types = len(zone_types)
    plain = (zone % nr_types for zone in zonelist if zone % nr_types < movable)
    return max(plain, default=movable)


def policy_nodemask(
    policy: Mempolicy | None,
    highest_zoneidx: int,
    zonelist: Sequence[int],
    zone_types: Sequence[ZoneType],
) -> tuple[int, ...] | None:
    """Return the nodes a request is confined to, rising; None when it may go anywhere.

    Args:
        policy: Of the task that asks; None for the default.
        highest_zoneidx: Highest zone type the request may use.
        zonelist: All zone rows with memory.
        zone_types: Zone types of the machine, lowest first.

    Source: Linux 6.1 mm/mempolicy.c:policy_nodemask, :apply_policy_zone
    """
    if policy is None or not MODES[policy.mode].is_strict:
        return None
    movable = zone_types.index(ZoneType.ZONE_MOVABLE)
    nr_types = len(zone_types)
    own = [zone % nr_types for zone in zonelist if zone // nr_types in policy.nodes]
    only_movable = all(index >= movable for index in own)
    lowest = movable if only_movable else policy_zone(zonelist, zone_types)
    return tuple(sorted(policy.nodes)) if highest_zoneidx >= lowest else None


def policy_zonelist(
    policy: Mempolicy | None,
    *,
    local_nid: int,
    highest_zoneidx: int,
    zonelists: Sequence[tuple[int, ...]],
    zone_types: Sequence[ZoneType],
) -> tuple[int, ...]:
    """Return the zone rows a request tries, in order.

    Args:
        policy: Of the task that asks; None for the default.
        local_nid: Node of the CPU it runs on; a bound task looks there first too.
        highest_zoneidx: Highest zone type the request may use.
        zonelists: By node, all zone rows with memory in fallback order.
        zone_types: Zone types of the machine, lowest first.

    Source: Linux 6.1 mm/mempolicy.c:policy_node, :alloc_pages
    """
    first = local_nid if policy is None else MODES[policy.mode].first_nid(policy, local_nid)
    order = zonelists[first]
    nodes = policy_nodemask(policy, highest_zoneidx, order, zone_types)
    nr_types = len(zone_types)
    return tuple(
        zone
        for zone in order
        if zone % nr_types <= highest_zoneidx and (nodes is None or zone // nr_types in nodes)
    )
