"""set_mempolicy, get_mempolicy, mbind, set_mempolicy_home_node: where pages come from.

Linux: mm/mempolicy.c, 6.1.
Units: bytes; node numbers.
"""

import errno
from typing import Final

import attrs

from kernelsim.actors.core.process_table import ROOT_UID
from kernelsim.actors.process.calls.access import TouchResult
from kernelsim.actors.process.calls.call import Call, MmapLocking
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.space.migrate import MoveFlags, move_misplaced, queue_misplaced
from kernelsim.mm.core.mem import nid_of
from kernelsim.mm.page.mempolicy import (
    MODES,
    MPOL_DEFAULT,
    MPOL_F_RELATIVE_NODES,
    MPOL_F_STATIC_NODES,
    Mempolicy,
    next_node_in,
)
from kernelsim.mm.page.mpol_new import are_policy_words, mpol_new
from kernelsim.mm.space.mbind import has_hole, mbind_range, range_of, set_home_node
from kernelsim.mm.space.mmap import VmArea
from kernelsim.mm.space.pgtable import pte_at, pte_pfn
from kernelsim.units import PAGE_SHIFT

WORDS: Final = (MPOL_DEFAULT, *MODES)


@attrs.frozen
class SetMempolicy:
    """Have a memory policy; answered with 0 or a negative errno.

    Attributes:
        mode: "default", or one of MODES.
        nodes: Nodes.
        static: MPOL_F_STATIC_NODES.
        relative: MPOL_F_RELATIVE_NODES: nodes are positions among those with memory.
    """

    mode: str
    nodes: tuple[int, ...] = ()
    static: bool = False
    relative: bool = False


@attrs.frozen
class Mbind:
    """Give a range a memory policy; answered with 0 or a negative errno.

    Attributes:
        address: First byte.
        length: Bytes.
        mode: "default", or one of MODES.
        nodes: Nodes.
        static: MPOL_F_STATIC_NODES.
        relative: MPOL_F_RELATIVE_NODES: nodes are positions among those with memory.
        strict: MPOL_MF_STRICT: it fails with EIO if a page is elsewhere, and stays.
        move: MPOL_MF_MOVE: pages that are elsewhere and only its own are moved.
        move_all: MPOL_MF_MOVE_ALL: those that others have, too, are meant as well; for root. They
            stay, which `strict` finds fault with.
    """

    address: int
    length: int
    mode: str
    nodes: tuple[int, ...] = ()
    static: bool = False
    relative: bool = False
    strict: bool = False
    move: bool = False
    move_all: bool = False


@attrs.frozen
class GetMempolicy:
    """Ask for a memory policy; answered with a `PolicyAnswer` or a negative errno.

    Attributes:
        address: Of the mapping whose policy it is (MPOL_F_ADDR); None for the task's.
        node: MPOL_F_NODE: ask for the node of the page there, or for the next one that the task's
            interleaved policy will use.
        allowed: MPOL_F_MEMS_ALLOWED: ask for the nodes it may use at all.
    """

    address: int | None = None
    node: bool = False
    allowed: bool = False


@attrs.frozen
class PolicyAnswer:
    """What get_mempolicy tells.

    Attributes:
        mode: "default", or one of MODES.
        flags: MPOL_F_* bits of the policy.
        nodes: Its nodes, as they were given if flags say so.
        node: The node that was asked for; None if none was.
    """

    mode: str
    flags: int = 0
    nodes: tuple[int, ...] = ()
    node: int | None = None


@attrs.frozen
class SetMempolicyHomeNode:
    """Let the policies of a range look at a node first; answered with 0 or a negative errno.

    Attributes:
        address: First byte.
        length: Bytes.
        home_node: The node.
    """

    address: int
    length: int
    home_node: int


async def set_mempolicy(caller: Caller, message: SetMempolicy) -> int:
    """Have a memory policy for what is allocated from now on.

    Source: Linux 6.1 mm/mempolicy.c:kernel_set_mempolicy, :do_set_mempolicy
    """
    await caller.enter_kernel()
    policy = _wanted(caller, message)
    if isinstance(policy, int):
        return policy
    caller.task.set_mempolicy(policy)
    return 0


def _wanted(caller: Caller, message: SetMempolicy | Mbind) -> Mempolicy | int | None:
    with_memory = caller.kernel.phys.nodes_with_memory
    return mpol_new(message.mode, _mode_flags(message), message.nodes, with_memory)


def _mode_flags(message: SetMempolicy | Mbind) -> int:
    return MPOL_F_STATIC_NODES * message.static | MPOL_F_RELATIVE_NODES * message.relative


async def mbind(caller: Caller, message: Mbind) -> int:
    """Give a range a memory policy, and move what lies elsewhere if that is asked for.

    Source: Linux 6.1 mm/mempolicy.c:kernel_mbind, :do_mbind
    """
    await caller.enter_kernel()
    if not are_policy_words(_mode_flags(message), message.nodes):
        return -errno.EINVAL
    if message.move_all and caller.entry.uid != ROOT_UID:
        return -errno.EPERM
    where = range_of(message.address, message.length)
    if isinstance(where, int):
        return where
    start, end = where
    if start == end:
        return 0
    policy = _wanted(caller, message)
    if isinstance(policy, int):
        return policy
    if has_hole(caller.mm, start, end, allowed=policy is None):
        return -errno.EFAULT
    moves = message.move or message.move_all
    strict = message.strict and policy is not None
    flags = MoveFlags(strict=strict, moves=moves, moves_all=message.move_all)
    queued = await queue_misplaced(caller.current, caller.mm, start, end, message.nodes, flags)
    if queued is None:
        return -errno.EIO
    error = mbind_range(caller.mm, start, end, policy)
    if error:
        return error
    nr_left = await move_misplaced(caller.current, caller.mm, queued.vpns)
    return -errno.EIO if queued.has_unmovable or (nr_left and flags.strict) else 0


async def get_mempolicy(caller: Caller, message: GetMempolicy) -> PolicyAnswer | int:
    """Tell a memory policy.

    Source: Linux 6.1 mm/mempolicy.c:do_get_mempolicy
    """
    await caller.enter_kernel()
    task = caller.task
    if message.allowed:
        if message.node or message.address is not None:
            return -errno.EINVAL
        return PolicyAnswer(MPOL_DEFAULT, nodes=caller.kernel.phys.nodes_with_memory)
    policy, node = task.mempolicy, None
    if message.address is not None:
        vma = caller.mm.map.find_vma(message.address)
        if vma is None or message.address < vma.start:
            return -errno.EFAULT
        policy = vma.policy
        if message.node:
            node = await _lookup_node(caller, vma, message.address)
            if node < 0:
                return node
    elif message.node:
        if policy is None or not policy.is_interleaved:
            return -errno.EINVAL
        node = next_node_in(task.il_prev, policy.nodes)
    if policy is None:
        return PolicyAnswer(MPOL_DEFAULT, node=node)
    nodes = policy.user_nodes if policy.flags else policy.nodes
    return PolicyAnswer(policy.mode, policy.flags, nodes, node)


async def _lookup_node(caller: Caller, vma: VmArea, address: int) -> int:
    """Return the node of a page, which is read to bring it in; or a negative errno.

    Source: Linux 6.1 mm/mempolicy.c:lookup_node
    """
    kernel, vpn, counts = caller.kernel, address >> PAGE_SHIFT, TouchResult()
    if not vma.permits(write=False):
        return -errno.EFAULT
    if not await caller.accesses.run(vma, vpn, 1, 1, caller.token, counts, write=False):
        return -errno.EFAULT
    return nid_of(kernel.mem, pte_pfn(pte_at(*kernel.space, caller.mm.number, vpn)))


async def set_mempolicy_home_node(caller: Caller, message: SetMempolicyHomeNode) -> int:
    """Let policies of a range look at a node first.

    Source: Linux 6.1 mm/mempolicy.c:set_mempolicy_home_node
    """
    await caller.enter_kernel()
    where = range_of(message.address, message.length)
    nodes = caller.kernel.phys.nodes
    if not 0 <= message.home_node < len(nodes) or not nodes[message.home_node].is_online:
        return -errno.EINVAL
    if isinstance(where, int) or where[0] == where[1]:
        return where if isinstance(where, int) else 0
    return set_home_node(caller.mm, *where, message.home_node)


def _get_mempolicy_lock(value: GetMempolicy) -> MmapLocking:
    return "none" if value.address is None else "read"


CALLS: Final = (
    Call(
        name="set_mempolicy",
        value=SetMempolicy,
        handler=set_mempolicy,
        errors=(errno.EINVAL,),
        form="mode nodes?",
        steps={"setpol": {}},
        words=WORDS,
    ),
    Call(
        name="mbind",
        mmap_lock="write",
        value=Mbind,
        handler=mbind,
        errors=(errno.EFAULT, errno.EINVAL, errno.EIO, errno.ENOMEM, errno.EPERM),
        form="region mode nodes?",
        steps={"mbind": {}, "mbindmove": {"move": True}},
        words=WORDS,
    ),
    Call(
        name="get_mempolicy",
        mmap_lock=_get_mempolicy_lock,
        value=GetMempolicy,
        handler=get_mempolicy,
        returns="result",
        errors=(errno.EFAULT, errno.EINVAL),
        form="",
    ),
    Call(
        name="set_mempolicy_home_node",
        mmap_lock="write",
        value=SetMempolicyHomeNode,
        handler=set_mempolicy_home_node,
        errors=(errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP, errno.ENOMEM),
        form="region number",
    ),
)
