"""Find which CPUs a recorded node has and how far apart nodes are, from the best source there is.

Interface: `topology_of`.
Units: distances as in the ACPI SLIT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kernelsim.config.machine_form import REMOTE_DISTANCE, default_distances
from kernelsim.config.number_list import parse_number_list
from kernelsim.config.proc_text import CaseFile, ZoneinfoZone, parse_nodes
from kernelsim.errors import RecordingError

if TYPE_CHECKING:
    from pathlib import Path

    from kernelsim.config.recording import Recording

__all__ = ["Topology", "sys_node_tree", "topology_of"]

_Table = dict[int, tuple[int, ...]]


@attrs.frozen(kw_only=True)
class Topology:
    """CPUs and distances of the nodes."""

    cpus: _Table
    """Node → its CPUs, as the kernel numbers them."""
    distances: _Table
    """Node → its row."""
    assumed: tuple[str, ...]
    """What is taken for granted, a sentence each."""


def topology_of(
    recording: Recording, case: CaseFile | None, zones: tuple[ZoneinfoZone, ...], *, nids: list[int]
) -> Topology:
    """Return CPUs and distances of the nodes.

    Raises RecordingError for a page list of a CPU that is in no node.
    """
    cpus, distances = _recorded(recording, case, nids=nids)
    listed = sorted({pageset.cpu for zone in zones for pageset in zone.pagesets})
    assumed: list[str] = []
    if not any(cpus.values()):
        numbers = listed or [0]
        cpus = _dealt(numbers, nids)
        if not listed:
            assumed.append("no CPU is recorded: one is taken")
        elif len(nids) > 1:
            assumed.append("which CPUs a node has is not recorded: they are dealt out in order")
    known = {cpu for row in cpus.values() for cpu in row}
    for cpu in listed:
        if cpu not in known:
            raise recording.error("zoneinfo", f"cpu {cpu} has page lists, but no node has that CPU")
    if len(nids) > 1 and not all(nid in distances for nid in nids):
        rule = f"distances are not recorded: {REMOTE_DISTANCE} between any two nodes is taken"
        assumed.append(rule)
    distances = dict(enumerate(default_distances(len(nids)))) | distances
    return Topology(cpus=cpus, distances=distances, assumed=tuple(assumed))


def _recorded(
    recording: Recording, case: CaseFile | None, *, nids: list[int]
) -> tuple[_Table, _Table]:
    """Return CPUs and distances as far as they were recorded."""
    nodes_text = recording.get("nodes.txt")
    if nodes_text is not None:
        text = parse_nodes(nodes_text)
        return dict(text.cpus), dict(text.distances)
    if (tree := sys_node_tree(recording)) is not None:
        return _read_sys_nodes(tree, nids=nids)
    if case is None:
        return {}, {}
    try:
        rows = case.table.get("distances", [])
        return _case_cpus(case), {nid: tuple(map(int, row)) for nid, row in enumerate(rows)}
    except (AttributeError, TypeError, ValueError):
        rule = "numa, smp and distances must be as in a recorded case"
        raise RecordingError("case.toml", None, rule) from None


def _dealt(numbers: list[int], nids: list[int]) -> _Table:
    """Deal CPUs out over the nodes, in order, the first ones getting what is left over."""
    share, more = divmod(len(numbers), len(nids))
    cpus: _Table = {}
    first = 0
    for index, nid in enumerate(nids):
        end = first + share + (index < more)
        cpus[nid] = tuple(numbers[first:end])
        first = end
    return cpus


def _case_cpus(case: CaseFile) -> _Table:
    """Return the CPUs of the nodes as case.toml asks for them."""
    nodes = case.table.get("numa", [])
    cpus = {nid: parse_number_list(node.get("cpus", "")) for nid, node in enumerate(nodes)}
    if not nodes:
        cpus[0] = tuple(range(int(case.table.get("smp", 1))))
    return cpus


def sys_node_tree(recording: Recording) -> Path | None:
    """Return devices/system/node of a sys tree in the directory or beside it."""
    for root in recording.roots():
        tree = root / "sys" / "devices" / "system" / "node"
        if tree.is_dir():
            return tree
    return None


def _read_sys_nodes(tree: Path, *, nids: list[int]) -> tuple[_Table, _Table]:
    """Return CPUs and distances of a sys tree."""
    lines: list[str] = []
    for nid in nids:
        for key in ("distance", "cpulist"):
            path = tree / f"node{nid}" / key
            if path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace")
                lines.append(f"node{nid}/{key} = {text.strip()}")
    nodes = parse_nodes("\n".join(lines))
    return dict(nodes.cpus), dict(nodes.distances)
