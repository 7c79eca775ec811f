"""Counters of events, CPU time and marks of zones: each is wrong once, and a run says so."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernelsim.actors.alloc import page_allocator
from kernelsim.actors.core.task import Task, Waits
from kernelsim.actors.parts import node, node_files, node_swap
from kernelsim.actors.reclaim import reclaim
from kernelsim.mm.core.mem import Z_NID, Z_WMARK_LOW
from kernelsim.mm.core.vmstat import (
    NR_WRITTEN,
    NUMA_FOREIGN,
    PGACTIVATE,
    PGDEACTIVATE,
    PGMAJFAULT,
    PGPGIN,
    PGPGOUT,
    PGREFILL,
    PGROTATED,
    PGSCAN_DIRECT,
    PGSCAN_KSWAPD,
    SWAP_RA,
    WORKINGSET_REFAULT_ANON,
)
from tests.check.test_duties import TWO_CPUS, TWO_NODES, churned, findings, only, pressed
from tests.small_machine import OpenMachine, small_machine

pytestmark = pytest.mark.mission("B3")


def after(monkeypatch: Any, holder: Any, name: str, do: Callable[[Any, Any], None]) -> None:
    """Let something happen to memory right behind a step of the kernel, if it did anything."""
    real = getattr(holder, name)

    def step(mem: Any, *rest: Any) -> Any:
        before = mem.vm_event.copy(), mem.node_stat.copy()
        done = real(mem, *rest)
        if (before[0] != mem.vm_event).any() or (before[1] != mem.node_stat).any():
            do(mem, before)
        return done

    monkeypatch.setattr(holder, name, step)


def shifted(first: int, second: int) -> Callable[[Any, Any], None]:
    """Count an event of one kind as one of another."""

    def shift(mem: Any, before: Any) -> None:
        if mem.vm_event[first] > before[0][first]:
            mem.vm_event[first] -= 1
            mem.vm_event[second] += 1

    return shift


def lost(column: int) -> Callable[[Any, Any], None]:
    """Count an event less."""

    def lose(mem: Any, before: Any) -> None:
        mem.vm_event[column] -= int(mem.vm_event[column] > before[0][column])

    return lose


def doubled(column: int) -> Callable[[Any, Any], None]:
    """Count events twice."""

    def count_again(mem: Any, before: Any) -> None:
        mem.vm_event[column] += mem.vm_event[column] - before[0][column]

    return count_again


def forget_refault(mem: Any, before: Any) -> None:
    """Count no refaults."""
    mem.node_stat[:, WORKINGSET_REFAULT_ANON] = before[1][:, WORKINGSET_REFAULT_ANON]


EVENTS: dict[str, tuple[Any, str, Callable[[Any, Any], None], str]] = {
    "pgscan": (node, "isolate_lru_folios", shifted(PGSCAN_KSWAPD, PGSCAN_DIRECT), "pgscan_"),
    "pgrefill": (node, "isolate_lru_folios", lost(PGREFILL), "pgrefill rose"),
    "pgactivate": (reclaim, "judge_chunk", lost(PGACTIVATE), "activat"),
    "pgrotated": (node_swap, "end_swap_write", doubled(PGROTATED), "pgrotated rose"),
    "pgdeactivate": (node, "shrink_active_list", lost(PGDEACTIVATE), "pgdeactivate rose"),
    "workingset_refault": (
        node_swap,
        "begin_swap_read",
        forget_refault,
        "workingset_refault rose",
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_of_reclaim_that_is_counted_wrong_is_found(monkeypatch, name):
    """What reclaim looked at, activated, deactivated and finds again is counted as what it is."""
    holder, step, do, text = EVENTS[name]
    after(monkeypatch, holder, step, do)
    assert only(findings(pressed), text)


READ_AND_WRITTEN: dict[str, tuple[int, int, str]] = {
    "pgpgin": (PGPGIN, 4, "pgpgin rose by"),
    "pgpgout": (PGPGOUT, 1, "pgpgout rose by"),
    "swap_ra": (SWAP_RA, 1_000_000, "swap_ra rose by"),
    "pgmajfault": (PGMAJFAULT, 1_000_000, "pgmajfault rose by"),
}


@pytest.mark.parametrize("name", READ_AND_WRITTEN)
def test_an_event_of_swap_that_did_not_happen_is_found(name):
    """What is read and written is what disks were asked for, and a part is no more than all."""
    column, more, text = READ_AND_WRITTEN[name]

    async def main(machine: OpenMachine) -> None:
        await pressed(machine)
        machine.mem.vm_event[column] += more

    assert only(findings(main), text)


def test_pages_written_that_were_not_to_be_are_found():
    """Those that are under writeback and those that are written are those sent there."""

    async def main(machine: OpenMachine) -> None:
        await pressed(machine)
        machine.mem.node_stat[0, NR_WRITTEN] += 1

    wrong, unasked = findings(main).splitlines()[:2]
    assert "nr_written rose by" in wrong
    assert "of files were to be written, 1 more" in unasked


def test_a_page_of_a_file_that_is_written_and_not_counted_is_found(monkeypatch):
    """nr_written is the pages whose writing has ended, of files as of swap."""
    real = node_files.end_page_writeback

    def forget(mem: Any, *rest: Any) -> Any:
        nr = real(mem, *rest)
        mem.node_stat[0, NR_WRITTEN] -= 1
        return nr

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user")
        fd = await user.open("/f", create=True)
        await user.write(fd, "40K")
        await user.fsync(fd)

    monkeypatch.setattr(node_files, "end_page_writeback", forget)
    assert only(findings(main, small_machine(files={})), "nr_written rose by")


def test_foreign_pages_of_another_node_are_found():
    """numa_foreign is counted at the node that was wanted."""

    async def main(machine: OpenMachine) -> None:
        user = await machine.spawn("user", cpu=0, mempolicy="preferred:0")
        await user.touch(await user.mmap("20M"), write=True)
        rows = np.flatnonzero(machine.mem.numa_stat[:, NUMA_FOREIGN])
        assert machine.mem.zone[rows, Z_NID].tolist() == [0]
        other = np.flatnonzero(machine.mem.zone[:, Z_NID] == 1)[0]
        machine.mem.numa_stat[rows[0], NUMA_FOREIGN] -= 1
        machine.mem.numa_stat[other, NUMA_FOREIGN] += 1

    assert only(findings(main, TWO_NODES), "numa_foreign rose by")


def test_a_page_that_is_asked_for_below_the_mark_is_found(monkeypatch):
    """What a node is asked for keeps to the mark that was looked at, for a single page too."""
    real = page_allocator.AllocPages

    def greedy(zone: int, cpu: int, nid: int, preferred: int, kind: int, floor: int, *rest: Any):
        return real(zone, cpu, nid, preferred, kind, floor - 1, *rest)

    monkeypatch.setattr(page_allocator, "AllocPages", greedy)
    assert only(findings(churned, burst_pages=1), "free pages, and asked for zone")


def test_cpu_time_that_is_charged_to_nobody_is_found(monkeypatch):
    """A process is charged all the time it ran, also what it spun on locks."""
    monkeypatch.setattr(Task, "_charge_rest", lambda _self: None)
    assert only(findings(pressed, TWO_CPUS), "ns and is charged")


def test_a_wait_for_a_cpu_that_is_forgotten_is_found(monkeypatch):
    """A process says how long it queued for a CPU."""
    real = Task._queue

    async def quick(self: Any, cpu: Any, **named: Any) -> None:
        await real(self, cpu, **named)
        self.run_delay_ns = 0

    monkeypatch.setattr(Task, "_queue", quick)
    assert only(findings(pressed), "ns for a CPU, and says 0 ns")


def test_time_spun_for_a_zone_that_is_forgotten_is_found(monkeypatch):
    """A process says how long it spun for the locks of zones."""
    monkeypatch.setattr(Waits, "lock_ns", property(lambda _: 0, lambda _self, _ns: None))
    assert only(findings(pressed, TWO_CPUS, burst_pages=1), "ns for zones, and says 0 ns")


def test_a_mark_that_tunables_do_not_give_is_found():
    """Watermarks follow from min_free_kbytes and watermark_scale_factor."""

    async def main(machine: OpenMachine) -> None:
        machine.mem.zone[0, Z_WMARK_LOW] += 1

    assert only(findings(main), "zone 0: low is")


def test_a_reserve_that_tunables_do_not_give_is_found():
    """lowmem_reserve follows from lowmem_reserve_ratio and the zones above."""

    async def main(machine: OpenMachine) -> None:
        machine.mem.lowmem_reserve[0, -1] += 1

    assert only(findings(main), "zone 0: lowmem_reserve is")


def test_lists_that_are_never_cut_are_found(monkeypatch):
    """A CPU keeps no more pages on its lists than their high mark."""
    real = node.free_unref_run

    def keep(mem: Any, cpu: int, pfns: Any, at: int, n: int) -> Any:
        zone, is_isolated = 0, False
        while zone >= 0 and not is_isolated:
            at, zone, is_isolated = real(mem, cpu, pfns, at, n)
        return at, zone, is_isolated

    monkeypatch.setattr(node, "free_unref_run", keep)
    assert only(findings(churned), "pages on its lists, which is more than")
