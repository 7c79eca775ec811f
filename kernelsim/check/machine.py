"""Check a whole running machine between two of its events: every page, list, table, slot and wait.

Interface: `check_machine` lists what is wrong; an empty list is good. `require_sound` raises.
Cost: a few passes over all pages, as columns: 2 to 5 ms for 64 MiB, 80 ms for 4 GiB in use.
What pages hold, and the duties of the kernel, are checked too if `record.observe` has listened
from the start.

Pages in the hands of a task (granted and not mapped yet, unmapped and not given back yet) are in
no place. That is legal, so they are counted twice: by looking at all pages, and by what the tasks
said they took and gave (`Kernel.nr_in_flight`). A page that is lost makes the two differ.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from kernelsim.actors.core.kernel import Kernel
from kernelsim.check.dirty import check_dirty
from kernelsim.check.lru import check_lru, count_by_node
from kernelsim.check.maple_tree import check_maple_trees
from kernelsim.check.mapped_files import check_mapped_files
from kernelsim.check.migrations import check_migrations
from kernelsim.check.page_cache import check_page_cache
from kernelsim.check.page_tables import check_page_tables
from kernelsim.check.pages import check_pages
from kernelsim.check.record import Record, check_record
from kernelsim.check.shmem import check_shmem, shmem_slots
from kernelsim.check.slab import check_slabs
from kernelsim.check.stacks import check_stacks
from kernelsim.check.swap import check_swap, check_swap_entries
from kernelsim.check.tables import walk_tables
from kernelsim.check.waits import check_waits
from kernelsim.errors import InvariantViolation
from kernelsim.mm.boot.boot_stats import apply_boot_stats
from kernelsim.mm.core.lru_gen import LG_NR_ISOLATED
from kernelsim.mm.core.mem import Mem, PG_isolated
from kernelsim.mm.core.vmstat import (
    NR_ACTIVE_FILE,
    NR_FILE_PAGES,
    NR_INACTIVE_FILE,
    NR_ISOLATED_ANON,
    NR_ISOLATED_FILE,
    NR_ZONE_ACTIVE_FILE,
    NR_ZONE_INACTIVE_FILE,
)

LINES_MAX: Final = 40  # of a report


def check_machine(kernel: Kernel) -> list[str]:
    """Return what is wrong with a machine, one text each."""
    mem = own = kernel.mem
    if kernel.spec.boot.recorded:
        boot = boot_counters(mem, kernel)
        own = mem._replace(
            node_stat=mem.node_stat - boot.node_stat, zone_stat=mem.zone_stat - boot.zone_stat
        )
    pt, mms = kernel.pool.pt, kernel.mms.mms
    problems = check_pages(mem, in_flight=kernel.nr_in_flight)
    problems += check_lru(own, is_between_batches=False)
    problems += check_isolated(own, kernel.nr_in_flight)
    living = [mm for mm in kernel.mms.by_number if mms.pgd_row[mm]]
    tables = walk_tables(mem, pt, mms, living)
    problems += check_page_tables(own, pt, mms, living, tables=tables)
    problems += check_swap(own, kernel.swap)
    problems += check_page_cache(own, kernel)
    problems += check_slabs(own, kernel)
    problems += check_stacks(own, kernel)
    problems += check_maple_trees(kernel)
    problems += check_dirty(own, kernel)
    record = kernel.observer if isinstance(kernel.observer, Record) else None
    if record is not None:
        kernel.bursts.tell_stores()
        problems += check_mapped_files(kernel, tables, record.files, record.is_leaving)
    else:
        problems += check_mapped_files(kernel, tables)
    problems += check_migrations(kernel, tables)
    problems += check_shmem(own, kernel, record.files if record is not None else None)
    problems += check_swap_entries(
        own, pt, mms, kernel.swap, tables=tables, of_shmem=shmem_slots(kernel)[2]
    )
    if record is not None:
        problems += check_record(kernel, record, tables)
    problems += check_waits(kernel)
    return problems


def require_sound(kernel: Kernel) -> None:
    """Check a machine.

    Raises:
        InvariantViolation: Something is wrong; the text says what, when, and which actor ran last.
    """
    problems = check_machine(kernel)
    if not problems:
        return
    engine = kernel.engine
    head = (
        f"{len(problems)} invariants do not hold at {engine.now_ns} ns, "
        f"event {engine.clock.number}, seed {engine.seed}, schedule seed {engine.schedule_seed}"
    )
    shown = [f"  {line}" for line in problems[:LINES_MAX]]
    more = [f"  … and {len(problems) - LINES_MAX} more"] if len(problems) > LINES_MAX else []
    raise InvariantViolation("\n".join([head, *shown, *more]))


def boot_counters(mem: Mem, kernel: Kernel) -> Mem:
    """Return the counters a recorded machine had before any of our processes ran."""
    empty = mem._replace(
        node_stat=np.zeros_like(mem.node_stat),
        zone_stat=np.zeros_like(mem.zone_stat),
        numa_stat=np.zeros_like(mem.numa_stat),
        vm_event=np.zeros_like(mem.vm_event),
    )
    apply_boot_stats(empty, kernel.spec.boot, kernel.phys.zone_types)
    # The page cache of boot lies on lists and is counted there.
    file_lists = slice(NR_INACTIVE_FILE, NR_ACTIVE_FILE + 1)
    others = empty.node_stat[:, NR_FILE_PAGES] - empty.node_stat[:, file_lists].sum(axis=1)
    empty.node_stat[:, NR_FILE_PAGES] = np.maximum(others, 0)
    empty.node_stat[:, file_lists] = 0
    empty.zone_stat[:, NR_ZONE_INACTIVE_FILE : NR_ZONE_ACTIVE_FILE + 1] = 0
    return empty


def check_isolated(mem: Mem, nr_in_flight: int) -> Iterator[str]:
    """Check nr_isolated_* against the pages off their lists, and those of them freed already.

    A reclaimer frees pages out of its batch first and corrects the counter at the end.
    """
    found = count_by_node(mem, np.flatnonzero(mem.pages.flags & np.uint32(PG_isolated) != 0))
    counted = mem.node_stat[:, NR_ISOLATED_ANON] + mem.node_stat[:, NR_ISOLATED_FILE]
    counted += mem.lru_gen[:, LG_NR_ISOLATED]
    wrong = (counted < found) | (counted - found > nr_in_flight)
    for nid in np.flatnonzero(wrong).tolist():
        yield f"node {nid}: nr_isolated is {counted[nid]}, {found[nid]} pages are off their lists"
