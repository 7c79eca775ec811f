"""The metrics that node_exporter gives of a /proc and a /sys, of ours.

They are made from the texts of the files, as node_exporter makes them, so the tree of a run that
has ended and the state of one that goes on have the same.
Names, labels, types and units are those of node_exporter 1.5: the collectors meminfo, meminfo_numa,
vmstat (all fields), pressure, stat, cpu, buddyinfo, diskstats, and zoneinfo's watermarks and sizes.
Left out are the times of guests, and of diskstats all behind its first eleven columns: discards and
flushes. The totals of pressure of a run that goes on are not those of its /proc/pressure but the
publisher's own, as reading the files would change them.

Interface: `node_metrics`.
Units: seconds, bytes, pages: in the name; times are virtual.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    UntypedMetricFamily,
)

Texts = Mapping[str, str]
"""Texts by path, such as proc/meminfo."""

NODES: Final = "sys/devices/system/node/"
FILES: Final = re.compile(
    r"proc/(meminfo|vmstat|stat|buddyinfo|zoneinfo|diskstats|pressure/\w+)"
    rf"|{NODES}node\d+/(meminfo|numastat)"
)
KB: Final = 1024
SECTOR_BYTES: Final = 512
USER_HZ: Final = 100
CPU_MODES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
PRESSURES: Final = (
    ("cpu", "some", "waiting"),
    ("io", "some", "waiting"),
    ("io", "full", "stalled"),
    ("memory", "some", "waiting"),
    ("memory", "full", "stalled"),
)
STAT: Final = {
    "ctxt": (CounterMetricFamily, "node_context_switches_total"),
    "processes": (CounterMetricFamily, "node_forks_total"),
    "intr": (CounterMetricFamily, "node_intr_total"),
    "btime": (GaugeMetricFamily, "node_boot_time_seconds"),
    "procs_running": (GaugeMetricFamily, "node_procs_running"),
    "procs_blocked": (GaugeMetricFamily, "node_procs_blocked"),
}
DISK: Final = (  # columns of /proc/diskstats after the device, and what one of them is worth
    ("reads_completed_total", 1.0),
    ("reads_merged_total", 1.0),
    ("read_bytes_total", SECTOR_BYTES),
    ("read_time_seconds_total", 1e-3),
    ("writes_completed_total", 1.0),
    ("writes_merged_total", 1.0),
    ("written_bytes_total", SECTOR_BYTES),
    ("write_time_seconds_total", 1e-3),
    ("io_now", 1.0),
    ("io_time_seconds_total", 1e-3),
    ("io_time_weighted_seconds_total", 1e-3),
)
ZONE: Final = re.compile(r"^Node (\d+), zone +(\w+)$(.*?)(?=^Node|\Z)", re.MULTILINE | re.DOTALL)
ZONE_FIELDS: Final = {
    "min": "min_pages",
    "low": "low_pages",
    "high": "high_pages",
    "spanned": "spanned_pages",
    "present": "present_pages",
    "managed": "managed_pages",
    "nr_free_pages": "nr_free_pages",
}
Family = Callable[..., Metric]
Labels = tuple[str, ...]


class Samples(NamedTuple):
    """The values of one metric, by the values of its labels."""

    name: str
    family: Family
    labels: Labels
    values: Iterable[tuple[Labels, float]]


def node_metrics(texts: Texts) -> Iterator[Metric]:
    """Yield the metrics; what has no file is left out."""
    for collect in (
        meminfo,
        meminfo_numa,
        numastat,
        vmstat,
        pressure,
        stat,
        cpu,
        buddyinfo,
        zoneinfo,
        diskstats,
    ):
        for name, family, labels, values in collect(texts):
            metric = family(name, f"{collect.__name__}: as in node_exporter.", labels=labels)
            for label_values, value in values:
                metric.add_metric(label_values, value)  # type: ignore[attr-defined]  # they have it
            yield metric


def meminfo(texts: Texts) -> Iterator[Samples]:
    """Yield /proc/meminfo."""
    for line in texts.get("proc/meminfo", "").splitlines():
        name, value, unit = fields_of_meminfo(line)
        suffix = "_bytes" if unit == KB else ""
        yield Samples(
            f"node_memory_{name}{suffix}", GaugeMetricFamily, (), [((), float(value * unit))]
        )


def fields_of_meminfo(line: str) -> tuple[str, int, int]:
    """Return name, value and unit of a line: `Active(anon): 8 kB` is Active_anon, 8, 1024."""
    key, _, rest = line.partition(":")
    value, *unit = rest.split()
    return re.sub(r"\((.*)\)", r"_\1", key), int(value), KB if unit else 1


def meminfo_numa(texts: Texts) -> Iterator[Samples]:
    """Yield the meminfo of each node: one metric a line, one value a node."""
    values: dict[str, list[tuple[Labels, float]]] = {}
    for nid, text in files_of_nodes(texts, "meminfo"):
        for line in text.splitlines():
            name, value, unit = fields_of_meminfo(line.split(maxsplit=2)[2])
            values.setdefault(name, []).append(((nid,), float(value * unit)))
    for name, of_nodes in values.items():
        yield Samples(f"node_memory_numa_{name}", GaugeMetricFamily, ("node",), of_nodes)


def numastat(texts: Texts) -> Iterator[Samples]:
    """Yield the numastat of each node."""
    values: dict[str, list[tuple[Labels, float]]] = {}
    for nid, text in files_of_nodes(texts, "numastat"):
        for line in text.splitlines():
            name, value = line.split()
            values.setdefault(name, []).append(((nid,), float(value)))
    for name, of_nodes in values.items():
        yield Samples(f"node_memory_numa_{name}_total", CounterMetricFamily, ("node",), of_nodes)


def files_of_nodes(texts: Texts, name: str) -> Iterator[tuple[str, str]]:
    """Yield the number of each node and the text of one of its files."""
    for path, text in texts.items():
        if path.startswith(NODES) and path.endswith(f"/{name}"):
            yield path.removeprefix(f"{NODES}node").partition("/")[0], text


def vmstat(texts: Texts) -> Iterator[Samples]:
    """Yield /proc/vmstat, all of it."""
    for line in texts.get("proc/vmstat", "").splitlines():
        name, value = line.split()
        yield Samples(f"node_vmstat_{name}", UntypedMetricFamily, (), [((), float(value))])


def pressure(texts: Texts) -> Iterator[Samples]:
    """Yield the totals of /proc/pressure."""
    for resource, kind, name in PRESSURES:
        text = texts.get(f"proc/pressure/{resource}", "")
        found = re.search(rf"^{kind} .*total=(\d+)$", text, re.MULTILINE)
        if found:
            seconds = [((), int(found[1]) / 1e3 / 1e3)]  # rounded as there
            metric = f"node_pressure_{resource}_{name}_seconds_total"
            yield Samples(metric, CounterMetricFamily, (), seconds)


def stat(texts: Texts) -> Iterator[Samples]:
    """Yield what /proc/stat has of the whole machine."""
    for line in texts.get("proc/stat", "").splitlines():
        key, value, *_ = line.split()
        if key in STAT:
            family, name = STAT[key]
            yield Samples(name, family, (), [((), float(value))])


def cpu(texts: Texts) -> Iterator[Samples]:
    """Yield the times of each CPU."""
    values: list[tuple[Labels, float]] = []
    for line in texts.get("proc/stat", "").splitlines():
        key, *ticks = line.split()
        number = key.removeprefix("cpu")
        if number != key and number:
            times = zip(CPU_MODES, ticks, strict=False)  # guest times are parts of others
            values += [((number, mode), int(tick) / USER_HZ) for mode, tick in times]
    if values:
        yield Samples("node_cpu_seconds_total", CounterMetricFamily, ("cpu", "mode"), values)


def buddyinfo(texts: Texts) -> Iterator[Samples]:
    """Yield free blocks by node, zone and order."""
    values: list[tuple[Labels, float]] = []
    for line in texts.get("proc/buddyinfo", "").splitlines():
        _, nid, _, zone, *counts = line.replace(",", " ").split()
        values += [((nid, str(order), zone), float(count)) for order, count in enumerate(counts)]
    if values:
        labels = ("node", "size", "zone")
        yield Samples("node_buddyinfo_blocks", GaugeMetricFamily, labels, values)


def zoneinfo(texts: Texts) -> Iterator[Samples]:
    """Yield free pages, watermarks and sizes of each zone."""
    values: dict[str, list[tuple[Labels, float]]] = {name: [] for name in ZONE_FIELDS.values()}
    for nid, zone, text in ZONE.findall(texts.get("proc/zoneinfo", "")):
        for key, name in ZONE_FIELDS.items():
            found = re.search(rf"^ +{key} +(\d+)$", text, re.MULTILINE)
            if found:
                values[name].append(((nid, zone), float(found[1])))
    for name, of_zones in values.items():
        if of_zones:
            yield Samples(f"node_zoneinfo_{name}", GaugeMetricFamily, ("node", "zone"), of_zones)


def diskstats(texts: Texts) -> Iterator[Samples]:
    """Yield what each disk has done."""
    values: dict[str, list[tuple[Labels, float]]] = {name: [] for name, _ in DISK}
    for line in texts.get("proc/diskstats", "").splitlines():
        _, _, device, *counts = line.split()
        for (name, worth), count in zip(DISK, counts, strict=False):
            values[name].append(((device,), int(count) * worth))
    for name, of_disks in values.items():
        family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        if of_disks:
            yield Samples(f"node_disk_{name}", family, ("device",), of_disks)
