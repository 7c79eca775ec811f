"""How much of a resource a process may have.

Linux: kernel/sys.c:do_prlimit, 6.1.
Differs: There are no hard limits, and a limit belongs to an address space: processes that share one
share its limits.
Interface: `RESOURCES` names what can be limited.
Units: bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller

# Attributes of `Rlimits` by what `ulimit` and the C library call them.
RESOURCES: Final = {"AS": "address_space", "DATA": "data", "MEMLOCK": "memlock", "STACK": "stack"}


@attrs.frozen
class Setrlimit:
    """Limit a resource of RESOURCES to so many bytes; what the process has already, it keeps."""

    resource: str
    limit: int


async def setrlimit(caller: Caller, message: Setrlimit) -> int:
    """Set a limit; return 0 or -EINVAL.

    Source: Linux 6.1 kernel/sys.c:do_prlimit
    """
    await caller.enter_kernel()
    name = RESOURCES.get(message.resource)
    if name is None or message.limit < 0:
        return -errno.EINVAL
    setattr(caller.mm.rlimits, name, message.limit)
    return 0


CALLS: Final = (
    Call(
        name="setrlimit",
        value=Setrlimit,
        handler=setrlimit,
        errors=(errno.EINVAL,),
        form="word size",
        words=tuple(RESOURCES),
    ),
)
