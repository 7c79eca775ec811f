"""Accesses to memory: a range by strides, or pages in a given order.

What an access does on the process's CPU is in space/accesses.py; here is what a program asks for.
Linux: arch/x86/mm/fault.c:do_user_addr_fault decides between a fault and SIGSEGV, 6.1.
Units: bytes for addresses and lengths, pages where it says so, ns.
"""

from collections.abc import Iterable
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from kernelsim.actors.core.signal import SIGSEGV, send_signal
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.effect import Effect, StoreRun, Stores
from kernelsim.hw.access_path import AccessStep
from kernelsim.mm.core.mem import I64, U8
from kernelsim.mm.space.brk import fault_vma
from kernelsim.mm.space.mm_struct import MmStruct
from kernelsim.mm.space.mmap import VmArea
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

SI_KERNEL: Final = 0x80  # si_code; include/uapi/asm-generic/siginfo.h
SEGV_MAPERR: Final = 1  # si_code; include/uapi/asm-generic/siginfo.h
SEGV_ACCERR: Final = 2
BUS_ADRERR: Final = 2
ACCESSES_AT_ONCE: Final = 1 << 16  # of those that are listed one by one


@attrs.frozen
class Touch:
    """Access a range, one byte each stride, `passes` times; answered with a `TouchResult`.

    With `told` the result has each step of each access.
    """

    address: int
    length: int
    write: bool
    stride: int = PAGE_SIZE
    passes: int = 1
    told: bool = False


@attrs.frozen(eq=False)
class TouchPages:
    """Access pages in the order given; answered with a `TouchResult`.

    Attributes:
        vpns: Virtual page numbers, shape (n,).
        writes: 1 for a store, shape (n,).
    """

    vpns: I64
    writes: U8


@attrs.frozen
class CaughtFault:
    """A fault that the program has a handler for (siginfo_t).

    Attributes:
        signal: SIGSEGV or SIGBUS.
        code: SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR, SI_KERNEL.
        address: Of the access; 0 with SI_KERNEL.
    """

    signal: int
    code: int
    address: int


@attrs.define
class TouchResult:
    """What an access did.

    Attributes:
        minflt: Faults served without I/O.
        majflt: Faults that waited for I/O.
        latency_ns: Virtual time it took.
        signal: Signal that ended the process meanwhile, 0 for none.
        fault: The fault that ended the accesses and that the program has caught; None for none.
        steps: What each access did on its way to memory, where that was asked for.
    """

    minflt: int = 0
    majflt: int = 0
    latency_ns: int = 0
    signal: int = 0
    fault: CaughtFault | None = None
    steps: tuple[AccessStep, ...] = ()


async def touch(caller: Caller, message: Touch) -> TouchResult:
    """Access a range."""
    told = caller.accesses.trace
    told.kept = [] if message.told else None
    result = await _touch(caller, message)
    result.steps, told.kept = tuple(told.kept or ()), None
    return result


async def _touch(caller: Caller, message: Touch) -> TouchResult:
    result = TouchResult()
    began_ns = caller.kernel.engine.now_ns
    for _ in range(message.passes):
        if caller.entry.has_ended():
            break
        address, end = message.address, message.address + message.length
        while address < end and not caller.task.killed:
            vma = fault_vma(caller.mm, address, write=message.write)
            if vma is None:
                await _segfault(caller, address, result, write=message.write)
                break
            if message.write:
                vma = caller.mm.anon_vma_prepare(vma)
            limit = min(end, vma.end)
            if message.stride % PAGE_SIZE:
                address += await _touch_bytes(caller, address, limit, message, result)
                continue
            nr = -(-(limit - address) // message.stride)
            address += await _touch_run(caller, vma, address, nr, message, result)
            if result.fault is not None:
                break
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
    stride = max(1, touch.stride >> PAGE_SHIFT)
    done = await caller.accesses.run(
        vma, address >> PAGE_SHIFT, nr, stride, caller.token, result, write=touch.write
    )
    _raise(caller, address + done * touch.stride, result)
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
    mm, task = caller.mm, caller.task
    vpns, writes = message.vpns, message.writes
    done = 0
    while done < len(vpns) and not task.killed:
        nr = _nr_permitted(mm, vpns[done:], writes[done:] != 0)
        if not nr:  # the stack may grow over it
            address, write = int(vpns[done]) << PAGE_SHIFT, bool(writes[done])
            if fault_vma(mm, address, write=write) is not None:
                continue
            await _segfault(caller, address, result, write=write)
            break
        part = slice(done, done + nr)
        _prepare_for_stores(mm, vpns[part][writes[part] != 0])
        done += await caller.accesses.listed(mm, vpns[part], writes[part], caller.token, result)
        _raise(caller, int(vpns[min(done, len(vpns) - 1)]) << PAGE_SHIFT, result)
        if result.fault is not None:
            break


async def _segfault(caller: Caller, address: int, result: TouchResult, *, write: bool) -> None:
    """End by SIGSEGV, or tell the program's handler of it.

    Source: Linux 6.1 arch/x86/mm/fault.c:__bad_area_nosemaphore, kernel/signal.c:force_sig
    """
    if not caller.entry.catches_faults:
        result.signal = await caller.segfault(address, write=write)
        return
    if not caller.is_canonical(address):  # the exception does not tell where
        result.fault = CaughtFault(SIGSEGV, SI_KERNEL, 0)
        return
    is_mapped = caller.mm.map.find_vma_intersection(address, address + 1) is not None
    result.fault = CaughtFault(SIGSEGV, SEGV_ACCERR if is_mapped else SEGV_MAPERR, address)


def _raise(caller: Caller, address: int, result: TouchResult) -> None:
    """Send the signal that a fault at an address raised, or tell the program's handler of it."""
    if result.signal and caller.entry.catches_faults:
        result.fault, result.signal = CaughtFault(result.signal, BUS_ADRERR, address), 0
    elif result.signal:
        send_signal(caller.kernel, caller.entry, result.signal)


async def store_range(caller: Caller, address: int, length: int) -> TouchResult:
    """Store to each page of a range that is mapped, as the kernel does for its caller."""
    result = TouchResult()
    vpn, end = address >> PAGE_SHIFT, -(-(address + length) // PAGE_SIZE)
    while vpn < end and not caller.task.killed:
        vma = fault_vma(caller.mm, vpn << PAGE_SHIFT, write=True)
        if vma is None:
            break
        vma = caller.mm.anon_vma_prepare(vma)
        nr = min(end, vma.end >> PAGE_SHIFT) - vpn
        vpn += await caller.accesses.run(vma, vpn, nr, 1, caller.token, result, write=True)
        _raise(caller, vpn << PAGE_SHIFT, result)
        if result.fault is not None:
            break
    return result


def _nr_permitted(mm: MmStruct, vpns: I64, is_store: NDArray[np.bool_]) -> int:
    """Return how many accesses from the first on lie in VMAs that permit them."""
    allowed = np.zeros(len(vpns), np.bool_)
    for vma in mm.map:
        inside = (vpns >= vma.vpn) & (vpns < vma.end >> PAGE_SHIFT)
        if vma.permits(write=True):
            allowed |= inside
        elif vma.permits(write=False):
            allowed |= inside & ~is_store
    return len(vpns) if allowed.all() else int(allowed.argmin())


def _prepare_for_stores(mm: MmStruct, vpns: I64) -> None:
    """Let the mappings that are stored to hold pages of their own."""
    if not len(vpns):
        return
    low, high = int(vpns.min()) << PAGE_SHIFT, int(vpns.max()) + 1 << PAGE_SHIFT
    for vma in mm.map.overlapping(low, high):
        if vma.anon_vma is None and ((vpns >= vma.vpn) & (vpns < vma.end >> PAGE_SHIFT)).any():
            mm.anon_vma_prepare(vma)


def _touch_stores(value: Touch, answer: TouchResult | None) -> Iterable[Stores]:
    if answer is None or answer.signal or answer.fault or not value.write or value.passes < 1:
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
    if answer is not None and not answer.signal and not answer.fault:
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
