"""Whom the OOM killer must choose, worked out apart from it.

Linux: mm/oom_kill.c: oom_badness, oom_evaluate_task, constrained_alloc, 6.1.
Interface: `wrong_victim` when it has chosen.
Units: pages.
"""

from typing import Final

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.messages.oom_killer import OutOfMemory
from kernelsim.mm.core.mem import Z_MANAGED, Z_NID, Z_PRESENT

OOM_SCORE_ADJ_MIN: Final = -1000  # such a process is never killed; include/uapi/linux/oom.h


def wrong_victim(kernel: Kernel, pid: int, message: OutOfMemory) -> str:
    """Say who should have been chosen for a request instead of a process."""
    nodes, total = confines(kernel, message.nodemask)
    candidates = [entry for entry in kernel.processes.values() if may_help(entry, nodes)]
    dying = [e.pid for e in candidates if e.task.oom_victim and not e.mm.oom_skip]
    killable = [
        entry
        for entry in candidates
        if entry.oom_score_adj > OOM_SCORE_ADJ_MIN
        and not entry.has_ended()
        and not entry.mm.oom_skip
    ]
    if kernel.sysctl.vm_oom_kill_allocating_task and message.pid in [e.pid for e in killable]:
        return "" if pid == message.pid else f"pid {pid} is to die, not {message.pid}, which asked"
    if dying:
        return f"pid {pid} is to die though pid {dying[0]} is dying already"
    origins = [
        entry.pid
        for entry in candidates
        if entry.oom_origin
        and not entry.has_ended()
        and not (entry.task.oom_victim and entry.mm.oom_skip)  # it was taken already
    ]
    if origins:
        return "" if pid == origins[-1] else f"pid {pid} is to die, not {origins[-1]}, in swapoff"
    if not killable:
        return f"pid {pid} is to die, and no process may be killed"
    scores = [(points(kernel, entry, total), place) for place, entry in enumerate(killable)]
    worst, place = max(scores)
    if killable[place].pid == pid:
        return ""
    return f"pid {pid} is to die, but pid {killable[place].pid} has {worst} points, the most"


def confines(
    kernel: Kernel, nodemask: tuple[int, ...] | None
) -> tuple[tuple[int, ...] | None, int]:
    """Return the nodes a request is confined to, None for all, and RAM and swap it could use."""
    managed = kernel.mem.zone[kernel.mem.zone[:, Z_MANAGED] > 0]
    with_memory = managed[:, Z_NID].tolist()
    if nodemask is None or all(nid in nodemask for nid in with_memory):
        return None, int(managed[:, Z_MANAGED].sum()) + kernel.nr_swap_pages
    own = [int(row[Z_PRESENT]) for row in managed if int(row[Z_NID]) in nodemask]
    return nodemask, sum(own) + kernel.nr_swap_pages


def may_help(entry: ProcessEntry, nodes: tuple[int, ...] | None) -> bool:
    """Tell whether a process may have pages on some of the nodes."""
    policy = entry.policy
    if nodes is None or policy is None or policy.mode != "bind":
        return True
    return any(nid in nodes for nid in policy.nodes)


def points(kernel: Kernel, entry: ProcessEntry, total: int) -> int:
    """Return what killing a process gives, moved by its oom_score_adj."""
    mms, number = kernel.mms.mms, entry.mm.number
    held = int(mms.rss[number].sum()) + entry.mm.image_rss_pages + int(mms.nr_ptes[number])
    return held + entry.oom_score_adj * (total // 1000)
