"""Read /proc/zoneinfo, every value of it, as kernels from 2.6 on print it.

Linux: mm/vmstat.c:zoneinfo_show_print. Before 4.8 all counters are the zone's, "scanned" and
"all_unreclaimable" too; before 3.9 no line says "managed"; before 4.12 a kernel leaves out zones
without memory; 6.x adds lines. Some print a counter without its name; that one is left out.
Interface: `parse_zoneinfo` returns one `ZoneinfoZone` a zone, in the file's order; keys keep the
kernel's names and order, so that a renderer can write the same text.
Units: pages.
"""

from __future__ import annotations

import re

import attrs

from kernelsim.config.proc_lines import NUMBER, Lines, Source, integer
from kernelsim.errors import shown

__all__ = ["Pageset", "ZoneinfoZone", "parse_zoneinfo"]

_HEAD = re.compile(rf"Node ({NUMBER}), zone +(\S+)")
_PROTECTION = re.compile(r"protection: \(([0-9, ]*)\)")
_COUNTER = re.compile(r"(?:nr|numa|workingset|pg[a-z]+|compact|thp)_[a-z0-9_]+")
_PAGE_KEYS = (
    *("boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma"),
    *("scanned", "node_scanned", "reserved_highatomic", "free_highatomic"),
)
_STATE_KEYS = ("node_unreclaimable", "start_pfn")
_OLD_KEYS = ("all_unreclaimable", "inactive_ratio", "node_inactive_ratio", "prev_priority")
_NEEDED = ("free", "min", "low", "high", "spanned", "present", "managed")
_PCP_KEYS = ("count", "high", "batch", "high_min", "high_max")


@attrs.frozen(kw_only=True)
class Pageset:
    """The per-cpu list of one CPU."""

    cpu: int
    """CPU number."""
    values: dict[str, int]
    """count, high, batch in pages (newer kernels: also high_min, high_max)."""
    vm_stats_threshold: int | None
    """Drift of per-cpu counters; None on a kernel without SMP."""

    @property
    def count(self) -> int:
        """Return the pages on the list."""
        return self.values["count"]

    @property
    def high(self) -> int:
        """Return the length at which pages are given back."""
        return self.values["high"]

    @property
    def batch(self) -> int:
        """Return the pages moved at a time."""
        return self.values["batch"]


@attrs.frozen(kw_only=True)
class ZoneinfoZone:
    """One zone of zoneinfo; an empty zone has sizes and protection only."""

    nid: int
    """Node number."""
    name: str
    """Printed zone name."""
    node_stats: dict[str, int] | None
    """`per-node stats`; they stand in the first populated zone of a node, None elsewhere."""
    pages: dict[str, int]
    """free, boost, min, low, high, spanned, present, managed, cma as printed."""
    protection: tuple[int, ...]
    """lowmem_reserve, one a zone type."""
    stats: dict[str, int]
    """Zone counters and, with NUMA, numa_hit and its like, in the printed order."""
    pagesets: tuple[Pageset, ...]
    """Per-cpu lists."""
    node_unreclaimable: int | None
    """1 when kswapd gave up; None for an empty zone."""
    start_pfn: int | None
    """First pfn; None for an empty zone."""
    is_old: bool
    """Whether a kernel before 4.8 printed it, which has no watermark_scale_factor either."""

    @property
    def boost(self) -> int:
        """Return the momentary watermark boost; kernels before 5.0 print none."""
        return self.pages.get("boost", 0)

    @property
    def watermarks(self) -> tuple[int, int, int]:
        """Return min, low, high without the boost the kernel prints with them."""
        low, mid, high = (self.pages[key] - self.boost for key in ("min", "low", "high"))
        return low, mid, high

    @property
    def populated(self) -> bool:
        """Return whether the zone has memory."""
        return self.pages["present"] > 0


@attrs.define
class _Open:
    """A zone while its lines are read."""

    nid: int
    name: str
    line: int
    node_stats: dict[str, int] | None = None
    pages: dict[str, int] = attrs.field(factory=dict)
    protection: tuple[int, ...] | None = None
    stats: dict[str, int] = attrs.field(factory=dict)
    pagesets: list[Pageset] = attrs.field(factory=list)
    node_unreclaimable: int | None = None
    start_pfn: int | None = None
    is_old: bool = False


def parse_zoneinfo(source: Source) -> tuple[ZoneinfoZone, ...]:
    """Return the zones of a zoneinfo file or text.

    Raises RecordingError with file and line for anything the kernel does not print.
    """
    lines = Lines.of(source, file="zoneinfo")
    zones: list[_Open] = []
    for index, line in enumerate(lines.lines):
        head = _HEAD.fullmatch(line.strip())
        if head is not None:
            zones.append(_Open(int(head[1]), head[2], index))
        elif line.strip():
            if not zones:
                lines.fail(index, "must begin with 'Node N, zone NAME'")
            _read_line(lines, index, zones[-1])
    if not zones:
        lines.fail(0, "must begin with 'Node N, zone NAME'")
    return tuple(_close(lines, zone) for zone in zones)


def _read_line(lines: Lines, index: int, zone: _Open) -> None:
    """Add one line to its zone."""
    line = lines.lines[index].strip()
    words = line.split()
    key = words[0].removesuffix(":")
    has_colon = words[0].endswith(":")
    if protection := _PROTECTION.fullmatch(line):
        numbers = protection[1].split(",")
        zone.protection = tuple(integer(lines, index, number.strip()) for number in numbers)
    elif line == "per-node stats":
        zone.node_stats = {}
    elif line == "pagesets" or (len(words) == 1 and words[0].isdecimal()):
        pass
    elif words[:2] == ["pages", "free"]:
        _add(lines, index, zone.pages, "free", words[2:])
    elif words[:3] == ["vm", "stats", "threshold:"]:
        _pageset_end(lines, index, zone, words[3:])
    elif words[0] == "cpu:":
        cpu: dict[str, int] = {}
        _add(lines, index, cpu, "cpu", words[1:])
        zone.pagesets.append(Pageset(cpu=cpu["cpu"], values={}, vm_stats_threshold=None))
    elif has_colon and key in _PCP_KEYS:
        if not zone.pagesets:
            lines.fail(index, f"{key} must follow a cpu line")
        _add(lines, index, zone.pagesets[-1].values, key, words[1:])
    elif has_colon and key in _STATE_KEYS + _OLD_KEYS:
        _add_state(lines, index, zone, key, words[1:])
    elif key in _PAGE_KEYS:
        _add(lines, index, zone.pages, key, words[1:])
        zone.is_old = zone.is_old or key == "scanned"
    elif _COUNTER.fullmatch(key):
        in_node = zone.node_stats is not None and "free" not in zone.pages
        stats = zone.node_stats if in_node and zone.node_stats is not None else zone.stats
        _add(lines, index, stats, key, words[1:])
    else:
        lines.fail(index, f"{shown(line)} is no line of zoneinfo")


def _add_state(lines: Lines, index: int, zone: _Open, key: str, words: list[str]) -> None:
    """Put a number that stands behind the page lists in its place."""
    number: dict[str, int] = {}
    _add(lines, index, number, key, words)
    if key in _STATE_KEYS:
        setattr(zone, key, number[key])
    elif key == "all_unreclaimable":
        zone.node_unreclaimable = number[key]
        zone.is_old = True


def _add(lines: Lines, index: int, target: dict[str, int], key: str, words: list[str]) -> None:
    """Put one number under its key."""
    if len(words) != 1:
        lines.fail(index, f"{key} must be followed by one number")
    if key in target:
        lines.fail(index, f"{key} comes twice in one zone")
    target[key] = integer(lines, index, words[0])


def _pageset_end(lines: Lines, index: int, zone: _Open, words: list[str]) -> None:
    """Put the threshold of the last CPU in its place."""
    number: dict[str, int] = {}
    _add(lines, index, number, "vm stats threshold", words)
    if not zone.pagesets:
        lines.fail(index, "vm stats threshold must follow a cpu line")
    threshold = number["vm stats threshold"]
    zone.pagesets[-1] = attrs.evolve(zone.pagesets[-1], vm_stats_threshold=threshold)


def _close(lines: Lines, zone: _Open) -> ZoneinfoZone:
    """Return the finished zone, or raise RecordingError for what is missing."""
    if zone.is_old and "present" in zone.pages:  # before 3.9 present pages were those for use
        zone.pages.setdefault("managed", zone.pages["present"])
    for key in _NEEDED:
        if key not in zone.pages:
            lines.fail(zone.line, f"zone {zone.name} has no line '{key}'")
    if zone.protection is None:
        lines.fail(zone.line, f"zone {zone.name} has no line 'protection'")
    for pageset in zone.pagesets:
        for key in ("count", "high", "batch"):
            if key not in pageset.values:
                lines.fail(zone.line, f"cpu {pageset.cpu} of zone {zone.name} has no line '{key}'")
    if zone.pages["present"] and zone.start_pfn is None:
        lines.fail(zone.line, f"zone {zone.name} has no line 'start_pfn'")
    return ZoneinfoZone(
        nid=zone.nid,
        name=zone.name,
        node_stats=zone.node_stats,
        pages=zone.pages,
        protection=zone.protection,
        stats=zone.stats,
        pagesets=tuple(zone.pagesets),
        node_unreclaimable=zone.node_unreclaimable,
        start_pfn=zone.start_pfn,
        is_old=zone.is_old,
    )
