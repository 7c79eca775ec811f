"""The memory hotplug controller: memory blocks go online and offline, one at a time.

Linux: drivers/base/memory.c: state_store, memory_block_change_state; mm/memory_hotplug.c:
online_pages, offline_pages, 6.1.
Who writes to a block's file does the work, in its own time; who asks holds device_hotplug_lock.
# Differs from Linux: The struct pages of memory are there as long as the memory is; those of a
# machine's own blocks were made at boot.
Owns: the states of memory blocks, and which zone each is in.
Interface: ask; the messages of messages/memory_hotplug.py.
Units: pages, pfn.
"""

import errno
from collections.abc import Iterable
from typing import Any, Final

import attrs

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import drain_all_pages
from kernelsim.actors.core.kernel import KERN_INFO, KERN_WARNING, Kernel
from kernelsim.actors.core.lru_add import lru_add_drain_all
from kernelsim.actors.hotplug.migrate_range import do_migrate_range
from kernelsim.actors.messages.memory_hotplug import (
    IsolateRange,
    OfflineRange,
    OnlineRange,
    StateStore,
    UndoIsolateRange,
)
from kernelsim.actors.tracing import trace
from kernelsim.config.sysctl import SYSCTLS
from kernelsim.config.zones import ZoneType
from kernelsim.mm.core.mem import Z_FREE, Z_PCP_BATCH, Z_PCP_HIGH, PG_table
from kernelsim.mm.page.memory_hotplug import (
    GOING_OFFLINE,
    OFFLINE,
    ONLINE,
    ONLINE_TYPES,
    block_range,
    zone_for_block,
)
from kernelsim.mm.page.page_isolation import (
    ALREADY_ISOLATED,
    ISOLATED,
    scan_movable_pages,
    test_pages_isolated,
)
from kernelsim.mm.page.phys_mem import MemoryBlock
from kernelsim.mm.page.zone_marks import zone_set_pageset_high_and_batch
from kernelsim.mm.space.util import (
    ADMIN_RESERVE_KBYTES_MAX,
    USER_RESERVE_KBYTES_MAX,
    init_reserves,
)
from kernelsim.sim.actor import Actor
from kernelsim.trace.ks import ks_memory_block
from kernelsim.units import KIB, PAGE_SIZE

RESERVES: Final = {  # what is computed is at most so many KiB
    "vm.user_reserve_kbytes": USER_RESERVE_KBYTES_MAX,
    "vm.admin_reserve_kbytes": ADMIN_RESERVE_KBYTES_MAX,
}
TABLE_MAPCOUNT: Final = -512  # shares its place with PG_table, the type of page tables
PCP_BATCH_DISABLED: Final = 1  # mm/page_alloc.c:zone_pcp_disable


class MemoryHotplug(Actor):
    """The controller of one machine.

    Args:
        kernel: The machine.
    """

    serves_in_asker = True

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("memory_hotplug")
        self._kernel = kernel

    async def receive(self, message: Any) -> int:  # noqa: ANN401 - a StateStore
        """Bring a block online or offline."""
        assert isinstance(message, StateStore)
        assert isinstance(message.current, Current)
        return await self._state_store(message.current, message.index, message.word)

    async def _state_store(self, current: Current, index: int, word: str) -> int:
        """Do what is written to the file `state` of a block; return 0 or a negative errno.

        Source: Linux 6.1 drivers/base/memory.c:state_store, drivers/base/core.c:device_offline
        """
        block = self._kernel.phys.block(index)
        if block is None:
            return -errno.ENOENT
        if word not in ONLINE_TYPES or (word == OFFLINE) == (block.state == OFFLINE):
            return -errno.EINVAL
        if word != OFFLINE:
            await self._online(current, block, word)
            return 0
        block.state = GOING_OFFLINE
        error, why = await self._offline(current, block)
        if error:
            block.state = ONLINE
        trace(current.task, ks_memory_block(index, block.state, -error, why))
        return error

    async def _online(self, current: Current, block: MemoryBlock, word: str) -> None:
        """Bring a block online.

        Source: Linux 6.1 mm/memory_hotplug.c:online_pages
        """
        kernel, task = current
        zone = zone_for_block(kernel.phys, block, word)
        start, end = block_range(kernel.phys, block.index)
        # Each struct page is initialised, and its page freed, in blocks of the highest order.
        await task.compute(kernel.spec.latency.scan_page_ns * (end - start))
        await kernel.node_of(zone).ref.ask(OnlineRange(zone, start, end, task.cpu.name))
        block.state, block.zone = ONLINE, zone
        self._raise_reserves()
        trace(task, ks_memory_block(block.index, block.state, 0, ""))

    async def _offline(self, current: Current, block: MemoryBlock) -> tuple[int, str]:
        """Take a block offline; return 0 or a negative errno, and the reason it has failed for.

        Source: Linux 6.1 mm/memory_hotplug.c:offline_pages
        """
        kernel, task = current
        phys, zone = kernel.phys, block.zone
        start, end = block_range(phys, block.index)
        if zone is None:
            return -errno.EINVAL, "multizone range"
        if self._has_holes(start, end):
            return -errno.EINVAL, "memory holes"
        node = kernel.node_of(zone).ref
        self._zone_pcp_disable(zone)
        await lru_add_drain_all(current)
        await drain_all_pages(current, zone)
        is_movable = phys.zone_types[zone % len(phys.zone_types)] is ZoneType.ZONE_MOVABLE
        await task.compute(kernel.spec.latency.scan_page_ns * (end - start))
        request = IsolateRange(zone, start, end, is_movable, task.cpu.name)
        found = await node.ask(request)
        if found != ISOLATED:
            self._zone_pcp_enable(zone)
            if found != ALREADY_ISOLATED:
                self._dump_page(found)
            return -errno.EBUSY, "failure to isolate range"
        await drain_all_pages(current, zone)
        if not await self._empty(current, zone, start, end):
            await node.ask(UndoIsolateRange(zone, start, end, task.cpu.name))
            self._zone_pcp_enable(zone)
            return -errno.EINTR, "signal backoff"
        await node.ask(OfflineRange(zone, start, end, task.cpu.name))
        block.state, block.zone = OFFLINE, None
        self._reset_reserves()
        return 0, ""

    async def _empty(self, current: Current, zone: int, start: int, end: int) -> bool:
        """Move pages away until the range is free; False when a signal has come.

        Source: Linux 6.1 mm/memory_hotplug.c:offline_pages
        """
        kernel, task = current
        scan_ns = kernel.spec.latency.scan_page_ns
        while True:
            at = start
            while at >= 0:
                if task.killed:
                    return False
                await task.compute(scan_ns)
                at = scan_movable_pages(kernel.mem, at, end)
                if at >= 0:
                    await do_migrate_range(current, zone, at, end)
                    await lru_add_drain_all(current)
            await task.compute(scan_ns * (end - start))
            if test_pages_isolated(kernel.mem, start, end) < 0:
                return True

    def _has_holes(self, start: int, end: int) -> bool:
        """Tell whether some frames of a range are no memory.

        Source: Linux 6.1 mm/memory_hotplug.c:count_system_ram_pages_cb
        """
        return not covers(memory_ranges(self._kernel), start, end)

    def _zone_pcp_disable(self, zone: int) -> None:
        """Have single pages that are freed go straight to the buddy system.

        # Differs from Linux: A tunable that is written meanwhile and sets these sizes ends that;
        # in Linux the writer waits for pcp_batch_high_lock.
        Source: Linux 6.1 mm/page_alloc.c:zone_pcp_disable
        """
        row = self._kernel.mem.zone[zone]
        row[Z_PCP_HIGH], row[Z_PCP_BATCH] = 0, PCP_BATCH_DISABLED

    def _zone_pcp_enable(self, zone: int) -> None:
        """Have CPUs keep single pages again.

        Source: Linux 6.1 mm/page_alloc.c:zone_pcp_enable
        """
        zone_set_pageset_high_and_batch(self._kernel.phys, zone)

    def _dump_page(self, pfn: int) -> None:
        """Say in the log which page stands in the way: one of the kernel, which has one user.

        # Differs from Linux: Its flags and the words of its struct page are left out, and slab
        # pages, whose index is a pointer, look like others.
        Source: Linux 6.1 mm/debug.c:dump_page, mm/page_isolation.c:set_migratetype_isolate
        """
        is_table = self._kernel.mem.pages.flags[pfn] & PG_table
        line = (
            f"page:(____ptrval____) refcount:1 mapcount:{TABLE_MAPCOUNT if is_table else 0} "
            f"mapping:{0:016x} index:0x0 pfn:{pfn:#x}"
        )
        self._kernel.printk(KERN_WARNING, line, "page dumped because: unmovable page")

    def _reset_reserves(self) -> None:
        """Have less kept for root and for a user where that is more than there is.

        Source: Linux 6.1 mm/mmap.c:reserve_mem_notifier, of MEM_OFFLINE
        """
        free_kbytes = self._free_kbytes()
        for name in RESERVES:
            if self._reserve(name) > free_kbytes:
                self._init_reserve(name)
                self._kernel.printk(KERN_INFO, f"{name} reset to {self._reserve(name)}")

    def _raise_reserves(self) -> None:
        """Compute afresh what is kept for root and for a user, unless that is off or the most.

        Source: Linux 6.1 mm/mmap.c:reserve_mem_notifier, of MEM_ONLINE
        """
        for name, most_kbytes in RESERVES.items():
            if 0 < self._reserve(name) < most_kbytes:
                self._init_reserve(name)

    def _reserve(self, name: str) -> int:
        kbytes: int = getattr(self._kernel.sysctl, SYSCTLS[name].attribute)
        return kbytes

    def _init_reserve(self, name: str) -> None:
        tunables = self._kernel.phys.tunables
        unset: dict[str, Any] = {SYSCTLS[name].attribute: None}
        tunables.now = attrs.evolve(tunables.now, **unset)
        init_reserves(tunables, self._free_kbytes())

    def _free_kbytes(self) -> int:
        return int(self._kernel.mem.zone[:, Z_FREE].sum()) * (PAGE_SIZE // KIB)


def memory_ranges(kernel: Kernel) -> list[tuple[int, int]]:
    """Return the frames that are memory: first, and one behind the last; online or not."""
    nodes = kernel.spec.nodes
    ranges = [each for node in nodes for each in node.memory_ranges]
    if not ranges:
        zones = [zone for node in nodes for zone in node.zones if zone.spanned_pages]
        ranges = [(zone.start_pfn, zone.start_pfn + zone.present_pages) for zone in zones]
    return ranges + kernel.phys.dimm_ranges


def has_memory(kernel: Kernel, start: int, end: int) -> bool:
    """Tell whether some frames of a range are memory.

    Source: Linux 6.1 mm/memory_hotplug.c:register_memory_resource
    """
    return any(low < end and start < high for low, high in memory_ranges(kernel))


def covers(ranges: Iterable[tuple[int, int]], start: int, end: int) -> bool:
    """Tell whether ranges, taken together, have all of another one."""
    for low, high in sorted(ranges):
        if low <= start < high:
            start = high
    return start >= end
