"""Waiting until a page that is being moved is in its new frame.

Linux: mm/migrate.c:migration_entry_wait, 6.1.
Units: virtual page numbers.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.tracing import trace
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.pgtable import is_migration_pte, pte_at, pte_pfn
from kernelsim.trace.ks import ks_sleep


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
    began_ns = kernel.engine.now_ns
    async with task.off_cpu():
        while kernel.migrations.get(pfn) is queue:
            await queue.wait()
    trace(task, ks_sleep("migration", "", kernel.engine.now_ns - began_ns))
