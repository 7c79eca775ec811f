"""Memory policies: the zones a request tries, the nodes it is confined to."""

import pytest

from kernelsim.config.zones import zone_types
from kernelsim.mm.page.mempolicy import (
    MPOL_BIND,
    MPOL_PREFERRED,
    Mempolicy,
    policy_nodemask,
    policy_zone,
    policy_zonelist,
)

X86_64 = zone_types("x86_64")  # DMA DMA32 Normal Movable Device: five rows a node
I386 = zone_types("i386")  # DMA Normal HighMem Movable: four rows a node
# Node 0 has DMA, DMA32 and Normal, nodes 1 and 2 Normal only.
NUMA = ((2, 1, 0, 7, 12), (7, 12, 2, 1, 0), (12, 2, 1, 0, 7))
TWO_BY_HIGHMEM = ((2, 1, 0, 6), (6, 2, 1, 0))  # node 1 has high memory only


def zones(policy, *, local_nid=0, highest_zoneidx=3):
    """Return the zones tried on the machine of three nodes."""
    return policy_zonelist(
        policy,
        local_nid=local_nid,
        highest_zoneidx=highest_zoneidx,
        zonelists=NUMA,
        zone_types=X86_64,
    )


@pytest.mark.mission("P9")
@pytest.mark.parametrize(
    ("policy", "local_nid", "tried"),
    [
        (None, 1, (7, 12, 2, 1, 0)),
        (Mempolicy(MPOL_PREFERRED, (2,)), 0, (12, 2, 1, 0, 7)),
        (Mempolicy(MPOL_BIND, (1,)), 0, (7,)),
        (Mempolicy(MPOL_BIND, (0, 2)), 2, (12, 2, 1, 0)),
        (Mempolicy(MPOL_BIND, (0, 2)), 1, (12, 2, 1, 0)),
        (Mempolicy(MPOL_BIND, (2, 0)), 0, (2, 1, 0, 12)),
    ],
)
def test_zones_a_policy_tries(policy, local_nid, tried):
    """The local node's order, by preferred that of its node, by bind without other nodes."""
    assert zones(policy, local_nid=local_nid) == tried


def test_a_request_for_low_zones_tries_no_higher_one():
    """Whatever the policy."""
    assert zones(None, highest_zoneidx=1) == (1, 0)
    assert zones(Mempolicy(MPOL_PREFERRED, (1,)), highest_zoneidx=1) == (1, 0)


def test_bind_does_not_rule_zones_below_the_policy_zone():
    """A request that only DMA32 can serve is served there, bound elsewhere or not."""
    bound = Mempolicy(MPOL_BIND, (1,))
    assert policy_zone(NUMA[0], X86_64) == 2
    assert zones(bound, highest_zoneidx=1) == (1, 0)
    assert policy_nodemask(bound, 1, NUMA[0], X86_64) is None
    assert policy_nodemask(bound, 2, NUMA[0], X86_64) == (1,)
    # With high memory the kernel's own pages, tables among them, are below it.
    assert policy_zone(TWO_BY_HIGHMEM[0], I386) == 2
    assert policy_nodemask(bound, 1, TWO_BY_HIGHMEM[0], I386) is None
    assert policy_nodemask(bound, 3, TWO_BY_HIGHMEM[0], I386) == (1,)


def test_nodes_with_movable_memory_only_rule_movable_requests_only():
    """Page tables of a task bound to such a node come from elsewhere."""
    zonelist = (2, 1, 0, 8)  # node 1 has nothing but Movable
    bound = Mempolicy(MPOL_BIND, (1,))
    assert policy_zone(zonelist, X86_64) == 2
    assert policy_nodemask(bound, 2, zonelist, X86_64) is None
    assert policy_nodemask(bound, 3, zonelist, X86_64) == (1,)


def test_only_bind_confines():
    """Preferred is a wish."""
    assert policy_nodemask(None, 3, NUMA[0], X86_64) is None
    assert policy_nodemask(Mempolicy(MPOL_PREFERRED, (1,)), 3, NUMA[0], X86_64) is None
