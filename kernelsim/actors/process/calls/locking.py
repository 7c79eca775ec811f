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
from kernelsim.mm.space.vm_flags import VmFlag


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
    end = message.address + message.length
    error = await caller.populate(message.address, end, ignore_errors=False)
    return -errno.ENOMEM if error else 0


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
        value=Mlock,
        handler=mlock,
        errors=(errno.EPERM, errno.ENOMEM),
        form="region",
        steps={"mlock": {}},
    ),
    Call(
        name="munlock",
        value=Munlock,
        handler=munlock,
        errors=(errno.ENOMEM,),
        form="region",
        steps={"munlock": {}},
    ),
    Call(
        name="mlockall",
        value=Mlockall,
        handler=mlockall,
        errors=(errno.EPERM, errno.ENOMEM, errno.EINVAL),
        form="",
    ),
    Call(name="munlockall", value=Munlockall, handler=munlockall, form=""),
)
