"""Waiting until a page that is being moved is in its new frame.

Linux: mm/migrate.c:migration_entry_wait, 6.1.
Units: virtual page numbers.
"""

from kernelsim.actors.core.current import Current
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import is_migration_pte, pte_at, pte_pfn


async def migration_entry_wait(current: Current, mm: MmStruct, vpn: int) -> None:
    """Sleep until no migration entry stands for a page any more.

    Source: Linux 6.1 mm/migrate.c:migration_entry_wait
    """
    kernel, task = current
    pte = pte_at(*kernel.space, mm.number, vpn)
    pfn = pte_pfn(pte)
    queue = kernel.migrations.get(pfn)
    if not is_migration_pte(pte) or queue is None:
        return
    async with task.off_cpu():
        while kernel.migrations.get(pfn) is queue:
            await queue.wait()
