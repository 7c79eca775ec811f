"""Marking the pages of locked mappings, and moving them to the unevictable list and back.

Linux: mm/mlock.c:mlock_vma_pages_range, 6.1.
These run in the time of the task that makes the system call.
Units: bytes for addresses; pages.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.free_pages import by_node
from kernelsim.actors.core.lru_add import lru_add_drain
from kernelsim.actors.messages.node import MlockFolios
from kernelsim.mm.core.mem import I64, PAGEVEC_SIZE
from kernelsim.mm.space.mlock import mlock_pte_range
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.units import PAGE_SHIFT


async def mlock_vma_pages_range(
    current: Current, mm: MmStruct, start: int, end: int, *, locks: bool
) -> None:
    """Mark, or unmark, the present pages of a range, and move them between the lists.

    Source: Linux 6.1 mm/mlock.c:mlock_vma_pages_range
    """
    # Differs from Linux: The pages of an mlock batch go to their lists at once, not when the CPU's
    # folio_batch of such pages is full.
    kernel = current.kernel
    vpn, last = start >> PAGE_SHIFT, end >> PAGE_SHIFT
    out = np.zeros(PAGEVEC_SIZE, np.int64)
    await lru_add_drain(current)
    while vpn < last:
        first = vpn
        nr, vpn = mlock_pte_range(*kernel.space, mm.number, vpn, last, locks, out)
        await move_folios(current, out, nr, locks=locks)
        seen = out[:nr].copy()
        while not locks and nr:  # a page may have moved meanwhile, and taken its mark along
            nr, _ = mlock_pte_range(*kernel.space, mm.number, first, vpn, False, out)
            moved = out[:nr][~np.isin(out[:nr], seen)]
            nr = len(moved)
            await move_folios(current, moved, nr, locks=False)
            seen = np.concatenate((seen, moved))


async def move_folios(current: Current, pfns: I64, nr: int, *, locks: bool) -> None:
    """Let the nodes of some pages move them to the unevictable list, or back, under lru_lock."""
    kernel, task = current
    for nid, part in by_node(kernel, pfns, nr):
        await kernel.nodes[nid].ref.ask(MlockFolios(part, locks, task.cpu.name))
