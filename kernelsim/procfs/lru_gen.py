"""Render the generations of the multi-generational LRU, as /sys/kernel/debug/lru_gen shows them.

Linux: mm/vmscan.c:lru_gen_seq_show, 6.1.
Differs: There is one memory cgroup, the root. The file cannot be written to.
Units: pages; ages are ns in the snapshot, ms in the file.
"""

from typing import Final

from kernelsim.procfs.snapshot import Snapshot
from kernelsim.units import NS_PER_MS

ROOT_MEMCG: Final = 1  # number of the root's memory cgroup


def render_lru_gen(snapshot: Snapshot) -> str:
    """Render the file: for each node its generations, oldest first, with age and pages."""
    lines: list[str] = []
    for node in snapshot.nodes:
        if not node.generations:
            continue
        if not lines:
            lines.append(f"memcg {ROOT_MEMCG:5} /")
        lines.append(f" node {node.nid:5}")
        for each in node.generations:
            ms = each.age_ns // NS_PER_MS
            lines.append(f" {each.seq:10} {ms:10} {each.anon:10}  {each.file:10} ")
    return "".join(f"{line}\n" for line in lines)
