"""Read the texts of /proc and /sys that describe memory, and the files of a recorded case.

Linux: fs/proc/meminfo.c, mm/vmstat.c (vmstat, buddyinfo, pagetypeinfo), mm/swapfile.c,
drivers/base/node.c, drivers/base/memory.c.
Interface: one `parse_…` a file; each takes a Path or text and returns values with every number of
the file, in its order. zoneinfo has its own module.
Units: as printed: pages, KiB.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import attrs

from kernelsim.config.number_list import parse_number_list
from kernelsim.config.proc_lines import NUMBER, Lines, Source, integer, key_values
from kernelsim.config.proc_zoneinfo import Pageset, ZoneinfoZone, parse_zoneinfo
from kernelsim.errors import RecordingError, shown

__all__ = [
    "BuddyinfoZone",
    "CaseFile",
    "MemoryBlocks",
    "NodesText",
    "Pageset",
    "Pagetypeinfo",
    "SwapLine",
    "ZoneinfoZone",
    "parse_buddyinfo",
    "parse_case",
    "parse_meminfo",
    "parse_memory_blocks",
    "parse_node_meminfo",
    "parse_nodes",
    "parse_numastat",
    "parse_pagetypeinfo",
    "parse_swaps",
    "parse_sysctl",
    "parse_vmstat",
    "parse_zoneinfo",
]

_MEMINFO = re.compile(rf"([A-Za-z0-9_()]+): +({NUMBER})( kB)?")
_NODE_MEMINFO = re.compile(rf"Node ({NUMBER}) ([A-Za-z0-9_()]+): +({NUMBER})( kB)?")
_BUDDY = re.compile(rf"Node ({NUMBER}), zone +(\S+) ((?: *{NUMBER}\b)+) *")
_FREE_ROW = re.compile(rf"Node +({NUMBER}), zone +(\S+), type +(\S+) ((?: *(?:>|\b){NUMBER}\b)+) *")
_BLOCK_ROW = re.compile(rf"Node ({NUMBER}), zone +(\S+) ((?: *{NUMBER}\b)+) *")
_BLOCKS_HEAD = re.compile(r"Number of blocks type +(.+?) *")
_BLOCK_KEY = re.compile(rf"memory({NUMBER})/(?:(state|valid_zones) = (.*)|(removable) = ([01]))")
_NODE_KEY = re.compile(rf"node({NUMBER})/(distance|cpulist) = (.*)")


@attrs.frozen(kw_only=True)
class BuddyinfoZone:
    """One line of buddyinfo."""

    nid: int
    """Node number."""
    name: str
    """Printed zone name."""
    counts: tuple[int, ...]
    """Free blocks by order."""


@attrs.frozen(kw_only=True)
class Pagetypeinfo:
    """The free blocks and pageblocks by migratetype."""

    page_block_order: int
    """log2 of the pages of a pageblock."""
    pages_per_block: int
    """Pages of a pageblock."""
    free: dict[tuple[int, str], dict[str, tuple[int, ...]]]
    """(node, zone) → migratetype → free blocks by order; `>100000` is read as 100000."""
    blocks: dict[tuple[int, str], dict[str, int]]
    """(node, zone) → migratetype → pageblocks."""


@attrs.frozen(kw_only=True)
class SwapLine:
    """One line of /proc/swaps."""

    filename: str
    """Device or file, what the kernel escaped in it put back."""
    type: str
    """partition or file."""
    size_kb: int
    """Usable size in KiB, without the header page."""
    used_kb: int
    """Used size in KiB."""
    prio: int
    """Priority."""


@attrs.frozen(kw_only=True)
class NodesText:
    """What /sys/devices/system/node says."""

    states: dict[str, tuple[int, ...]]
    """has_memory, has_cpu, possible, online …: node numbers."""
    distances: dict[int, tuple[int, ...]]
    """Node → its row of the distance table."""
    cpus: dict[int, tuple[int, ...]]
    """Node → its CPUs."""


@attrs.frozen(kw_only=True)
class MemoryBlocks:
    """What /sys/devices/system/memory says."""

    block_size_bytes: int
    """Size of a block; 0 where the kernel has no hotplug (32-bit)."""
    auto_online_blocks: str
    """Policy for hot-added blocks."""
    blocks: dict[int, dict[str, str]]
    """Block number → state, valid_zones, removable."""


@attrs.frozen(kw_only=True)
class CaseFile:
    """case.toml of a recorded case: the machine it ran on."""

    id: str
    """Case id."""
    arch: str
    """x86_64, i386, i386pae."""
    table: dict[str, Any]
    """The whole table, for what is rarely asked."""


def parse_meminfo(source: Source) -> dict[str, int]:
    """Return /proc/meminfo: KiB, and plain counts for HugePages_…."""
    lines = Lines.of(source, file="meminfo")
    values: dict[str, int] = {}
    for index, line in enumerate(lines.lines):
        match = _MEMINFO.fullmatch(line)
        if match is not None and match[1] not in values:
            values[match[1]] = int(match[2])
        elif match is not None:
            lines.fail(index, f"{match[1]} comes twice")
        elif line.strip():
            lines.fail(index, f"{shown(line.strip())} must be 'Name: number kB'")
    if "MemTotal" not in values:
        lines.fail(0, "meminfo has no line 'MemTotal'")
    return values


def parse_node_meminfo(source: Source) -> dict[str, int]:
    """Return nodeN/meminfo: KiB, and plain counts for HugePages_…."""
    lines = Lines.of(source, file="node meminfo")
    values: dict[str, int] = {}
    for index, line in enumerate(lines.lines):
        match = _NODE_MEMINFO.fullmatch(line)
        if match is not None:
            values[match[2]] = int(match[3])
        elif line.strip():
            lines.fail(index, f"{shown(line.strip())} must be 'Node N Name: number kB'")
    return values


def parse_vmstat(source: Source) -> dict[str, int]:
    """Return /proc/vmstat or nodeN/vmstat in the kernel's order."""
    return key_values(Lines.of(source, file="vmstat"))


def parse_numastat(source: Source) -> dict[str, int]:
    """Return nodeN/numastat in pages."""
    return key_values(Lines.of(source, file="numastat"))


def parse_buddyinfo(source: Source) -> tuple[BuddyinfoZone, ...]:
    """Return the lines of /proc/buddyinfo."""
    lines = Lines.of(source, file="buddyinfo")
    zones: list[BuddyinfoZone] = []
    for index, line in enumerate(lines.lines):
        match = _BUDDY.fullmatch(line)
        if match is not None:
            counts = tuple(map(int, match[3].split()))
            zones.append(BuddyinfoZone(nid=int(match[1]), name=match[2], counts=counts))
        elif line.strip():
            lines.fail(index, f"{shown(line.strip())} must be 'Node N, zone NAME counts…'")
    return tuple(zones)


def parse_pagetypeinfo(source: Source) -> Pagetypeinfo:
    """Return /proc/pagetypeinfo.

    Raises RecordingError with file and line for anything the kernel does not print.
    """
    lines = Lines.of(source, file="pagetypeinfo")
    head: dict[str, int] = {}
    free: dict[tuple[int, str], dict[str, tuple[int, ...]]] = {}
    blocks: dict[tuple[int, str], dict[str, int]] = {}
    types: list[str] = []
    for index, line in enumerate(lines.lines):
        if not line.strip() or line.startswith("Free pages count per migrate type"):
            continue
        if row := _FREE_ROW.fullmatch(line):
            counts = tuple(int(word.removeprefix(">")) for word in row[4].split())
            free.setdefault((int(row[1]), row[2]), {})[row[3]] = counts
        elif row := _BLOCKS_HEAD.fullmatch(line):
            types = row[1].split()
        elif row := _BLOCK_ROW.fullmatch(line):
            numbers = [int(word) for word in row[3].split()]
            if len(numbers) != len(types):
                lines.fail(index, f"must have one number a migrate type: {len(types)}")
            blocks[(int(row[1]), row[2])] = dict(zip(types, numbers, strict=True))
        elif line.startswith(("Page block order:", "Pages per block:")):
            name, _, number = line.partition(":")
            head[name] = integer(lines, index, number.strip())
        else:
            lines.fail(index, f"{shown(line.strip())} is no line of pagetypeinfo")
    for name in ("Page block order", "Pages per block"):
        if name not in head:
            lines.fail(0, f"pagetypeinfo has no line '{name}'")
    return Pagetypeinfo(
        page_block_order=head["Page block order"],
        pages_per_block=head["Pages per block"],
        free=free,
        blocks=blocks,
    )


def unmangled(path: str) -> str:
    """Return a path whose blanks, line ends and backslashes are in octal, as it is.

    Source: Linux 6.1 fs/seq_file.c:mangle_path
    """
    return re.sub(r"\\([0-3][0-7]{2})", lambda found: chr(int(found[1], 8)), path)


def parse_swaps(source: Source) -> tuple[SwapLine, ...]:
    """Return the lines of /proc/swaps."""
    lines = Lines.of(source, file="swaps")
    if lines.lines[0].split() != ["Filename", "Type", "Size", "Used", "Priority"]:
        lines.fail(0, "must begin with 'Filename Type Size Used Priority'")
    swaps: list[SwapLine] = []
    for index, line in enumerate(lines.lines):
        words = line.split()
        if index == 0 or not words:
            continue
        if len(words) != 5:  # noqa: PLR2004 (the columns of the head)
            lines.fail(index, "must be filename, type, size, used, priority")
        size, used, prio = (integer(lines, index, word) for word in words[2:])
        swaps.append(
            SwapLine(
                filename=unmangled(words[0]), type=words[1], size_kb=size, used_kb=used, prio=prio
            )
        )
    return tuple(swaps)


def parse_nodes(source: Source) -> NodesText:
    """Return nodes.txt: `has_cpu = 0-1`, `node0/distance = 10 20`, `node0/cpulist = 0`."""
    lines = Lines.of(source, file="nodes.txt")
    states: dict[str, tuple[int, ...]] = {}
    distances: dict[int, tuple[int, ...]] = {}
    cpus: dict[int, tuple[int, ...]] = {}
    for index, line in enumerate(lines.lines):
        if not line.strip():
            continue
        key, equals, value = line.partition(" = ")
        if not equals and not line.endswith(" ="):
            lines.fail(index, f"{shown(line.strip())} must be 'key = value'")
        match = _NODE_KEY.fullmatch(line.rstrip() + " " if line.endswith("=") else line)
        if match is not None and match[2] == "distance":
            row = tuple(integer(lines, index, word) for word in match[3].split())
            distances[int(match[1])] = row
            continue
        try:
            numbers = parse_number_list(value)
        except ValueError as error:
            lines.fail(index, str(error))
        if match is not None:
            cpus[int(match[1])] = numbers
        else:
            states[key] = numbers
    return NodesText(states=states, distances=distances, cpus=cpus)


def parse_sysctl(source: Source) -> dict[str, str]:
    """Return sysctl_vm.txt: `key = value`, values as text."""
    lines = Lines.of(source, file="sysctl_vm.txt")
    values: dict[str, str] = {}
    for index, line in enumerate(lines.lines):
        key, equals, value = line.partition(" = ")
        if equals:
            values[key] = value
        elif line.strip():
            lines.fail(index, f"{shown(line.strip())} must be 'key = value'")
    return values


def parse_memory_blocks(source: Source) -> MemoryBlocks:
    """Return memory_blocks.txt: `memory0/state = online` and two keys for all."""
    lines = Lines.of(source, file="memory_blocks.txt")
    blocks: dict[int, dict[str, str]] = {}
    head: dict[str, str] = {}
    for index, line in enumerate(lines.lines):
        key, equals, value = line.partition(" = ")
        if match := _BLOCK_KEY.fullmatch(line):
            blocks.setdefault(int(match[1]), {})[match[2] or match[4]] = match[3] or match[5] or ""
        elif key in ("block_size_bytes", "auto_online_blocks") and equals:
            head[key] = value
        elif line.strip():
            lines.fail(index, f"{shown(line.strip())} is no line of memory_blocks.txt")
    for number, block in blocks.items():
        for key in ("state", "valid_zones"):
            if key not in block:
                lines.fail(0, f"memory{number} has no line '{key}'")
    size_text = head.get("block_size_bytes", "0" if not blocks else "")
    if not re.fullmatch("[0-9a-f]{1,15}", size_text):
        lines.fail(0, "block_size_bytes must be a hexadecimal number")
    return MemoryBlocks(
        block_size_bytes=int(size_text, 16),
        auto_online_blocks=head.get("auto_online_blocks", "offline"),
        blocks=blocks,
    )


def parse_case(path: Path) -> CaseFile:
    """Return case.toml of a recorded case.

    Raises RecordingError when the file is not TOML or does not say `id` and `arch`.
    """
    text = "\n".join(Lines.of(path).lines)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number or a nesting without end
        raise RecordingError(str(path), None, f"not TOML: {error}") from None
    for key in ("id", "arch"):
        if not isinstance(table.get(key), str):
            raise RecordingError(str(path), None, f"must have {key} = text")
    return CaseFile(id=table["id"], arch=table["arch"], table=table)
