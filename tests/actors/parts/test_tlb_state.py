"""Tests of flushes on one CPU: what they cost, what they forget, which of them reach it."""

import pytest

from kernelsim.actors.core.task import Task
from kernelsim.actors.messages.cpu import FlushTlb
from kernelsim.hw.tlb import TLB_SINGLE_PAGE_FLUSH_CEILING
from kernelsim.mm.space.mm_struct import MmStruct
from tests.actors.parts.test_cpu import COSTS, on_cpus
from tests.commit_account import commit_account
from tests.tlb_box import tlb_access
from tests.tlb_look import in_tlb

CEILING = TLB_SINGLE_PAGE_FLUSH_CEILING


def address_space(asid):
    """Return an address space without page tables."""
    return MmStruct(number=asid, ctx_id=asid, owner_pid=1, commit=commit_account(1000))


@pytest.mark.parametrize(
    ("nr_pages", "flush_ns"),
    [
        (1, COSTS.tlb_flush_page_ns),
        (CEILING, CEILING * COSTS.tlb_flush_page_ns),
        (CEILING + 1, COSTS.tlb_flush_ns),
    ],
)
def test_a_flush_costs_an_interrupt_and_its_pages(nr_pages, flush_ns):
    """The sender waits for interrupt and flush; above the ceiling the whole space is flushed."""

    async def scenario(engine, cpus, start):
        mm = address_space(5)
        mm.cpu_bitmap |= 2
        cpus[0].state.current = "p"
        cpus[0].tlb_state.switch_mm(mm, "p")
        assert mm.cpu_bitmap == 3
        mm.tlb_gen += 1
        await cpus[0].ref.ask(FlushTlb(5, 7, nr_pages))
        assert engine.now_ns == COSTS.ipi_ns + flush_ns
        assert cpus[0].state.nr_ipis == 1
        await cpus[0].ref.ask(FlushTlb(5, 7, nr_pages))
        assert engine.now_ns == 2 * COSTS.ipi_ns + flush_ns  # it is up to date already
        cpus[0].state.current = None

    on_cpus(1, scenario)


def test_the_flush_is_paid_by_the_task_that_runs_there():
    """Its next step takes longer by what the interrupt stole, and is charged for its own part."""
    log = []

    async def scenario(engine, cpus, start):
        task, mm = Task(engine, "a", 1, cpus), address_space(5)

        async def body():
            await task.get_cpu()
            cpus[0].tlb_state.switch_mm(mm, "a")
            await task.compute(200)
            await task.compute(200)
            log.append((engine.now_ns, task.stime_ns))

        start("a", body)
        await engine.sleep(150)
        mm.tlb_gen += 1
        await cpus[0].ref.ask(FlushTlb(None, 0, 0))

    on_cpus(1, scenario)
    assert log == [(100 + 400 + COSTS.tlb_flush_ns, 400)]


def test_a_flush_forgets_what_it_names_and_keeps_the_rest():
    """One page, or one address space when more than one change has been missed."""

    async def scenario(engine, cpus, start):
        tlb, mm = cpus[0].tlb, address_space(5)

        def known():
            return [(asid, vpn) for asid in (5, 6) for vpn in (1, 2) if in_tlb(tlb, asid, vpn)]

        cpus[0].state.current = "p"
        cpus[0].tlb_state.switch_mm(mm, "p")
        for asid in (5, 6):
            for vpn in (1, 2):
                tlb_access(tlb, asid, vpn)
        mm.tlb_gen += 1
        await cpus[0].ref.ask(FlushTlb(5, 1, 1))
        assert known() == [(5, 2), (6, 1), (6, 2)]
        mm.tlb_gen += 2
        await cpus[0].ref.ask(FlushTlb(5, 1, 1))
        assert known() == [(6, 1), (6, 2)]
        cpus[0].state.current = None

    on_cpus(1, scenario)


def test_a_lazy_cpu_leaves_and_a_late_one_catches_up():
    """An idle CPU leaves the address space when flushed; one that comes back flushes by itself."""

    async def scenario(engine, cpus, start):
        cpu, first, second = cpus[0], address_space(5), address_space(6)
        cpu.tlb_state.switch_mm(first, "p")
        tlb_access(cpu.tlb, 5, 1)
        assert cpu.is_lazy()
        cpu.tlb_state.switch_mm(second, "q")
        assert (first.cpu_bitmap, second.cpu_bitmap) == (0, 1)
        cpu.tlb_state.switch_mm(first, "p")
        assert in_tlb(cpu.tlb, 5, 1)
        first.tlb_gen += 1
        await cpu.ref.ask(FlushTlb(5, 1, 1))
        assert (first.cpu_bitmap, cpu.tlb_state.loaded_mm) == (0, None)
        assert in_tlb(cpu.tlb, 5, 1)
        cpu.tlb_state.switch_mm(first, "p")
        assert not in_tlb(cpu.tlb, 5, 1)

    on_cpus(1, scenario)


def test_a_cpu_knows_six_address_spaces_at_a_time():
    """The seventh takes the place of the first, whose entries are forgotten."""

    async def scenario(engine, cpus, start):
        for asid in range(1, 8):
            cpus[0].tlb_state.switch_mm(address_space(asid), "p")
            tlb_access(cpus[0].tlb, asid, 1)
        assert [asid for asid in range(1, 8) if in_tlb(cpus[0].tlb, asid, 1)] == [2, 3, 4, 5, 6, 7]

    on_cpus(1, scenario)


def test_flushes_asked_for_together_are_paid_one_by_one():
    """Each is an interrupt for the other CPU, and the sender waits for all of them."""

    async def scenario(engine, cpus, start):
        mm = address_space(5)
        cpus[0].state.current = "p"
        cpus[0].tlb_state.switch_mm(mm, "p")
        mm.tlb_gen += 1
        await cpus[0].ref.ask(FlushTlb(None, 0, 0, times=5))
        assert engine.now_ns == 5 * (COSTS.ipi_ns + COSTS.tlb_flush_ns)
        assert cpus[0].state.nr_ipis == 5
        cpus[0].state.current = None

    on_cpus(1, scenario)
