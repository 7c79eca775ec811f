"""Lets a task take many steps under locks in compiled code, as far as nobody else can notice.

With `burst_pages` of 1, or when somebody listens to each step, all of them are messages; the
outcome is the same, to the last counter and the last nanosecond.
Interface: a `LockRun` has the state for the leaves of mm/burst (lock_run.py there); `begin` fills
it in and tells whether to go on, `end` enters what has come of it.
Units: ns.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.tracing import Listened
from kernelsim.mm.burst.columns import B_SLICE_END, B_STOLEN
from kernelsim.mm.burst.lock_run import (
    LR_CPU,
    LR_NID,
    LR_NOW_NS,
    LR_NUMBER,
    LR_NUMBER_END,
    LR_UNTIL_NS,
)
from kernelsim.mm.core.mem import I64
from kernelsim.trace.tracepoint import Tracepoint


class LockRun:
    """The runs of one task.

    Args:
        current: The task.
        run: State of its runs, LR_* first.
        point: What nodes log of each page; all goes by messages when that is wanted.
    """

    def __init__(self, current: Current, run: I64, point: type[Tracepoint]) -> None:
        self.run = run
        self._kernel, self._task = current
        self._is_listened_to = Listened(self._kernel.nodes, point)

    def begin(self, *, computes: bool = False, makes_up: bool = False) -> bool:
        """Fill in when and where it is; False if each step has to be a message.

        Where the task computes others may want its CPU, or interrupts may have taken of its time:
        a run that `computes` ends before it would have to look. One that also `makes_up` for
        that time when it computes need not begin without any.
        """
        kernel, cpu, run = self._kernel, self._task.cpu, self.run
        clock = kernel.engine.clock
        until_ns = clock.horizon_ns
        if computes:
            until_ns = min(until_ns, int(cpu.row[B_SLICE_END]))
        if kernel.burst_pages == 1 or kernel.is_observed or clock.now_ns >= until_ns:
            return False
        if computes and not makes_up and cpu.row[B_STOLEN]:
            return False
        if self._is_listened_to():
            return False
        run[:] = 0
        run[LR_CPU], run[LR_NID] = cpu.number, cpu.nid
        run[LR_UNTIL_NS], run[LR_NUMBER_END] = until_ns, clock.look_number
        run[LR_NOW_NS], run[LR_NUMBER] = clock.now_ns, clock.number
        return True

    def end(self) -> int:
        """Let the time be that at which the run ended; return how long it took."""
        clock, run = self._kernel.engine.clock, self.run
        if run[LR_NUMBER] == clock.number:  # it could not begin one step
            return 0
        spent_ns = int(run[LR_NOW_NS]) - clock.now_ns
        clock.now_ns, clock.number = int(run[LR_NOW_NS]), int(run[LR_NUMBER])
        self._kernel.bursts.look_at_locks()
        return spent_ns
