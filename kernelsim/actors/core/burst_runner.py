"""What lets CPUs go on in compiled code, as the rest of the kernel knows it; see space/bursts.py.

Interface: `BurstRunner`.
"""

from collections.abc import Callable
from typing import Protocol

from kernelsim.actors.core.task import Task
from kernelsim.mm.core.mem import I64_2D


class BurstRunner(Protocol):
    """What lets CPUs go on in compiled code; see space/bursts.py."""

    async def run(self, task: Task, fill_requests: Callable[[], None]) -> int:
        """Let the CPU of a task go on from now; return STOP_* when it stops."""
        ...

    def slab_requests(self, task: Task) -> I64_2D:
        """Return what slabs that a task's steps open get their pages by, a request a cache."""
        ...

    def zonelists_changed(self) -> None:
        """Have what those in the middle of a burst ask for served by the zonelists of now."""
        ...

    def tell_stores(self) -> None:
        """Tell the observer what programs have stored that are in the middle of a burst."""
        ...

    def enter_tasks(self) -> None:
        """Enter in the accounts of tasks what those in the middle of a burst have done so far."""
        ...

    def look_at_locks(self) -> None:
        """Enter holds of locks in compiled code in their accounts, if it matters by now."""
        ...
