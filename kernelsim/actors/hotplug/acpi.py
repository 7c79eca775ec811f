"""DIMMs that appear and are asked to leave: the side of memory hotplug that hardware begins.

Linux: drivers/acpi/acpi_memhotplug.c, drivers/acpi/scan.c: acpi_scan_hot_remove;
mm/memory_hotplug.c: add_memory_resource, try_remove_memory; mm/sparse-vmemmap.c, 6.1.
A DIMM that comes becomes memory blocks, offline unless auto_online_blocks says otherwise; one that
leaves has its blocks taken offline first, and stays if one of them cannot be. All of either is
done under device_hotplug_lock.
# Differs from Linux: The struct pages of added memory lie in single pages; Linux takes blocks
# of 2 MiB for them while there are any.
Owns: the DIMMs that have come, and the pages of their struct pages.
Interface: ask; `AddDimm`, `RemoveDimm`.
Units: pages, pfn.
"""

import errno
from typing import Any, Final

import attrs
import numpy as np

from kernelsim.actors.alloc.page_allocator import alloc_pages
from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import free_frames
from kernelsim.actors.core.kernel import KERN_WARNING, Kernel
from kernelsim.actors.core.task import Task
from kernelsim.actors.hotplug.memory_hotplug import has_memory
from kernelsim.actors.messages.acpi import AddDimm, RemoveDimm
from kernelsim.actors.messages.memory_hotplug import StateStore
from kernelsim.config.memory_model import MODELS
from kernelsim.mm.core.mem import I64, PAGEBLOCK_NR_PAGES, Z_SPANNED, PG_kernel
from kernelsim.mm.page.gfp import GFP_KERNEL
from kernelsim.mm.page.memory_hotplug import OFFLINE, ONLINE
from kernelsim.mm.page.phys_mem import MemoryBlock
from kernelsim.sim.actor import Actor
from kernelsim.units import PAGE_SIZE

WORKER: Final = "kworker/u2:kacpi_hotplug"


@attrs.define
class Dimm:
    """A DIMM that has come.

    Attributes:
        start: Its first frame.
        nr_pages: Its size.
        nid: Its node.
        memmap: Pages that hold its struct pages.
    """

    start: int
    nr_pages: int
    nid: int
    memmap: list[int] = attrs.field(factory=list)


class AcpiHotplug(Actor):
    """What hears of DIMMs, in the time of a kernel thread.

    Args:
        kernel: The machine.
        task: The thread.
    """

    def __init__(self, kernel: Kernel, task: Task) -> None:
        super().__init__("acpi_hotplug")
        self._kernel = kernel
        self._current = Current(kernel, task)
        self._dimms: dict[str, Dimm] = {}

    def memmap_pages(self) -> I64:
        """Return the pages that hold struct pages of the DIMMs that are there."""
        return np.array([pfn for dimm in self._dimms.values() for pfn in dimm.memmap], np.int64)

    async def receive(self, message: Any) -> int:  # noqa: ANN401 - AddDimm or RemoveDimm
        """Let a DIMM come or go."""
        task = self._current.task
        await task.get_cpu(wakeup=True)
        async with self._kernel.device_hotplug.held(task):
            if isinstance(message, AddDimm):
                error = await self._add(message)
            else:
                assert isinstance(message, RemoveDimm)
                error = await self._remove(message.name)
        await task.put_cpu()
        return error

    async def _add(self, message: AddDimm) -> int:
        """Make memory blocks of a DIMM, with struct pages for them.

        Source: Linux 6.1 mm/memory_hotplug.c:add_memory_resource
        """
        phys = self._kernel.phys
        blocks, start = phys.memory_blocks, message.start
        if has_memory(self._kernel, start, start + message.nr_pages):
            return -errno.EEXIST
        nr_pages = blocks.size_bytes // PAGE_SIZE
        dimm = Dimm(start, message.nr_pages, message.nid)
        struct_bytes = message.nr_pages * phys.era.struct_page_bytes
        if MODELS[self._kernel.spec.memory_model].maps_dimms_at_boot:
            struct_bytes = 0
        if not await self._vmemmap_populate(dimm, message.nid, struct_bytes // PAGE_SIZE):
            await self._vmemmap_free(dimm)
            return -errno.ENOMEM
        self._dimms[message.name] = dimm
        phys.dimm_ranges.append((start, start + message.nr_pages))
        phys.nodes[message.nid].is_online = True
        new = range(start // nr_pages, (start + message.nr_pages) // nr_pages)
        blocks.blocks += [MemoryBlock(index=index, state=OFFLINE, nid=message.nid) for index in new]
        blocks.blocks.sort(key=lambda block: block.index)
        if blocks.auto_online != OFFLINE:
            for index in new:
                await self._store(index, blocks.auto_online)
        return 0

    async def _remove(self, name: str) -> int:
        """Take a DIMM's blocks offline, and let it go.

        Source: Linux 6.1 drivers/acpi/scan.c:acpi_scan_hot_remove,
            mm/memory_hotplug.c:try_remove_memory
        """
        phys, dimm = self._kernel.phys, self._dimms.get(name)
        if dimm is None:  # another one has removed it while this one waited
            return -errno.ENODEV
        nr_pages = phys.memory_blocks.size_bytes // PAGE_SIZE
        indexes = range(dimm.start // nr_pages, (dimm.start + dimm.nr_pages) // nr_pages)
        if not await self._try_to_offline(indexes):
            return -errno.EBUSY
        leaving = [block for block in phys.memory_blocks.blocks if block.index in indexes]
        assert all(block.state == OFFLINE for block in leaving), "memory leaves that is in use"
        phys.memory_blocks.blocks = [
            block for block in phys.memory_blocks.blocks if block.index not in indexes
        ]
        phys.dimm_ranges.remove((dimm.start, dimm.start + dimm.nr_pages))
        del self._dimms[name]
        self._try_offline_node(dimm.nid)
        await self._vmemmap_free(dimm)
        return 0

    async def _try_to_offline(self, indexes: range) -> bool:
        """Take blocks offline, all of them or none.

        What one of them could not go for may have left with the others: those get a second try.

        Source: Linux 6.1 drivers/acpi/scan.c:acpi_scan_try_to_offline, :acpi_bus_offline
        """
        gone = list[int]()
        left = [index for index in indexes if self._state(index) != OFFLINE]
        for is_second in (False, True):
            again = list[int]()
            for index in left:
                if await self._store(index, OFFLINE) == 0:
                    gone.append(index)
                    continue
                again.append(index)
                if is_second:
                    break
            left = again
        if not left:
            return True
        self._kernel.printk(KERN_WARNING, f"memory memory{left[0]}: Offline failed.")
        for index in sorted(gone):
            await self._store(index, ONLINE)
        return False

    def _state(self, index: int) -> str:
        block = self._kernel.phys.block(index)
        assert block is not None, "a DIMM has its blocks"
        return block.state

    def _try_offline_node(self, nid: int) -> None:
        """Let a node go offline that has neither memory nor CPUs any more.

        Source: Linux 6.1 mm/memory_hotplug.c:try_offline_node
        """
        phys = self._kernel.phys
        first = nid * len(phys.zone_types)
        is_spanned = phys.mem.zone[first : first + len(phys.zone_types), Z_SPANNED].any()
        has_blocks = any(block.nid == nid for block in phys.memory_blocks.blocks)
        if not is_spanned and not has_blocks and not phys.nodes[nid].cpus:
            phys.nodes[nid].is_online = False

    async def _store(self, index: int, word: str) -> int:
        answer: int = await self._kernel.memory_hotplug.ask(StateStore(self._current, index, word))
        return answer

    async def _vmemmap_populate(self, dimm: Dimm, nid: int, nr_pages: int) -> bool:
        """Get memory for struct pages; False if there is none.

        Source: Linux 6.1 arch/x86/mm/init_64.c:vmemmap_populate
        """
        kernel = self._kernel
        context = kernel.alloc_contexts.get(nid, None, GFP_KERNEL)
        while nr_pages > 0:
            out = np.zeros(min(nr_pages, PAGEBLOCK_NR_PAGES), np.int64)
            grant = await alloc_pages(self._current, context, len(out), out)
            if not grant.nr:
                return False
            kernel.mem.pages.flags[out[: grant.nr]] |= np.uint32(PG_kernel)
            kernel.placed(grant.nr)
            dimm.memmap += out[: grant.nr].tolist()
            nr_pages -= grant.nr
        return True

    async def _vmemmap_free(self, dimm: Dimm) -> None:
        """Give the memory of struct pages back.

        Source: Linux 6.1 arch/x86/mm/init_64.c:vmemmap_free
        """
        kernel, pages = self._kernel, np.array(dimm.memmap, np.int64)
        kernel.mem.pages.flags[pages] = 0
        await free_frames(self._current, pages, kernel.taken(len(pages)))
