"""What a request for pages is served by: where it may look, and how far down.

Linux: struct alloc_context of mm/internal.h, mm/page_alloc.c:prepare_alloc_pages, 6.1.
Interface: `AllocContexts.get`; an `AllocContext` is a value.
Differs: Linux makes an allocation context for each request; here those of one generation of the
machine's memory are kept, as most requests are alike.
"""

import attrs

from kernelsim.mm.page.gfp import Gfp, gfp_migratetype, gfp_zone
from kernelsim.mm.page.mempolicy import Mempolicy, policy_nodemask, policy_zonelist
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
    """

    gfp: Gfp
    migratetype: int
    zonelist: tuple[int, ...]
    highest_zoneidx: int
    preferred_nid: int
    nodemask: tuple[int, ...] | None = None


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
            local_nid: Node of the CPU the asking task runs on.
            policy: Of the task; None for the default.
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
    types = phys.zone_types
    highest = gfp_zone(gfp, types)
    zones = policy_zonelist(
        policy,
        local_nid=local_nid,
        highest_zoneidx=highest,
        zonelists=phys.zonelists,
        zone_types=types,
    )
    return AllocContext(
        gfp,
        gfp_migratetype(gfp),
        zones,
        highest,
        zones[0] // len(types),
        policy_nodemask(policy, highest, zones, types),
    )
