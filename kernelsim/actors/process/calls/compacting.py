"""Writes that have memory compacted, in the time of who writes.

Linux: mm/compaction.c: sysctl_compaction_handler, compact_nodes, compact_store, 6.1.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.core.lru_add import lru_add_drain_all
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.reclaim.kcompactd import compact_node


@attrs.frozen
class CompactMemory:
    """Write a number to /proc/sys/vm/compact_memory: any has all nodes compacted, whole."""

    value: int


async def compact_memory(caller: Caller, _message: CompactMemory) -> int:
    """Compact all nodes; return 0, or -ENOENT of a kernel that cannot.

    Source: Linux 6.1 mm/compaction.c:compact_nodes
    """
    await caller.enter_kernel()
    if not caller.kernel.spec.era.compaction:
        return -errno.ENOENT
    await lru_add_drain_all(caller.current)
    for nid, node in enumerate(caller.kernel.phys.nodes):
        if node.is_online:
            await compact_node(caller.current, nid)
    return 0


async def compact_store(caller: Caller, nid: int) -> None:
    """Compact one node.

    Source: Linux 6.1 mm/compaction.c:compact_store
    """
    await lru_add_drain_all(caller.current)
    await compact_node(caller.current, nid)


CALLS: Final = (
    Call(
        name="compact_memory",
        value=CompactMemory,
        handler=compact_memory,
        errors=(errno.ENOENT,),
        form="number",
    ),
)
