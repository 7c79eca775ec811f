"""How much of a resource a process may have.

Linux: kernel/sys.c:do_prlimit, 6.1.
Differs: A limit belongs to an address space: processes that share one share its limits.
Interface: `RESOURCES` names what can be limited.
Units: bytes.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.core.process_table import ROOT_UID
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller

# Attributes of `Rlimits` by what `ulimit` and the C library call them.
RESOURCES: Final = {"AS": "address_space", "DATA": "data", "MEMLOCK": "memlock", "STACK": "stack"}


@attrs.frozen
class Setrlimit:
    """Limit a resource of RESOURCES to so many bytes; what the process has already, it keeps.

    Attributes:
        resource: Its name.
        limit: The soft limit, which counts.
        hard: Up to which the soft limit may be set; None leaves it.
    """

    resource: str
    limit: int
    hard: int | None = None


async def setrlimit(caller: Caller, message: Setrlimit) -> int:
    """Set a limit; return 0, -EINVAL or -EPERM.

    Source: Linux 6.1 kernel/sys.c:do_prlimit
    """
    await caller.enter_kernel()
    name, rlimits = RESOURCES.get(message.resource), caller.mm.rlimits
    if name is None or message.limit < 0:
        return -errno.EINVAL
    old = getattr(rlimits, f"{name}_max")
    hard = old if message.hard is None else message.hard
    if message.limit > hard:
        return -errno.EINVAL
    if hard > old and caller.entry.uid != ROOT_UID:  # has no CAP_SYS_RESOURCE
        return -errno.EPERM
    setattr(rlimits, name, message.limit)
    setattr(rlimits, f"{name}_max", hard)
    return 0


CALLS: Final = (
    Call(
        name="setrlimit",
        value=Setrlimit,
        handler=setrlimit,
        errors=(errno.EINVAL, errno.EPERM),
        form="word size size?",
        steps={"setrlimit": {}},
        words=tuple(RESOURCES),
    ),
)
