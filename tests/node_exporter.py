"""The real node_exporter over a tree of ours, and what it says.

Interface: `exporter` runs it, `metrics_at` reads metrics from it or another server of such.
"""

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

EXPORTER_SECONDS = 20  # real ones, until it must answer
COLLECTORS = (
    *("meminfo", "meminfo_numa", "vmstat", "stat", "cpu", "buddyinfo", "zoneinfo", "pressure"),
)


@contextlib.contextmanager
def exporter(tree: Path, program: str, folder: Path) -> Iterator[str]:
    """Run node_exporter over a tree; give the address of its metrics."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [program, f"--web.listen-address={address}", "--collector.disable-defaults"]
    words += [f"--collector.{name}" for name in (*COLLECTORS, "diskstats")]
    words += [f"--path.procfs={tree / 'proc'}", f"--path.sysfs={tree / 'sys'}"]
    words.append("--collector.vmstat.fields=.*")
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stderr=log) as process:
        try:
            yield f"http://{address}/metrics"
        finally:
            process.terminate()


def metrics_at(url: str) -> dict[str, float]:
    """Return the metrics, as soon as the exporter answers."""
    deadline = time.monotonic() + EXPORTER_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=EXPORTER_SECONDS) as reply:  # noqa: S310
                text = reply.read().decode()
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "node_exporter does not answer"
            time.sleep(0.05)
        else:
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
