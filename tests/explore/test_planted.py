"""Bugs planted one at a time: random runs find each, and it is cut down to a few steps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernelsim.actors.alloc import page_allocator, wakeup_kswapd
from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.parts import node, node_swap
from kernelsim.actors.space import mmu_gather
from kernelsim.explore.draw import draw_plan
from kernelsim.explore.plan import Plan
from kernelsim.explore.run import Result, run_plan
from kernelsim.explore.shrink import shrink
from kernelsim.mm.core.list import list_add, list_del
from kernelsim.mm.core.mem import Mem, PG_buddy, free_list, zone_of
from kernelsim.mm.core.vmstat import NR_INACTIVE_ANON

pytestmark = [pytest.mark.mission("B3"), pytest.mark.slow]

RUNS_MAX = 500
PROCESSES_MAX = 3
STEPS_MAX = 12
# Campaigns in which a bug is found early, and is cut down in few or in short runs; the first for
# the others, which finds these three as well, but needs 14 and 110 runs, and 5 and 96 long ones.
CAMPAIGNS = {"lost wake-up": 5, "lost content": 12, "leaked slot": 2}
Plant = Callable[[pytest.MonkeyPatch], None]


def wrap(patch: pytest.MonkeyPatch, holder: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Put a function in the place of another, which it gets first."""
    real = getattr(holder, name)
    patch.setattr(holder, name, lambda *given, **named: wrapper(real, *given, **named))


def lost_wakeup(patch: pytest.MonkeyPatch) -> None:
    """The kernel marks kswapd as woken, and does not tell it."""

    def rouse(kernel: Kernel, nid: int) -> None:
        kernel.kswapd_states[nid].asleep = False

    patch.setattr(wakeup_kswapd, "rouse_kswapd", rouse)


def double_free(patch: pytest.MonkeyPatch) -> None:
    """The last page of a large free is put on the CPU's list once more."""

    def free_twice(real: Any, mem: Mem, cpu: int, pfns: Any, at: int, n: int) -> Any:
        done = real(mem, cpu, pfns, at, n)
        if n > 32 and done == (n, -1, False):
            real(mem, cpu, pfns, n - 1, n)
        return done

    wrap(patch, node, "free_unref_run", free_twice)


def miscounted_lru(patch: pytest.MonkeyPatch) -> None:
    """A batch that moves to its lists counts one page too many."""

    def miscount(real: Any, mem: Mem, cpu: int, nr: int, out: Any) -> int:
        mem.node_stat[0, NR_INACTIVE_ANON] += 1
        return int(real(mem, cpu, nr, out))

    wrap(patch, node, "folio_batch_move_lru", miscount)


def missed_flush(patch: pytest.MonkeyPatch) -> None:
    """Pages that are unmapped go back while TLBs still have them."""

    async def forget(*_: Any, **__: Any) -> None:
        pass

    patch.setattr(mmu_gather, "flush_tlb_mm_range", forget)


def leaked_slot(patch: pytest.MonkeyPatch) -> None:
    """One of the slots of a range that is unmapped is not freed."""

    def leak(real: Any, mem: Mem, swap: Any, slots: Any, n: int, out: Any) -> int:
        return int(real(mem, swap, slots, n - 1, out))

    wrap(patch, mmu_gather, "free_swap_and_cache", leak)


def wrong_watermark(patch: pytest.MonkeyPatch) -> None:
    """Requests go one page further than their mark."""
    wrap(patch, page_allocator, "watermark_floor", lambda real, *given: real(*given) - 1)


def lost_content(patch: pytest.MonkeyPatch) -> None:
    """A page that was read holds nothing of what was in its slot."""

    def lose(real: Any, mem: Mem, swap: Any, pfns: Any, n: int) -> None:
        real(mem, swap, pfns, n)
        mem.pages.token[pfns[0]] = 77

    wrap(patch, node_swap, "end_swap_read", lose)


def missed_merge(patch: pytest.MonkeyPatch) -> None:
    """A block that is free lies there in two halves."""

    def part(real: Any, mem: Mem, zone: int, *rest: Any) -> int:
        drained = int(real(mem, zone, *rest))
        heads = np.flatnonzero(mem.pages.flags & np.uint32(PG_buddy))
        for pfn in heads[mem.pages.private[heads] & 15 == 1].tolist()[:1]:
            migratetype = int(mem.pages.private[pfn]) >> 4
            at = zone_of(mem, pfn)
            list_del(mem, free_list(at, 1, migratetype), pfn)
            for half in (pfn, pfn + 1):
                mem.pages.flags[half] = PG_buddy
                mem.pages.private[half] = migratetype << 4
                list_add(mem, free_list(at, 0, migratetype), half)
        return drained

    wrap(patch, node, "drain_full", part)


PLANTS = {
    "lost wake-up": (lost_wakeup, "kswapd#"),
    "double free": (double_free, "list"),
    "LRU counter": (miscounted_lru, "nr_inactive_anon"),
    "missed TLB flush": (missed_flush, "the TLB of"),
    "leaked slot": (leaked_slot, "slot"),
    "wrong watermark": (wrong_watermark, "free pages"),
    "lost content": (lost_content, "holds"),
    "missed merge": (missed_merge, "did not merge"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found_and_cut_down(name: str, monkeypatch: pytest.MonkeyPatch):
    """A run in 500 fails with words that fit; few steps are left, clean without the bug."""
    plant, words = PLANTS[name]
    plant(monkeypatch)
    plan, result = first_failure(CAMPAIGNS.get(name, 1))
    small = shrink(plan, result, run_plan)
    assert small.result.failure is not None
    assert words in " ".join(small.result.failure.signs)
    assert len(small.plan.processes) <= PROCESSES_MAX
    assert small.plan.nr_steps <= STEPS_MAX
    monkeypatch.undo()
    assert run_plan(small.plan).failure is None


def first_failure(seed: int) -> tuple[Plan, Result]:
    """Return the first run of a campaign that fails."""
    for run in range(RUNS_MAX):
        plan = draw_plan(seed, run)
        result = run_plan(plan)
        if result.failure is not None:
            return plan, result
    pytest.fail(f"none of {RUNS_MAX} runs fails")
