"""mlock, munlock, mlockall, munlockall: the calls that keep pages in memory.

Linux: mm/mlock.c, 6.1.
Units: bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.space.mlock import mlock_vma_pages_range
from kernelsim.mm.space.mlock import (
    VM_LOCKED_MASK,
    LockChange,
    do_mlock,
    do_mlockall,
    do_munlock,
    do_munlockall,
)
from kernelsim.mm.space.mmap import page_align
from kernelsim.mm.space.vm_flags import VmFlag
from kernelsim.units import PAGE_SIZE

MLOCK_ONFAULT: Final = 1  # include/uapi/asm-generic/mman-common.h
MCL_CURRENT: Final = 1
MCL_FUTURE: Final = 2
MCL_ONFAULT: Final = 4


@attrs.frozen
class Mlock:
    """Lock a range, and bring in its pages; answered with 0 or a negative errno.

    Attributes:
        address: First byte.
        length: Bytes.
        onfault: Lock pages when they are accessed, and bring in none (mlock2, MLOCK_ONFAULT).
    """

    address: int
    length: int
    onfault: bool = False


@attrs.frozen
class Mlock2:
    """As the system call has it; answered with 0 or a negative errno.

    Attributes:
        address: First byte.
        length: Bytes.
        flags: MLOCK_ONFAULT, or 0.
    """

    address: int
    length: int
    flags: int = 0


@attrs.frozen
class MlockallFlags:
    """mlockall as the system call has it: MCL_* bits; answered with 0 or a negative errno."""

    flags: int


@attrs.frozen
class Munlock:
    """Unlock a range; answered with 0 or a negative errno."""

    address: int
    length: int


@attrs.frozen
class Mlockall:
    """Lock mappings; answered with 0 or a negative errno.

    Attributes:
        current: Those that there are (MCL_CURRENT).
        future: Those to come (MCL_FUTURE).
        onfault: Lock pages when they are accessed, and bring in none (MCL_ONFAULT).
    """

    current: bool = True
    future: bool = False
    onfault: bool = False


@attrs.frozen
class Munlockall:
    """Unlock all mappings, and those to come; answered with 0."""


async def mlock(caller: Caller, message: Mlock) -> int:
    """Lock a range.

    Source: Linux 6.1 mm/mlock.c:do_mlock, :__mlock_posix_error_return
    """
    await caller.enter_kernel()
    flags = VM_LOCKED_MASK if message.onfault else VmFlag.VM_LOCKED
    change = do_mlock(caller.mm, message.address, message.length, flags)
    await _mark(caller, change)
    if change.result:
        return change.result
    end = page_align(message.address + message.length)
    if end > caller.mm.map.task_size:  # it has come round to the start
        return 0
    error = await caller.populate(message.address & -PAGE_SIZE, end, ignore_errors=False)
    return -errno.ENOMEM if error else 0


async def mlock2(caller: Caller, message: Mlock2) -> int:
    """Lock a range, as flags say.

    Source: Linux 6.1 mm/mlock.c:mlock2
    """
    if message.flags & ~MLOCK_ONFAULT:
        await caller.enter_kernel()
        return -errno.EINVAL
    return await mlock(caller, Mlock(message.address, message.length, bool(message.flags)))


async def mlockall_flags(caller: Caller, message: MlockallFlags) -> int:
    """Lock mappings, as flags say.

    Source: Linux 6.1 mm/mlock.c:mlockall
    """
    flags = message.flags
    if flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT):
        await caller.enter_kernel()
        return -errno.EINVAL
    current, future = bool(flags & MCL_CURRENT), bool(flags & MCL_FUTURE)
    return await mlockall(caller, Mlockall(current, future, bool(flags & MCL_ONFAULT)))


async def munlock(caller: Caller, message: Munlock) -> int:
    """Unlock a range."""
    await caller.enter_kernel()
    change = do_munlock(caller.mm, message.address, message.length)
    await _mark(caller, change)
    return change.result


async def mlockall(caller: Caller, message: Mlockall) -> int:
    """Lock mappings.

    Source: Linux 6.1 mm/mlock.c:mlockall
    """
    await caller.enter_kernel()
    mm = caller.mm
    change = do_mlockall(
        mm, current=message.current, future=message.future, onfault=message.onfault
    )
    await _mark(caller, change)
    if not change.result and message.current:
        await caller.populate(0, mm.map.task_size)
    return change.result


async def munlockall(caller: Caller, _message: Munlockall) -> int:
    """Unlock all mappings."""
    await caller.enter_kernel()
    change = do_munlockall(caller.mm)
    await _mark(caller, change)
    return change.result


async def _mark(caller: Caller, change: LockChange) -> None:
    for vma in change.pieces:
        locks = bool(vma.flags & VmFlag.VM_LOCKED)
        await mlock_vma_pages_range(caller.current, caller.mm, vma.start, vma.end, locks=locks)


CALLS: Final = (
    Call(
        name="mlock",
        mmap_lock="write_killable",
        value=Mlock,
        handler=mlock,
        errors=(errno.EPERM, errno.ENOMEM, errno.EINVAL),
        form="region",
        steps={"mlock": {}},
    ),
    Call(
        name="mlock2",
        mmap_lock="write_killable",
        value=Mlock2,
        handler=mlock2,
        errors=(errno.EPERM, errno.ENOMEM, errno.EINVAL),
        form="region number?",
    ),
    Call(
        name="mlockall by flags",
        mmap_lock="write_killable",
        value=MlockallFlags,
        handler=mlockall_flags,
        errors=(errno.EPERM, errno.ENOMEM, errno.EINVAL),
    ),
    Call(
        name="munlock",
        mmap_lock="write_killable",
        value=Munlock,
        handler=munlock,
        errors=(errno.ENOMEM, errno.EINVAL),
        form="region",
        steps={"munlock": {}},
    ),
    Call(
        name="mlockall",
        mmap_lock="write_killable",
        value=Mlockall,
        handler=mlockall,
        errors=(errno.EPERM, errno.ENOMEM, errno.EINVAL),
        form="",
        steps={"mlockall": {}, "mlockfuture": {"future": True}},
    ),
    Call(
        name="munlockall",
        mmap_lock="write_killable",
        value=Munlockall,
        handler=munlockall,
        form="",
        steps={"munlockall": {}},
    ),
)
