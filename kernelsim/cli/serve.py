"""`kernelsim serve`: metrics of a run as node_exporter has them, for Prometheus.

Exit status: 0 when Ctrl-C ends the serving; of a run that was started, as of `kernelsim run`.
"""

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kernelsim.cli.options import Whole
from kernelsim.cli.run import tell_outcome
from kernelsim.cli.run_words import NO_WORDS, RunWords, on_a_machine, positive_ns, read_workload
from kernelsim.errors import ConfigError
from kernelsim.units import format_duration

if TYPE_CHECKING:
    from kernelsim.actors.core.kernel import Kernel
    from kernelsim.live.publish import Published, Publisher


def serve(
    what: Path,
    /,
    *,
    live: Annotated[bool, Parameter(negative="")] = False,
    port: Whole = 9100,
    speed: str | None = None,
    words: RunWords = NO_WORDS,
) -> None:
    """Serve metrics with node_exporter's names on http://127.0.0.1:9100/metrics until Ctrl-C.

    Of a run that has ended, its state at the end or at a snapshot is served; with --live a run is
    started, and served while it goes on and afterwards.

    Args:
        what: What `kernelsim run --out` wrote, or a snapshot in it; with --live a workload, as of
            `kernelsim run`.
        live: Run the workload.
        port: Where to listen, on this computer only; 0 for any free port.
        speed: Virtual time that passes in a second, if the simulator can: with 1s, which it is by
            default, rates a second are the machine's.
        words: Of the run.
    """
    from kernelsim.live.publish import Board, published_end
    from kernelsim.live.server import MetricsServer

    if live:
        serve_run(what, words, port=port, speed_ns=positive_ns("--speed", speed or "1s"))
        return
    if speed is not None:
        raise ConfigError("--live", live, "is needed for --speed: that run has ended")
    if words != NO_WORDS:
        raise ConfigError("--live", live, "is needed for options of a run: that one has ended")
    published = published_end(what)
    with MetricsServer(Board(published), port) as server:
        print(f"{what}: {told_moment(published)}")
        wait_at(server.url)


def told_moment(published: "Published") -> str:
    """Return what moment of a run is served; nothing in a snapshot says its time."""
    if published.t_ns is None:
        return "the state at a snapshot"
    return f"the state at the end of the run, {format_duration(published.t_ns)} of virtual time"


def wait_at(url: str) -> None:
    """Say where the metrics are, and wait for Ctrl-C."""
    print(f"{url} until Ctrl-C", flush=True)
    with suppress(KeyboardInterrupt):
        while True:
            signal.pause()


def serve_run(path: Path, words: RunWords, *, port: int, speed_ns: int) -> None:
    """Run a workload and serve it, then its end."""
    from kernelsim.live.pace import Pace
    from kernelsim.live.publish import Board, Publisher
    from kernelsim.live.server import MetricsServer
    from kernelsim.report.machine_run import run_machine

    loaded, options = on_a_machine(read_workload(path, words.machine), path), words.options()
    board, pace = Board(), Pace(speed_ns=speed_ns)

    def comes(kernel: "Kernel") -> "Publisher":
        run = {"workload": str(path), "machine": kernel.spec.name, "seed": str(options.seed)}
        return Publisher(kernel, board, pace, run)

    with MetricsServer(board, port) as server:
        print(
            f"{path}: while it runs, {format_duration(speed_ns)} in a second: {server.url}",
            flush=True,
        )
        outcome = run_machine(loaded, options, name=str(path), onlooker=comes)
        try:
            tell_outcome(outcome, options)
        finally:
            wait_at(server.url)
