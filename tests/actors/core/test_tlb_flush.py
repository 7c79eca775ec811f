"""Tests of TLB shootdowns: all CPUs at once, one wait, and only those that have to know."""

import pytest

from kernelsim.actors.core.current import Current
from kernelsim.actors.core.tlb_flush import flush_tlb_mm_range, try_to_unmap_flush
from tests.small_machine import run, small_machine


def shoot_down(nr_cpus, flush):
    """Flush an address space that runs on so many CPUs, from the first; return ns, interrupts."""

    async def main(machine):
        kernel = machine.kernel
        process = await machine.spawn("p")
        task, mm = process._process.task, process._process.mm
        for cpu in kernel.cpus[1:nr_cpus]:
            cpu.state.current = "thread"
            cpu.tlb_state.switch_mm(mm, "thread")
        await task.get_cpu()
        task.cpu.tlb_state.switch_mm(mm, task.name)
        began_ns, before = kernel.engine.now_ns, task.stime_ns
        await flush(Current(kernel, task), mm)
        took_ns = kernel.engine.now_ns - began_ns
        assert task.stime_ns - before == took_ns
        await task.put_cpu()
        for cpu in kernel.cpus[1:nr_cpus]:
            cpu.state.current = None
        return took_ns, sum(cpu.state.nr_ipis for cpu in kernel.cpus)

    done = run(small_machine(cpus=("0-127",)), main)
    return done.result, done.machine.kernel.spec.latency


@pytest.mark.parametrize("nr_cpus", [1, 8, 128])
def test_a_flush_waits_for_all_cpus_at_once(nr_cpus):
    """It costs a send for each CPU, and then one interrupt; each CPU gets one."""

    async def flush(current, mm):
        await flush_tlb_mm_range(current, mm, 0, 1000)

    (took_ns, nr_ipis), costs = shoot_down(nr_cpus, flush)
    others = nr_cpus - 1
    round_ns = costs.ipi_ns if others else 0
    assert took_ns == others * costs.ipi_send_ns + round_ns + costs.tlb_flush_ns
    assert nr_ipis == others


@pytest.mark.parametrize("nr_cpus", [1, 8, 128])
def test_reclaim_waits_for_all_cpus_at_once(nr_cpus):
    """Each of three written pages pays for a flush of its own, everywhere at the same time."""

    async def flush(current, mm):
        mms = current.kernel.mms.mms
        mms.tlb_flush_batched[mm.number] = 3
        await try_to_unmap_flush(current, 3)
        assert mms.tlb_flush_batched[mm.number] == 0

    (took_ns, nr_ipis), costs = shoot_down(nr_cpus, flush)
    others = nr_cpus - 1
    round_ns = costs.ipi_ns if others else 0
    assert took_ns == 3 * (others * costs.ipi_send_ns + round_ns + costs.tlb_flush_ns)
    assert nr_ipis == 3 * others


def test_an_idle_cpu_hears_of_freed_tables_only():
    """A CPU the process left is lazy: dropping pages leaves it alone, freed tables make it go."""

    async def main(machine):
        first, second = machine.kernel.cpus
        process = await machine.spawn("p", cpu=1)
        region = await process.mmap("8M")
        await process.touch(region, write=True)
        mm = process._process.mm
        await process.set_affinity(0)
        await process.touch(region)
        assert mm.cpu_bitmap == 3
        await process.madvise_dontneed(region)
        assert (second.state.nr_ipis, mm.cpu_bitmap) == (0, 3)
        await process.munmap(region)
        assert (second.state.nr_ipis, mm.cpu_bitmap) == (1, 1)
        return first.state.nr_ipis

    assert run(small_machine(cpus=("0-1",)), main).result == 0
