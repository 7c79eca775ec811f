"""Having other CPUs forget translations: all are interrupted at once, and waited for once.

Linux: kernel/smp.c:smp_call_function_many_cond; arch/x86/mm/tlb.c: flush_tlb_multi,
flush_tlb_mm_range, arch_tlbbatch_flush, 6.1.
Units: pages, ns.
"""

from kernelsim.actors.core.current import Current
from kernelsim.actors.messages.cpu import FlushTlb
from kernelsim.actors.parts.tlb_state import TLB_LOCAL_SHOOTDOWN
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.sim.gather import Gather


async def flush_tlb_mm_range(
    current: Current, mm: MmStruct, vpn: int, nr_pages: int, times: int = 1
) -> None:
    """Have every CPU that runs an address space forget the translations of some pages.

    Args:
        current: The task that changes them.
        mm: The address space.
        vpn: First page.
        nr_pages: How many.
        times: Flushes to pay for.

    Source: Linux 6.1 arch/x86/mm/tlb.c:flush_tlb_mm_range
    """
    mm.tlb_gen += 1
    await _flush_tlb_multi(current, mm.cpu_bitmap, FlushTlb(mm.ctx_id, vpn, nr_pages, times))


async def flush_freed_tables(current: Current, mm: MmStruct) -> None:
    """Have the lazy CPUs leave an address space whose page tables are about to be freed.

    Those that run it have had their flush. Linux sends both with one; the lazy ones are left out
    of it if no table is freed.

    Source: Linux 6.1 arch/x86/mm/tlb.c:flush_tlb_multi, :flush_tlb_func
    """
    message = FlushTlb(mm.ctx_id, 0, 0)
    await _flush_tlb_multi(current, mm.cpu_bitmap, message, lazy=True)


async def try_to_unmap_flush(current: Current, times: int) -> None:
    """Have all CPUs forget what was unmapped, of whatever address space, since the last call.

    Args:
        current: The task that reclaims.
        times: Flushes to pay for; a page cannot be written before stores to it have stopped, so
            each written one asks for its own.

    Source: Linux 6.1 mm/rmap.c:try_to_unmap_flush, :try_to_unmap_flush_dirty
    """
    mms = current.kernel.mms
    batched = mms.mms.tlb_flush_batched
    cpus = 0
    for number in batched.nonzero()[0].tolist():
        mm = mms.by_number[number]
        mm.tlb_gen += 1
        cpus |= mm.cpu_bitmap
        batched[number] = 0
    await _flush_tlb_multi(current, cpus, FlushTlb(None, 0, 0, times))


async def flush_relatives(current: Current, mm: MmStruct) -> None:
    """Have the CPUs of forked relatives forget pages they have unmapped and not flushed yet.

    Who is about to free pages that they shared asks for it.
    """
    mms = current.kernel.mms
    cpus, number = 0, int(mms.mms.fork_next[mm.number])
    while number not in {0, mm.number}:
        if mms.mms.tlb_flush_batched[number]:
            relative = mms.by_number[number]
            relative.tlb_gen += 1
            cpus |= relative.cpu_bitmap
            mms.mms.tlb_flush_batched[number] = 0
        number = int(mms.mms.fork_next[number])
    if cpus:
        await _flush_tlb_multi(current, cpus, FlushTlb(None, 0, 0))


def note_flushed(current: Current, mm: MmStruct, nr: int) -> None:
    """Take entries of pages that stay, which are in no TLB any more, off what others must flush."""
    batched = current.kernel.mms.mms.tlb_flush_batched
    left = int(batched[mm.number]) - nr
    batched[mm.number] = max(0, left)  # some task may have flushed them already


async def _flush_tlb_multi(
    current: Current, cpus: int, message: FlushTlb, *, lazy: bool = False
) -> None:
    """Interrupt the CPUs of a bitmap, flush here meanwhile, and wait for the last of them."""
    kernel, task = current
    latency, clock = kernel.spec.latency, kernel.engine.clock
    targets = []
    while cpus:
        cpu = kernel.cpus[(cpus & -cpus).bit_length() - 1]
        cpus &= cpus - 1
        if cpu.is_lazy() == lazy:
            targets.append(cpu)
    others = [cpu for cpu in targets if cpu is not task.cpu]
    if others:
        send_ns = latency.ipi_send_ns * len(others) * message.times
        await task.compute(send_ns, resched=False)
    answers = Gather(clock)
    for cpu in others:
        answers.ask(cpu.ref, message)
    began_ns = clock.now_ns
    if len(others) < len(targets) and not lazy:
        cost_ns = task.cpu.tlb_state.flush(
            message.asid, message.vpn, message.nr_pages, TLB_LOCAL_SHOOTDOWN
        )
        await task.compute(cost_ns * message.times, resched=False)
    flushed_ns = clock.now_ns
    await answers.wait()
    task.stime_ns += clock.now_ns - max(began_ns, flushed_ns)
