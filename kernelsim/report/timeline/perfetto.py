"""Writes a run as Perfetto's protobuf, which ui.perfetto.dev opens.

Tracks stand in groups: processes, kernel threads, CPUs, disks, locks, machine, and the sampled
counters. Arrows lead from who wakes kswapd to its round, from a wait for a disk to its read, and
from a wait for a lock to the hold that followed.

Interface: `write_perfetto`. Units: ns.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import attrs
import numpy as np
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackEvent
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

from kernelsim.report.event_reader import Selection
from kernelsim.report.ftrace_text import TASK, THREAD
from kernelsim.report.rundir import METRICS
from kernelsim.report.samples import Column, Samples, growth
from kernelsim.report.timeline.nesting import lanes, nested
from kernelsim.report.timeline.slices import (
    DISK,
    HELD,
    RUNNING,
    Moment,
    Slice,
    TimelineMaker,
    fields_of,
)
from kernelsim.report.whole import write_whole
from kernelsim.units import NS_PER_S

SEQUENCE: Final = 1  # all packets are of one writer
LRU: Final = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
ZONE_COUNTERS: Final = ("free", "min", "low", "high")
PSI: Final = ("memory_some", "memory_full", "io_some", "io_full", "cpu_some")


def write_perfetto(
    directory: Path, maker: TimelineMaker, target: Path, selection: Selection
) -> None:
    """Write a run's timeline.

    Args:
        directory: What `kernelsim run --out` wrote; its sampled counters are drawn, too.
        maker: What it has made of the events.
        target: The file.
        selection: Of the events; counters are drawn for its time.

    Raises:
        OutputError: The file cannot be written.
    """
    path = directory / METRICS
    samples = Samples(path) if path.is_file() else None

    def write(to: Path) -> None:
        with to.open("wb") as file:
            writer = Writer(file)
            writer.slices(maker.slices, maker.moments)
            if samples is not None:
                for name, unit, values in counters(samples):
                    writer.counter(name, unit, samples.t_ns, values, selection)

    write_whole(target, write)


def group_of(track: str, categories: set[str]) -> str:
    """Return the group that a track stands in."""
    if RUNNING in categories:
        return "CPUs"
    if HELD in categories:
        return "locks"
    if categories == {DISK}:
        return "disks"
    if THREAD.fullmatch(track):
        return "kernel threads"
    return "processes" if TASK.fullmatch(track) else "machine"


def counters(samples: Samples) -> Iterator[tuple[str, str, Column]]:
    """Return the counters of a timeline: name, unit, value at each sample."""
    zones = [name.removesuffix("_boost") for name in samples.names if name.endswith("_boost")]
    for zone in zones:
        spoken = zone.replace("node", "node ", 1).replace("_", " ")
        for name in ZONE_COUNTERS:
            yield f"{spoken} {name}", "pages", samples.of(f"{zone}_{name}")
    for name in LRU:
        yield f"LRU {name}", "pages", samples.total(f"nr_{name}")
    for name in ("nr_dirty", "nr_writeback", "nr_file_pages", "nr_anon_pages"):
        yield name, "pages", samples.total(name)
    yield "swap used", "pages", samples.of("swap_total") - samples.of("swap_free")
    for name in PSI:
        share = growth(samples.of(f"psi_{name}_ns") / NS_PER_S, samples.t_ns / NS_PER_S)
        yield f"PSI {name}", "percent", (share * 100).astype(np.int64)


@attrs.define
class Writer:
    """Writes tracks and what is on them to an open file."""

    file: IO[bytes]
    _builder: StreamingTraceProtoBuilder = attrs.field(init=False)
    _nr_tracks: int = 0
    _groups: dict[str, int] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._builder = StreamingTraceProtoBuilder(self.file)

    def slices(self, slices: list[Slice], moments: list[Moment]) -> None:
        """Write all tracks with their slices and moments, those of a group together."""
        by_track: dict[str, list[Slice]] = {}
        for each in slices:
            by_track.setdefault(each.track, []).append(each)
        marks: dict[str, list[Moment]] = {}
        for mark in moments:
            marks.setdefault(mark.track, []).append(mark)
        named = [
            (group_of(name, {each.category for each in by_track.get(name, [])}), name)
            for name in (by_track | marks)
        ]
        for group, name in sorted(named):
            of_track = by_track.get(name, [])
            tracks = lanes(of_track) if group in {"disks", "locks"} else [of_track]
            for lane in tracks:
                uuid = self._track(name, group)
                for edge in nested(lane):
                    self._edge(uuid, edge.t_ns, edge.slice if edge.begins else None)
                if lane is tracks[0]:
                    for mark in marks.get(name, []):
                        self._mark(uuid, mark)

    def counter(
        self, name: str, unit: str, t_ns: Column, values: Column, selection: Selection
    ) -> None:
        """Write a counter's track with the values that fall into the time chosen."""
        uuid = self._track(name, "counters", unit=unit)
        for at_ns, value in zip(t_ns.tolist(), values.tolist(), strict=True):
            if at_ns < selection.start_ns or at_ns > (selection.end_ns or at_ns):
                continue
            packet = self._packet(at_ns)
            packet.track_event.type = TrackEvent.TYPE_COUNTER
            packet.track_event.track_uuid = uuid
            packet.track_event.counter_value = value
            self._builder.write_packet(packet)

    def _track(self, name: str, group: str, *, unit: str = "") -> int:
        if group not in self._groups:
            self._groups[group] = self._describe(group, 0)
        return self._describe(name, self._groups[group], unit=unit)

    def _describe(self, name: str, parent: int, *, unit: str = "") -> int:
        self._nr_tracks += 1
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = SEQUENCE
        track = packet.track_descriptor
        track.uuid = self._nr_tracks
        track.name = name
        if parent:
            track.parent_uuid = parent
        if unit:
            track.counter.unit_name = unit
        self._builder.write_packet(packet)
        return self._nr_tracks

    def _packet(self, t_ns: int) -> TracePacket:
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = SEQUENCE
        packet.timestamp = max(t_ns, 0)
        return packet

    def _edge(self, uuid: int, t_ns: int, begun: Slice | None) -> None:
        packet = self._packet(t_ns)
        event = packet.track_event
        event.track_uuid = uuid
        event.type = TrackEvent.TYPE_SLICE_END if begun is None else TrackEvent.TYPE_SLICE_BEGIN
        if begun is not None:
            event.name = begun.name
            event.categories.append(begun.category)
            event.flow_ids.extend(begun.flows)
            annotate(event, begun.fields)
        self._builder.write_packet(packet)

    def _mark(self, uuid: int, mark: Moment) -> None:
        packet = self._packet(mark.t_ns)
        event = packet.track_event
        event.track_uuid = uuid
        event.type = TrackEvent.TYPE_INSTANT
        event.name = mark.name
        event.flow_ids.extend(mark.flows)
        annotate(event, mark.fields)
        self._builder.write_packet(packet)


def annotate(event: TrackEvent, fields: Mapping[str, object]) -> None:
    """Say more about an event: numbers and texts, as the log has them."""
    for name, value in fields_of(fields).items():
        note = event.debug_annotations.add()
        note.name = name
        if isinstance(value, bool):
            note.bool_value = value
        elif isinstance(value, str):
            note.string_value = value
        elif value >= 0:
            note.uint_value = value
        else:
            note.int_value = value
