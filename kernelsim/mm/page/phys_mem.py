"""Physical memory as it stands now: nodes, zones, memory blocks, and what follows from them.

Linux: pg_data_t and node_zonelists (include/linux/mmzone.h), numa_distance (arch/x86/mm/numa.c),
struct memory_block (drivers/base/memory.c), 6.1.
Interface: `PhysMem`. A machine's description says how it booted; this says what it is like since.
Whatever changes a node, its CPUs, or which zones have memory calls `changed`: that starts a new
generation, and what is derived (zonelists here, contexts in alloc_context.py) is computed afresh
when it is next asked for.
Units: pages, bytes, distances with 10 for a node's own memory.
"""

import attrs

from kernelsim.config.era import Era
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import Z_MANAGED, Z_NID, Z_SPANNED, Z_START_PFN, Z_TYPE_INDEX, Mem
from kernelsim.mm.core.tunables import Tunables
from kernelsim.mm.page.watermark import ZoneManaged
from kernelsim.mm.page.zonelist import build_all_zonelists

BOOT_GENERATION = 1  # the first one with memory; no CPU has been entered in its node yet


@attrs.define(kw_only=True)
class PgData:
    """One node. Its zones are rows of `Mem.zone`.

    Attributes:
        nid: Node number.
        cpus: Its CPUs.
        is_online: Whether the node is in use (N_ONLINE); one that is not has no memory in use.
    """

    nid: int
    cpus: tuple[int, ...]
    is_online: bool = True


@attrs.define(kw_only=True)
class MemoryBlock:
    """One block of hotpluggable memory.

    Attributes:
        index: Physical address / block size.
        state: online, offline or going-offline.
        nid: Its node.
        zone: Row of the zone it is in, while it is online; None for several zones.
        is_removable: What the file `removable` says; no promise that offlining works.
    """

    index: int
    state: str
    nid: int = 0
    zone: int | None = None
    is_removable: bool = True


@attrs.define(kw_only=True)
class MemoryBlocks:
    """The hotpluggable memory; without hotplug the size is 0 and there are no blocks.

    Attributes:
        size_bytes: Size of a block.
        auto_online: What happens to a block that is added: offline, online, online_kernel or
            online_movable.
        blocks: In rising order.
    """

    size_bytes: int = 0
    auto_online: str
    blocks: list[MemoryBlock] = attrs.field(factory=list)


@attrs.define(kw_only=True)
class PhysMem:
    """Physical memory of one machine: the arrays, and what stays outside them.

    Attributes:
        mem: The arrays.
        era: Rules of the kernel's generation.
        zone_types: Zone types in the order of zone rows within a node.
        nodes: By number, those without memory and those not in use too.
        numa_distance: numa_distance[from][to] of all nodes.
        memory_blocks: What of it can be taken away and put back.
        generation: Counts changes; see `changed`. 0 before there is memory.
        tunables: Those in force.
        totalreserve_pages: Pages that ordinary use leaves alone, one sum for the machine.
        dimm_ranges: Frames of memory that was added since boot: first, and one behind the last.
        user_min_free_kbytes: What was last written to vm.min_free_kbytes; -1 for nothing.
    """

    mem: Mem
    era: Era
    zone_types: tuple[ZoneType, ...]
    nodes: tuple[PgData, ...]
    numa_distance: tuple[tuple[int, ...], ...]
    memory_blocks: MemoryBlocks
    tunables: Tunables
    generation: int = 0
    totalreserve_pages: int = 0
    dimm_ranges: list[tuple[int, int]] = attrs.field(factory=list)
    user_min_free_kbytes: int = -1
    _zonelists: tuple[tuple[int, ...], ...] = attrs.field(default=(), init=False)
    _zonelists_generation: int = attrs.field(default=0, init=False)

    @property
    def nr_cpus(self) -> int:
        """Return the CPUs of all nodes."""
        return sum(len(node.cpus) for node in self.nodes)

    @property
    def cpu_nid(self) -> tuple[int, ...]:
        """Return the node of each CPU, by CPU number."""
        places = {cpu: node.nid for node in self.nodes for cpu in node.cpus}
        return tuple(places[cpu] for cpu in sorted(places))

    @property
    def totalram_pages(self) -> int:
        """Return the pages the buddy system manages."""
        return int(self.mem.zone[:, Z_MANAGED].sum())

    @property
    def online_nodes(self) -> tuple[PgData, ...]:
        """Return the nodes in use."""
        return tuple(node for node in self.nodes if node.is_online)

    @property
    def zonelists(self) -> tuple[tuple[int, ...], ...]:
        """Return, by node, the zone rows in the order a request of that node tries them.

        Source: Linux 6.1 mm/page_alloc.c:build_all_zonelists
        """
        if self._zonelists_generation != self.generation:
            self._zonelists = self._build_all_zonelists()
            self._zonelists_generation = self.generation
        return self._zonelists

    @property
    def nodes_with_memory(self) -> tuple[int, ...]:
        """Return the nodes in the state N_MEMORY, rising."""
        nr_types = len(self.zone_types)
        return tuple(sorted({zone // nr_types for zone in self.zonelists[0]}))

    def block(self, index: int) -> MemoryBlock | None:
        """Return a memory block; None if there is no memory."""
        found = (block for block in self.memory_blocks.blocks if block.index == index)
        return next(found, None)

    def changed(self) -> None:
        """Note that a node, its CPUs, or which zones have memory changed."""
        self.generation += 1

    def zones_managed(self) -> tuple[ZoneManaged, ...]:
        """Return what the watermark formulas need, by zone row."""
        return tuple(
            ZoneManaged(
                nid=int(row[Z_NID]),
                type=self.zone_types[row[Z_TYPE_INDEX]],
                managed_pages=int(row[Z_MANAGED]),
            )
            for row in self.mem.zone
        )

    def _build_all_zonelists(self) -> tuple[tuple[int, ...], ...]:
        nr_types = len(self.zone_types)
        managed = (self.mem.zone[:, Z_MANAGED] > 0).reshape(len(self.nodes), nr_types)
        booting = self.generation == BOOT_GENERATION
        lists = build_all_zonelists(
            distances=self.numa_distance,
            populated=[
                [node.is_online and has_pages for has_pages in managed[node.nid].tolist()]
                for node in self.nodes
            ],
            has_cpus=None if booting else [bool(node.cpus) for node in self.nodes],
        )
        return tuple(tuple(ref.nid * nr_types + ref.zid for ref in each.fallback) for each in lists)


def zone_span(mem: Mem, zone: int) -> tuple[int, int]:
    """Return the first frame of a zone, and the one behind its last."""
    start = int(mem.zone[zone, Z_START_PFN])
    return start, start + int(mem.zone[zone, Z_SPANNED])
