"""Check the pages that are being moved: each is known, off its list, and moved by somebody.

Interface: `check_migrations` between two events. Migration entries come from memory hotplug and
from compaction alone, so none is left when nobody holds device_hotplug_lock or compacts.
"""

from collections.abc import Iterator

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.tables import PRESENT, SPECIAL, Tables, cut_short
from kernelsim.mm.core.mem import PG_isolated


def check_migrations(kernel: Kernel, tables: Tables) -> Iterator[str]:
    """Return what is wrong with migration entries, and with the pages they stand for."""
    is_entry = tables.bits & (PRESENT | SPECIAL) == SPECIAL
    entries = zip(
        tables.mm[is_entry].tolist(),
        tables.vpn[is_entry].tolist(),
        tables.pfns(is_entry).tolist(),
        strict=True,
    )
    yield from cut_short(
        f"mm {mm} vpn {vpn:#x}: a migration entry of frame {pfn}, which nobody moves"
        for mm, vpn, pfn in entries
        if pfn not in kernel.migrations
    )
    moving = np.array(sorted(kernel.migrations), np.int64)
    is_listed = kernel.mem.pages.flags[moving] & np.uint32(PG_isolated) == 0
    yield from cut_short(f"frame {pfn} is moved and on its list" for pfn in moving[is_listed])
    if len(moving) and not kernel.device_hotplug.is_held and not kernel.compaction.tasks:
        yield f"{len(moving)} frames are moved, and nobody holds device_hotplug_lock or compacts"
