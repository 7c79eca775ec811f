"""move_pages, migrate_pages: pages of a process, its own or another one's, go to other nodes.

Linux: mm/migrate.c, mm/mempolicy.c, 6.1.
Units: bytes; node numbers.
"""

import errno
from typing import Final

import attrs
import numpy as np

from kernelsim.actors.core.process_table import ROOT_UID, ProcessEntry
from kernelsim.actors.core.shared_mm import mmap_lock, share_mm
from kernelsim.actors.process.calls.call import Call
from kernelsim.actors.process.calls.caller import Caller
from kernelsim.actors.space.address_space import mmput
from kernelsim.actors.space.migrate import do_migrate_pages, do_pages_move, page_status
from kernelsim.mm.core.mem import I64
from kernelsim.mm.page.mempolicy import MAX_NUMNODES
from kernelsim.units import PAGE_SHIFT


@attrs.frozen(eq=False)
class MovePages:
    """Ask where pages are, or move them; answered with `PagesMoved` or a negative errno.

    Attributes:
        pid: Of the process; 0 for the caller's own.
        addresses: Of the pages, shape (n,).
        nodes: Where each is to go, shape (n,); None to ask only.
        move_all: MPOL_MF_MOVE_ALL: pages that others have, too, are meant; for root. They stay, and
            their status is EBUSY, without it EACCES.
    """

    pid: int
    addresses: I64
    nodes: I64 | None = None
    move_all: bool = False


@attrs.frozen(eq=False)
class PagesMoved:
    """What move_pages tells.

    Attributes:
        nr_left: Pages that could not be moved though they could be had.
        status: Of each page its node, or a negative errno, shape (n,). For a page that was not
            come to, or stays, what a program sees that had set them to 0.
    """

    nr_left: int
    status: I64


@attrs.frozen
class MigratePages:
    """Move all pages of a process from some nodes to others.

    Answered with the pages that could not be moved, or a negative errno.

    Attributes:
        pid: Of the process; 0 for the caller's own.
        old_nodes: Nodes.
        new_nodes: Nodes, each in place of the old one of the same rank.
    """

    pid: int
    old_nodes: tuple[int, ...]
    new_nodes: tuple[int, ...]


async def move_pages(caller: Caller, message: MovePages) -> PagesMoved | int:
    """Tell where pages are, or move them.

    Source: Linux 6.1 mm/migrate.c:kernel_move_pages, :do_pages_stat
    """
    await caller.enter_kernel()
    kernel = caller.kernel
    if message.move_all and caller.entry.uid != ROOT_UID:
        return -errno.EPERM
    entry = _find_process(caller, message.pid)
    if isinstance(entry, int):
        return entry
    mm, vpns = entry.mm, message.addresses >> PAGE_SHIFT
    status = np.zeros(len(vpns), np.int64)
    if message.nodes is None:
        await caller.task.compute(kernel.spec.latency.scan_page_ns * len(vpns))
        async with mmap_lock(caller.current, mm, write=False):
            for position, vpn in enumerate(vpns.tolist()):
                status[position] = page_status(caller.current, mm, vpn)
        return PagesMoved(0, status)
    if len(message.nodes) != len(vpns):
        return -errno.EFAULT
    share_mm(kernel, mm)
    answer = await do_pages_move(
        caller.current, mm, vpns, message.nodes, status, moves_all=message.move_all
    )
    await mmput(caller.current, mm)
    return answer if answer < 0 else PagesMoved(answer, status)


def _find_process(caller: Caller, pid: int) -> ProcessEntry | int:
    """Return a process whose pages the caller may move, or a negative errno.

    Source: Linux 6.1 mm/migrate.c:find_mm_struct, kernel/ptrace.c:__ptrace_may_access
    """
    entry = caller.kernel.processes.get(pid) if pid else caller.entry
    if entry is None or entry.has_ended():
        return -errno.ESRCH
    if caller.entry.uid not in (ROOT_UID, entry.uid):
        return -errno.EPERM
    return entry


async def migrate_pages(caller: Caller, message: MigratePages) -> int:
    """Move all pages of a process from some nodes to others.

    Source: Linux 6.1 mm/mempolicy.c:kernel_migrate_pages
    """
    await caller.enter_kernel()
    nodes = (*message.old_nodes, *message.new_nodes)
    if any(not 0 <= nid < MAX_NUMNODES for nid in nodes):
        return -errno.EINVAL
    entry = _find_process(caller, message.pid)
    if isinstance(entry, int):
        return entry
    with_memory = caller.kernel.phys.nodes_with_memory
    if caller.entry.uid != ROOT_UID and not set(message.new_nodes).issubset(with_memory):
        return -errno.EPERM
    new = tuple(nid for nid in with_memory if nid in message.new_nodes)
    if not new:
        return -errno.EINVAL
    mm = entry.mm
    share_mm(caller.kernel, mm)
    old = tuple(sorted({*message.old_nodes}))
    async with mmap_lock(caller.current, mm, write=False):
        nr_left = await do_migrate_pages(caller.current, mm, old, new)
    await mmput(caller.current, mm)
    return nr_left


CALLS: Final = (
    Call(
        name="move_pages",
        value=MovePages,
        handler=move_pages,
        returns="result",
        errors=(errno.EPERM, errno.ESRCH, errno.ENODEV, errno.EFAULT),
        form="number pages pages?",
    ),
    Call(
        name="migrate_pages",
        value=MigratePages,
        handler=migrate_pages,
        returns="number",
        errors=(errno.EINVAL, errno.EPERM, errno.ESRCH),
        form="number nodes nodes",
        steps={"migratepages": {}},
    ),
)
