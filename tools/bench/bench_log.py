"""How many events a second the log takes, beside structlog as its own guide tunes it for speed.

The peer follows structlog's page on performance: BytesLogger, make_filtering_bound_logger, a fast
JSON serializer, loggers cached. It writes the same fields to a file on the same disk, with the
virtual time set by a processor. Rounds of all contenders take turns, the best of each counts.

Interface: `run(scale)` gives rows, `run_row` that of a whole run with its log beside one without;
as a program it prints them.
"""

import contextlib
import importlib
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import structlog

from kernelsim.report.log import RunLog
from kernelsim.report.machine_run import run_machine
from kernelsim.report.run_options import RunOptions
from kernelsim.sim.sink import Sink
from kernelsim.trace.vmscan import mm_vmscan_wakeup_kswapd
from kernelsim.units import PAGE_SIZE
from kernelsim.workload import MachineHandle
from kernelsim.workload.api import workload
from kernelsim.workload.log import author_logger
from tools.bench.bench_engine import Row

EVENTS: Final = 100_000  # a round
ROUNDS: Final = 5
MACHINE_PAGES: Final = 16_384
LOG_COST_MAX: Final = 1.2
EVENT: Final = "mm_vmscan_wakeup_kswapd"

Round = Callable[[int], None]


class Clock:
    """A virtual time that goes on by hand, and what else a logger asks of an engine."""

    now_ns = 0
    running_name = "main"
    sink: Sink | None = None


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Measure all ways into the log.

    Args:
        scale: Share of the events to log; 1.0 takes some seconds.

    Returns:
        Rows of name, ours_per_s, peers (events a second by name) and ratio to the fastest peer.
    """
    nr_events = max(1, int(EVENTS * scale))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clock = Clock()
        log = stack.enter_context(RunLog(folder / "ours.jsonl"))
        ours: dict[str, Round] = {
            "log, through structlog": through_structlog(log, clock),
            "log, emit a dict": emit_dicts(log),
            "log, emit a tracepoint": emit_tracepoints(log),
        }
        peers = {
            f"structlog {name}": peer(
                stack.enter_context((folder / f"{name}.jsonl").open("wb")), serializer, clock
            )
            for name, serializer in serializers().items()
        }
        best = measure({**ours, **peers}, nr_events)
    fastest = max(best[name] for name in peers)
    rates = {name: round(best[name]) for name in peers}
    return [
        {
            "name": name,
            "ours_per_s": round(best[name]),
            "peers": rates,
            "ratio": round(best[name] / fastest, 2),
        }
        for name in ours
    ]


def run_row(scale: float = 1.0, rounds: int = ROUNDS) -> Row:
    """Measure what a log of the default level costs a run that swaps all the time.

    Args:
        scale: Share of the memory that is touched, of four times the machine's.
        rounds: The best of so many counts.
    """
    nr_pages = max(MACHINE_PAGES, int(4 * MACHINE_PAGES * scale))

    async def main(machine: MachineHandle) -> None:
        hog = await machine.spawn("hog")
        region = await hog.mmap(nr_pages * PAGE_SIZE)
        for _ in range(2):
            await hog.touch(region, write=True)

    best = {"log": 0.0, "none": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, out in (("log", Path(folder) / "out"), ("none", None)):
                options = RunOptions(machine="tiny-64m", out=out, progress=False)
                began = time.process_time()
                run_machine(workload(main), options, name="bench")
                best[name] = max(best[name], 2 * nr_pages / (time.process_time() - began))
    peers = {"without --out": best["none"]}
    is_met = best["log"] >= best["none"] / LOG_COST_MAX
    target = f"at most {LOG_COST_MAX:.1f} times the CPU time without"
    return Row("a run that swaps, with --out, pages", "/s", best["log"], peers, target, is_met)


def measure(contenders: dict[str, Round], nr_events: int) -> dict[str, float]:
    """Return the best events a second of each contender, over rounds in turn."""
    best = dict.fromkeys(contenders, 0.0)
    for _ in range(ROUNDS):
        for name, one_round in contenders.items():
            start = time.perf_counter()
            one_round(nr_events)
            best[name] = max(best[name], nr_events / (time.perf_counter() - start))
    return best


def through_structlog(log: RunLog, clock: Clock) -> Round:
    """Log as a workload does."""
    clock.sink = log
    info = author_logger(clock).info

    def one_round(nr_events: int) -> None:
        for number in range(nr_events):
            clock.now_ns = number
            info("phase", nid=1, zid=2, order=number, gfp_flags=3264)

    return one_round


def emit_dicts(log: RunLog) -> Round:
    """Log as the engine does."""
    emit = log.emit

    def one_round(nr_events: int) -> None:
        for number in range(nr_events):
            emit(number, "kswapd0", EVENT, {"nid": 1, "zid": 2, "order": number, "gfp_flags": 3264})

    return one_round


def emit_tracepoints(log: RunLog) -> Round:
    """Log typed tracepoints, made one by one."""
    emit = log.emit

    def one_round(nr_events: int) -> None:
        for number in range(nr_events):
            point = mm_vmscan_wakeup_kswapd(nid=1, zid=2, order=number, gfp_flags=3264)
            emit(number, "kswapd0", EVENT, point)

    return one_round


def serializers() -> dict[str, Callable[..., bytes]]:
    """Return the fast serializers that are installed."""
    encode = msgspec.json.Encoder().encode
    found: dict[str, Callable[..., bytes]] = {"msgspec": lambda fields, **_: encode(fields)}
    if importlib.util.find_spec("orjson") is not None:  # not one of our dependencies
        found["orjson"] = importlib.import_module("orjson").dumps
    return found


def peer(file: BinaryIO, serializer: Callable[..., bytes], clock: Clock) -> Round:
    """Log with structlog alone."""

    def stamp(_logger: object, _method: str, event_dict: Any) -> Any:  # noqa: ANN401 - structlog's types
        event_dict["t_ns"] = clock.now_ns
        return event_dict

    info = structlog.wrap_logger(
        structlog.BytesLogger(file),
        processors=[stamp, structlog.processors.JSONRenderer(serializer=serializer)],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        context_class=dict,
        cache_logger_on_first_use=True,
    ).bind(actor="kswapd0")

    def one_round(nr_events: int) -> None:
        for number in range(nr_events):
            clock.now_ns = number
            info.info(EVENT, nid=1, zid=2, order=number, gfp_flags=3264)

    return one_round


if __name__ == "__main__":
    for row in run():
        print(row)
