"""What must be true when all processes of a run have ended and some time has passed.

Nothing is under way: kswapd sleeps, no task waits for another, the disks are idle. And all is
back: each zone has the pages it had at boot, swap is empty, nothing is promised to anyone. Only
pages that were on their way to swap when their process ended may stay in the swap cache, each with
its slot, until reclaim finds them (mm/swap_state.c:free_swap_cache), and new pages in the batch of
a CPU until it is full (mm/swap.c:folio_batch_add_and_move).
Interface: `Baseline.of` at boot; `unrest` lists what still goes on, `losses` what is missing.
Units: pages.
"""

from collections.abc import Iterator

import attrs
import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.hotplug.acpi import AcpiHotplug
from kernelsim.check.lru import count_by_zone
from kernelsim.check.page_cache import pages_of_files
from kernelsim.check.slab import slab_pages
from kernelsim.check.waits import is_idle, is_waiting
from kernelsim.mm.core.mem import (
    I64,
    Z_FREE,
    Z_MANAGED,
    Z_WMARK_HIGH,
    PG_activating,
    PG_batched,
    PG_swapcache,
    zone_of,
)
from kernelsim.mm.core.vmstat import NR_DIRTY
from kernelsim.mm.file.address_space import space_and_index
from kernelsim.mm.swap.swap_area import SA_MAX, SA_USED, SS_FREE, SWAP_MAP_COUNT
from kernelsim.sim.actor import Actor


@attrs.frozen
class Baseline:
    """What a machine had free when it had booted.

    Attributes:
        used: Pages that are not unused, by zone row; without struct pages of DIMMs that came.
        slots: Free swap slots.
        committed: Committed_AS.
    """

    used: I64
    slots: int
    committed: int

    @classmethod
    def of(cls, kernel: Kernel) -> "Baseline":
        """Return what a machine has free now."""
        return cls(
            used_pages(kernel),
            free_slots(kernel),
            kernel.mms.commit.committed_pages,
        )


def unused_pages(kernel: Kernel) -> I64:
    """Return the pages of each zone that nobody uses, shape [zone row].

    They are free, on a CPU's list, cached from a file, in a slab, or left over in the swap cache or
    in a CPU's folio batch; stacks that CPUs keep for threads to come, and the kernel's page tables,
    which stay once made.
    """
    mem = kernel.mem
    unused: I64 = mem.zone[:, Z_FREE] + mem.pcp_count.sum(axis=1)
    left = kernel.swap.cache_pfn[left_over_slots(kernel)].tolist()
    owned = np.uint32(PG_activating | PG_swapcache)  # by a file or the swap cache, if not dropped
    is_dropped = (mem.pages.flags & owned == PG_activating) & (mem.pages.mapping == 0)
    in_batch = (mem.pages.flags == np.uint32(PG_batched)) | is_dropped
    left += np.flatnonzero(in_batch).tolist()
    for stacks in kernel.thread_stacks.cached:
        left += [pfn for stack in stacks for pfn in stack.pfns.tolist()]
    left += kernel.init_mm.tables.tables.values()
    for pfn in left:
        unused[zone_of(mem, pfn)] += 1
    unused += count_by_zone(mem, slab_pages(mem)[0])
    return unused + count_by_zone(mem, pages_of_files(mem))


def used_pages(kernel: Kernel) -> I64:
    """Return the pages of each zone that somebody uses, shape [zone row].

    Those with the struct pages of DIMMs do not count: they come and go with these.
    """
    mem = kernel.mem
    hotplug = kernel.engine.actors["acpi_hotplug"]
    assert isinstance(hotplug, AcpiHotplug), "it has that name"
    memmap = count_by_zone(mem, hotplug.memmap_pages())
    used: I64 = mem.zone[:, Z_MANAGED] - unused_pages(kernel) - memmap
    return used


def left_over_slots(kernel: Kernel) -> I64:
    """Return the swap slots that only a page of the swap cache holds."""
    swap = kernel.swap
    return np.flatnonzero((swap.cache_pfn != 0) & (swap.map & np.uint8(SWAP_MAP_COUNT) == 0))


def free_slots(kernel: Kernel) -> int:
    """Return the swap slots that nobody uses: free, left over, taken ahead, or switched off."""
    swap = kernel.swap
    ahead = int(swap.cpu_slots_left.sum())
    off = swap.area[swap.area[:, SA_USED] == 0, SA_MAX]
    nr_off = int(off.sum()) - len(off)
    return int(swap.state[SS_FREE]) + len(left_over_slots(kernel)) + ahead + nr_off


def unrest(kernel: Kernel, own: tuple[Actor, ...]) -> Iterator[str]:
    """Find what still goes on, one line each.

    Args:
        kernel: The machine.
        own: Actors that are no part of it.
    """
    for process in kernel.processes.values():
        yield f"{process.task.name} has not ended"
    for nid, state in enumerate(kernel.kswapd_states):
        if not state.asleep:
            yield f"kswapd{nid} does not sleep"
    for cpu in kernel.cpus:
        if cpu.state.current is not None or cpu.state.run_queue:
            yield f"{cpu.name} has something to run"
    dirty = int(kernel.mem.node_stat[:, NR_DIRTY].sum())
    if dirty:
        yield f"{dirty} pages of files are dirty"
    for device in kernel.devices.values():
        if device.nr_in_flight:
            yield f"{device.name} has {device.nr_in_flight} requests under way"
    for key in kernel.page_reads:
        space, index = space_and_index(key)
        yield (
            f"page {index} of file {space} is being read"
            if space
            else f"slot {index} is being read"
        )
    idle_by_name = {
        actor.name: is_idle(actor) or actor in own for actor in kernel.engine.actors.values()
    }
    for seat in kernel.engine.clock.seats:
        if is_waiting(seat) and not idle_by_name.get(seat.name, True):
            yield f"{seat.name} waits for {seat.waiter.why}"


def losses(kernel: Kernel, before: Baseline) -> Iterator[str]:
    """Find what did not come back, one line each; nothing is under way."""
    zone, used = kernel.mem.zone, used_pages(kernel)
    unused = zone[:, Z_MANAGED] - used
    for row in range(len(zone)):
        wanted = int(zone[row, Z_MANAGED] - before.used[row])
        if unused[row] != wanted:
            yield f"zone {row} has {unused[row]} pages not in use, {wanted} at boot"
        high = min(int(zone[row, Z_WMARK_HIGH]), wanted)
        if unused[row] < high:
            yield f"zone {row} has {unused[row]} pages not in use, below its high mark of {high}"
    slots = free_slots(kernel)
    if slots != before.slots:
        yield f"{slots} swap slots are not in use, {before.slots} at boot"
    committed = kernel.mms.commit.committed_pages
    if committed != before.committed:
        yield f"{committed} pages are promised, {before.committed} were at boot"
