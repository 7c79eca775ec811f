"""swapon, swapoff: the calls that switch swap areas on and off.

Linux: mm/swapfile.c, 6.1.
Units: bytes, slots.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.alloc.page_allocator import vma_context
from kernelsim.actors.core.kernel import KERN_INFO, Kernel
from kernelsim.actors.messages.block_device import SubmitBio
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.space.swapoff import SwapEmptier
from kernelsim.mm.core.vmstat import PGPGIN
from kernelsim.mm.page.gfp import GFP_HIGHUSER_MOVABLE
from kernelsim.mm.swap.swap_area import SA_MAX, SA_ROTATIONAL, SA_START, SA_USED, SA_WRITEOK
from kernelsim.mm.swap.swapfile import disable_swap_slots_cache, enable_swap_slots_cache
from kernelsim.mm.swap.swapon import begin_swapoff, cancel_swapoff, enable_area, end_swapoff
from kernelsim.units import KIB, PAGE_SIZE, SECTORS_PER_PAGE

SWAP_FLAG_PRIO_MAX: Final = 32_767  # SWAP_FLAG_PRIO_MASK; include/linux/swap.h


@attrs.frozen
class Swapon:
    """Switch an area on; answered with 0 or a negative errno.

    Attributes:
        path: Its name in /proc/swaps.
        prio: 0 … 32767; None for the next below all others.
    """

    path: str
    prio: int | None = None


@attrs.frozen
class Swapoff:
    """Bring back what an area holds, and switch it off; answered with 0 or a negative errno."""

    path: str


async def swapon(caller: Caller, message: Swapon) -> int:
    """Read the header of an area and let its slots be used.

    Source: Linux 6.1 mm/swapfile.c:swapon
    """
    await caller.enter_kernel()
    kernel = caller.kernel
    if caller.entry.uid:
        return -errno.EPERM
    number = _area_of(kernel, message.path)
    if number is None:
        return -errno.ENOENT
    if message.prio is not None and not 0 <= message.prio <= SWAP_FLAG_PRIO_MAX:
        return -errno.EINVAL
    area = kernel.swap.area[number]
    if area[SA_USED]:
        return -errno.EBUSY
    area[SA_USED] = 1  # others find it busy from now on
    device, page = kernel.swap_location(int(area[SA_START]))
    task = caller.task
    bio = SubmitBio(False, page * SECTORS_PER_PAGE, 1, task.name, task.cpu.number, wait=True)
    kernel.mem.vm_event[PGPGIN] += PAGE_SIZE // KIB
    async with task.off_cpu(in_iowait=True):
        status: int = await device.ref.ask(bio)
    if status:
        area[SA_USED] = 0
        return -status
    prio = enable_area(kernel.swap, number, message.prio)
    kernel.mms.commit.total_swap_pages += int(area[SA_MAX]) - 1
    kernel.choose_swap_readahead()
    size_kb, solid = int(area[SA_MAX] - 1) * 4, "" if area[SA_ROTATIONAL] else "SS"
    where = f"Priority:{prio} extents:1 across:{size_kb}k {solid}FS"
    kernel.printk(KERN_INFO, f"Adding {size_kb}k swap on {message.path}.  {where}")
    return 0


async def swapoff(caller: Caller, message: Swapoff) -> int:
    """Take an area out of use, empty it, forget it.

    Source: Linux 6.1 mm/swapfile.c:swapoff
    """
    await caller.enter_kernel()
    kernel, entry, commit = caller.kernel, caller.entry, caller.kernel.mms.commit
    if entry.uid:
        return -errno.EPERM
    number = _area_of(kernel, message.path)
    if number is None:
        return -errno.ENOENT
    if not kernel.swap.area[number, SA_WRITEOK]:
        return -errno.EINVAL
    nr_slots = int(kernel.swap.area[number, SA_MAX]) - 1
    if not commit.charge(nr_slots, mm_total_vm=caller.mm.total_vm, cap_sys_admin=True):
        return -errno.ENOMEM
    commit.uncharge(nr_slots)
    begin_swapoff(kernel.swap, number)
    commit.total_swap_pages -= nr_slots
    disable_swap_slots_cache(kernel.swap)
    entry.oom_origin = True
    emptier = SwapEmptier(
        caller.current,
        number,
        lambda vma, vpn: vma_context(caller.current, vma, vpn, GFP_HIGHUSER_MOVABLE),
    )
    error = await emptier.try_to_unuse()
    entry.oom_origin = False
    enable_swap_slots_cache(kernel.swap)
    if error:
        cancel_swapoff(kernel.swap, number)
        commit.total_swap_pages += nr_slots
        return error
    end_swapoff(kernel.swap, number)
    kernel.choose_swap_readahead()
    return 0


def _area_of(kernel: Kernel, path: str) -> int | None:
    """Return the number of the area of a name; None if the machine has none."""
    names = [swap.name for swap in kernel.spec.swaps]
    return names.index(path) if path in names else None


CALLS: Final = (
    Call(
        name="swapon",
        value=Swapon,
        handler=swapon,
        errors=(errno.EPERM, errno.ENOENT, errno.EINVAL, errno.EBUSY, errno.EIO),
        form="path number?",
        steps={"swapon": {}},
    ),
    Call(
        name="swapoff",
        value=Swapoff,
        handler=swapoff,
        errors=(
            errno.EPERM,
            errno.ENOENT,
            errno.EINVAL,
            errno.ENOMEM,
            errno.EINTR,
            errno.EIO,
        ),
        form="path",
        steps={"swapoff": {}},
    ),
)
