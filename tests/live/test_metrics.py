"""The metrics served of a run are those of node_exporter, and their figures those of its /proc."""

import re
from pathlib import Path

import pytest
from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kernelsim.errors import ConfigError
from kernelsim.live.metrics import node_metrics
from kernelsim.live.pace import Pace
from kernelsim.live.publish import Board, Published, Publisher, published_end
from kernelsim.live.server import BoardCollector, MetricsServer
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.units import NS_PER_S
from kernelsim.workload.api import Workload
from tests.live.scripted import hog
from tests.node_exporter import exporter, metrics_at
from tests.real_tools import numbers_of

pytestmark = [pytest.mark.mission("B6")]

RUN = {"workload": "hog.py", "machine": "tiny-64m", "seed": "1"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, list[Published]]:
    """A run of `hog`: its directory, and what was published meanwhile."""
    directory, published = tmp_path_factory.mktemp("run") / "out", []

    class Kept(Board):
        def __setattr__(self, name, value):
            published.append(value)

    options = RunOptions(machine="tiny-64m", progress=False, out=directory)
    run_machine(
        Workload(hog, "machine"),
        options,
        name="hog.py",
        onlooker=lambda kernel: Publisher(kernel, Kept(), Pace(), RUN),
    )
    return directory, [each for each in published if each is not None]


def served(published: Published) -> dict[str, dict[tuple, float]]:
    """Return metrics as a scraper reads them: by name, then by labels."""
    registry = CollectorRegistry()
    registry.register(BoardCollector(Board(published)))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    metrics: dict[str, dict[tuple, float]] = {}
    for sample in (sample for family in families for sample in family.samples):
        metrics.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return metrics


def plain(metrics: dict[str, dict[tuple, float]]) -> dict[str, float]:
    """Return metrics by name with labels, as node_exporter writes them."""
    named: dict[str, float] = {}
    for name, values in metrics.items():
        for labels, value in values.items():
            words = ",".join(f'{key}="{of}"' for key, of in labels)
            named[f"{name}{{{words}}}" if words else name] = value
    return named


def test_what_is_served_of_the_end_is_the_tree_of_the_run(run):
    """Each line of meminfo and vmstat, the totals of pressure; and which run it is."""
    directory, _ = run
    metrics = served(published_end(directory))
    meminfo, events = numbers_of(directory / "proc/meminfo"), numbers_of(directory / "proc/vmstat")

    memory = {n: v[()] for n, v in metrics.items() if re.fullmatch(r"node_memory_\w+_bytes", n)}
    kb = {name: value for name, value in meminfo.items() if not name.startswith("HugePages_")}
    assert {re.sub(r"\((\w+)\)", r"_\1", f"node_memory_{name}_bytes") for name in kb} == set(memory)
    assert meminfo["MemFree"] * 1024 == memory["node_memory_MemFree_bytes"]
    assert {
        f"node_vmstat_{n}": {(): float(v)} for n, v in events.items()
    }.items() <= metrics.items()
    stalled = re.search(r"full .*total=(\d+)", (directory / "proc/pressure/memory").read_text())[1]
    assert int(stalled) / 1e3 / 1e3 == metrics["node_pressure_memory_stalled_seconds_total"][()] > 0
    labels = dict(next(iter(metrics["kernelsim_run_info"])))
    assert {**RUN, "state": "done"} == labels
    assert metrics["kernelsim_virtual_time_seconds"][()] > 0


@pytest.mark.slow
def test_names_labels_and_values_are_those_of_node_exporter(run, tmp_path, require_tool):
    """The real one says the same of the same tree; we leave out parts of zoneinfo and of disks."""
    directory, _ = run
    program = require_tool("prometheus-node-exporter", "prometheus-node-exporter")
    with exporter(directory, program, tmp_path) as url:
        theirs = metrics_at(url)
    ours = plain(served(published_end(directory)))

    assert {n: v for n, v in ours.items() if n.startswith("node_")}.items() <= theirs.items()
    left_out = (
        *("node_zoneinfo_", "node_disk_", "node_exporter_", "node_scrape_"),
        "node_cpu_guest_seconds_total",
    )
    missing = [n for n in theirs if n.startswith("node_") and n not in ours]
    assert [] == [name for name in missing if not name.startswith(left_out)]


def test_a_live_run_is_served_as_it_is_at_the_moment(run):
    """First at its boot, in the end as the tree of its end, which it does not change."""
    directory, published = run
    first, last = published[0], published[-1]

    assert ("running", 0) == (first.run["state"], first.t_ns)
    assert 0.0 == served(first)["node_vmstat_pgfault"][()]
    assert "done" == last.run["state"]
    end = published_end(directory)
    assert end.t_ns == last.t_ns
    apart = [name for name in end.texts if end.texts[name] != last.texts[name]]
    assert all(name.startswith("proc/pressure/") for name in apart)  # it has totals of its own
    name = "node_pressure_memory_stalled_seconds_total"
    assert served(last)[name][()] == pytest.approx(served(end)[name][()], rel=0.1)


def test_nodes_are_told_apart():
    """Each node is a label of one metric."""
    folder = "sys/devices/system/node"
    texts = {
        f"{folder}/node{nid}/meminfo": f"Node {nid} MemFree: {nid + 1} kB\n" for nid in (0, 11)
    }
    metrics = {metric.name: metric.samples for metric in node_metrics(texts)}
    assert ["node_memory_numa_MemFree"] == list(metrics)
    samples = metrics["node_memory_numa_MemFree"]
    assert [("0", 1024.0), ("11", 12288.0)] == [(s.labels["node"], s.value) for s in samples]


def test_the_server_answers_on_loopback_and_only_while_it_is_open(run):
    """An HTTP GET gives the latest on the board; its port is then taken, and free afterwards."""
    directory, published = run
    board = Board(published[0])
    with MetricsServer(board, 0) as server:
        assert server.url.startswith("http://127.0.0.1:")
        port = int(server.url.split(":")[2].partition("/")[0])
        for each in (published[0], published_end(directory)):
            board.latest = each
            faults = served(each)["node_vmstat_pgfault"][()]
            assert faults == metrics_at(server.url)["node_vmstat_pgfault"]
        with pytest.raises(ConfigError, match="--port"):
            MetricsServer(board, port)
    with MetricsServer(board, port) as server:
        assert f":{port}/" in server.url


class Unmoving(Publisher):
    """Makes sure that looking leaves the kernel's own totals of pressure as they are."""

    nr_busy = 0

    def look(self) -> None:
        """Look, and compare."""
        totals = self._kernel.psi.totals
        before = list(totals.total_ns)
        super().look()
        assert before == totals.total_ns
        self.nr_busy += any(self._stalled.total_ns)


def test_a_speed_holds_a_served_run_up(monkeypatch):
    """It naps until real time has come as far; the clock here only moves in its naps."""
    wall_ns, publishers = 0, []

    def nap(seconds):
        nonlocal wall_ns
        wall_ns += int(seconds * NS_PER_S)

    def comes(kernel):
        publishers.append(Unmoving(kernel, board, Pace(speed_ns=10**7), RUN))
        return publishers[0]

    monkeypatch.setattr("kernelsim.live.publish.sleep", nap)
    monkeypatch.setattr("kernelsim.live.publish.perf_counter_ns", lambda: wall_ns)
    board = Board()
    options = RunOptions(machine="tiny-64m", progress=False, until="20ms")
    outcome = run_machine(Workload(hog, "machine"), options, name="hog.py", onlooker=comes)

    assert 20_000_000 == board.latest.t_ns == outcome.kernel.engine.ended.now_ns
    assert wall_ns == pytest.approx(2 * NS_PER_S, rel=0.05)
    assert publishers[0].nr_busy


@pytest.mark.parametrize(
    ("files", "why"),
    [((), "must hold a run"), (("events.jsonl",), "was cut short")],
)
def test_a_directory_without_an_end_is_refused(tmp_path, files, why):
    """What is missing is said: no run, or no end of it."""
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=why):
        published_end(tmp_path)
