"""Writes to files of /sys: memory blocks go online and offline, nodes are compacted.

Linux: drivers/base/memory.c, drivers/base/core.c, mm/compaction.c, 6.1.
"""

import errno
import re
from typing import Final

import attrs

from kernelsim.actors.messages.memory_hotplug import StateStore
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.process.calls.compacting import compact_store
from kernelsim.mm.page.memory_hotplug import OFFLINE, ONLINE, ONLINE_TYPES

MEMORY: Final = "/sys/devices/system/memory/"
NODE: Final = "/sys/devices/system/node/"
BLOCK_FILE: Final = re.compile(re.escape(MEMORY) + r"memory([0-9]{1,12})/([a-z_]+)")
COMPACT_FILE: Final = re.compile(re.escape(NODE) + r"node([0-9]{1,4})/compact")
READ_ONLY: Final = ("phys_index", "removable", "valid_zones")
TRUTH: Final = {"0": OFFLINE, "1": ONLINE}  # lib/kstrtox.c:kstrtobool, as far as people write it


@attrs.frozen
class WriteSysfs:
    """Write a word to a file of /sys; answered with 0 or a negative errno.

    Attributes:
        path: Its name, from /sys on.
        word: What is written.
    """

    path: str
    word: str


async def write_sysfs(caller: Caller, message: WriteSysfs) -> int:
    """Write to a file below /sys/devices/system/memory, or to that which compacts a node."""
    await caller.enter_kernel()
    phys = caller.kernel.phys
    node = COMPACT_FILE.fullmatch(message.path)
    if node is not None:
        return await _compact_store(caller, int(node[1]))
    if not phys.memory_blocks.size_bytes:
        return -errno.ENOENT
    if message.path == f"{MEMORY}auto_online_blocks":
        if message.word not in ONLINE_TYPES:
            return -errno.EINVAL
        phys.memory_blocks.auto_online = message.word
        return 0
    if message.path == f"{MEMORY}block_size_bytes":
        return -errno.EACCES
    found = BLOCK_FILE.fullmatch(message.path)
    if found is None or found[2] not in (*READ_ONLY, "state", "online"):
        return -errno.ENOENT
    if phys.block(int(found[1])) is None:
        return -errno.ENOENT
    if found[2] in READ_ONLY:
        return -errno.EACCES
    word = message.word if found[2] == "state" else TRUTH.get(message.word, "")
    if word not in ONLINE_TYPES:
        return -errno.EINVAL
    while not await caller.kernel.device_hotplug.acquire_in_sysfs(caller.task):
        if caller.task.killed:
            return -errno.EINTR
        await caller.enter_kernel()  # the call begins afresh
    try:
        return await _state_store(caller, int(found[1]), word, is_truth=found[2] == "online")
    finally:
        caller.kernel.device_hotplug.release()


async def _compact_store(caller: Caller, nid: int) -> int:
    nodes = caller.kernel.phys.nodes
    if nid >= len(nodes) or not nodes[nid].is_online or not caller.kernel.spec.era.compaction:
        return -errno.ENOENT
    await compact_store(caller, nid)
    return 0


async def _state_store(caller: Caller, index: int, word: str, *, is_truth: bool) -> int:
    """Bring a block online or offline, under device_hotplug_lock; return 0 or a negative errno.

    Source: Linux 6.1 drivers/base/memory.c:state_store, drivers/base/core.c:online_store
    """
    block = caller.kernel.phys.block(index)
    if block is None:  # it went while this task waited
        return -errno.ENODEV
    if is_truth and (word == OFFLINE) == (block.state == OFFLINE):
        return 0
    answer: int = await caller.kernel.memory_hotplug.ask(StateStore(caller.current, index, word))
    return answer


CALLS: Final = (
    Call(
        name="write_sysfs",
        value=WriteSysfs,
        handler=write_sysfs,
        errors=(errno.ENOENT, errno.EACCES, errno.EINVAL, errno.EBUSY, errno.EINTR, errno.ENODEV),
        form="path word",
        words=(*ONLINE_TYPES, *TRUTH),
    ),
)
