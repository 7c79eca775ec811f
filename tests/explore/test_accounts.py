"""Counters that are not the sum of what they count are found when a machine has come to rest."""

from typing import Any

import pytest

from kernelsim.actors.alloc import page_allocator
from kernelsim.actors.core.task import Task
from kernelsim.actors.reclaim.kswapd import Kswapd
from kernelsim.actors.space.accesses import Accesses
from kernelsim.explore.run import run_plan
from kernelsim.mm.core.vmstat import ALLOCSTALL_DMA, PAGEOUTRUN, PGFAULT, PGMAJFAULT
from tests.explore.test_run import PRESSED

pytestmark = pytest.mark.mission("B3", "partly")


def lose_faults(patch: pytest.MonkeyPatch) -> None:
    """Count no fault that goes to the fault handler."""
    real = Accesses._fault

    async def fault(self: Any, *given: Any) -> int:
        done = await real(self, *given)
        self._kernel.mem.vm_event[PGFAULT] -= 1
        return done

    patch.setattr(Accesses, "_fault", fault)


def lose_stalls(patch: pytest.MonkeyPatch) -> None:
    """Count no direct reclaim."""
    real = page_allocator.try_to_free_pages

    async def reclaim(current: Any, *given: Any) -> int:
        done = await real(current, *given)
        current.kernel.mem.vm_event[ALLOCSTALL_DMA : ALLOCSTALL_DMA + 4] = 0
        return done

    patch.setattr(page_allocator, "try_to_free_pages", reclaim)


def lose_major_faults(patch: pytest.MonkeyPatch) -> None:
    """Count no major fault."""
    real = Accesses._fault

    async def fault(self: Any, *given: Any) -> int:
        done = await real(self, *given)
        self._kernel.mem.vm_event[PGMAJFAULT] = 0
        return done

    patch.setattr(Accesses, "_fault", fault)


def double_runs(patch: pytest.MonkeyPatch) -> None:
    """Count each run of a kswapd twice."""
    real = Kswapd._balance_pgdat

    async def balance(self: Any, *given: Any) -> None:
        self._kernel.mem.vm_event[PAGEOUTRUN] += 1
        await real(self, *given)

    patch.setattr(Kswapd, "_balance_pgdat", balance)


def user_as_system(patch: pytest.MonkeyPatch) -> None:
    """Charge time of programs to the kernel."""
    real = Task.compute

    async def compute(self: Any, ns: int, *, user: bool = False, resched: bool = True) -> None:
        before = self.utime_ns
        await real(self, ns, user=user, resched=resched)
        self.stime_ns += self.utime_ns - before
        self.utime_ns = before

    patch.setattr(Task, "compute", compute)


PLANTS = {
    "pgfault": (lose_faults, "pgfault is"),
    "pgmajfault": (lose_major_faults, "pgmajfault is"),
    "allocstall": (lose_stalls, "allocstall of"),
    "pageoutrun": (double_runs, "pageoutrun is"),
    "user time": (user_as_system, "user time is"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_sum_that_is_wrong_is_found(name, monkeypatch):
    """Faults, stalls, runs of kswapd and user time are what processes had."""
    plant, words = PLANTS[name]
    plant(monkeypatch)
    failure = run_plan(PRESSED).failure
    assert failure is not None
    assert [words in line for line in failure.text.splitlines()[1:]] == [True]
