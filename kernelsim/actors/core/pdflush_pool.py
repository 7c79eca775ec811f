"""The pool of pdflush threads: who asks them for work, and the timer of old pages.

Linux: mm/pdflush.c, mm/page-writeback.c: wb_timer_fn, wakeup_pdflush, 2.6.31.
No actor: shared by the threads (file/pdflush.py) and those who need them, as under pdflush_lock.
Units: pages, ns; jiffies where it says so.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum

import attrs

from kernelsim.mm.file.classic_writeback import MIN_PDFLUSH_THREADS, PdflushThreads
from kernelsim.mm.file.page_writeback import Writeback
from kernelsim.sim.engine import Engine
from kernelsim.sim.locks import WaitQueue
from kernelsim.units import CENTISECONDS_PER_S, NS_PER_JIFFY, NS_PER_S

CENTISECOND_NS = NS_PER_S // CENTISECONDS_PER_S


class Job(Enum):
    """What a thread is asked for."""

    BACKGROUND_WRITEOUT = "background_writeout"
    WB_KUPDATE = "wb_kupdate"


@attrs.define(eq=False)
class PdflushPool:
    """The threads of a machine, as those see them who ask.

    Attributes:
        engine: Of the run.
        state: Limits of the machine.
        idle: Where idle threads sleep, the latest first, with the threads' own queues.
        threads: How many there are.
        jobs: What was asked for and no thread has begun yet, with the pages to be written at least.
        start: Starts one more thread; set when the machine starts.
        nr_started: Threads started so far.
        is_timed: The timer of old pages runs.
    """

    engine: Engine
    state: Writeback
    idle: deque[WaitQueue] = attrs.field(factory=deque)
    threads: PdflushThreads = attrs.field(factory=PdflushThreads)
    jobs: deque[tuple[Job, int]] = attrs.field(factory=deque)
    start: Callable[[], None] = attrs.field(init=False)
    is_timed: bool = False
    nr_started: int = 0

    @property
    def now(self) -> int:
        """The time in jiffies."""
        return self.engine.now_ns // NS_PER_JIFFY

    def operation(self, job: Job, min_pages: int = 0) -> bool:
        """Give a job to an idle thread; False if all are busy, and nobody does it then.

        Source: Linux 2.6.31 mm/pdflush.c:pdflush_operation
        """
        if not self.threads.takes(self.now):
            return False
        self.jobs.append((job, min_pages))
        self.idle.popleft().wake()
        return True

    def arm(self) -> None:
        """Let old pages be looked for at the next period, counted from boot."""
        if self.is_timed:
            return
        interval_ns = self._interval_ns()
        if not interval_ns:
            return
        self.is_timed = True
        due_ns = (self.engine.now_ns // interval_ns + 1) * interval_ns
        self.engine.clock.schedule(due_ns, self._timer, None)

    def _interval_ns(self) -> int:
        return self.state.phys.tunables.now.vm_dirty_writeback_centisecs * CENTISECOND_NS

    def _timer(self, _argument: None) -> None:
        # Source: Linux 2.6.31 mm/page-writeback.c:wb_timer_fn
        self.is_timed = False
        # Differs from Linux: The timer of pdflush does not come again when all threads are busy and
        # nothing else is to happen: in a deadlock, and after the end of a run, they stay busy.
        if not self.operation(Job.WB_KUPDATE) and self.engine.clock.has_more():
            self.is_timed = True
            self.engine.clock.schedule(self.engine.now_ns + NS_PER_S, self._timer, None)

    def job_done(self) -> None:
        """Keep the timer running while there is something to be written, or threads to spare."""
        # Differs from Linux: The timer of pdflush rests while nothing is dirty and no thread is to
        # spare, as it would change nothing.
        if self.state.nr_dirty or self.threads.nr > MIN_PDFLUSH_THREADS:
            self.arm()
