"""Each duty of the kernel is neglected once; a run that is checked names it, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernelsim.actors.alloc import oom_killer, page_allocator, wakeup_kswapd
from kernelsim.actors.core import free_pages
from kernelsim.actors.parts import node
from kernelsim.actors.parts.node import Node
from kernelsim.actors.reclaim import kswapd, reclaim
from kernelsim.actors.space import burst_witness, mmu_gather
from kernelsim.errors import InvariantViolation
from kernelsim.mm.core.mem import L_HEAD, L_TAIL, Z_WMARK_LOW, PG_active, lru_list
from kernelsim.mm.core.vmstat import (
    NUMA_HIT,
    PGALLOC_DMA,
    PGALLOC_DMA32,
    PGFREE,
    PGSTEAL_DIRECT,
    PGSTEAL_KSWAPD,
)
from kernelsim.mm.page import alloc_context
from kernelsim.mm.space.util import CommitAccount
from kernelsim.report import machine_run
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.sched.fair import FairQueue
from kernelsim.workload.api import Workload
from tests.free_pages import free_unref_pages
from tests.small_machine import OpenMachine, opened, small_machine

pytestmark = pytest.mark.mission("B3")

SMALL = small_machine(memory="8M", swap="32M")
TWO_CPUS = small_machine(cpus=("0-1",), memory="8M", swap="32M")
TWO_NODES = small_machine(cpus=("0", "1"), memory="16M", swap="16M")


def findings(main: Any, spec: Any = SMALL, every: int = 1000, burst_pages: Any = None) -> str:
    """Run with `--check`; return what was found, a line each, without the head."""
    options = RunOptions(machine=spec, check=True, check_every=every, burst_pages=burst_pages)
    with pytest.raises(InvariantViolation) as caught:
        run_machine(Workload(opened(main), "machine"), options, name="w.py")
    return "\n".join(line for line in str(caught.value).splitlines() if line.startswith("  "))


def only(found: str, text: str) -> bool:
    """Tell whether every finding is of one kind; events that follow are indented deeper."""
    lines = [line for line in found.splitlines() if line.startswith("  ") and line[2] not in " …"]
    return bool(lines) and all(text in line for line in lines)


async def writer(process: Any) -> None:
    """Write more than fits, read it again, then end."""
    area = await process.mmap("8M")
    await process.touch(area, write=True)
    await process.touch(area)
    await process.exit()


async def pressed(machine: OpenMachine) -> None:
    """Need more memory than there is, from two processes."""
    users = [await machine.spawn(name, writer) for name in ("a", "b")]
    for user in users:
        await user.wait()
    await machine.sleep("1s")


async def churned(machine: OpenMachine) -> None:
    """Map, write and unmap, again and again."""
    user = await machine.spawn("user")
    for _ in range(4):
        area = await user.mmap("2M")
        await user.touch(area, write=True)
        await user.munmap(area)
    await machine.sleep("1ms")


def test_nothing_is_found_where_nothing_is_neglected(monkeypatch):
    """Workloads of these tests are sound on all machines, page by page and in bursts."""
    looks, look = [], machine_run.require_sound
    monkeypatch.setattr(
        machine_run, "require_sound", lambda kernel: (looks.append(1), look(kernel))[1]
    )
    for main, spec in ((pressed, SMALL), (pressed, TWO_CPUS), (churned, TWO_NODES)):
        for burst_pages in (None, 1):
            options = RunOptions(machine=spec, check=True, check_every=800, burst_pages=burst_pages)
            run_machine(Workload(opened(main), "machine"), options, name="w.py")
            assert len(looks) > 20
            looks.clear()


def test_pages_that_fall_between_two_owners_are_found(monkeypatch):
    """A page that no task holds cannot be in flight for ever."""
    real = free_pages.free_frames

    async def careless(current: Any, pfns: Any, nr: int) -> int:
        return int(await real(current, pfns, max(nr - 1, 0)))

    monkeypatch.setattr(free_pages, "free_frames", careless)
    found = findings(churned)
    assert only(found, "3 pages are in flight, and tasks can hold 1")


def test_unmapping_without_a_flush_is_found(monkeypatch):
    """A frame goes back only when the TLB of no CPU that uses it has it."""

    async def forget(*_: Any, **__: Any) -> None:
        pass

    monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", forget)
    found = findings(churned, every=20)
    assert only(found, "TLB of cpu0")


async def reused(machine: OpenMachine) -> None:
    """Read fresh memory where there was other memory before."""
    user = await machine.spawn("user")
    before = await user.mmap("64K")
    await user.touch(before, write=True)
    await user.munmap(before)
    again = await user.mmap("64K")
    assert again == before
    await user.touch(again)


@pytest.mark.parametrize("burst_pages", [None, 1])
def test_what_is_read_without_a_flush_is_the_wrong_frame(monkeypatch, burst_pages):
    """Loads go through stale entries, and what they read is not what the process may read."""

    async def forget(*_: Any, **__: Any) -> None:
        pass

    monkeypatch.setattr(mmu_gather, "flush_tlb_mm_range", forget)
    found = findings(reused, every=1_000_000, burst_pages=burst_pages)
    assert "pid 100 did not read what it wrote" in found


def test_reclaim_without_a_flush_is_found(monkeypatch):
    """What reclaim unmapped on one CPU is flushed on the one that runs its user."""

    async def forget(current: Any, _times: int) -> None:
        current.kernel.mms.mms.tlb_flush_batched[:] = 0

    monkeypatch.setattr(reclaim, "try_to_unmap_flush", forget)
    assert only(findings(pressed, TWO_CPUS), "TLB of cpu")


def test_a_kswapd_that_is_never_woken_is_found(monkeypatch):
    """A request that finds no zone above low wakes the kswapds of its zones."""
    monkeypatch.setattr(wakeup_kswapd, "should_wake_kswapd", lambda *_: False)
    assert only(findings(pressed), "and kswapd0 was not woken")


def test_a_kswapd_that_sleeps_too_soon_is_found(monkeypatch):
    """A kswapd does not sleep before a zone is above high."""
    monkeypatch.setattr(kswapd, "prepare_kswapd_sleep", lambda *_: True)
    monkeypatch.setattr(kswapd.BalanceRun, "begin_pass", lambda *_: False)
    assert only(findings(pressed), "goes to sleep though no zone up to")


@pytest.mark.parametrize("burst_pages", [None, 1])
def test_a_fast_path_below_its_mark_is_found(monkeypatch, burst_pages):
    """Neither a burst nor a request goes on below low without kswapd, whatever zone is left."""
    real = burst_witness.run_watched

    def greedy(mem: Any, *rest: Any) -> Any:
        kept = mem.zone[:, Z_WMARK_LOW].copy()
        mem.zone[:, Z_WMARK_LOW] = 0
        done = real(mem, *rest)
        mem.zone[:, Z_WMARK_LOW] = kept
        return done

    monkeypatch.setattr(burst_witness, "run_watched", greedy)
    real_floor = page_allocator.watermark_floor
    monkeypatch.setattr(
        page_allocator, "watermark_floor", lambda *given: max(0, real_floor(*given) - 40)
    )
    found = findings(pressed, burst_pages=burst_pages)
    assert "means to go to" in found or "kswapd0 was not woken" in found


def test_a_reserve_that_is_ignored_in_a_burst_is_found(monkeypatch):
    """A zone keeps its lowmem_reserve from requests that may use higher ones."""
    real = burst_witness.run_watched

    def greedy(mem: Any, *rest: Any) -> Any:
        kept = mem.lowmem_reserve.copy()
        mem.lowmem_reserve[:] = 0
        done = real(mem, *rest)
        mem.lowmem_reserve[:] = kept
        return done

    monkeypatch.setattr(burst_witness, "run_watched", greedy)

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user")
        await user.touch(await user.mmap("52M"), write=True)

    spec = small_machine(
        memory="64M", sysctl={"vm.watermark_boost_factor": 0, "vm.overcommit_memory": 1}
    )
    found = findings(main, spec)
    assert "must be left" in found or "was not woken" in found


async def bound(machine: OpenMachine) -> None:
    """Use more than a node has, bound to it."""
    user = await machine.spawn("user", mempolicy="bind:0")
    await user.touch(await user.mmap("20M"), write=True)


def test_a_policy_that_spills_is_found(monkeypatch):
    """Pages of a bound process come from its nodes alone."""
    monkeypatch.setattr(alloc_context, "policy_nodemask", lambda *_: None)
    real = alloc_context.policy_zonelist
    monkeypatch.setattr(
        alloc_context, "policy_zonelist", lambda _policy, **rest: real(None, **rest)
    )
    found = findings(bound, TWO_NODES)
    assert only(found, "is bound to nodes [0] and is served from node 1")


def test_new_pages_on_the_active_list_are_found(monkeypatch):
    """No more pages are active than were activated."""
    real = node.folio_batch_move_lru

    def eager(mem: Any, cpu: int, nr: int, out: Any) -> int:
        for pfn in mem.lru_batch[cpu, 1 : 1 + nr].tolist():
            mem.pages.flags[pfn] |= np.uint32(PG_active)
        return int(real(mem, cpu, nr, out))

    monkeypatch.setattr(node, "folio_batch_move_lru", eager)
    found = findings(churned, burst_pages=1)
    assert only(found, "pages are active, 0 were activated")


def test_aging_that_forgets_nothing_is_found(monkeypatch):
    """A page that was judged has its accessed bit cleared."""
    real = reclaim.judge_chunk

    def lazy(*given: Any) -> int:
        mem, pt = given[0], given[1]
        before = pt.entry.copy()
        done = int(real(*given))
        used = (before & np.uint64(0x21) == np.uint64(0x21)) & (pt.entry & np.uint64(1) != 0)
        pt.entry[used] |= np.uint64(0x20)
        assert mem is given[0]
        return done

    monkeypatch.setattr(reclaim, "judge_chunk", lazy)
    assert only(findings(pressed), "left its accessed bit set")


def turn_around(mem: Any, nid: int, lru: int) -> None:
    """Let the head of a list be its tail."""
    row, pages = mem.lists[lru_list(mem, nid, lru)], mem.pages
    pfn = int(row[L_HEAD])
    while pfn:
        after = int(pages.next[pfn])
        pages.next[pfn], pages.prev[pfn] = pages.prev[pfn], after
        pfn = after
    row[L_HEAD], row[L_TAIL] = int(row[L_TAIL]), int(row[L_HEAD])


def test_pages_taken_off_the_wrong_end_are_found(monkeypatch):
    """Reclaim takes the pages that came first, at the tail."""
    real = node.isolate_lru_folios

    def from_head(mem: Any, nid: int, lru: int, *rest: Any) -> Any:
        turn_around(mem, nid, lru)
        result = real(mem, nid, lru, *rest)
        turn_around(mem, nid, lru)
        return result

    monkeypatch.setattr(node, "isolate_lru_folios", from_head)
    assert only(findings(pressed), "were looked at, not pfn")


def test_a_free_without_zone_lock_is_found(monkeypatch):
    """Pages move between a CPU's list and its zone under zone->lock alone."""

    def free(self: Any, message: Any) -> Any:
        self.observer.freed(message.pfns[: message.nr])
        self._burst.granted[self.nid] -= message.nr
        free_unref_pages(self._mem, message.cpu, message.pfns, message.nr)
        return message.nr

    monkeypatch.setattr(Node, "on_free_pages", free)
    assert only(findings(churned), "without zone->lock")


async def out_of_memory(machine: OpenMachine) -> None:
    """Let three processes use up a machine without swap."""
    small = await machine.spawn("small")
    await small.touch(await small.mmap("1M"), write=True)
    users = [await machine.spawn(name, half) for name in ("a", "b")]
    for user in users:
        await user.wait()


async def half(process: Any) -> None:
    """Write more than half of the machine, and keep it."""
    await process.touch(await process.mmap("5M"), write=True)
    await process.sleep("1s")


def test_a_wrong_victim_is_found(monkeypatch):
    """The process with the most points dies."""
    real = oom_killer.select_bad_process

    def first(tasks: Any, *rest: Any, **named: Any) -> Any:
        return real(tasks[:1], *rest, **named)

    monkeypatch.setattr(oom_killer, "select_bad_process", first)
    found = findings(out_of_memory, small_machine(memory="8M"))
    assert only(found, "points, the most")


def test_memory_that_stays_promised_is_found(monkeypatch):
    """What is unmapped is promised no longer."""
    monkeypatch.setattr(CommitAccount, "uncharge", lambda *_: None)
    assert only(findings(churned), "Committed_AS is")


async def shared_cpu(machine: OpenMachine) -> None:
    """Let a process that sleeps often meet one that computes, on one CPU."""

    async def spin(process: Any) -> None:
        area = await process.mmap("64K")
        await process.touch(area, write=True, passes=200_000)

    hog = await machine.spawn("hog", spin)
    sleeper = await machine.spawn("sleeper")
    area = await sleeper.mmap("64K")
    for _ in range(20):
        await machine.sleep("5ms")
        await sleeper.touch(area, write=True)
    await hog.wait()


SCHEDULERS: dict[str, tuple[Any, str, Callable[..., Any], str]] = {
    "no wake-up preemption": (FairQueue, "preempts", lambda *_: False, "and keeps cpu0"),
    "no ticks": (FairQueue, "check_preempt_tick", lambda *_: False, "ahead of a task that waits"),
    "last come, first served": (
        FairQueue,
        "leftmost",
        lambda self: max(range(len(self.waiting)), key=lambda i: self.waiting[i].vruntime_ns),
        "one that waits is at",
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_task_that_does_not_get_its_turn_is_found(monkeypatch, name):
    """Who wakes up preempts one far ahead, a tick ends a turn, who has run least is next."""
    target, attribute, fault, text = SCHEDULERS[name]
    monkeypatch.setattr(target, attribute, fault)

    async def main(machine: OpenMachine) -> None:
        if name == "last come, first served":
            await machine.spawn("third", writer)
        await shared_cpu(machine)

    assert only(findings(main), text)


COUNTERS = {
    "pgalloc of another zone": ((PGALLOC_DMA, 5), (PGALLOC_DMA32, -5), "pgalloc of"),
    "pgfree": ((PGFREE, 1), (PGFREE, 0), "pgfree rose by"),
    "pgsteal of another reclaimer": ((PGSTEAL_KSWAPD, -1), (PGSTEAL_DIRECT, 1), "pgsteal_"),
}


@pytest.mark.parametrize("name", COUNTERS)
def test_a_counter_of_the_wrong_kind_is_found(name):
    """What is counted is what was done, by zone and by whom."""
    (first, more), (second, less), text = COUNTERS[name]

    async def main(machine: OpenMachine) -> None:
        await (pressed if "steal" in name else churned)(machine)
        machine.mem.vm_event[first] += more
        machine.mem.vm_event[second] += less

    assert only(findings(main), text)


def test_a_request_counted_as_served_elsewhere_is_found():
    """numa_hit and its like are by zone what requests got there."""

    async def main(machine: OpenMachine) -> None:
        await churned(machine)
        rows = np.flatnonzero(machine.mem.numa_stat[:, NUMA_HIT])
        machine.mem.numa_stat[rows[0], NUMA_HIT] += 1

    assert only(findings(main, TWO_NODES), "numa_hit rose by")
