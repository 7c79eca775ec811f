"""Memory policies: which nodes a task's pages may come from, and which is asked first.

Linux: mm/mempolicy.c: policy_nodemask, policy_node, offset_il_node, apply_policy_zone,
check_highest_zone, 6.1.
Interface: a `Mempolicy` belongs to a task or to a mapping, None standing for the default; `MODES`
says what its mode means, and is where a new one goes. `policy_zonelist` turns it into the zones one
request tries, `policy_nodemask` into the nodes the request is confined to. An interleaved policy is
first turned into that of one node: `on_node`, for the node that `offset_il_node` or
`next_node_in` chooses. What makes policies is in mpol_new.py.
Units: node numbers; zones as rows of `Mem.zone`, their types as positions in the machine's
zone_types.
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from kernelsim.config.number_list import format_number_list
from kernelsim.config.zones import ZoneType

MPOL_DEFAULT: Final = "default"
MPOL_PREFERRED: Final = "preferred"
MPOL_BIND: Final = "bind"
MPOL_INTERLEAVE: Final = "interleave"
MPOL_LOCAL: Final = "local"
MPOL_PREFERRED_MANY: Final = "preferred_many"
MPOL_F_STATIC_NODES: Final = 1 << 15  # include/uapi/linux/mempolicy.h
MPOL_F_RELATIVE_NODES: Final = 1 << 14
NUMA_NO_NODE: Final = -1
MAX_NUMNODES: Final = 1024  # 1 << CONFIG_NODES_SHIFT (10)


@attrs.frozen
class Mempolicy:
    """One policy.

    Attributes:
        mode: One of `MODES`.
        nodes: Nodes with memory; `preferred` uses the first, `local` none.
        flags: MPOL_F_* bits.
        user_nodes: The nodes as they were given, if flags say to keep them.
        home_node: Where `bind` and `preferred_many` look first; NUMA_NO_NODE for the CPU's node.
    """

    mode: str
    nodes: tuple[int, ...]
    flags: int = 0
    user_nodes: tuple[int, ...] = ()
    home_node: int = NUMA_NO_NODE

    @property
    def is_interleaved(self) -> bool:
        """Tell whether each page has a node of its own."""
        return self.mode == MPOL_INTERLEAVE

    def on_node(self, nid: int) -> "Mempolicy":
        """Return the policy of a page that is interleaved to a node."""
        return Mempolicy(self.mode, (nid,))


@attrs.frozen
class PolicyMode:
    """What a mode of policies means.

    Attributes:
        is_strict: Whether requests are confined to the policy's nodes.
        first_nid: Of a policy and the node of the task's CPU, the node that is asked first.
        tries_strictly: Whether they are for a first try, that does not wait for memory.
    """

    is_strict: bool
    first_nid: Callable[[Mempolicy, int], int]
    tries_strictly: bool = False


def _home(policy: Mempolicy, local_nid: int) -> int:
    return local_nid if policy.home_node == NUMA_NO_NODE else policy.home_node


MODES: Final[dict[str, PolicyMode]] = {
    MPOL_PREFERRED: PolicyMode(False, lambda policy, _local_nid: policy.nodes[0]),
    MPOL_BIND: PolicyMode(True, _home),
    MPOL_INTERLEAVE: PolicyMode(False, lambda policy, _local_nid: policy.nodes[0]),
    MPOL_LOCAL: PolicyMode(False, lambda _policy, local_nid: local_nid),
    MPOL_PREFERRED_MANY: PolicyMode(False, _home, tries_strictly=True),
}
"""Mode, by the name `spawn` and set_mempolicy take -> what it means."""

PRINTED: Final = {  # where mm/mempolicy.c:policy_modes has another word
    MPOL_PREFERRED: "prefer",
    MPOL_PREFERRED_MANY: "prefer (many)",
}
FLAG_WORDS: Final = {MPOL_F_STATIC_NODES: "static", MPOL_F_RELATIVE_NODES: "relative"}


def mpol_to_str(policy: Mempolicy | None) -> str:
    """Return a policy as /proc/PID/numa_maps has it: "bind=static:0-1".

    Source: Linux 6.1 mm/mempolicy.c:mpol_to_str
    """
    if policy is None:
        return MPOL_DEFAULT
    text = PRINTED.get(policy.mode, policy.mode)
    if policy.flags:
        text += f"={FLAG_WORDS[policy.flags]}"
    return f"{text}:{format_number_list(policy.nodes)}" if policy.nodes else text


def offset_il_node(policy: Mempolicy, index: int) -> int:
    """Return the node of the page that lies so many pages behind the first of its object.

    Source: Linux 6.1 mm/mempolicy.c:offset_il_node
    """
    return policy.nodes[index % len(policy.nodes)]


def next_node_in(nid: int, nodes: tuple[int, ...]) -> int:
    """Return the first of some rising nodes behind a node, beginning again behind the last.

    Source: Linux 6.1 include/linux/nodemask.h:next_node_in
    """
    return next((node for node in nodes if node > nid), nodes[0])


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
