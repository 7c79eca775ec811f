"""Serves the metrics of a run to Prometheus, on this computer only.

    with MetricsServer(board, port=9100) as server:
        print(server.url)

Interface: `MetricsServer`, a context manager; it answers in a thread of its own, from the `Board`.
"""

import errno
from collections.abc import Iterator
from typing import Final, Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from kernelsim.errors import ConfigError, readable
from kernelsim.live.metrics import node_metrics
from kernelsim.live.publish import Board
from kernelsim.units import NS_PER_S

LOOPBACK: Final = "127.0.0.1"
REFUSALS: Final = (errno.EADDRINUSE, errno.EACCES, errno.EINVAL)


class BoardCollector(Collector):
    """Collects the metrics of what is on a board; none as long as there is nothing."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def describe(self) -> Iterator[Metric]:
        """Name no metric beforehand: which there are depends on the machine."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the latest state."""
        latest = self._board.latest
        if latest is None:
            return
        run = {label: readable(value) for label, value in latest.run.items()}
        yield InfoMetricFamily("kernelsim_run", "The run, and how it ended.", run)
        if latest.t_ns is not None:
            yield GaugeMetricFamily(
                "kernelsim_virtual_time_seconds", "Virtual time.", latest.t_ns / NS_PER_S
            )
        yield from node_metrics(latest.texts)


class MetricsServer:
    """A server of metrics.

    Args:
        board: What to serve.
        port: Where; 0 for any that is free.

    Raises:
        ConfigError: Something else listens there.
    """

    def __init__(self, board: Board, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(BoardCollector(board))
        try:
            self._server, self._thread = start_http_server(port, LOOPBACK, registry)
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", errno.EINVAL) not in REFUSALS:
                raise
            raise ConfigError("--port", port, "must be free, 0 to 65535, or 0 for any") from error

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{LOOPBACK}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
