"""Read the comparable rows of one run: a recorded one or one of ours.

A row is a named figure with the slack class it is held to. Names carry the process, the text of
the step and its occurrence, never a line number, so two runs whose lines interleave differently
still meet row by row.

Interface: `rows_of(case, real=…)` reads a whole run directory; the tables below say which keys
count and how strictly. Keys that are not listed (times, addresses) are not compared.
Units: figures stay in the unit their file prints (pages, or kB where the name says `_kB`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from kernelsim.errors import RecordingError

SLACK: Final[Mapping[str, tuple[float, int]]] = {
    # class -> (share of the real value, pages)
    "exact": (0.0, 0),
    "near": (0.02, 64),
    "close": (0.15, 512),
    "loose": (0.60, 2048),
}


def _classes(**names: str) -> dict[str, str]:
    """Turn `near="a b"` into `{"a": "near", "b": "near"}`."""
    return {key: kind for kind, keys in names.items() for key in keys.split()}


STEP_CLASSES: Final = _classes(
    exact="errno ok mallocs bytes mod16 usable nodes",
    near="ret minflt cached_pages pgpgin_kB n0 n1 n2 n3 resident",
    close="majflt PageTables_kB total_kB",
)
MEM_CLASSES: Final = _classes(
    exact="VmLck_kB", near="VmRSS_kB RssAnon_kB", close="VmPTE_kB VmSwap_kB"
)
MEMINFO_CLASSES: Final = _classes(
    exact="Mlocked",
    near="AnonPages CommitLimit",
    close="MemFree Inactive(anon) Active(file) Inactive(file) SwapFree Dirty PageTables",
    loose="Active(anon)",
)
# A mapping in the order rows are listed.
DELTA_CLASSES: Final = {
    "pgfault": "near",
    "pgmajfault": "close",
    "pgpgin": "close",
    "pgpgout": "close",
    "pswpin": "close",
    "pswpout": "close",
    "pgsteal_anon": "close",
    "pgsteal_file": "close",
    "pgsteal": "close",
    "pgscan": "loose",
    "pgscan_direct": "loose",
    "allocstall": "loose",
    "pgactivate": "close",
    "pgdeactivate": "loose",
    "pgrefill": "loose",
    "workingset_refault_anon": "loose",
    "workingset_refault_file": "loose",
    "numa_hit": "near",
    "numa_miss": "close",
    "numa_foreign": "close",
    "numa_interleave": "near",
    "pgmigrate_success": "close",
    "oom_kill": "exact",
    "nr_mlock": "exact",
    "nr_anon_pages": "close",
    "nr_page_table_pages": "close",
    "nr_active_file": "close",
    "nr_inactive_file": "close",
    "nr_active_anon": "loose",
    "nr_inactive_anon": "close",
    "nr_dirtied": "close",
    "nr_written": "close",
}

PAIR: Final = re.compile(r"([A-Za-z_()0-9]+)=(\S+)")
LINE_KINDS: Final = tuple(
    # (line start, row name, leading KEY=VALUE pairs that only name the line, classes)
    (re.compile(start), name, skip, classes)
    for start, name, skip, classes in (
        (r"proc=(\S+) step=\d+ op=(\S+) ", "{} {}", 3, STEP_CLASSES),
        (r"proc=(\S+) mem ", "{} mem", 1, MEM_CLASSES),
        (r"proc=(\S+) meminfo_kB ", "{} meminfo", 1, MEMINFO_CLASSES),
        (r"proc=(\S+) readstep=(\d+) ", "{} readstep{}", 2, STEP_CLASSES),
        (r"proc=(\S+) op=(\S+) pass=(\d+) ", "{} {} pass{}", 3, STEP_CLASSES),
        (r"proc=(\S+) forkcow_(\w+) ", "{} forkcow_{}", 1, STEP_CLASSES),
        (r"proc=(\S+) mallocs=(\d+) ", "{} mallocs{}", 2, STEP_CLASSES),
    )
)
BLOCK_LINE: Final = re.compile(r"blk (\S+) (\S+) ")
ZONE_LINE: Final = re.compile(r"Node (\d+), zone\s+(\S+)")
ZONE_FIGURE: Final = re.compile(
    r"\s+(?:pages )?(free|boost|min|low|high|spanned|present|managed|batch:)\s+(\d+)$"
)
PROTECTION: Final = re.compile(r"\s+protection: \((.*)\)")
WATERMARKS: Final = ("min", "low", "high")

Value: TypeAlias = float | str
"""A figure, or a text that must match as it is."""


@attrs.frozen
class Row:
    """One figure of a run and the class it is held to."""

    name: str
    value: Value
    kind: str
    """A key of `SLACK`."""


@attrs.define
class ZoneFigures:
    """What zoneinfo says of one zone, watermarks without the momentary boost."""

    figures: dict[str, int] = attrs.field(factory=dict)
    """free, boost, min, low, high, spanned, present, managed, batch: pages."""
    protection: list[int] | None = None
    """Pages held back from each higher zone type; None when the file has no such line."""

    def value(self, key: str) -> Value | None:
        """Return a figure as a row's value, None when the file does not print it."""
        if key == "protection":
            return None if self.protection is None else str(self.protection)
        return float(self.figures[key]) if key in self.figures else None


def rows_of(case: Path, *, real: bool) -> dict[str, Row]:
    """Read every row of a run directory, by name.

    Args:
        case: directory with workload.out, dmesg.txt and one folder a snapshot.
        real: whether it is the recording; then a watermark counts only where it equals the
            kernel's formula, because those of boot were computed with fewer managed pages.

    Raises:
        RecordingError: the directory or a file it needs cannot be read, or a line is malformed.
    """
    if not case.is_dir():
        raise RecordingError(case, None, "a run is a directory; this is none")
    rows: list[Row] = []
    if (case / "workload.out").exists():
        rows += workload_rows(_read_lines(case / "workload.out"), str(case / "workload.out"))
    if (case / "dmesg.txt").exists():
        rows += dmesg_rows((case / "dmesg.txt").read_text(encoding="utf-8", errors="replace"))
    for folder in sorted(path.parent.name for path in case.glob("*/zoneinfo")):
        if folder != "after":
            try:
                rows += snapshot_rows(case / folder, real=real)
            except (KeyError, ValueError, IndexError) as error:
                rule = f"must hold a snapshot's files as a kernel prints them: {error!r}"
                raise RecordingError(case / folder, None, rule) from None
    # A later row of the same name replaces the value but keeps the place of the first.
    return {row.name: row for row in rows}


def workload_rows(lines: list[str], source: str) -> list[Row]:
    """Read the rows of workload.out.

    Args:
        lines: the file's lines.
        source: the file's name, for errors.

    Raises:
        RecordingError: a vmdelta line without a label or with a value that is no number.
    """
    rows: list[Row] = []
    seen: dict[str, int] = {}
    deltas: dict[str, dict[str, float]] = {}
    for number, line in enumerate(lines, start=1):
        if line.startswith("vmdelta "):
            _add_delta(deltas, line, source, number)
            continue
        if match := BLOCK_LINE.match(line):
            seen[match[1]] = seen.get(match[1], 0) + 1
            rows.append(Row(f"block {match[1]}#{seen[match[1]]}", match[2], "exact"))
            continue
        for start, name, skip, classes in LINE_KINDS:
            if match := start.match(line):
                base = name.format(*match.groups())
                seen[base] = count = seen.get(base, 0) + 1
                prefix = base if count == 1 else f"{base}#{count}"
                rows += _pair_rows(prefix, PAIR.findall(line)[skip:], classes)
                break
    return rows + [row for label, values in deltas.items() for row in _delta_rows(label, values)]


def _pair_rows(
    prefix: str, pairs: list[tuple[str, str]], classes: Mapping[str, str]
) -> Iterator[Row]:
    """Yield a row for each listed key; a failed or empty result must match exactly."""
    for key, text in pairs:
        if key in classes:
            value = _value(text)
            failed = key == "ret" and isinstance(value, float) and value <= 0
            yield Row(f"{prefix}.{key}", value, "exact" if failed else classes[key])


def _value(text: str) -> Value:
    """Return a number in any of C's notations as float, anything else as it is."""
    try:
        return float(int(text, 0))
    except (ValueError, OverflowError):
        return text


def _add_delta(deltas: dict[str, dict[str, float]], line: str, source: str, number: int) -> None:
    """Add the counters of one vmdelta line to those of its label."""
    pairs = PAIR.findall(line)
    if not pairs or pairs[0][0] != "label":
        raise RecordingError(source, number, "a vmdelta line starts with label=NAME")
    values = deltas.setdefault(pairs[0][1], {})
    for key, text in pairs[1:]:
        if key != "now":
            try:
                values[key] = float(text)
            except ValueError:
                raise RecordingError(source, number, f"{key} must be a number") from None


def _delta_rows(label: str, values: dict[str, float]) -> Iterator[Row]:
    """Yield the rows of one label; scan, steal and stall counts are summed over their kinds."""
    sums = {
        "pgscan": values.get("pgscan_kswapd", 0) + values.get("pgscan_direct", 0),
        "pgsteal": values.get("pgsteal_kswapd", 0) + values.get("pgsteal_direct", 0),
        "allocstall": sum(n for key, n in values.items() if key.startswith("allocstall_")),
    }
    for key, kind in DELTA_CLASSES.items():
        if value := sums.get(key, values.get(key, 0)):
            yield Row(f"vmdelta {label}.{key}", value, kind)


def dmesg_rows(text: str) -> list[Row]:
    """Read the order of the OOM killer's victims and the constraints of its runs."""
    killed = re.findall(r"Killed process \d+ \(([^)]+)\)", text)
    constraints = re.findall(r"oom-kill:constraint=(\w+)", text)
    if not killed and not constraints:
        return []
    return [
        Row("oom victims", " ".join(killed), "exact"),
        Row("oom constraints", " ".join(constraints), "exact"),
    ]


def snapshot_rows(folder: Path, *, real: bool) -> Iterator[Row]:
    """Yield the zone figures and main meminfo lines of one snapshot (see `rows_of`)."""
    zones = read_zones(folder / "zoneinfo")
    formula = formula_watermarks(zones, _read_sysctls(folder)) if real else None
    for zone, got in zones.items():
        if not got.figures.get("managed"):
            continue
        prefix = f"zoneinfo {folder.name} {zone}"
        for key in ("spanned", "present", "batch", "free", *WATERMARKS, "protection"):
            value = got.value(key)
            by_formula = formula[zone].value(key) if formula is not None else None
            unsettled = by_formula is not None and by_formula != value
            if value is not None and not unsettled:
                yield Row(f"{prefix}.{key}", value, "close" if key == "free" else "exact")
    if (folder / "meminfo").exists():
        for line in _read_lines(folder / "meminfo"):
            key, _, text = line.partition(":")
            if key in MEMINFO_CLASSES and key != "Mlocked":
                value = float(text.split()[0])
                yield Row(f"meminfo {folder.name}.{key}_kB", value, MEMINFO_CLASSES[key])


def read_zones(path: Path) -> dict[str, ZoneFigures]:
    """Read zoneinfo as `node0/DMA` -> figures; the batch is that of the first CPU."""
    zones: dict[str, ZoneFigures] = {}
    zone = ZoneFigures()
    for line in _read_lines(path):
        if match := ZONE_LINE.match(line):
            zone = zones.setdefault(f"node{match[1]}/{match[2]}", ZoneFigures())
        elif match := ZONE_FIGURE.match(line):
            zone.figures.setdefault(match[1].rstrip(":"), int(match[2]))
        elif match := PROTECTION.match(line):
            zone.protection = [int(pages) for pages in match[1].split(",")]
    for name, zone in zones.items():
        for key in WATERMARKS:
            if key not in zone.figures:
                raise RecordingError(path, None, f"zone {name} must have a {key} line")
            zone.figures[key] -= zone.figures.get("boost", 0)
    return zones


def formula_watermarks(
    zones: Mapping[str, ZoneFigures], sysctls: Mapping[str, str]
) -> dict[str, ZoneFigures]:
    """Compute the watermarks and protections the kernel gives these zones.

    Source: Linux 6.1 mm/page_alloc.c:__setup_per_zone_wmarks, setup_per_zone_lowmem_reserve
    """
    pages_min = int(sysctls["vm.min_free_kbytes"]) >> 2
    scale = int(sysctls["vm.watermark_scale_factor"])
    ratios = [int(ratio) for ratio in sysctls["vm.lowmem_reserve_ratio"].split()]
    has_highmem = any(name.endswith("/HighMem") for name in zones)
    lowmem = sum(z.figures["managed"] for n, z in zones.items() if not n.endswith("/HighMem"))
    formula: dict[str, ZoneFigures] = {}
    for name, zone in zones.items():
        managed = zone.figures["managed"]
        share = pages_min * managed // (lowmem or 1)
        high = name.endswith("/HighMem") or (name.endswith("/Movable") and has_highmem)
        floor = max(32, min(128, managed // 1024)) if high else share
        gap = max(share >> 2, managed * scale // 10000)
        figures = {"min": floor, "low": floor + gap, "high": floor + 2 * gap}
        formula[name] = ZoneFigures(figures=figures)
    for node in dict.fromkeys(name.split("/")[0] for name in zones):
        names = [name for name in zones if name.startswith(f"{node}/")]
        managed_of = [zones[name].figures["managed"] for name in names]
        for index, name in enumerate(names):
            formula[name].protection = _protection(index, managed_of, ratios)
    return formula


def _protection(index: int, managed: list[int], ratios: list[int]) -> list[int]:
    """Return the pages zone `index` of a node keeps from each zone type of that node."""
    ratio = ratios[index] if index < len(ratios) and managed[index] else 0
    above = [sum(managed[index + 1 : top + 1]) for top in range(len(managed))]
    return [pages // ratio if ratio else 0 for pages in above]


def _read_sysctls(folder: Path) -> dict[str, str]:
    """Read sysctl_vm.txt of a snapshot as `key -> value`."""
    lines = _read_lines(folder / "sysctl_vm.txt")
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def _read_lines(path: Path) -> list[str]:
    """Read a text file's lines; a file that cannot be read is a `RecordingError`."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        rule = f"must be readable ({error.strerror})"
        raise RecordingError(path, None, rule) from None
