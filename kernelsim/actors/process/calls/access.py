"""Accesses to memory: a range by strides, or pages in a given order.

An access runs on the process's CPU in time slices, page by page in a compiled leaf; the first page
that faults goes to the process's fault handler, with all that follow it and need the same, and the
process waits.
Linux: arch/x86/mm/fault.c:do_user_addr_fault decides between a fault and SIGSEGV, 6.1.
Units: bytes for addresses and lengths, pages where it says so, ns.
"""

from collections.abc import Iterable
from typing import Final

import attrs
import numpy as np

from kernelsim.actors.messages.fault_handler import PageFault
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import Effect, StoreRun, Stores
from kernelsim.actors.space.memory_access import run_length
from kernelsim.mm.core.mem import I64, U8
from kernelsim.mm.space.memory import TOUCH_FAULT, touch_list, touch_present
from kernelsim.mm.space.mmap import VmArea
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

ACCESSES_AT_ONCE: Final = 1 << 16  # of those that are listed one by one


@attrs.frozen
class Touch:
    """Access a range, one byte each stride, `passes` times; answered with a `TouchResult`."""

    address: int
    length: int
    write: bool
    stride: int = PAGE_SIZE
    passes: int = 1


@attrs.frozen(eq=False)
class TouchPages:
    """Access pages in the order given; answered with a `TouchResult`.

    Attributes:
        vpns: Virtual page numbers, shape (n,).
        writes: 1 for a store, shape (n,).
    """

    vpns: I64
    writes: U8


@attrs.define
class TouchResult:
    """What an access did.

    Attributes:
        minflt: Faults served without I/O.
        majflt: Faults that waited for I/O.
        latency_ns: Virtual time it took.
        signal: Signal that ended the process meanwhile, 0 for none.
    """

    minflt: int = 0
    majflt: int = 0
    latency_ns: int = 0
    signal: int = 0


async def touch(caller: Caller, message: Touch) -> TouchResult:
    """Access a range."""
    result = TouchResult()
    began_ns = caller.kernel.engine.now_ns
    for _ in range(message.passes):
        if caller.entry.has_ended():
            break
        address, end = message.address, message.address + message.length
        while address < end and not caller.task.killed:
            vma = caller.mm.fault_vma(address, write=message.write)
            if vma is None:
                result.signal = await caller.segfault()
                break
            limit = min(end, vma.end)
            if message.stride % PAGE_SIZE:
                address += await _touch_bytes(caller, address, limit, message, result)
                continue
            nr = -(-(limit - address) // message.stride)
            address += await _touch_run(caller, vma, address, nr, message, result)
    result.latency_ns = caller.kernel.engine.now_ns - began_ns
    result.signal = caller.signal()
    return result


async def touch_pages(caller: Caller, message: TouchPages) -> TouchResult:
    """Access pages in a given order."""
    result = TouchResult()
    began_ns = caller.kernel.engine.now_ns
    await _touch_list(caller, message, result)
    result.latency_ns = caller.kernel.engine.now_ns - began_ns
    result.signal = caller.signal()
    return result


async def _touch_run(
    caller: Caller, vma: VmArea, address: int, nr: int, touch: Touch, result: TouchResult
) -> int:
    """Access `nr` strides of one VMA; return how many bytes further the program got."""
    kernel, task, mm = caller.kernel, caller.task, caller.mm
    stride = max(1, touch.stride >> PAGE_SHIFT)
    vpn = address >> PAGE_SHIFT
    done = 0
    while done < nr and not task.killed:
        cpu = task.cpu
        mm.cpu_bitmap |= 1 << cpu.number
        left_ns = max(1, cpu.state.slice_end_ns - kernel.engine.now_ns)
        if not cpu.state.run_queue:
            left_ns = kernel.spec.latency.time_slice_ns
        burst = min(nr - done, kernel.burst_pages)
        touched, why, elapsed_ns, _, _ = touch_present(
            *kernel.space, cpu.tlb, mm.number, mm.ctx_id, vpn,
            burst, stride, touch.write, caller.token, left_ns, cpu.access_cost,
        )  # fmt: skip
        if touch.write:
            kernel.observer.stored(task.pid, vpn, touched, stride, caller.token)
        done += touched
        vpn += touched * stride
        if elapsed_ns:
            await task.compute(elapsed_ns, user=True)
        if why == TOUCH_FAULT and not task.killed:
            fault = PageFault(vpn, nr - done, stride, touch.write, vma, caller.token)
            served = await _fault(caller, fault, result)
            done += served
            vpn += served * stride
    return done * touch.stride


async def _touch_bytes(
    caller: Caller, address: int, limit: int, touch: Touch, result: TouchResult
) -> int:
    """Access by strides that are no whole pages; return how many bytes further it got."""
    last = min(limit, address + touch.stride * ACCESSES_AT_ONCE)
    vpns = np.arange(address, last, touch.stride, dtype=np.int64) >> PAGE_SHIFT
    writes = np.full(len(vpns), touch.write, np.uint8)
    await _touch_list(caller, TouchPages(vpns, writes), result)
    return len(vpns) * touch.stride


async def _touch_list(caller: Caller, message: TouchPages, result: TouchResult) -> None:
    kernel, task, mm = caller.kernel, caller.task, caller.mm
    vpns, writes = message.vpns, message.writes
    done, n = 0, len(vpns)
    while done < n and not task.killed:
        cpu = task.cpu
        mm.cpu_bitmap |= 1 << cpu.number
        last = min(n, done + kernel.burst_pages)
        touched, why, elapsed_ns, _, _ = touch_list(
            *kernel.space, cpu.tlb, mm.number, mm.ctx_id,
            vpns, writes, done, last, caller.token,
            kernel.spec.latency.time_slice_ns, cpu.access_cost,
        )  # fmt: skip
        kernel.observer.stored_listed(
            task.pid, vpns[done : done + touched], writes[done : done + touched], caller.token
        )
        done += touched
        if elapsed_ns:
            await task.compute(elapsed_ns, user=True)
        if why != TOUCH_FAULT or task.killed:
            continue
        vpn, write = int(vpns[done]), bool(writes[done])
        vma = mm.fault_vma(vpn << PAGE_SHIFT, write=write)
        if vma is None:
            result.signal = await caller.segfault()
            break
        ahead = run_length(vpns, writes, done, n, vma, kernel.burst_pages)
        done += await _fault(caller, PageFault(vpn, ahead, 1, write, vma, caller.token), result)


async def _fault(caller: Caller, fault: PageFault, result: TouchResult) -> int:
    served = await caller.page_fault(fault)
    result.minflt += served.minflt
    result.majflt += served.majflt
    return served.nr


def _touch_stores(value: Touch, answer: TouchResult | None) -> Iterable[Stores]:
    if answer is None or answer.signal or not value.write or value.passes < 1:
        return
    address, stride = value.address, value.stride
    nr = -(-value.length // stride)
    if nr < 1:
        return
    if stride % PAGE_SIZE == 0:
        yield StoreRun(address >> PAGE_SHIFT, nr, stride >> PAGE_SHIFT)
    elif stride < PAGE_SIZE:
        first, last = address >> PAGE_SHIFT, (address + (nr - 1) * stride) >> PAGE_SHIFT
        yield StoreRun(first, last + 1 - first, 1)
    else:
        addresses: I64 = address + stride * np.arange(nr, dtype=np.int64)
        yield addresses >> PAGE_SHIFT


def _listed_stores(value: TouchPages, answer: TouchResult | None) -> Iterable[Stores]:
    if answer is not None and not answer.signal:
        yield value.vpns[value.writes != 0]


CALLS: Final = (
    Call(
        name="touch",
        value=Touch,
        handler=touch,
        returns="result",
        effect=Effect(stores=_touch_stores),
    ),
    Call(
        name="touch list",
        value=TouchPages,
        handler=touch_pages,
        returns="result",
        effect=Effect(stores=_listed_stores),
    ),
)
