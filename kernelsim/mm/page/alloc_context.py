"""What a request for pages is served by: where it may look, and how far down.

Linux: struct alloc_context of mm/internal.h, mm/page_alloc.c:prepare_alloc_pages, 6.1.
Interface: `AllocContexts.get`; an `AllocContext` is a value.
Differs: Linux makes an allocation context for each request; here those of one generation of the
machine's memory are kept, as most requests are alike.
"""

import attrs

from kernelsim.mm.page.gfp import Gfp, gfp_migratetype, gfp_zone
from kernelsim.mm.page.mempolicy import (
    MODES,
    MPOL_BIND,
    Mempolicy,
    policy_nodemask,
    policy_zonelist,
)
from kernelsim.mm.page.phys_mem import PhysMem


@attrs.frozen
class AllocContext:
    """What a request wants, and where it may look.

    Attributes:
        gfp: Bits of the request.
        migratetype: MIGRATE_* of the pages.
        zonelist: Zone rows in the order they are tried.
        highest_zoneidx: Highest zone index the request may use; lower zones keep their
            lowmem_reserve against it.
        preferred_nid: Node the policy wants first.
        nodemask: Nodes a policy confines the request to, rising; None for no such policy.
        policy: The policy it comes from; None for the default.
        second_try: What a request that got nothing goes on with; None to give up.
    """

    gfp: Gfp
    migratetype: int
    zonelist: tuple[int, ...]
    highest_zoneidx: int
    preferred_nid: int
    nodemask: tuple[int, ...] | None = None
    policy: Mempolicy | None = None
    second_try: "AllocContext | None" = None

    @property
    def is_interleaved(self) -> bool:
        """Tell whether it comes from an interleaved policy."""
        return self.policy is not None and self.policy.is_interleaved

    @property
    def is_spread(self) -> bool:
        """Tell whether each page is a request of its own, whose node is not chosen yet."""
        return self.policy is not None and self.policy.is_interleaved and len(self.policy.nodes) > 1


@attrs.define
class AllocContexts:
    """The contexts in use, by node of the CPU, policy and gfp bits; of one generation only."""

    phys: PhysMem
    _generation: int = attrs.field(default=0, init=False)
    _kept: dict[tuple[int, Mempolicy | None, Gfp], AllocContext] = attrs.field(
        factory=dict, init=False
    )

    def get(self, local_nid: int, policy: Mempolicy | None, gfp: Gfp) -> AllocContext:
        """Return what a request is served by.

        Args:
            local_nid: Node of the CPU the asking task runs on; with THISNODE the one node to ask.
            policy: Of the task or the mapping, of one node if it is interleaved; None for the
                default.
            gfp: Bits of the request.

        Source: Linux 6.1 mm/mempolicy.c:alloc_pages, mm/page_alloc.c:prepare_alloc_pages
        """
        if self._generation != self.phys.generation:
            self._kept.clear()
            self._generation = self.phys.generation
        key = (local_nid, policy, gfp)
        context = self._kept.get(key)
        if context is None:
            context = self._kept[key] = _prepare(self.phys, local_nid, policy, gfp)
        return context


def _prepare(phys: PhysMem, local_nid: int, policy: Mempolicy | None, gfp: Gfp) -> AllocContext:
    if policy is None or not MODES[policy.mode].tries_strictly:
        return _context(phys, local_nid, policy, gfp)
    return _preferred_many(phys, local_nid, policy, gfp)


def _preferred_many(phys: PhysMem, local_nid: int, policy: Mempolicy, gfp: Gfp) -> AllocContext:
    """Return what asks the policy's nodes first, without waiting, and then all.

    Source: Linux 6.1 mm/mempolicy.c:alloc_pages_preferred_many
    """
    first_gfp = (gfp | Gfp.NOWARN) & ~(Gfp.DIRECT_RECLAIM | Gfp.NOFAIL)
    first = _context(phys, local_nid, attrs.evolve(policy, mode=MPOL_BIND), first_gfp)
    then = _context(phys, local_nid, policy, gfp)
    return attrs.evolve(first, policy=policy, second_try=then)


def _context(phys: PhysMem, local_nid: int, policy: Mempolicy | None, gfp: Gfp) -> AllocContext:
    types = phys.zone_types
    highest = gfp_zone(gfp, types)
    zones = policy_zonelist(
        policy,
        local_nid=local_nid,
        highest_zoneidx=highest,
        zonelists=phys.zonelists,
        zone_types=types,
    )
    if Gfp.THISNODE in gfp:  # ZONELIST_NOFALLBACK
        zones = tuple(zone for zone in zones if zone // len(types) == local_nid)
    return AllocContext(
        gfp,
        gfp_migratetype(gfp),
        zones,
        highest,
        zones[0] // len(types),
        policy_nodemask(policy, highest, zones, types),
        policy,
    )
