"""Counters that are not the sum of what they count are found when a machine has come to rest."""

from typing import Any

import pytest

from kernelsim.actors.alloc import page_allocator
from kernelsim.actors.core.task import Task
from kernelsim.actors.hotplug.acpi import WORKER
from kernelsim.actors.reclaim.kswapd import Kswapd
from kernelsim.actors.space import file_fault, swap_in
from kernelsim.actors.space.accesses import Accesses
from kernelsim.explore.accounts import Heard
from kernelsim.explore.plan import Plan
from kernelsim.explore.run import run_plan
from kernelsim.mm.core.vmstat import ALLOCSTALL_DMA, PAGEOUTRUN, PGFAULT, PGMAJFAULT
from kernelsim.mm.page.gfp import GFP_KERNEL
from kernelsim.trace.vmscan import mm_vmscan_direct_reclaim_begin, mm_vmscan_direct_reclaim_end
from tests.explore.test_run import MACHINE, PRESSED

pytestmark = pytest.mark.mission("B3")


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

    async def balance(self: Any, *given: Any) -> int:
        self._kernel.mem.vm_event[PAGEOUTRUN] += 1
        return await real(self, *given)

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


def lose_retries(patch: pytest.MonkeyPatch) -> None:
    """Count no fault that begins afresh."""
    real = file_fault.count_retry

    def count(current: Any, fault: Any, *, is_major: bool) -> None:
        real(current, fault, is_major=is_major)
        current.kernel.mem.vm_event[PGFAULT] -= 1

    patch.setattr(file_fault, "count_retry", count)
    patch.setattr(swap_in, "count_retry", count)


def fail_unheard(patch: pytest.MonkeyPatch) -> None:
    """Count a fault that failed twice."""
    real = Accesses._fault

    async def fault(self: Any, fault: Any, result: Any) -> int:
        done = await real(self, fault, result)
        self._kernel.mem.vm_event[PGFAULT] += bool(result.signal)
        return done

    patch.setattr(Accesses, "_fault", fault)


MAPPED = Plan(
    name="mapped",
    script=(
        "memhog truncate:/x:64K mapfile:s:/x:s touchr:s touchw:s &",
        "memhog mapfile:p:/p touchr:p:0:256K:1:16K truncate:/p:64K touchr:p &",
        "memhog mapfile:q:/q:w touchr:q touchw:q:0:32K madvise:q:random touchw:q &",
        "wait",
    ),
    machine=MACHINE
    | {
        "device": [{"name": "vda", "size": f"{32 * 1024 + 512}K"}],
        "files": [{"path": path, "size": "256K", "device": "vda"} for path in ("/p", "/q")],
    },
)
PLANTS = {
    "pgfault": (lose_faults, "pgfault is"),
    "pgmajfault": (lose_major_faults, "pgmajfault is"),
    "allocstall": (lose_stalls, "allocstall of"),
    "pageoutrun": (double_runs, "pageoutrun is"),
    "user time": (user_as_system, "user time is"),
}

MAPPED_PLANTS = {"retries": lose_retries, "failed": fail_unheard}


def test_faults_on_mapped_files_are_what_processes_had_and_what_the_log_says():
    """Faults that begin afresh, and those that fail for two reasons, are in the sum."""
    result = run_plan(MAPPED)
    assert result.failure is None
    assert {"ended by 7": 2, "ks_fault_failed": 2}.items() <= result.counts.items()
    assert {
        "ks_fault_retry",
        "wp faults",
        "a fault fails: no space",
        "a fault fails: behind the end of its file",
    } <= set(result.counts)


@pytest.mark.parametrize("name", MAPPED_PLANTS)
def test_a_sum_of_faults_on_mapped_files_that_is_wrong_is_found(name, monkeypatch):
    """Each try counts once."""
    MAPPED_PLANTS[name](monkeypatch)
    failure = run_plan(MAPPED).failure
    assert failure is not None
    assert ["pgfault is" in line for line in failure.text.splitlines()[1:]] == [True]


@pytest.mark.parametrize("name", PLANTS)
def test_a_sum_that_is_wrong_is_found(name, monkeypatch):
    """Faults, stalls, runs of kswapd and user time are what processes had."""
    plant, words = PLANTS[name]
    plant(monkeypatch)
    failure = run_plan(PRESSED).failure
    assert failure is not None
    assert [words in line for line in failure.text.splitlines()[1:]] == [True]


def test_reclaim_of_a_kernel_thread_is_in_the_time_of_no_process():
    """Who puts a DIMM in may reclaim for its struct pages: that counts as a stall, and no more."""
    heard = Heard()
    for actor in ("hog-100", WORKER):
        heard.hear(10, actor, mm_vmscan_direct_reclaim_begin(0, int(GFP_KERNEL)))
        heard.hear(17, actor, mm_vmscan_direct_reclaim_end(1))
    assert heard.stalled_ns == 7
    assert heard.stalls.total() == 2
