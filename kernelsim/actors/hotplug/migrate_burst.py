"""Lets a task move the pages of a range of frames in compiled code, as far as nobody can notice.

What needs more than free locks and frames at hand the task does with messages, as it does all of it
when `burst_pages` is 1; the outcome is the same, to the last counter and the last nanosecond.
Interface: a `MigrateBurst` a range; `go_on` before each of its steps.
Units: pages, pfn, ns.
"""

import numpy as np

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.lock_run import LockRun
from kernelsim.actors.core.migrate_pages import longest_flush_ns, translations
from kernelsim.actors.core.page_requests import fill_request
from kernelsim.actors.tracing import wants
from kernelsim.mm.burst.columns import R_ZONES, ZONES_MAX
from kernelsim.mm.burst.free_pages import new_free_run
from kernelsim.mm.burst.lock_run import LR_ALLOC_NS
from kernelsim.mm.burst.migrate_pages import (
    MW_COMPUTED_NS,
    MW_FLUSH_NS,
    MW_STEP,
    begin_range,
    migrate_run,
    new_batch,
)
from kernelsim.mm.core.mem import I64
from kernelsim.mm.file.migrate_folio import Translations
from kernelsim.mm.page.alloc_context import AllocContext
from kernelsim.trace.kmem import mm_page_alloc, mm_page_free


class MigrateBurst:
    """The runs of one task that moves the pages of a range away.

    Args:
        current: The task.
        context: What frames are allocated by.
        nid: Node of the range.
        start: First frame.
        end: The one behind the last.

    Attributes:
        batch: The pages that are being moved, and how far that is.
        cpus: What TLBs have, and what compiled code has changed in page tables at last.
    """

    def __init__(
        self, current: Current, context: AllocContext, nid: int, start: int, end: int
    ) -> None:
        self._current = current
        self._kernel, self._task = current
        self._context = context
        self._locks = LockRun(current, new_free_run(), mm_page_free)
        self._request = np.zeros(R_ZONES + ZONES_MAX, np.int64)
        latency = self._kernel.spec.latency
        self.batch = new_batch(0)
        self.cpus: Translations
        costs = (latency.pte_set_ns, latency.page_copy_ns, 0)
        begin_range(self.batch.work, nid, start, end, costs)

    def go_on(self) -> int:
        """Take steps; return the one that is to be taken by messages, or DONE."""
        kernel, work = self._kernel, self.batch.work
        if self._is_by_messages() or not self._locks.begin():
            return int(work[MW_STEP])
        self.cpus = translations(kernel)
        if len(self.batch.nr_flushes) != len(self.cpus.flushes):
            self.batch = self.batch._replace(nr_flushes=np.zeros_like(self.cpus.flushes))
        fill_request(self._request, self._context, oom_victim=self._task.oom_victim)
        work[MW_FLUSH_NS] = longest_flush_ns(self._current)
        migrate_run(
            *kernel.space, kernel.swap, kernel.spaces.mappings, kernel.burst, self.cpus,
            self._is_run(), self._request, self.batch, self._locks.run,
        )  # fmt: skip
        self._enter()
        return int(work[MW_STEP])

    def _is_by_messages(self) -> bool:
        """Tell whether others may come in from page to page, or somebody logs each."""
        kernel = self._kernel
        if self._task.killed or kernel.spec.latency.has_bus:
            return True
        return any(wants(node, mm_page_alloc) for node in kernel.nodes)

    def _is_run(self) -> I64:
        """Return for each mm 1 if a CPU would have to be interrupted to forget a page of it."""
        is_run = np.zeros_like(self.cpus.flushes)
        running = sum(1 << cpu.number for cpu in self._kernel.cpus if not cpu.is_lazy())
        for number, mm in self._kernel.mms.by_number.items():
            is_run[number] = mm.cpu_bitmap & running != 0
        return is_run

    def _enter(self) -> None:
        """Enter what has come of it."""
        task, work, flushes = self._task, self.batch.work, self.batch.nr_flushes
        alloc_ns = int(self._locks.run[LR_ALLOC_NS])
        task.stime_ns += alloc_ns + int(work[MW_COMPUTED_NS])
        task.waits.lock_ns += alloc_ns
        work[MW_COMPUTED_NS] = 0
        for number in flushes.nonzero()[0].tolist():
            self._kernel.mms.by_number[number].tlb_gen += int(flushes[number])
        flushes[:] = 0
        self._locks.end()
